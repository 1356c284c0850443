//! Verdicts. Pure: what was found in, the layer and the sentence out. Broken is only what a real call would fail by as
//! well; what cannot be known from here is unknown.

mod ports;
mod proxied;
mod tried;

use self::ports::{lacks_port, named_otherwise};
use self::proxied::{tunnelled, without_sidecar};
pub(super) use self::tried::of_all;
use super::door::Outcome;
use crate::cluster::PodPort;
use crate::resources::policies::PlainText;

/// What was found out, or why it could not be.
pub(super) type Asked<T> = Result<T, String>;

/// Why there is no client to act as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub is_broken: bool,
    pub why: String,
}

impl Trouble {
    pub fn broken(why: String) -> Self {
        Self { is_broken: true, why }
    }

    pub fn unknown(why: String) -> Self {
        Self { is_broken: false, why }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub verdict: &'static str,
    pub layer: Option<&'static str>,
    pub detail: String,
}

pub(super) const REACHABLE: &str = "reachable";
pub(super) const BROKEN: &str = "broken";
pub(super) const UNKNOWN: &str = "unknown";

fn reachable(detail: String) -> Verdict {
    Verdict { verdict: REACHABLE, layer: None, detail }
}

fn broken(layer: &'static str, detail: String) -> Verdict {
    Verdict { verdict: BROKEN, layer: Some(layer), detail }
}

fn unknown(layer: &'static str, detail: String) -> Verdict {
    Verdict { verdict: UNKNOWN, layer: Some(layer), detail }
}

/// Who calls whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub from: &'a str,
    pub to: &'a str,
    /// The network of `to`; empty where it has none.
    pub network: &'a str,
    /// Empty where nobody has named a Service.
    pub host: &'a str,
    pub port: u16,
    /// By which the other network's gateway knows the Service; empty where nobody has named one.
    pub sni: &'a str,
}

/// What the caller's istiod says of the other cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Watched {
    /// By the word for its state.
    As(String),
    Not,
    Unknown(String),
}

/// The way that a call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Through a gateway of the other network.
    Gateway,
    /// To Pods, within a network.
    Direct,
    /// To Pods of another network, as no gateway is known.
    NoGateway,
    /// Through gateways that take ambient's tunnels alone.
    Hbone,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ServiceState {
    Missing,
    /// The port is not among these.
    Ports(Vec<u16>),
    NoPods,
    NoSidecar,
    /// No Pod of it has a sidecar, and ztunnels take the calls of some.
    Tunnelled,
    /// Clients call Pods of their own node alone (`internalTrafficPolicy: Local`).
    NodeLocal,
    Ready,
    /// Not a Service with Pods: somebody else knows.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GatewayState {
    NotReady {
        service: String,
        pods: usize,
    },
    Ready(PodPort),
    /// Its Service is not here, or leads to no Pods.
    Elsewhere,
}

/// What is said of whom: the names of the clusters that a gateway is in, and whose Gateways open it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub gateway: String,
    pub opened_in: String,
}

/// Another cluster, through whose gateway calls go, and what its istiod says of the one that is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub cluster: String,
    pub reads: Watched,
}

/// The other cluster, looked at because something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct There {
    pub places: Names,
    /// The name of the cluster whose policies count for it.
    pub ruled_in: String,
    pub service: Asked<ServiceState>,
    /// What the Service calls the port, where that is known.
    pub port_name: Option<String>,
    pub gateway: Asked<GatewayState>,
    pub exposed: Asked<bool>,
    pub off: Asked<Vec<String>>,
    /// Whether its Pods take plain text.
    pub plain_text: Asked<PlainText>,
}

/// The caller's own cluster, looked at because its istiod sends nothing there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Here {
    pub service: Asked<ServiceState>,
    /// What the Service calls the port, where that is known.
    pub port_name: Option<String>,
    pub off: Asked<Vec<String>>,
    /// The name of the cluster whose policies count for it.
    pub ruled_in: String,
}

