//! What keeps calls from crossing between networks though everything is there: gateways without a Pod, gateways that let nothing through, policies that turn mTLS off.

use std::collections::BTreeMap;

use crate::cluster::{Cluster, Kind, Object, Query};
use crate::resources::address::GATEWAY_NAME_LABEL;
use crate::resources::passthrough;
use crate::resources::policies::{self, none_of_unserved};

/// By which an EndpointSlice names its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// What was found, or why it could not be read.
pub(super) type Asked<T> = Result<T, String>;

/// One cluster of a network.
#[derive(Debug, Default, Clone)]
pub(super) struct Crossing {
    /// Gateways without a ready Pod, by the name of their Service.
    pub no_pod: BTreeMap<String, Asked<()>>,
    /// Whether there is a gateway that takes mTLS, and not ambient's tunnels alone.
    pub by_mtls: bool,
    /// Whether a Gateway lets anything through to it; `None` where nobody asked.
    pub open: Option<Asked<bool>>,
    /// Policies that turn mTLS off.
    pub off: Option<Asked<Vec<String>>>,
}

/// Looks at one cluster, whose gateways are these Services.
pub(super) async fn look(cluster: &Cluster, namespace: &str, services: &[Object]) -> Crossing {
    let led: Vec<&Object> = services.iter().filter(|service| !service.strings("spec.selector").is_empty()).collect();
    let by_mtls = led.iter().any(|service| service.label(GATEWAY_NAME_LABEL).is_none());
    let pods = futures::future::join_all(
        led.iter().map(|service| async { (service.name().to_owned(), served(cluster, service).await) }),
    );
    let (pods, open, off) = tokio::join!(pods, open(cluster, by_mtls), off(cluster, namespace, by_mtls));
    let without = pods.into_iter().filter_map(|(name, served)| match served {
        Ok(true) => None,
        Ok(false) => Some((name, Ok(()))),
        Err(why) => Some((name, Err(why))),
    });
    Crossing { no_pod: without.collect(), by_mtls, open, off }
}

/// Whether a Pod behind the Service is ready.
async fn served(cluster: &Cluster, service: &Object) -> Asked<bool> {
    let slices = Query::of(Kind::ENDPOINT_SLICE).namespace(service.namespace().unwrap_or_default());
    let slices = cluster.list(&slices.label(SERVICE_LABEL, service.name())).await.map_err(|error| error.to_string())?;
    Ok(slices.iter().flat_map(|slice| slice.items("endpoints")).any(is_ready))
}

/// A condition that is not told counts as true.
fn is_ready(endpoint: &serde_json::Value) -> bool {
    endpoint.pointer("/conditions/ready").and_then(|ready| ready.as_bool()).unwrap_or(true)
}

async fn open(cluster: &Cluster, asked: bool) -> Option<Asked<bool>> {
    if !asked {
        return None;
    }
    let gateways = none_of_unserved(cluster.list(&Query::of(Kind::ISTIO_GATEWAY)).await);
    Some(gateways.map(|gateways| gateways.iter().any(passthrough::is_open)).map_err(|error| error.to_string()))
}

async fn off(cluster: &Cluster, namespace: &str, asked: bool) -> Option<Asked<Vec<String>>> {
    if !asked {
        return None;
    }
    let found = policies::off(cluster, namespace).await;
    Some(found.map(|found| found.into_iter().map(|policy| policy.what).collect()).map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_endpoint_is_ready_unless_it_says_otherwise() {
        assert!(is_ready(&json!({"conditions": {"ready": true}})) && is_ready(&json!({"conditions": {}})));
        assert!(!is_ready(&json!({"conditions": {"ready": false}})));
    }
}
