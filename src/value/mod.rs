//! Terraform values: types, paths, exact numbers, three-valued fields, and the msgpack and JSON codecs.
//!
//! [`Dyn`] is what crosses the wire, decoded against a [`Type`] so that every error names the attribute. [`Value`] is
//! what a model's field holds. Nothing here knows schemas, diagnostics or any resource.

mod dynamic;
mod error;
pub mod json;
pub mod msgpack;
mod number;
mod path;
mod three;
mod ty;

pub use dynamic::{Bound, Dyn, DynSet, Refinements};
pub use error::{Error, Problem};
pub use number::{Number, NumberError};
pub use path::{Path, Step};
pub use three::{List, Map, Set, Value};
pub use ty::Type;

/// How deep values and types may nest. Schemas stay far below it; only a hostile dynamic value could come near.
pub(crate) const MAX_DEPTH: usize = 64;

/// Brings a string into the form Terraform keeps all strings in (Unicode NFC).
pub(crate) fn normalise(text: &str) -> String {
    use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => text.to_owned(),
        _ => text.nfc().collect(),
    }
}

#[cfg(test)]
mod tests;