/// An address that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tried {
    pub address: String,
    pub port: u16,
    /// Clients speak plain text with it.
    pub is_plain: bool,
    pub dialled: Asked<()>,
    /// Whom it led to; `None` where the proxy would speak plain text.
    pub spoken: Option<Met>,
    /// A Pod of the gateway, asked by port-forward where the address did not lead to it.
    pub forwarded: Option<Asked<Met>>,
}

impl Tried {
    /// Whom it met, at the address and behind it.
    pub fn met_mut(&mut self) -> impl Iterator<Item = &mut Met> {
        self.spoken.iter_mut().chain(self.forwarded.iter_mut().flatten())
    }

    /// Whether the address leads to somebody of the mesh, and both sides take each other.
    pub fn is_fine(&self) -> bool {
        self.dialled.is_ok() && self.spoken.as_ref().is_none_or(Met::is_fine)
    }
}

impl Met {
    fn is_fine(&self) -> bool {
        self.outcome == Outcome::Accepted && self.vouched.is_ok()
    }
}

/// Whom a handshake met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Met {
    pub outcome: Outcome,
    /// Whether a certificate was shown.
    pub showed: bool,
    /// Whether the caller's roots vouch for it.
    pub vouched: Asked<()>,
    pub identity: Option<String>,
    /// Its trust domain, where the caller's mesh configuration does not accept it.
    pub other_domain: Option<OtherDomain>,
}

/// A trust domain that a mesh configuration does not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OtherDomain {
    pub domain: String,
    /// Why it is not known whether clients accept it all the same.
    pub unsure: Option<String>,
}

/// What an address means that does not answer here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    Unknown,
    Broken,
    Ignored,
}

impl Unanswered {
    pub fn parse(text: &str) -> Self {
        match text {
            "broken" => Self::Broken,
            "ignored" => Self::Ignored,
            _ => Self::Unknown,
        }
    }
}

/// No certificate, or no answer, for the caller.
pub(super) fn without_caller(call: Call<'_>, trouble: &Trouble) -> Verdict {
    let detail = format!("nobody can act as a client in {}: {}", call.from, trouble.why);
    if trouble.is_broken { broken("caller", detail) } else { unknown("caller", detail) }
}

/// A cluster that only hosts a control plane of others is in no mesh.
pub(super) fn no_workloads(to: &str, served: &str) -> Verdict {
    unknown("link", without_workloads(to, served))
}

pub(super) fn without_workloads(name: &str, served: &str) -> String {
    format!(
        "the istiod in {name} is an external control plane, which serves {served} and its remotes: the Pods of {name} itself are in no mesh. Leave {name} out of `from` and `to`"
    )
}

