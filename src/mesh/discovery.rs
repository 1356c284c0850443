//! Which namespaces istiod looks into: `discoverySelectors` of the mesh configuration. What is in another is not there
//! for it, in its own cluster and in those that it watches.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::mesh_config::mesh_field;

/// The label by which every namespace has its own name.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Selectors, of which one is enough; none selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiscoverySelectors(Vec<Selector>);

/// All of it must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Selector {
    labels: BTreeMap<String, String>,
    expressions: Vec<Expression>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Expression {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl DiscoverySelectors {
    /// Of a mesh configuration. Where one of them cannot be read, istiod takes none, and so does this.
    pub fn of(mesh: &Map<String, Value>) -> DiscoverySelectors {
        let selectors = mesh_field(mesh, "discoverySelectors").and_then(Value::as_array);
        let read: Option<Vec<Selector>> = selectors.into_iter().flatten().map(Selector::read).collect();
        DiscoverySelectors(read.unwrap_or_default())
    }

    /// Whether it makes a difference in which namespace something is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether several control planes look into fewer than all namespaces.
    pub fn matter(planes: &[DiscoverySelectors]) -> bool {
        !planes.is_empty() && planes.iter().all(|selectors| !selectors.is_empty())
    }

    /// Whether none of several control planes looks into a namespace.
    pub fn all_leave_out(planes: &[DiscoverySelectors], name: &str, labels: &BTreeMap<String, String>) -> bool {
        !planes.is_empty() && planes.iter().all(|selectors| !selectors.select(name, labels))
    }

    /// Whether istiod looks into a namespace of this name with these labels.
    pub fn select(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        let label = |key: &str| match key {
            NAMESPACE_NAME_LABEL => Some(name),
            key => labels.get(key).map(String::as_str),
        };
        self.0.is_empty() || self.0.iter().any(|selector| selector.holds(&label))
    }
}

impl Selector {
    fn read(value: &Value) -> Option<Selector> {
        let labels = value.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
        let labels = labels.map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        let expressions = value.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
        Some(Selector {
            labels: labels.collect::<Option<_>>()?,
            expressions: expressions.map(Expression::read).collect::<Option<_>>()?,
        })
    }

    fn holds<'a>(&self, label: &impl Fn(&str) -> Option<&'a str>) -> bool {
        let labels = self.labels.iter().all(|(key, value)| label(key) == Some(value));
        labels && self.expressions.iter().all(|expression| expression.holds(label(&expression.key)))
    }
}

impl Expression {
    fn read(value: &Value) -> Option<Expression> {
        let operator = match value.get("operator")?.as_str()? {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => return None,
        };
        let values = value.get("values").and_then(Value::as_array).into_iter().flatten();
        let values: BTreeSet<String> = values.map(|value| value.as_str().map(str::to_owned)).collect::<Option<_>>()?;
        Some(Expression { key: value.get("key")?.as_str()?.to_owned(), operator, values })
    }

    fn holds(&self, value: Option<&str>) -> bool {
        let is_among = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            Operator::In => is_among,
            Operator::NotIn => !is_among,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(selectors: Value, labels: &[(&str, &str)]) -> bool {
        let mesh = json!({"discoverySelectors": selectors});
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        DiscoverySelectors::of(mesh.as_object().unwrap()).select("istio-system", &labels)
    }

    #[test]
    fn a_namespace_is_selected_as_kubernetes_selects() {
        let expression = |operator: &str, values: Value| json!([{"matchExpressions": [{"key": "mesh", "operator": operator, "values": values}]}]);
        let (one, none) = ([("mesh", "one")], []);
        for (selectors, labels, selected) in [
            (json!([]), &none[..], true),
            (json!([{}]), &none[..], true),
            (json!([{"matchLabels": {"mesh": "one"}}]), &one[..], true),
            (json!([{"matchLabels": {"mesh": "one"}}]), &none[..], false),
            (json!([{"matchLabels": {"mesh": "two"}}, {"matchLabels": {"mesh": "one"}}]), &one[..], true),
            (json!([{"matchLabels": {"mesh": "one", "team": "a"}}]), &one[..], false),
            (json!([{"matchLabels": {"kubernetes.io/metadata.name": "istio-system"}}]), &none[..], true),
            (json!([{"matchLabels": {"kubernetes.io/metadata.name": "shop"}}]), &none[..], false),
            (expression("In", json!(["one", "two"])), &one[..], true),
            (expression("In", json!(["two"])), &one[..], false),
            (expression("NotIn", json!(["two"])), &one[..], true),
            (expression("NotIn", json!(["one"])), &one[..], false),
            (expression("NotIn", json!(["one"])), &none[..], true),
            (expression("Exists", json!([])), &one[..], true),
            (expression("Exists", json!([])), &none[..], false),
            (expression("DoesNotExist", json!([])), &one[..], false),
            (expression("DoesNotExist", json!([])), &none[..], true),
            // Not to be read: istiod takes none of them.
            (expression("Like", json!(["two"])), &one[..], true),
        ] {
            assert_eq!(selects(selectors.clone(), labels), selected, "{selectors} {labels:?}");
        }
        assert!(DiscoverySelectors::of(&Map::new()).is_empty());
    }
}
