//! The definitions of the Gateway API, which waypoints and ambient's east-west gateways are resources of. Shared by the
//! control planes of a cluster, as the chart `base` is.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::cluster::{Kind, Object};
use crate::diag::Diagnostic;
use crate::kept::objects::Entry;
use crate::kept::render;
use crate::resources::charts::{Charts, Entries, GATEWAY_API, ReadAs, Store, Unavailable};
use crate::value::Path;

/// By which the project marks whatever belongs to a release of it.
const BUNDLE_VERSION: &str = "gateway.networking.k8s.io/bundle-version";
/// A definition that every release has.
pub const GATEWAYS: &str = "gateways.gateway.networking.k8s.io";
/// The groups that it defines.
const GROUPS: [&str; 2] = ["gateway.networking.k8s.io", "gateway.networking.x-k8s.io"];

const READ_AT_MOST: usize = 2;

/// The objects of a release, each with the label of its owner.
pub async fn entries(
    store: &Store,
    charts: Option<&Charts>,
    version: &str,
    owner: &str,
) -> Result<Entries, Unavailable> {
    let digest = charts.into_iter().chain([&store.defaults]).find_map(|charts| charts.digests.entry(GATEWAY_API));
    let key = ReadAs {
        place: store.gateway_api_place(charts),
        version: version.to_owned(),
        digest: digest.cloned(),
        owner: owner.to_owned(),
    };
    let mut read = store.definitions.lock().await;
    if let Some((_, entries)) = read.iter().find(|(known, _)| *known == key) {
        return Ok(entries.clone());
    }
    let found = store.gateway_api(charts, version).await?;
    let wrong = |what: String| {
        Unavailable::Wrong(
            Diagnostic::error("Not the Gateway API that is asked for")
                .detail(format!("{} holds {what}.", key.place.replace("{version}", version)))
                .at(Path::root("gateway_api")),
        )
    };
    let entries = checked(found, version, owner).map_err(wrong)?;
    read.truncate(READ_AT_MOST - 1);
    read.insert(0, (key, entries.clone()));
    Ok(entries)
}

/// What the place holds, if it is that release and nothing else.
fn checked(found: Vec<Json>, version: &str, owner: &str) -> Result<Entries, String> {
    let mut entries = Vec::new();
    for json in found {
        let named = format!("{} {}", json["kind"], json["metadata"]["name"]);
        let object = Object::new(json).ok_or_else(|| format!("{named}, which is no object of Kubernetes"))?;
        if !belongs(&object) {
            return Err(format!("{object}, which is no part of the Gateway API"));
        }
        match object.annotation(BUNDLE_VERSION).map(|found| found.trim_start_matches('v')) {
            Some(found) if found == version => {}
            // A binding of its policy is not marked in every release.
            None if object.kind() != "CustomResourceDefinition" => {}
            found => {
                return Err(format!(
                    "{object} of the release {}, asked for is {version}",
                    found.unwrap_or("(none is named)")
                ));
            }
        }
        let reference = render::reference(&object).map_err(|error| error.to_string())?;
        entries.push(Arc::new(Entry::owned(reference, object, owner)));
    }
    match entries.iter().any(|entry| entry.reference.name == GATEWAYS) {
        true => Ok(entries),
        false => Err(format!("no definition {GATEWAYS}")),
    }
}

fn belongs(object: &Object) -> bool {
    match object.kind() {
        "CustomResourceDefinition" => GROUPS.contains(&object.str("spec.group")),
        "ValidatingAdmissionPolicy" | "ValidatingAdmissionPolicyBinding" => {
            object.name().ends_with(GROUPS[0])
                && object.api_version() == Kind::VALIDATING_ADMISSION_POLICY.api_version()
        }
        _ => false,
    }
}

/// Whether an object is of the Gateway API, rendered or live.
pub fn is_part(object: &Object) -> bool {
    object.annotation(BUNDLE_VERSION).is_some()
        || object.kind() == "ValidatingAdmissionPolicyBinding" && object.name().ends_with(GROUPS[0])
}

/// Whether an object of this name is one.
pub fn is_named_so(name: &str) -> bool {
    GROUPS.iter().any(|group| name.strip_suffix(group).is_some_and(|rest| rest.ends_with('.')))
}

/// The release that a live definition is of.
pub fn version(definition: &Object) -> Option<String> {
    definition.annotation(BUNDLE_VERSION).map(|version| version.trim_start_matches('v').to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(name: &str, group: &str, version: &str) -> Json {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": name, "annotations": {BUNDLE_VERSION: version}}, "spec": {"group": group}})
    }

    #[test]
    fn another_release_or_anything_else_is_refused() {
        let gateways = || definition(GATEWAYS, "gateway.networking.k8s.io", "v1.6.0");
        let refused = |found: Vec<Json>| checked(found, "1.6.0", "o").err().unwrap_or_default();
        let entries = checked(vec![gateways()], "1.6.0", "o").unwrap();
        assert!(is_part(&entries[0].object) && version(&entries[0].object).as_deref() == Some("1.6.0"));
        assert_eq!(
            refused(vec![definition(GATEWAYS, "gateway.networking.k8s.io", "v1.5.1")]),
            format!("CustomResourceDefinition {GATEWAYS} of the release 1.5.1, asked for is 1.6.0")
        );
        let role =
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"}});
        assert_eq!(refused(vec![gateways(), role]), "ClusterRole r, which is no part of the Gateway API");
        let foreign = definition("widgets.example.com", "example.com", "v1.6.0");
        assert!(refused(vec![gateways(), foreign]).contains("no part"));
        let routes = definition("httproutes.gateway.networking.k8s.io", "gateway.networking.k8s.io", "v1.6.0");
        assert_eq!(refused(vec![routes]), format!("no definition {GATEWAYS}"));
        assert!(refused(vec![json!({"kind": "A"})]).contains("no object"));
    }
}
