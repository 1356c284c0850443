//! Between encoded values and [`Dyn`]: the one place where the engine decodes and encodes.

use super::rpc::Encoded;
use crate::diag::{Diagnostic, Diagnostics};
use crate::schema::{Attribute, Shape};
use crate::value::{Dyn, Type, json, msgpack};

/// Decodes what came over the wire; both forms empty is null.
pub(super) fn decode(encoded: &Encoded, ty: &Type) -> Result<Dyn, Diagnostic> {
    let decoded = match (&encoded.msgpack[..], &encoded.json[..]) {
        ([], []) => Ok(Dyn::Null),
        ([], text) => json::decode(text, ty),
        (bytes, _) => msgpack::decode(bytes, ty),
    };
    decoded.map_err(Diagnostic::from)
}

/// Encodes an answer. A value that does not fit its type is a defect of ours, reported and left out.
pub(super) fn encode(value: &Dyn, ty: &Type, diagnostics: &mut Diagnostics) -> Option<Encoded> {
    match msgpack::encode(value, ty) {
        Ok(msgpack) => Some(Encoded { msgpack, json: Vec::new() }),
        Err(error) => {
            let path = error.path.clone();
            diagnostics
                .push(Diagnostic::bug(format!("The provider made a value that does not fit: {error}.")).at(path));
            None
        }
    }
}

pub(super) fn parsed(json: &[u8]) -> Result<serde_json::Value, Diagnostics> {
    serde_json::from_slice(json).map_err(|_| {
        Diagnostic::error("Malformed state").detail("The stored state is not JSON. Restore it from a backup.").into()
    })
}

/// The value with everything unknown in it made null, as stored state must be.
pub(super) fn without_unknowns(value: Dyn) -> Dyn {
    let all = |elements: std::collections::BTreeMap<String, Dyn>| {
        elements.into_iter().map(|(name, element)| (name, without_unknowns(element))).collect()
    };
    match value {
        Dyn::Unknown(_) => Dyn::Null,
        Dyn::Dynamic(_, inner) if inner.is_unknown() => Dyn::Null,
        Dyn::Dynamic(ty, inner) => Dyn::Dynamic(ty, Box::new(without_unknowns(*inner))),
        Dyn::List(elements) => Dyn::List(elements.into_iter().map(without_unknowns).collect()),
        Dyn::Tuple(elements) => Dyn::Tuple(elements.into_iter().map(without_unknowns).collect()),
        Dyn::Set(elements) => Dyn::set(elements.iter().cloned().map(without_unknowns)),
        Dyn::Map(elements) => Dyn::Map(all(elements)),
        Dyn::Object(attributes) => Dyn::Object(all(attributes)),
        known => known,
    }
}

/// The object with its write-only attributes null, at every depth.
pub(super) fn without_write_only(mut object: Dyn, attributes: &[Attribute]) -> Dyn {
    if let Dyn::Object(values) = &mut object {
        for attribute in attributes {
            let Some(value) = values.get_mut(&attribute.name) else { continue };
            if attribute.write_only {
                *value = Dyn::Null;
            } else if let Shape::Nested(nested) = &attribute.shape {
                let inner = |element: Dyn| without_write_only(element, &nested.attributes);
                *value = match std::mem::replace(value, Dyn::Null) {
                    Dyn::List(elements) => Dyn::List(elements.into_iter().map(inner).collect()),
                    Dyn::Map(elements) => Dyn::Map(elements.into_iter().map(|(k, v)| (k, inner(v))).collect()),
                    Dyn::Set(elements) => Dyn::set(elements.iter().cloned().map(inner)),
                    single => inner(single),
                };
            }
        }
    }
    object
}