/// The caller's istiod sends nothing to the other cluster: why not.
pub(super) fn sends_nothing(call: Call<'_>, way: Way, watched: &Watched, here: &Here, there: &There) -> Verdict {
    let Call { from, to, host, port, .. } = call;
    if let Some(verdict) = not_linked(call, watched) {
        return verdict;
    }
    if let Some(verdict) = service(call, &there.service) {
        return verdict;
    }
    if let Ok(ServiceState::Ports(ports)) = &here.service {
        return broken("port", lacks_port(from, host, port, ports));
    }
    if let Some(detail) = named_otherwise(call, here.port_name.as_deref(), there.port_name.as_deref()) {
        return broken("port", detail);
    }
    let through = way == Way::Gateway;
    if let Some(verdict) = tunnelled(call, there).filter(|_| through) {
        return verdict;
    }
    let policies: Vec<&String> = here.off.iter().flatten().collect();
    if through && !policies.is_empty() {
        let policies = join(&policies);
        return broken(
            "mtls",
            format!(
                "policies in {} turn mTLS off for {host}, and without mTLS no call crosses between networks: {policies}. Remove them, or use the mode ISTIO_MUTUAL in the rules",
                here.ruled_in
            ),
        );
    }
    if through && there.service == Ok(ServiceState::NoSidecar) {
        return broken("mtls", without_sidecar(call));
    }
    let unread = [
        ("policies", here.ruled_in.as_str(), here.off.as_ref().err()),
        ("the Service", to, there.service.as_ref().err()),
    ];
    if let Some((what, at, Some(why))) = unread.into_iter().find(|(.., why)| why.is_some()) {
        return unknown(
            "link",
            format!(
                "the istiod of {from} sends no calls for {host}:{port} to {to}; {what} in {at} cannot be read to say why: {why}"
            ),
        );
    }
    // The caller's own Service counts, where there is one.
    let local = match here.service {
        Ok(ServiceState::NodeLocal) => Some(from),
        Ok(ServiceState::Missing) if there.service == Ok(ServiceState::NodeLocal) => Some(to),
        _ => None,
    };
    if let Some(at) = local {
        return broken(
            "service",
            format!(
                "the Service {host} has `internalTrafficPolicy: Local` in {at}: clients call Pods of their own node alone. Remove it for calls from other clusters"
            ),
        );
    }
    if there.service == Ok(ServiceState::Other) {
        return unknown(
            "service",
            format!(
                "the istiod of {from} tells no endpoints for {host}:{port} in {to}, and {to} has no Service of it with Pods: it is a name outside the mesh, or its endpoints are written by hand. What its clients dial is not tried"
            ),
        );
    }
    broken(
        "link",
        format!(
            "the istiod of {from} sends no calls for {host}:{port} to {to}, though it reads the cluster and the Service has Pods there. A Sidecar, `exportTo`, `clusterLocal` or `discoverySelectors` may leave it out: \
             compare `istioctl proxy-config endpoints` of a client in {from}"
        ),
    )
}

/// The caller's istiod does not read the other cluster.
fn not_linked(call: Call<'_>, watched: &Watched) -> Option<Verdict> {
    let Call { from, to, .. } = call;
    match watched {
        Watched::Not => Some(broken(
            "link",
            format!(
                "the istiod of {from} does not know cluster {to}: no remote secret names it. Apply the mesh_remote_cluster of {to} with {from} among its `watchers`"
            ),
        )),
        Watched::As(status) if status != "synced" => Some(broken(
            "link",
            format!(
                "the istiod of {from} reports cluster {to} as {status}: it does not see what runs there. Can its Pods reach the API server of {to}, and is the token in the remote secret still valid?"
            ),
        )),
        Watched::Unknown(why) => {
            Some(unknown("link", format!("whether the istiod of {from} reads cluster {to} is unknown: {why}")))
        }
        Watched::As(_) => None,
    }
}

/// What is wrong with the Service where it is called.
fn service(call: Call<'_>, state: &Asked<ServiceState>) -> Option<Verdict> {
    let Call { to, host, port, .. } = call;
    match state {
        Ok(ServiceState::Missing) => Some(broken(
            "service",
            format!("there is no Service {host} in {to}. Is the name right, and is it deployed there?"),
        )),
        Ok(ServiceState::Ports(ports)) => Some(broken("port", lacks_port(to, host, port, ports))),
        Ok(ServiceState::NoPods) => Some(broken(
            "service",
            format!("the Service {host} has no Pod in {to} that is ready: there is nobody to answer"),
        )),
        _ => None,
    }
}

fn join(texts: &[&String]) -> String {
    let texts: Vec<&str> = texts.iter().map(|text| text.as_str()).collect();
    texts.join("; ")
}

