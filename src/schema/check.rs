//! What both cores demand of a schema, and what this project demands of descriptions. A test applies it to all schemas.

use super::{Attribute, Nested, Nesting, Schema, Shape};
use crate::value::Type;

/// Names that Terraform keeps for itself at the top of a block.
const RESERVED: [&str; 7] = ["connection", "count", "depends_on", "for_each", "lifecycle", "provider", "provisioner"];

/// The rules that Terraform and OpenTofu enforce on a schema, and our own on descriptions: every violation, in words.
/// One violation makes the cores refuse the whole provider.
pub fn check(schema: &Schema) -> Vec<String> {
    let mut found = Vec::new();
    if schema.version < 0 {
        found.push("the schema version is negative".to_owned());
    }
    if schema.description.is_empty() {
        found.push("the schema has no description".to_owned());
    }
    for attribute in &schema.attributes {
        if RESERVED.contains(&attribute.name.as_str()) {
            found.push(format!("{}: the name is reserved", attribute.name));
        }
    }
    attributes(&schema.attributes, "", Within { set: false, computed: false }, &mut found);
    found
}

/// The rules for an identity schema: flat, and each attribute needed or allowed for import.
pub fn check_identity(schema: &Schema) -> Vec<String> {
    let mut found = Vec::new();
    for attribute in &schema.attributes {
        let primitive = |ty: &Type| matches!(ty, Type::String | Type::Bool | Type::Number);
        let fits = match attribute.ty() {
            Type::List(element) => primitive(&element),
            ty => primitive(&ty),
        };
        if !fits {
            found.push(format!("{}: an identity holds only primitives and lists of them", attribute.name));
        }
        if attribute.required == attribute.optional || attribute.computed {
            found.push(format!("{}: must be either required or optional for import", attribute.name));
        }
        if attribute.description.is_empty() {
            found.push(format!("{}: has no description", attribute.name));
        }
    }
    found
}

/// What surrounds a nested attribute.
#[derive(Clone, Copy)]
struct Within {
    set: bool,
    computed: bool,
}

fn attributes(attributes: &[Attribute], at: &str, within: Within, found: &mut Vec<String>) {
    let mut names = std::collections::BTreeSet::new();
    for attribute in attributes {
        let path = format!("{at}{}", attribute.name);
        if !names.insert(&attribute.name) {
            found.push(format!("{path}: declared twice"));
        }
        one(attribute, &path, within, found);
    }
}

fn one(attribute: &Attribute, path: &str, within: Within, found: &mut Vec<String>) {
    let Attribute { required, optional, computed, write_only, .. } = *attribute;
    let mut rule = |broken: bool, text: &str| {
        if broken {
            found.push(format!("{path}: {text}"));
        }
    };
    let name_fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    rule(!attribute.name.bytes().all(name_fits) || attribute.name.is_empty(), "the name must be of [a-z0-9_]");
    rule(!required && !optional && !computed, "must be required, optional or computed");
    rule(required && optional, "cannot be both required and optional");
    rule(required && computed, "cannot be both required and computed");
    rule(attribute.description.is_empty(), "has no description");
    rule(attribute.default.is_some() && !computed, "has a default but is not computed");
    rule(attribute.default.is_some() && attribute.keep, "has both a default and keep");
    rule(attribute.keep && !computed, "has keep but is not computed");
    rule(write_only && computed, "is write-only, so it cannot be computed or have a default");
    rule(write_only && within.set, "write-only cannot be inside a set");
    rule(within.set && attribute.keep, "keep has no effect inside a set");
    rule(!attribute.validators.is_empty() && attribute.is_computed_only(), "has a validator that nothing can violate");
    rule(within.computed && !attribute.is_computed_only(), "must be computed, as what it is in is");
    match &attribute.shape {
        Shape::Type(ty) => {
            rule(within.set && has_dynamic(ty), "a dynamic type cannot be inside a set");
            rule(!sets_are_plain(ty), "a set cannot hold a dynamic type");
            if let Some(default) = &attribute.default {
                rule(crate::value::msgpack::encode(default, ty).is_err(), "the default is not of the attribute's type");
            }
        }
        Shape::Nested(Nested { nesting, attributes: inner }) => {
            rule(inner.is_empty(), "has no nested attributes");
            let set = within.set || *nesting == Nesting::Set;
            attributes(inner, &format!("{path}."), Within { set, computed: attribute.is_computed_only() }, found);
        }
    }
}

fn has_dynamic(ty: &Type) -> bool {
    match ty {
        Type::Dynamic => true,
        Type::String | Type::Bool | Type::Number => false,
        Type::List(element) | Type::Set(element) | Type::Map(element) => has_dynamic(element),
        Type::Object(attributes) => attributes.values().any(has_dynamic),
        Type::Tuple(elements) => elements.iter().any(has_dynamic),
    }
}

fn sets_are_plain(ty: &Type) -> bool {
    match ty {
        Type::Set(element) => !has_dynamic(element),
        Type::List(element) | Type::Map(element) => sets_are_plain(element),
        Type::Object(attributes) => attributes.values().all(sets_are_plain),
        Type::Tuple(elements) => elements.iter().all(sets_are_plain),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model;
    use crate::schema::Model;
    use crate::value::{Dyn, Set, Value};

    model! {
        struct Broken {
            #[attr()]
            nothing: Value<String>,
            /// Both.
            #[attr(required, computed)]
            both: Value<String>,
            /// Reserved.
            #[attr(optional)]
            count: Value<String>,
            /// Default of another type.
            #[attr(default(true))]
            boards: Value<i64>,
            /// Secret with a default.
            #[attr(default("x"), write_only)]
            secret_wo: Value<String>,
            /// Kept, but never computed.
            #[attr(optional, keep)]
            kept: Value<String>,
            /// A set with what no set may hold.
            #[attr(optional)]
            bag: Value<Set<Item>>,
        }
    }

    model! {
        /// An item.
        struct Item {
            /// Anything.
            #[attr(optional)]
            any: Value<Dyn>,
            /// A secret.
            #[attr(optional, write_only)]
            secret_wo: Value<String>,
        }
    }

    #[test]
    fn names_every_violation() {
        assert_eq!(
            check(&Schema::of::<Broken>(-1)),
            [
                "the schema version is negative",
                "the schema has no description",
                "count: the name is reserved",
                "nothing: must be required, optional or computed",
                "nothing: has no description",
                "both: cannot be both required and computed",
                "boards: the default is not of the attribute's type",
                "secret_wo: is write-only, so it cannot be computed or have a default",
                "kept: has keep but is not computed",
                "bag.any: a dynamic type cannot be inside a set",
                "bag.secret_wo: write-only cannot be inside a set",
            ]
        );
    }

    #[test]
    fn an_identity_is_flat_and_for_import() {
        assert_eq!(
            check_identity(&Schema::of::<Broken>(0))[..3],
            [
                "nothing: must be either required or optional for import",
                "nothing: has no description",
                "both: must be either required or optional for import",
            ]
        );
    }

    #[test]
    fn debug_output_masks_secrets() {
        let item = Item { any: Value::Null, secret_wo: "hunter2".into() };
        assert_eq!(format!("{item:?}"), "Item { any: Null, secret_wo: (sensitive) }");
        assert_eq!(Item::decode(&item.encode()).unwrap(), item);
    }
}
