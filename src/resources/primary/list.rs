//! Finds the control planes of the provider's clusters, for `terraform query`: every Deployment of istiod, whoever
//! installed it.

use super::{Identity, MeshPrimary};
use crate::cluster::{Kind, Object, Query as Lookup};
use crate::diag::Diagnostics;
use crate::engine::{Ctx, Found, FoundObject, Listable, Query};
use crate::istiod;
use crate::mesh::istiod_name_of;
use crate::model;
use crate::resources::client::Client;
use crate::resources::listing;
use crate::value::Value;

/// What the control plane without a revision is called.
const DEFAULT: &str = "default";

model! {
    /// Finds control planes, for `terraform query`: every istiod in the provider's clusters, whoever installed it.
    pub struct ControlPlanes {
        /// Only those of this cluster, a key of the provider's `clusters`.
        #[attr(optional, validate(non_empty()))]
        pub cluster: Value<String>,
        /// Only those in this namespace.
        #[attr(optional, validate(dns_label()))]
        pub namespace: Value<String>,
        /// Only those of this revision; `default` for control planes without one.
        #[attr(optional, validate(non_empty()))]
        pub revision: Value<String>,
        /// `true`: only those that carry this provider's label, whichever state they are in. `false`: all others, such
        /// as Helm's and istioctl's.
        #[attr(optional)]
        pub managed: Value<bool>,
    }
}

impl Listable for MeshPrimary {
    type Query = ControlPlanes;

    async fn list(
        &self,
        cx: &mut Ctx<Client>,
        query: Query<ControlPlanes>,
        found: &mut Found<Self>,
    ) -> Result<(), Diagnostics> {
        let asked = &query.config;
        let istiods = [listing::within(Lookup::of(Kind::DEPLOYMENT).label("app", "istiod"), &asked.namespace)];
        for names in listing::clusters(cx, &asked.cluster, "cluster")?.chunks(listing::AT_ONCE) {
            for (cluster, istiods) in listing::search(cx, names, &istiods).await? {
                for istiod in istiods.iter().filter(|istiod| is_asked_for(istiod, asked)) {
                    if !found.push(control_plane(&cluster, istiod)).await {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

fn revision(istiod: &Object) -> &str {
    istiod.label("istio.io/rev").unwrap_or(DEFAULT)
}

fn is_asked_for(istiod: &Object, asked: &ControlPlanes) -> bool {
    listing::is(&asked.revision, revision(istiod)) && listing::chosen(istiod, &asked.managed)
}

fn control_plane(cluster: &str, istiod: &Object) -> FoundObject<MeshPrimary> {
    let namespace = istiod.namespace().unwrap_or_default();
    let revision = Some(revision(istiod)).filter(|revision| *revision != DEFAULT);
    let version = istiod::version_of(istiod).map(|version| format!(", Istio {version}")).unwrap_or_default();
    FoundObject {
        name: format!("{cluster}/{namespace}/{}{version}{}", istiod_name_of(revision), listing::maker(istiod)),
        identity: Identity {
            cluster: cluster.into(),
            namespace: namespace.into(),
            revision: revision.map(str::to_owned).into(),
        },
        warnings: Diagnostics::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn istiod(labels: serde_json::Value) -> Object {
        Object::new(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "istiod", "namespace": "mesh", "labels": labels},
            "spec": {"template": {"spec": {"containers": [{"image": "docker.io/istio/pilot:1.30.2"}]}}},
        }))
        .unwrap()
    }

    #[test]
    fn a_control_plane_is_named_by_its_id_its_version_and_its_maker() {
        let found = control_plane("east", &istiod(json!({"istio.io/rev": "default"})));
        assert_eq!(found.name, "east/mesh/istiod, Istio 1.30.2");
        assert_eq!(found.identity.revision, Value::Null);
        let canary =
            istiod(json!({"istio.io/rev": "canary", "terraform-provider-mesh/owner": "mesh_primary.istiod-canary"}));
        let found = control_plane("east", &canary);
        assert_eq!(found.name, "east/mesh/istiod-canary, Istio 1.30.2, by this provider");
        assert_eq!(found.identity.revision, "canary".into());
        let asked = |revision: &str| ControlPlanes { revision: revision.into(), ..ControlPlanes::default() };
        assert!(is_asked_for(&canary, &asked("canary")) && !is_asked_for(&canary, &asked("default")));
        assert!(is_asked_for(&istiod(json!({})), &asked("default")));
    }
}
