//! Gateways that let other networks in, whoever made them: servers in the mode `AUTO_PASSTHROUGH`, which pass calls on
//! by their SNI. Pure.

use serde_json::Value as Json;

use super::address::MTLS_PORT;
use crate::cluster::Object;
use crate::mesh::SIDECAR_CLASS;

/// The servers of a Gateway that pass calls on.
pub fn servers(gateway: &Object) -> impl Iterator<Item = &Json> {
    let servers = gateway.items("spec.servers").iter();
    servers.filter(|server| server.pointer("/tls/mode").is_some_and(|mode| mode == "AUTO_PASSTHROUGH"))
}

/// Their hosts, as they stand there: a pattern, or a namespace before it (`shop/*.local`).
pub fn hosts(gateway: &Object) -> impl Iterator<Item = &str> {
    servers(gateway).flat_map(hosts_of)
}

/// The hosts of one server.
pub fn hosts_of(server: &Json) -> impl Iterator<Item = &str> {
    server.get("hosts").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
}

/// Whether a Gateway passes anything on.
pub fn is_open(gateway: &Object) -> bool {
    servers(gateway).next().is_some()
}

/// Of a Gateway of the Gateway API from which istiod makes a gateway for sidecars: its listeners that pass calls on. The
/// label of a network makes one of any listener at the port for that.
pub fn listeners(gateway: &Object) -> impl Iterator<Item = &Json> {
    let is_one = gateway.str("spec.gatewayClassName") == SIDECAR_CLASS;
    let listeners = gateway.items("spec.listeners").iter().filter(move |_| is_one);
    listeners.filter(|listener| {
        let tls = &listener["tls"];
        let asked = tls["options"]["gateway.istio.io/listener-protocol"] == "auto-passthrough";
        asked || tls["mode"] == "Passthrough" && listener["port"] == MTLS_PORT
    })
}

/// Whether istiod makes a door between networks of it.
pub fn is_made_of(gateway: &Object) -> bool {
    listeners(gateway).next().is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_gateway_that_passes_on_by_the_sni_lets_services_through() {
        let gateway = |mode: &str| {
            let spec =
                json!({"servers": [{"tls": {"mode": mode}, "hosts": ["*.local", "shop/a.shop.svc.cluster.local"]}]});
            Object::new(json!({"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "g"}, "spec": spec})).unwrap()
        };
        let (open, istiod_s) = (gateway("AUTO_PASSTHROUGH"), gateway("PASSTHROUGH"));
        assert!(is_open(&open) && !is_open(&istiod_s));
        assert_eq!(hosts(&open).collect::<Vec<_>>(), ["*.local", "shop/a.shop.svc.cluster.local"]);
        assert_eq!(hosts(&istiod_s).count(), 0);
    }
}