/// Calls go through gateways of other clusters, some of which lead to no Pod of the one that is called. That such a
/// gateway answers proves nothing: it may do so for its own cluster's Pods.
pub(super) fn past_neighbours(call: Call<'_>, watched: &Watched, neighbours: &[Neighbour]) -> Option<Verdict> {
    let Call { from, to, network, .. } = call;
    let way = |neighbour: &Neighbour| {
        let at = &neighbour.cluster;
        match watched {
            Watched::Not => format!(
                "the istiod of {from} does not read {to}, so that calls get there only through the gateway of {at}, which is in its network {network}"
            ),
            _ => format!("no gateway of network {network} is in {to}, so that calls go through that of {at}"),
        }
    };
    let leads_nowhere = neighbours.iter().find_map(|neighbour| {
        let (at, way) = (&neighbour.cluster, way(neighbour));
        match &neighbour.reads {
            Watched::Not => Some(format!(
                "{way}; and the istiod that serves {at} has no remote secret of {to}, so that its gateway passes nothing on to there. Add the cluster of that istiod to the `watchers` of the mesh_remote_cluster of {to}, or apply a mesh_eastwest_gateway in {to}"
            )),
            Watched::As(status) if status != "synced" => Some(format!(
                "{way}; and the istiod that serves {at} reports {to} as {status}, so that its gateway may know nobody there. Can its Pods reach the API server of {to}, and is the token in the remote secret still valid?"
            )),
            _ => None,
        }
    });
    if let Some(detail) = leads_nowhere {
        return Some(broken("link", detail));
    }
    neighbours.iter().find_map(|neighbour| match &neighbour.reads {
        Watched::Unknown(why) => Some(unknown(
            "link",
            format!(
                "{}; whether the istiod that serves {} reads {to} is unknown: {why}",
                way(neighbour),
                neighbour.cluster
            ),
        )),
        _ => None,
    })
}

/// No gateway of the other network is known, and no Pod is called either.
pub(super) fn no_gateway(call: Call<'_>, watched: &Watched) -> Verdict {
    let Call { from, to, network, .. } = call;
    not_linked(call, watched).unwrap_or_else(|| {
        broken(
            "link",
            format!("the istiod of {from} knows no gateway of network {network}, in which {to} is: its clients would call Pods by addresses of another network. Apply a mesh_eastwest_gateway for {network}, and see that its Service has an address and the port that other networks dial"),
        )
    })
}

/// What there is to say where nobody has named a Service: all but who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unnamed {
    pub watched: Watched,
    pub neighbours: Vec<Neighbour>,
    pub places: Names,
    pub gateway: Asked<GatewayState>,
    /// Whether any Gateway passes calls on.
    pub exposed: Asked<bool>,
    /// Whether each vouches for certificates of the other's istiod; `None` where the other was not asked for one.
    pub trust: Option<Asked<()>>,
    /// The address, and whether it takes connections.
    pub dialled: Option<(String, Asked<()>)>,
}

/// Broken where something is; else unknown, as nobody was called.
pub(super) fn without_service(call: Call<'_>, way: Way, unanswered: Unanswered, found: &Unnamed) -> Verdict {
    let Call { from, to, .. } = call;
    let Unnamed { watched, neighbours, places, gateway: state, exposed, trust, dialled } = found;
    // Whoever knows a gateway of the network may call what a ServiceEntry or another cluster brings.
    let may_call = (way, watched) == (Way::Gateway, &Watched::Not);
    if let Some(verdict) = not_linked(call, watched).filter(|_| !may_call) {
        return verdict;
    }
    if let Some(verdict) = past_neighbours(call, watched, neighbours) {
        return verdict;
    }
    if way == Way::NoGateway {
        return no_gateway(call, watched);
    }
    if let Some(verdict) = gateway(places, state) {
        return verdict;
    }
    if let Some(Err(why)) = trust {
        return broken("trust", format!("{why}. Give both clusters one root with mesh_ca"));
    }
    if (way, exposed) == (Way::Gateway, &Ok(false)) {
        return broken(
            "exposure",
            format!(
                "no Gateway in {} passes calls on by their SNI. Set `expose` of its mesh_eastwest_gateway",
                places.opened_in
            ),
        );
    }
    if let Some((at, Err(why))) = dialled {
        return silent_address(call, way, unanswered, at, why, None);
    }
    let trusts = if trust.is_some() { ", and both sides trust each other's certificates" } else { "" };
    let reads = match may_call {
        true => format!(
            "does not read {to}, and knows a gateway of its network {}, for Services that a ServiceEntry or another cluster of that network brings",
            call.network
        ),
        false => format!("reads {to} and knows the way"),
    };
    unknown(
        "service",
        format!(
            "the istiod of {from} {reads}{trusts}. Whether calls arrive is unknown, as no Service was called: name one in `services`"
        ),
    )
}

