//! Finds the services of other meshes that the provider's clusters import, for `terraform query`, whoever registered
//! them.

use super::{Identity, MeshServiceEntry};
use crate::cluster::{Kind, OWNER_LABEL, Object, Query as Lookup};
use crate::diag::Diagnostics;
use crate::engine::{Ctx, Found, FoundObject, Listable, Query};
use crate::mesh::GATEWAY_PORT;
use crate::model;
use crate::resources::client::Client;
use crate::resources::listing;
use crate::value::Value;

model! {
    /// Finds imported services, for `terraform query`: the ServiceEntries in the provider's clusters that stand for a
    /// service of another mesh, whoever made them. These entries are in the mesh by their `location`, and their
    /// endpoints are a network, or are reached by mutual TLS through a gateway. What stands for a service outside any
    /// mesh is left out.
    pub struct ImportedServices {
        /// Only those of this cluster, a key of the provider's `clusters`.
        #[attr(optional, validate(non_empty()))]
        pub cluster: Value<String>,
        /// Only those in this namespace.
        #[attr(optional, validate(dns_label()))]
        pub namespace: Value<String>,
        /// Only those that clients call by this name.
        #[attr(optional, validate(non_empty()))]
        pub host: Value<String>,
        /// `true`: only those that carry this provider's label, whichever state they are in. `false`: all others.
        #[attr(optional)]
        pub managed: Value<bool>,
    }
}

impl Listable for MeshServiceEntry {
    type Query = ImportedServices;

    async fn list(
        &self,
        cx: &mut Ctx<Client>,
        query: Query<ImportedServices>,
        found: &mut Found<Self>,
    ) -> Result<(), Diagnostics> {
        let asked = &query.config;
        let entries = [listing::within(Lookup::of(Kind::SERVICE_ENTRY), &asked.namespace)];
        for names in listing::clusters(cx, &asked.cluster, "cluster")?.chunks(listing::AT_ONCE) {
            for (cluster, entries) in listing::search(cx, names, &entries).await? {
                for entry in entries.iter().filter(|entry| is_import(entry) && is_asked_for(entry, asked)) {
                    if !found.push(service(&cluster, entry)).await {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether the entry stands for a service of another mesh. One that chooses Pods of its own cluster is what `expose`
/// makes at the exporter.
fn is_import(entry: &Object) -> bool {
    if entry.get("spec.workloadSelector").is_some() {
        return false;
    }
    let is_far = |endpoint: &serde_json::Value| {
        let is_mutual = endpoint["labels"]["security.istio.io/tlsMode"] == "istio";
        let mut ports = endpoint["ports"].as_object().into_iter().flatten();
        let at_gateway = ports.any(|(_, port)| port.as_u64() == Some(u64::from(GATEWAY_PORT)));
        is_mutual || at_gateway || endpoint["network"].is_string()
    };
    let in_the_mesh = entry.str("spec.location") == "MESH_INTERNAL";
    entry.label(OWNER_LABEL).is_some() || in_the_mesh && entry.items("spec.endpoints").iter().any(is_far)
}

fn host(entry: &Object) -> &str {
    entry.items("spec.hosts").first().and_then(serde_json::Value::as_str).unwrap_or_default()
}

fn is_asked_for(entry: &Object, asked: &ImportedServices) -> bool {
    listing::is(&asked.host, host(entry)) && listing::chosen(entry, &asked.managed)
}

fn service(cluster: &str, entry: &Object) -> FoundObject<MeshServiceEntry> {
    let (namespace, name) = (entry.namespace().unwrap_or_default(), entry.name());
    FoundObject {
        name: format!("{cluster}/{namespace}/{name}, {}{}", host(entry), listing::maker(entry)),
        identity: Identity { cluster: cluster.into(), namespace: namespace.into(), name: name.into() },
        warnings: Diagnostics::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(labels: serde_json::Value, spec: serde_json::Value) -> Object {
        let metadata = json!({"name": "reviews", "namespace": "shop", "labels": labels});
        Object::new(
            json!({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": metadata, "spec": spec}),
        )
        .unwrap()
    }

    #[test]
    fn services_of_other_meshes_are_told_from_those_of_none() {
        let spec = |location: &str, endpoint: serde_json::Value| json!({"hosts": ["reviews.example"], "location": location, "endpoints": [endpoint]});
        let bare = |location, endpoint| is_import(&entry(json!({}), spec(location, endpoint)));
        assert!(bare("MESH_INTERNAL", json!({"address": "192.0.2.1", "ports": {"http": 15443}})));
        assert!(bare("MESH_INTERNAL", json!({"network": "net-west"})));
        assert!(bare(
            "MESH_INTERNAL",
            json!({"address": "gw.example", "labels": {"security.istio.io/tlsMode": "istio"}})
        ));
        assert!(!bare("MESH_EXTERNAL", json!({"address": "192.0.2.1", "ports": {"http": 15443}})));
        assert!(!bare("MESH_INTERNAL", json!({"address": "192.0.2.1"})), "a machine of the mesh");
        let ours = json!({"terraform-provider-mesh/owner": "mesh_service_entry.reviews"});
        assert!(is_import(&entry(ours.clone(), json!({"hosts": ["reviews.example"]}))));
        assert!(
            !is_import(&entry(ours, json!({"workloadSelector": {"labels": {"app": "reviews"}}}))),
            "at the exporter"
        );
    }

    #[test]
    fn an_import_is_named_by_its_id_and_its_host() {
        let found = entry(json!({}), json!({"hosts": ["reviews.example"]}));
        assert_eq!(service("east", &found).name, "east/shop/reviews, reviews.example");
        let asked = |host: &str| ImportedServices { host: host.into(), ..ImportedServices::default() };
        assert!(is_asked_for(&found, &asked("reviews.example")) && !is_asked_for(&found, &asked("other")));
    }
}
