//! Schemas and signatures as messages.

use crate::engine::{Parameter, Signature};
use crate::plugin::proto::tfplugin6 as pb;
use crate::schema::{Attribute, Nested, Nesting, Schema, Shape};
use crate::value::Type;

const MARKDOWN: i32 = pb::StringKind::Markdown as i32;

pub(super) fn schema(schema: &Schema) -> pb::Schema {
    let block = pb::schema::Block {
        version: schema.version,
        attributes: schema.attributes.iter().map(attribute).collect(),
        block_types: Vec::new(),
        description: schema.description.clone(),
        description_kind: MARKDOWN,
        deprecated: schema.deprecated.is_some(),
        deprecation_message: schema.deprecated.clone().unwrap_or_default(),
    };
    pb::Schema { version: schema.version, block: Some(block) }
}

fn attribute(attribute: &Attribute) -> pb::schema::Attribute {
    // Exactly one of the two: both cores disable a provider that sets both.
    let (r#type, nested_type) = match &attribute.shape {
        Shape::Type(ty) => (type_bytes(ty), None),
        Shape::Nested(nested) => (Vec::new(), Some(object(nested))),
    };
    pb::schema::Attribute {
        name: attribute.name.clone(),
        r#type,
        description: attribute.description.clone(),
        required: attribute.required,
        optional: attribute.optional,
        computed: attribute.computed,
        sensitive: attribute.sensitive,
        description_kind: MARKDOWN,
        deprecated: attribute.deprecated.is_some(),
        nested_type,
        write_only: attribute.write_only,
        deprecation_message: attribute.deprecated.clone().unwrap_or_default(),
    }
}

fn object(nested: &Nested) -> pb::schema::Object {
    let nesting = match nested.nesting {
        Nesting::Single => pb::schema::object::NestingMode::Single,
        Nesting::List => pb::schema::object::NestingMode::List,
        Nesting::Set => pb::schema::object::NestingMode::Set,
        Nesting::Map => pb::schema::object::NestingMode::Map,
    };
    pb::schema::Object {
        attributes: nested.attributes.iter().map(attribute).collect(),
        nesting: nesting.into(),
        ..pb::schema::Object::default()
    }
}

pub(super) fn identity(schema: &Schema) -> pb::ResourceIdentitySchema {
    let attribute = |attribute: &Attribute| pb::resource_identity_schema::IdentityAttribute {
        name: attribute.name.clone(),
        r#type: type_bytes(&attribute.ty()),
        required_for_import: attribute.required,
        optional_for_import: !attribute.required,
        description: attribute.description.clone(),
    };
    pb::ResourceIdentitySchema {
        version: schema.version,
        identity_attributes: schema.attributes.iter().map(attribute).collect(),
    }
}

pub(super) fn function(signature: &Signature) -> pb::Function {
    pb::Function {
        parameters: signature.parameters.iter().map(parameter).collect(),
        variadic_parameter: signature.variadic.as_ref().map(parameter),
        r#return: Some(pb::function::Return { r#type: type_bytes(&signature.returns) }),
        summary: signature.summary.clone(),
        description: signature.description.clone(),
        description_kind: MARKDOWN,
        deprecation_message: signature.deprecated.clone().unwrap_or_default(),
    }
}

fn parameter(parameter: &Parameter) -> pb::function::Parameter {
    pb::function::Parameter {
        name: parameter.name.clone(),
        r#type: type_bytes(&parameter.ty),
        allow_null_value: parameter.allow_null,
        allow_unknown_values: false,
        description: parameter.description.clone(),
        description_kind: MARKDOWN,
    }
}

fn type_bytes(ty: &Type) -> Vec<u8> {
    ty.to_json().to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_has_a_type_or_nested_attributes_never_both() {
        let plain = attribute(&Attribute::new("a", Shape::Type(Type::map(Type::String))).required());
        assert_eq!((plain.r#type.as_slice(), plain.nested_type), (&br#"["map","string"]"#[..], None));
        let inner = vec![Attribute::new("b", Shape::Type(Type::Bool)).optional()];
        let nested = Nested { nesting: Nesting::Map, attributes: inner };
        let sent = attribute(&Attribute::new("a", Shape::Nested(nested)).optional());
        assert!(sent.r#type.is_empty());
        assert_eq!(sent.nested_type.unwrap().nesting, pb::schema::object::NestingMode::Map as i32);
    }
}