/// Gateways that this does not speak with.
pub(super) fn hbone(call: Call<'_>) -> Verdict {
    let Call { from, network, .. } = call;
    unknown(
        "link",
        format!(
            "the gateways of network {network} that the istiod of {from} knows take HBONE alone (ambient mode), which is not tried"
        ),
    )
}

/// Clients that do not speak mTLS on their own.
pub(super) fn no_auto_mtls(call: Call<'_>) -> Verdict {
    let Call { from, .. } = call;
    broken(
        "mtls",
        format!(
            "`enableAutoMtls` is false in the mesh configuration of {from}: its clients speak plain text, and a gateway passes on nothing but mTLS. Set `mtls` of its mesh_primary to \"permissive\" or \"strict\""
        ),
    )
}

/// Whether clients that do not speak mTLS on their own do so by a rule could not be read.
pub(super) fn rules_unread(call: Call<'_>, why: &str) -> Verdict {
    let Call { from, host, .. } = call;
    unknown(
        "mtls",
        format!(
            "`enableAutoMtls` is false in the mesh configuration of {from}, and whether a DestinationRule has its clients speak mTLS with {host} is unknown: {why}"
        ),
    )
}

/// A Service without a cluster IP. Its clients dial what DNS gives, whatever endpoints istiod has for it.
pub(super) fn headless(call: Call<'_>, is_headless: Asked<bool>) -> Option<Verdict> {
    let Call { from, host, .. } = call;
    let detail = match is_headless {
        Ok(false) => return None,
        Ok(true) => format!(
            "{host} is headless: sidecars dial the addresses that DNS gives, which are those of Pods in {from}, and go through no gateway unless istiod has PILOT_ENABLE_EDS_FOR_HEADLESS_SERVICES. Give it a Service with a cluster IP for calls from other networks"
        ),
        Err(why) => {
            format!("whether {host} is headless, so that sidecars of {from} go through no gateway, is unknown: {why}")
        }
    };
    Some(unknown("service", detail))
}

fn gateway(places: &Names, state: &Asked<GatewayState>) -> Option<Verdict> {
    let Ok(GatewayState::NotReady { service, pods }) = state else { return None };
    let to = &places.gateway;
    Some(broken(
        "gateway",
        format!(
            "no Pod of the gateway in {to} is ready ({service}, Pods: {pods}): its address leads nowhere. What they wait for: `kubectl describe pods` there"
        ),
    ))
}

fn silent_address(
    call: Call<'_>,
    way: Way,
    unanswered: Unanswered,
    at: &str,
    why: &str,
    unasked: Option<&String>,
) -> Verdict {
    let private = private(at);
    let otherwise = match (way, unasked) {
        (Way::Gateway, Some(error)) => format!(", and a Pod of the gateway cannot be asked either: {error}"),
        (Way::Gateway, _) if call.host.is_empty() => {
            ". Name a Service in `services` to have a Pod of the gateway asked instead".to_owned()
        }
        (Way::Gateway, _) => ", and the gateway's Pods are not found to be asked instead".to_owned(),
        _ => ". Within one network Pods are called by their own addresses, which only machines of that network reach"
            .to_owned(),
    };
    let detail = format!(
        "{at}{private} does not answer from where Terraform runs ({why}), and may do so for {}{otherwise}",
        call.from
    );
    if unanswered == Unanswered::Broken { broken("address", detail) } else { unknown("address", detail) }
}

/// Told along, since it is the usual reason.
fn private(at: &str) -> &'static str {
    let host = at.rsplit_once(':').map_or(at, |(host, _)| host);
    let is_private = match host.trim_matches(['[', ']']).parse() {
        Ok(std::net::IpAddr::V4(ip)) => {
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64)
        }
        Ok(std::net::IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        Err(_) => false,
    };
    if is_private { " (a private address)" } else { "" }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
