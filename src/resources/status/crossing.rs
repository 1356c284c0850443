//! What keeps calls from crossing between networks though everything is there: gateways without a Pod, gateways whose
//! port leads nowhere or that let nothing through, policies that turn mTLS off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::door::{Door, Opening, Shut, is_ready, openings};
use crate::cluster::{Cluster, Kind, Object, Query};
use crate::mesh::{MeshPolicy, SIDECAR_CLASS};
use crate::resources::address::{GATEWAY_CLASS_LABEL, GATEWAY_NAME_LABEL};
use crate::resources::policies;

/// By which an EndpointSlice names its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// What was found, or why it could not be read.
pub(super) type Asked<T> = Result<T, String>;

/// One cluster of a network.
#[derive(Debug, Default, Clone)]
pub(super) struct Crossing {
    /// Gateways without a ready Pod, by their name in `gateways`.
    pub no_pod: BTreeMap<String, Asked<()>>,
    /// Gateways that take mTLS, and not ambient's tunnels alone, likewise. Those without a ready Pod are not among
    /// them.
    pub doors: BTreeMap<String, Asked<Door>>,
    /// Whether there is a gateway that takes mTLS.
    pub by_mtls: bool,
    /// What Gateways here let through.
    pub open: Option<Asked<Vec<Opening>>>,
    /// Policies that turn mTLS off.
    pub off: Option<Asked<Vec<String>>>,
}

/// What is known of a cluster before it is looked at.
pub(super) struct Known<'a> {
    /// Istio's.
    pub namespace: &'a str,
    /// Its gateways.
    pub services: &'a [Object],
    /// Names of gateways that stand in several namespaces.
    pub repeated: BTreeSet<String>,
    /// Whether an istiod here may serve gateways of others, which are opened here too.
    pub serves: bool,
    /// Whether clients here may call other networks.
    pub leaves: bool,
    /// What its mesh configurations say.
    pub configured: Vec<MeshPolicy>,
}

/// Looks at one cluster.
pub(super) async fn look(cluster: &Cluster, known: Known<'_>) -> Crossing {
    let Known { namespace, services, repeated, serves, leaves, configured } = known;
    let led: Vec<&Object> = services.iter().filter(|service| !service.strings("spec.selector").is_empty()).collect();
    let by_mtls = led.iter().any(|service| takes_mtls(service));
    let (slices, open, off) = tokio::join!(
        futures::future::join_all(led.iter().map(|service| slices(cluster, service))),
        open(cluster, by_mtls || serves),
        off(cluster, namespace, configured, by_mtls || leaves),
    );
    let mut crossing = Crossing { by_mtls, open, off, ..Crossing::default() };
    for (service, slices) in led.into_iter().zip(slices) {
        let name = named(service, &repeated);
        match slices {
            Err(why) => drop(crossing.no_pod.insert(name, Err(why))),
            Ok(slices) if !slices.iter().flat_map(|slice| slice.items("endpoints")).any(is_ready) => {
                crossing.no_pod.insert(name, Ok(()));
            }
            Ok(slices) if takes_mtls(service) => {
                let door = with_pods(cluster, service, Door::of(service, &slices), crossing.open.as_ref()).await;
                crossing.doors.insert(name, door);
            }
            Ok(_) => {}
        }
    }
    crossing
}

/// The name of a gateway, with its namespace where others have the same.
pub(super) fn named(door: &Object, repeated: &BTreeSet<String>) -> String {
    let name = door.name();
    if repeated.contains(name) { format!("{}/{name}", door.namespace().unwrap_or_default()) } else { name.to_owned() }
}

fn takes_mtls(service: &Object) -> bool {
    let of_gateway_api = service.label(GATEWAY_NAME_LABEL).is_some();
    !of_gateway_api || service.label(GATEWAY_CLASS_LABEL) == Some(SIDECAR_CLASS)
}

async fn slices(cluster: &Cluster, service: &Object) -> Asked<Arc<[Object]>> {
    let slices = Query::of(Kind::ENDPOINT_SLICE).namespace(service.namespace().unwrap_or_default());
    cluster.list(&slices.label(SERVICE_LABEL, service.name())).await.map_err(|error| error.to_string())
}

/// Pods may have labels that their Service does not choose them by. They are asked for only where no Gateway here is
/// known to choose them without.
async fn with_pods(cluster: &Cluster, service: &Object, door: Door, open: Option<&Asked<Vec<Opening>>>) -> Asked<Door> {
    if open.and_then(|open| open.as_ref().ok()).is_some_and(|open| open.iter().any(|one| door.is_chosen_by(one))) {
        return Ok(door);
    }
    let query = Query::of(Kind::POD).namespace(service.namespace().unwrap_or_default());
    let query = service.strings("spec.selector").iter().fold(query, |query, (key, value)| query.label(key, value));
    let pods = cluster.list(&query).await.map_err(|error| error.to_string())?;
    Ok(door.with_pods(&pods))
}

async fn open(cluster: &Cluster, asked: bool) -> Option<Asked<Vec<Opening>>> {
    if !asked {
        return None;
    }
    let gateways = cluster.list_if_served(&Query::of(Kind::ISTIO_GATEWAY)).await;
    Some(gateways.map(|gateways| openings(&gateways)).map_err(|error| error.to_string()))
}

async fn off(
    cluster: &Cluster,
    namespace: &str,
    configured: Vec<MeshPolicy>,
    asked: bool,
) -> Option<Asked<Vec<String>>> {
    if !asked {
        return None;
    }
    let found = policies::off(cluster, namespace, &configured).await;
    Some(found.map(|found| found.into_iter().map(|policy| policy.what).collect()).map_err(|error| error.to_string()))
}

/// What keeps a gateway shut.
pub(super) fn shut(gateway: &str, door: &Asked<Door>, openings: &[Opening]) -> Option<String> {
    let door = match door {
        Ok(door) => door,
        Err(why) => return Some(format!("whether gateway {gateway} lets anything through is unknown: {why}")),
    };
    let port = door.port;
    let numbers = |ports: &[u64]| ports.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    Some(match door.judged(openings).err()? {
        Shut::Unopened => format!(
            "gateway {gateway} lets nothing through: no Gateway passes calls on by their SNI (AUTO_PASSTHROUGH). Set `expose` of its mesh_eastwest_gateway"
        ),
        Shut::NoPort(ports) => format!(
            "gateway {gateway} lets nothing through: other networks dial its port {port}, and its Service has only {}. Apply its mesh_eastwest_gateway again, and see what changes the ports",
            numbers(&ports)
        ),
        Shut::NoTarget => format!(
            "gateway {gateway} lets nothing through: port {port} of its Service leads to no port of a ready Pod. See the `targetPort` of the Service"
        ),
        Shut::NotChosen(gateways) => format!(
            "gateway {gateway} lets nothing through: {} passes calls on, and chooses other Pods by its `selector`. Set `expose` of its mesh_eastwest_gateway",
            gateways.join(", ")
        ),
        Shut::OtherPorts(ports) => format!(
            "gateway {gateway} lets nothing through: other networks dial its port {port}, and Gateways let calls in at {} alone. Apply its mesh_eastwest_gateway again, or let the Gateway listen at {port}",
            numbers(&ports)
        ),
    })
}
