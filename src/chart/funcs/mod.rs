//! The functions a chart may call: Go's builtins, sprig's and Helm's.
//!
//! Each is an ordinary function on values; counting arguments and checking their types is done once, by the
//! evaluator, from the table's signatures. The tables below are the only lists of names.
mod builtin;
mod cast;
mod dates;
mod dict;
mod encode;
mod glob;
mod list;
mod logic;
mod math;
mod native;
mod regexp;
mod strings;
mod version;

use std::collections::HashMap;
use std::sync::LazyLock;

use super::budget;
use super::value::{Element, MapKind, Value};

pub(super) use glob::Glob;
pub(super) use native::{field as native_field, method, range as range_native};
pub(super) use regexp::{MAX_SIZE as MAX_REGEX, pay_for_compiling};
pub(super) use strings::is_space;
pub(super) use version::compatible as version_compatible;

pub(super) struct Function {
    pub(super) params: &'static [Param],
    pub(super) variadic: Option<Param>,
    /// The result is declared as an interface, which messages about its fields mention.
    pub(super) boxed: bool,
    pub(super) call: Call,
}

#[derive(Clone, Copy)]
pub(super) enum Call {
    Plain(Plain),
    /// The message of an error is the chart author's.
    Fail(Plain),
    Include,
    Tpl,
}

type Plain = fn(&[Value]) -> Result<Value, String>;

/// The declared type of a parameter.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Param {
    Any,
    /// As `Any`, for Go's builtins, which take reflected values.
    Reflect,
    Str,
    Int,
    Float,
    Bool,
    Map,
}

impl Param {
    pub(super) fn can_be_nil(self) -> bool {
        matches!(self, Self::Any | Self::Reflect | Self::Map)
    }

    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Reflect => "reflect.Value",
            Self::Str => "string",
            Self::Int => "int",
            Self::Float => "float64",
            Self::Bool => "bool",
            Self::Map => "map[string]interface {}",
        }
    }

    pub(super) fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Any | Self::Reflect => true,
            Self::Str => matches!(value, Value::Str(_)),
            Self::Int => matches!(value, Value::Int(_)),
            Self::Float => matches!(value, Value::Float(_)),
            Self::Bool => matches!(value, Value::Bool(_)),
            Self::Map => matches!(value, Value::Map(map) if map.kind() != MapKind::Strings),
        }
    }
}

/// A row of a table: name, fixed parameters, variadic one, whether the result is an interface, the function.
type Row = (&'static str, &'static [Param], Option<Param>, bool, Plain);

pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.get(name)
}

static FUNCTIONS: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(|| {
    use Param::{Any, Map, Str};
    let tables = [
        builtin::TABLE,
        dates::TABLE,
        dict::TABLE,
        encode::TABLE,
        list::TABLE,
        logic::TABLE,
        math::TABLE,
        regexp::TABLE,
        strings::TABLE,
        version::TABLE,
    ];
    let mut functions: HashMap<_, _> = tables
        .into_iter()
        .flatten()
        .map(|&(name, params, variadic, boxed, call)| {
            (name, Function { params, variadic, boxed, call: Call::Plain(call) })
        })
        .collect();
    for (name, params, boxed, call) in [
        ("include", &[Str, Any][..], false, Call::Include),
        ("tpl", &[Str, Any][..], false, Call::Tpl),
        ("fail", &[Str][..], false, Call::Fail(|args| Err(text(&args[0]).to_owned()))),
        ("required", &[Str, Any][..], true, Call::Fail(logic::required)),
        ("urlJoin", &[Map][..], false, Call::Plain(encode::url_join)),
    ] {
        functions.insert(name, Function { params, variadic: None, boxed, call });
    }
    for name in UNSUPPORTED {
        functions.insert(
            name,
            Function {
                params: &[],
                variadic: Some(Any),
                boxed: true,
                call: Call::Plain(|_| Err("this function is not supported here".to_owned())),
            },
        );
    }
    functions
});

/// Known to Helm, and not written here. Most are random, cryptographic or concerned with the machine: a plan must be
/// the same each time. A chart may have them where they are not called.
const UNSUPPORTED: &[&str] = &[
    "b32dec",
    "b32enc",
    "bcrypt",
    "buildCustomCert",
    "camelcase",
    "decryptAES",
    "derivePassword",
    "durationRoundTo",
    "durationTruncateTo",
    "encryptAES",
    "fromToml",
    "genCA",
    "genCAWithKey",
    "genPrivateKey",
    "genSelfSignedCert",
    "genSelfSignedCertWithKey",
    "genSignedCert",
    "genSignedCertWithKey",
    "htpasswd",
    "kebabcase",
    "mustToToml",
    "randAlpha",
    "randAlphaNum",
    "randAscii",
    "randBytes",
    "randInt",
    "randNumeric",
    "shuffle",
    "snakecase",
    "toToml",
    "toYamlPretty",
    "uuidv4",
];

// What the evaluator has checked by the signature, as Rust's types.

fn text(value: &Value) -> &str {
    match value {
        Value::Str(s) => s,
        _ => "",
    }
}

fn int(value: &Value) -> i64 {
    value.as_int().unwrap_or_default()
}

fn map(value: &Value) -> Option<&super::value::Map> {
    match value {
        Value::Map(map) => Some(map),
        _ => None,
    }
}

/// sprig's `strval`
fn string_of(value: &Value) -> String {
    match value {
        Value::Str(s) => s.to_string(),
        Value::List(list) if list.element == Element::Byte => {
            let bytes: Vec<u8> = list.items.iter().filter_map(Value::as_int).map(|i| i as u8).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        other => super::print::display(other),
    }
}

const MAX_ITEMS: usize = 1_000_000;

/// Asks for room for a text before it is made.
fn limited(length: usize) -> Result<(), String> {
    if length > budget::MAX_TEXT {
        return Err(format!("the result would be {length} bytes long, more than is allowed here"));
    }
    // The text pays for itself when it becomes a value; this is for how it comes about.
    Ok(budget::pay(length / 64, 0)?)
}

/// Asks for room for so many texts of some length together.
fn room_for(pieces: usize, length: usize) -> Result<(), String> {
    Ok(budget::pay(pieces / 16, pieces.saturating_mul(2 * budget::NODE).saturating_add(length))?)
}

#[cfg(test)]
mod tests {
    use crate::chart::tests::render_one;

    #[test]
    fn what_is_not_written_here_fails_only_where_it_is_called() {
        for name in super::UNSUPPORTED {
            assert!(render_one(&format!("# {{{{ if false }}}}{{{{ {name} 1 }}}}{{{{ end }}}}"), "").is_ok(), "{name}");
            let error = render_one(&format!("{{{{ {name} 1 }}}}"), "").unwrap_err().to_string();
            assert!(error.contains("this function is not supported here"), "{name}: {error}");
        }
        for name in ["camelcase", "kebabcase", "snakecase", "toYamlPretty", "durationRoundTo", "b32enc", "toToml"] {
            assert!(super::find(name).is_some(), "{name}");
        }
        let text = render_one("# {{ sha1sum \"abc\" }}", "").unwrap();
        assert!(text.contains("# a9993e364706816aba3e25717850c26c9cd0d89d"), "{text}");
    }
}
