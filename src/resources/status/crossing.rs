//! What keeps calls from crossing though everything is there: gateways without a Pod, gateways whose port leads nowhere
//! or that let nothing through, policies that decide over mTLS.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::door::{Door, Shut, is_ready};
use crate::cluster::{Cluster, Kind, Object, Query};
use crate::mesh::{DiscoverySelectors, MeshPolicy};
use crate::resources::address::{GATEWAY_NAME_LABEL, MTLS_PORT, PORT_LABEL};
use crate::resources::passthrough::{self, Opening};
use crate::resources::policies::{self, Policies};

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
    /// Policies that decide over mTLS.
    pub policies: Option<Asked<Policies>>,
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
    /// Whether a control plane of this cluster itself is here, whose clients may call other clusters.
    pub calls: bool,
    /// What its mesh configurations say.
    pub configured: Vec<MeshPolicy>,
    /// The namespaces that each control plane here looks into.
    pub looks_into: Vec<DiscoverySelectors>,
    /// An istiod here is older than 1.31, or of a version that is not known: it may take Gateways of other namespaces
    /// for what it makes.
    pub merges: bool,
}

/// Looks at one cluster.
pub(super) async fn look(cluster: &Cluster, known: Known<'_>) -> Crossing {
    let Known { namespace, services, repeated, serves, calls, configured, looks_into, merges } = known;
    let led: Vec<&Object> = services.iter().filter(|service| !service.strings("spec.selector").is_empty()).collect();
    let by_mtls = led.iter().any(|service| takes_mtls(service));
    let (slices, open, policies) = tokio::join!(
        futures::future::join_all(led.iter().map(|service| slices(cluster, service))),
        open(cluster, by_mtls || serves),
        policies_of(cluster, namespace, (&configured, &looks_into), by_mtls || calls),
    );
    let mut crossing = Crossing { by_mtls, open, policies, ..Crossing::default() };
    for (service, slices) in led.into_iter().zip(slices) {
        let name = named(service, &repeated);
        match slices {
            Err(why) => drop(crossing.no_pod.insert(name, Err(why))),
            Ok(slices) if !slices.iter().flat_map(|slice| slice.items("endpoints")).any(is_ready) => {
                crossing.no_pod.insert(name, Ok(()));
            }
            Ok(slices) if takes_mtls(service) => {
                let door = Door { merges, ..Door::of(service, &slices) };
                let door = with_pods(cluster, service, door, crossing.open.as_ref()).await;
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

/// Of what was made for a Gateway of the Gateway API: whether it has the port. Ambient's has that for tunnels alone.
fn takes_mtls(service: &Object) -> bool {
    let port = service.label(PORT_LABEL).and_then(|port| port.parse().ok()).unwrap_or(MTLS_PORT);
    let has_it = |entry: &serde_json::Value| entry.get("port").and_then(serde_json::Value::as_u64) == Some(port.into());
    service.label(GATEWAY_NAME_LABEL).is_none() || service.items("spec.ports").iter().any(has_it)
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
    Some(passthrough::of_cluster(cluster).await.map_err(|error| error.to_string()))
}

async fn policies_of(
    cluster: &Cluster,
    namespace: &str,
    (configured, looks_into): (&[MeshPolicy], &[DiscoverySelectors]),
    asked: bool,
) -> Option<Asked<Policies>> {
    if !asked {
        return None;
    }
    Some(policies::of_cluster(cluster, namespace, configured, looks_into).await.map_err(|error| error.to_string()))
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
        Shut::Apart(gateways) => format!(
            "gateway {gateway} lets nothing through: {} chooses its Pods from another namespace, and from Istio 1.31 on a gateway that istiod makes takes only what is in its own namespace. Set `expose` of its mesh_eastwest_gateway, or move the Gateway to its namespace",
            gateways.join(", ")
        ),
        Shut::OtherPorts(ports) => format!(
            "gateway {gateway} lets nothing through: other networks dial its port {port}, and Gateways let calls in at {} alone. Apply its mesh_eastwest_gateway again, or let the Gateway listen at {port}",
            numbers(&ports)
        ),
    })
}
