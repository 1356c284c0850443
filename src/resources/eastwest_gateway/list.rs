//! Finds the doors between networks in the provider's clusters, for `terraform query`: what istiods take for a gateway
//! by its network label, whoever made it.

use super::{Identity, MeshEastwestGateway};
use crate::cluster::{Kind, Object, Query as Lookup};
use crate::diag::Diagnostics;
use crate::engine::{Ctx, Found, FoundObject, Listable, Query};
use crate::mesh::{AMBIENT_CLASS, NETWORK_LABEL};
use crate::model;
use crate::resources::address::GATEWAY_NAME_LABEL;
use crate::resources::client::Client;
use crate::resources::listing;
use crate::resources::passthrough;
use crate::value::Value;

model! {
    /// Finds east-west gateways, for `terraform query`, whoever made them: every Service with the label
    /// `topology.istio.io/network`, by which istiods find the way into a network. It also finds every Gateway of the
    /// Gateway API with that label from which istiod makes a gateway, of the class `istio-east-west` or `istio`.
    pub struct Gateways {
        /// Only those of this cluster, a key of the provider's `clusters`.
        #[attr(optional, validate(non_empty()))]
        pub cluster: Value<String>,
        /// Only those in this namespace.
        #[attr(optional, validate(dns_label()))]
        pub namespace: Value<String>,
        /// Only the doors of this network.
        #[attr(optional, validate(non_empty()))]
        pub network: Value<String>,
        /// `true`: only those that carry this provider's label, whichever state they are in. `false`: all others, such
        /// as Helm's.
        #[attr(optional)]
        pub managed: Value<bool>,
    }
}

impl Listable for MeshEastwestGateway {
    type Query = Gateways;

    async fn list(
        &self,
        cx: &mut Ctx<Client>,
        query: Query<Gateways>,
        found: &mut Found<Self>,
    ) -> Result<(), Diagnostics> {
        let asked = &query.config;
        let labelled = |kind| listing::within(Lookup::of(kind).selector(NETWORK_LABEL), &asked.namespace);
        let doors = [labelled(Kind::SERVICE), labelled(Kind::GATEWAY_API_GATEWAY)];
        for names in listing::clusters(cx, &asked.cluster, "cluster")?.chunks(listing::AT_ONCE) {
            for (cluster, doors) in listing::search(cx, names, &doors).await? {
                for door in doors.iter().filter(|door| is_door(door) && is_asked_for(door, asked)) {
                    if !found.push(gateway(&cluster, door)).await {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

/// What istiod makes for a Gateway carries its labels, and goes with it; a Gateway of another class stands for a door
/// elsewhere.
fn is_door(door: &Object) -> bool {
    match door.kind() {
        "Gateway" => door.str("spec.gatewayClassName") == AMBIENT_CLASS || passthrough::is_made_of(door),
        _ => door.label(GATEWAY_NAME_LABEL).is_none(),
    }
}

fn is_asked_for(door: &Object, asked: &Gateways) -> bool {
    listing::is(&asked.network, door.label(NETWORK_LABEL).unwrap_or_default()) && listing::chosen(door, &asked.managed)
}

fn gateway(cluster: &str, door: &Object) -> FoundObject<MeshEastwestGateway> {
    let (namespace, name) = (door.namespace().unwrap_or_default(), door.name());
    let network = door.label(NETWORK_LABEL).unwrap_or_default();
    let ambient = if door.str("spec.gatewayClassName") == AMBIENT_CLASS { " of ambient mode" } else { "" };
    FoundObject {
        name: format!("{cluster}/{namespace}/{name}, network {network}{ambient}{}", listing::maker(door)),
        identity: Identity { cluster: cluster.into(), namespace: namespace.into(), name: name.into() },
        warnings: Diagnostics::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, labels: serde_json::Value, class: &str) -> Object {
        let mut labels = labels;
        labels[NETWORK_LABEL] = "net-east".into();
        let metadata = json!({"name": "door", "namespace": "mesh", "labels": labels});
        Object::new(
            json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": {"gatewayClassName": class}}),
        )
        .unwrap()
    }

    #[test]
    fn a_door_is_told_once_and_by_its_network() {
        let service = object("Service", json!({}), "");
        assert!(is_door(&service));
        assert_eq!(gateway("east", &service).name, "east/mesh/door, network net-east");
        assert!(!is_door(&object("Service", json!({GATEWAY_NAME_LABEL: "door"}), "")), "it is the Gateway's");
        let ambient = object("Gateway", json!({}), AMBIENT_CLASS);
        assert!(is_door(&ambient) && gateway("east", &ambient).name.ends_with("network net-east of ambient mode"));
        assert!(!is_door(&object("Gateway", json!({}), "istio-remote")), "it stands for another network's");
        let mut made = object("Gateway", json!({}), "istio");
        assert!(!is_door(&made), "it passes nothing on");
        made.value_mut()["spec"]["listeners"] = json!([{"port": 15443, "tls": {"mode": "Passthrough"}}]);
        assert!(is_door(&made) && gateway("east", &made).name.ends_with("network net-east"));
        let asked = |network: &str| Gateways { network: network.into(), ..Gateways::default() };
        assert!(is_asked_for(&service, &asked("net-east")) && !is_asked_for(&service, &asked("net-west")));
    }
}
