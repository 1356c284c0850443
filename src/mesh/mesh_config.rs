//! Members of a mesh configuration. istiod reads each field by two names: `enableAutoMtls`, and `enable_auto_mtls` of
//! the protobuf definition.

use serde_json::{Map, Value};

/// What a mesh configuration says at a path, whichever of its two names each step has there.
pub fn mesh_field<'a>(mesh: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut steps = path.split('.');
    let first = member(mesh, steps.next()?)?;
    steps.try_fold(first, |value, step| member(value.as_object()?, step))
}

/// A field by the first of its names.
fn member<'a>(of: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    of.get(name).or_else(|| of.iter().find(|(key, _)| json_name(key) == name).map(|(_, value)| value))
}

/// As protobuf makes the first name from the second: `mesh_mTLS` is `meshMTLS`.
fn json_name(field: &str) -> String {
    let mut parts = field.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| {
        let mut letters = part.chars();
        let capital = letters.next().map(|letter| letter.to_ascii_uppercase());
        name + &capital.into_iter().chain(letters).collect::<String>()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_has_two_names() {
        let mesh = json!({
            "enable_auto_mtls": false, "mesh_mTLS": {"min_protocol_version": "TLSV1_3"}, "trustDomain": "a",
            "defaultConfig": {"proxy_metadata": {"ISTIO_META_DNS_CAPTURE": "true"}},
        });
        let at = |path: &str| mesh_field(mesh.as_object().unwrap(), path).map(ToString::to_string);
        assert_eq!(at("enableAutoMtls").as_deref(), Some("false"));
        assert_eq!(at("meshMTLS.minProtocolVersion").as_deref(), Some("\"TLSV1_3\""));
        assert_eq!(at("trustDomain").as_deref(), Some("\"a\""));
        assert_eq!(at("defaultConfig.proxyMetadata.ISTIO_META_DNS_CAPTURE").as_deref(), Some("\"true\""));
        assert_eq!((at("trustDomain.x"), at("accessLogFile")), (None, None));
    }
}
