//! Finding what is there, for `terraform query`: the clusters that a `list` block asks, and what it is told of those
//! that do not answer. What of an object is shown is for each resource to say; a Secret is looked into, and nothing of
//! it but names and certificates is handed on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;

use super::client::Client;
use crate::cluster::{Error, OWNER_LABEL, Object, Query, Scope};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::Ctx;
use crate::value::Value;

/// Clusters asked at a time.
pub const AT_ONCE: usize = 8;
/// A cluster that is silent holds a search up no longer than this.
const LOOK_WITHIN: Duration = Duration::from_secs(30);

/// The clusters to search: the one that is asked for, or all of the provider's, sorted.
pub fn clusters(cx: &mut Ctx<Client>, asked: &Value<String>, attribute: &str) -> Result<Vec<String>, Diagnostics> {
    known(cx, asked, attribute)?;
    if let Some(name) = asked.known() {
        return Ok(vec![name.clone()]);
    }
    let names: Vec<String> = cx.client()?.clusters.names().map(str::to_owned).collect();
    if names.is_empty() {
        cx.warn(
            Diagnostic::warning("The provider has no clusters to search")
                .detail("`clusters` of the provider block is empty, or not known yet. Nothing was searched."),
        );
    }
    Ok(names)
}

/// A cluster that is asked for must be one of the provider's.
pub fn known(cx: &Ctx<Client>, asked: &Value<String>, attribute: &str) -> Result<(), Diagnostics> {
    let Some(name) = asked.known() else { return Ok(()) };
    cx.client()?.clusters.cluster(name).map_err(|error| Diagnostic::from(&error).at(attribute))?;
    Ok(())
}

/// What each cluster has of what is looked for, in the order of the clusters, each sorted by namespace and name. A
/// cluster that cannot be read is told by a warning and is not in the answer, which is something else than to have
/// nothing.
pub async fn search(
    cx: &mut Ctx<Client>,
    names: &[String],
    queries: &[Query],
) -> Result<BTreeMap<String, Vec<Object>>, Diagnostics> {
    let mut looks = Vec::new();
    for name in names {
        let scope = Scope::lasting(LOOK_WITHIN, cx.cancellation().clone());
        looks.push(look(cx.client()?.clone(), name.clone(), scope, queries.to_vec()));
    }
    let looks: Vec<Result<Vec<Object>, Error>> = futures::stream::iter(looks).buffered(AT_ONCE).collect().await;
    let mut seen = BTreeMap::new();
    for (name, look) in names.iter().zip(looks) {
        match look {
            Ok(objects) => drop(seen.insert(name.clone(), objects)),
            Err(error) => cx.warn(unsearched(name, &error)),
        }
    }
    Ok(seen)
}

async fn look(client: Arc<Client>, name: String, scope: Scope, queries: Vec<Query>) -> Result<Vec<Object>, Error> {
    let cluster = client.clusters.cluster(&name)?.within(scope);
    let mut found = Vec::new();
    for query in &queries {
        match cluster.list(query).await {
            Ok(objects) => found.extend(objects.iter().cloned()),
            // Without its definition there is nothing of a kind.
            Err(error) if error.is_unknown_kind() && cluster.lacks_definition_of(&query.kind).await? => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_by(|a, b| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())));
    Ok(found)
}

fn unsearched(name: &str, error: &Error) -> Diagnostic {
    Diagnostic::warning(format!("Cluster {name} was not searched"))
        .detail(format!("It could not be read, so that the result lacks whatever it has: {error}. {}", error.remedy()))
}

/// The query in one namespace, where one is asked for.
pub fn within(query: Query, namespace: &Value<String>) -> Query {
    match namespace.known() {
        Some(namespace) => query.namespace(namespace),
        None => query,
    }
}

/// Whether the object is one of those that `managed` chooses.
pub fn chosen(object: &Object, managed: &Value<bool>) -> bool {
    managed.get().is_none_or(|managed| managed == object.label(OWNER_LABEL).is_some())
}

/// Whether nothing is asked for, or just this.
pub fn is(asked: &Value<String>, found: &str) -> bool {
    asked.known().is_none_or(|asked| asked == found)
}

/// Who made the object, as far as its labels say, to be put behind its name.
pub fn maker(object: &Object) -> &'static str {
    let helm = object.label("app.kubernetes.io/managed-by") == Some("Helm");
    // The charts write it too, and then do not know.
    let istioctl = object.label("operator.istio.io/version").is_some_and(|version| version != "unknown");
    match object.label(OWNER_LABEL) {
        Some(_) => ", by this provider",
        None if istioctl => ", by istioctl",
        None if helm => ", by Helm",
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labelled(labels: serde_json::Value) -> Object {
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "labels": labels}});
        Object::new(object).expect("an object")
    }

    #[test]
    fn ours_is_told_from_what_others_made_though_charts_label_all_alike() {
        let helm =
            json!({"app.kubernetes.io/managed-by": "Helm", "install.operator.istio.io/owning-resource": "unknown"});
        let istioctl = json!({"app.kubernetes.io/managed-by": "Helm", "operator.istio.io/version": "1.31.0"});
        let ours =
            json!({"app.kubernetes.io/managed-by": "Helm", "terraform-provider-mesh/owner": "mesh_primary.istiod"});
        for (labels, managed, by) in [
            (helm, false, ", by Helm"),
            (istioctl, false, ", by istioctl"),
            (ours, true, ", by this provider"),
            (json!({}), false, ""),
        ] {
            let object = labelled(labels);
            assert_eq!(maker(&object), by);
            assert!(
                chosen(&object, &Value::Null)
                    && chosen(&object, &managed.into())
                    && !chosen(&object, &(!managed).into())
            );
        }
    }

    #[test]
    fn a_filter_that_is_not_set_chooses_all() {
        assert!(is(&Value::Null, "a") && is(&"a".into(), "a") && !is(&"b".into(), "a"));
    }
}
