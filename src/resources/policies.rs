//! Policies in a cluster that decide over mTLS. Between networks no call crosses without it, and istiod leaves
//! endpoints that turn it off out in silence; within one network, who speaks plain text is refused by who takes none.
//! Pure but for the lists.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::chart::Values;
use crate::cluster::{Cluster, Error, Kind, Object, Query};
use crate::istiod::is_mesh_config_map;
use crate::mesh::{DiscoverySelectors, MeshPolicy, service_host};
use crate::resources::passthrough::{self, Labels, Opening};

/// What a cluster has of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies {
    pub off: Vec<Off>,
    pub strict: Vec<Strict>,
    /// A mesh configuration has proxies speak plain text unless a rule says otherwise.
    pub is_plain: bool,
    /// Those for some workloads of a namespace that say more exactly who may speak plain text with them.
    pub picked: Vec<Picked>,
    /// Whom callers speak mTLS with by a rule, whatever the mesh configuration says.
    pub mutual: Vec<Whom>,
    /// Whom callers have a rule for that says nothing of TLS: it stands in place of wider ones.
    pub bare: Vec<Whom>,
}

/// A policy that turns mTLS off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Off {
    /// Its kind and name, and what it is for.
    pub what: String,
    pub whom: Whom,
    /// By it plain text is spoken, and no TLS of another kind.
    pub is_plain: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    Everybody,
    /// All workloads of a namespace.
    Namespace(String),
    /// Workloads of a namespace by their labels.
    Workloads(String),
    /// Whoever calls this host, which may be a pattern or, within the namespace, a short name.
    Host {
        host: String,
        namespace: String,
    },
}

/// A policy by which workloads take mTLS alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strict {
    pub what: String,
    pub scope: Scope,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The whole mesh, but for namespaces that say otherwise.
    AllBut(BTreeSet<String>),
    Namespace(String),
}

/// A policy that counts before all others for some workloads of a namespace, by their labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picked {
    pub what: String,
    pub namespace: String,
    /// By which some of their ports take mTLS alone, or take plain text.
    pub takes: Takes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    MtlsAlone,
    PlainText,
}

/// Whether workloads take plain text, each with the policy that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlainText {
    Taken,
    Refused(String),
    /// Which of them a policy is for is not known.
    Unsure(String),
}

/// What a cluster has of them, but for rules for hosts that stay within it by all that is known of its mesh
/// configurations, and for what is in namespaces that none of its control planes looks into. A cluster without these
/// kinds has none; one that does not let them be read is an error.
pub async fn of_cluster(
    cluster: &Cluster,
    system: &str,
    configured: &[MeshPolicy],
    looks_into: &[DiscoverySelectors],
) -> Result<Policies, Error> {
    let (policies, rules) = (Query::of(Kind::PEER_AUTHENTICATION), Query::of(Kind::DESTINATION_RULE));
    let (policies, rules, in_view) = tokio::try_join!(
        cluster.list_if_served(&policies),
        cluster.list_if_served(&rules),
        InView::of(cluster, looks_into),
    )?;
    let (policies, rules) = (in_view.those(&policies), in_view.those(&rules));
    Ok(Policies::of(&policies, &rules, root(system, configured), configured))
}

/// The same, by the mesh configurations beside the istiod that decides over them.
pub async fn live(istiod: &Cluster, cluster: &Cluster, system: &str) -> Result<Policies, Error> {
    live_by(&[(istiod, system)], cluster).await
}

/// The same of several istiods, each with its namespace.
pub async fn live_by(istiods: &[(&Cluster, &str)], cluster: &Cluster) -> Result<Policies, Error> {
    let (mut all, mut views) = (Vec::new(), Vec::new());
    for (istiod, system) in istiods {
        all.extend(configured(istiod, system).await?);
        views.extend(looks_into(istiod, system).await?);
    }
    let system = istiods.first().map(|(_, system)| *system).unwrap_or_default();
    of_cluster(cluster, system, &all, &views).await
}

/// What opens gateways in a cluster, of that which these control planes look at.
pub async fn openings(cluster: &Cluster, looks_into: &[DiscoverySelectors]) -> Result<Vec<Opening>, Error> {
    let (open, in_view) = tokio::try_join!(passthrough::of_cluster(cluster), InView::of(cluster, looks_into))?;
    Ok(open.into_iter().filter(|opening| in_view.has(&opening.namespace)).collect())
}

/// The namespaces of a cluster that some control plane looks into. What another mesh has in namespaces of its own
/// counts for nobody here.
struct InView<'a> {
    looks_into: &'a [DiscoverySelectors],
    /// The labels of namespaces, where they matter.
    labels: BTreeMap<String, Labels>,
}

impl<'a> InView<'a> {
    async fn of(cluster: &Cluster, looks_into: &'a [DiscoverySelectors]) -> Result<InView<'a>, Error> {
        let mut labels = BTreeMap::new();
        if DiscoverySelectors::matter(looks_into) {
            let namespaces = cluster.list(&Query::of(Kind::NAMESPACE).metadata_only()).await?;
            let labelled = |one: &Object| (one.name().to_owned(), passthrough::labels(one, "metadata.labels"));
            labels.extend(namespaces.iter().map(labelled));
        }
        Ok(InView { looks_into, labels })
    }

    /// Of a namespace that is not known nothing is left out.
    fn has(&self, namespace: &str) -> bool {
        let labels = self.labels.get(namespace);
        labels.is_none_or(|labels| !DiscoverySelectors::all_leave_out(self.looks_into, namespace, labels))
    }

    fn those<'b>(&self, objects: &'b [Object]) -> Cow<'b, [Object]> {
        match self.labels.is_empty() {
            true => Cow::Borrowed(objects),
            false => {
                let in_view = |object: &&Object| self.has(object.namespace().unwrap_or_default());
                objects.iter().filter(in_view).cloned().collect()
            }
        }
    }
}

/// The namespaces that the control planes of a cluster look into, by their mesh configurations.
pub async fn looks_into(cluster: &Cluster, system: &str) -> Result<Vec<DiscoverySelectors>, Error> {
    let maps = cluster.list(&Query::of(Kind::CONFIG_MAP).namespace(system)).await?;
    Ok(meshes(&maps).map(|mesh| DiscoverySelectors::of(mesh.as_map())).collect())
}

/// What the mesh configurations of a cluster say. For those that are not declared or read otherwise: what policies mean
/// depends on them.
pub async fn configured(cluster: &Cluster, system: &str) -> Result<Vec<MeshPolicy>, Error> {
    Ok(read(&cluster.list(&Query::of(Kind::CONFIG_MAP).namespace(system)).await?))
}

/// The same, of the ConfigMaps of Istio's namespace.
fn read(maps: &[Object]) -> Vec<MeshPolicy> {
    meshes(maps).map(|mesh| MeshPolicy::of(mesh.as_map())).collect()
}

fn meshes(maps: &[Object]) -> impl Iterator<Item = Values> {
    let meshes = maps.iter().filter(|map| is_mesh_config_map(map.name()));
    meshes.filter_map(|map| Values::from_yaml(map.strings("data").get("mesh")?).ok())
}

/// The namespace whose policies are for the whole mesh: what the mesh configurations say as one, else Istio's.
fn root<'a>(system: &'a str, configured: &'a [MeshPolicy]) -> &'a str {
    let said: BTreeSet<&str> = configured.iter().map(MeshPolicy::root_namespace).collect();
    match (said.first(), said.len()) {
        (Some(one), 1) if !one.is_empty() => one,
        _ => system,
    }
}

/// Policies of callers, and those of who is called, that do not go together, in words: the first speak plain text, or
/// TLS of their own, with workloads that take the mesh's mTLS alone.
pub fn clashes(callers: &[Off], called: &Policies) -> Vec<String> {
    let told = met(callers, called).filter_map(|(off, plain)| match plain {
        PlainText::Refused(strict) => Some(format!("{} against {strict}", off.what)),
        PlainText::Taken | PlainText::Unsure(_) => None,
    });
    told.collect()
}

/// The same, of those that may go together: it depends on which workloads are behind a Service.
pub fn doubts(callers: &[Off], called: &Policies) -> Vec<String> {
    let told = met(callers, called).filter_map(|(off, plain)| match plain {
        PlainText::Unsure(picked) => Some(format!("{} and {picked}", off.what)),
        PlainText::Taken | PlainText::Refused(_) => None,
    });
    told.collect()
}

fn met<'a>(callers: &'a [Off], called: &'a Policies) -> impl Iterator<Item = (&'a Off, PlainText)> {
    // Where the called cluster has the same PeerAuthentication, it counts there before the strict one. A rule changes
    // clients, and never what servers take.
    let is_alike = |off: &Off| !off.whom.is_host() && called.off.iter().any(|other| other.what == off.what);
    callers.iter().filter(move |off| !is_alike(off)).map(|off| (off, called.plain_text(&off.whom)))
}

/// Policies by which who is called takes plain text alone, and of which callers know nothing: an istiod reads
/// PeerAuthentications in its own cluster alone, so that its clients speak mTLS.
pub fn unheard(callers: &Policies, called: &Policies) -> Vec<String> {
    let covers = |own: &Off, off: &Off| match &own.whom {
        Whom::Everybody => true,
        Whom::Namespace(namespace) => off.whom.namespace().as_ref() == Some(namespace),
        Whom::Workloads(_) => own.whom == off.whom,
        // By a rule for all of them, clients speak plain text too.
        Whom::Host { host, .. } => {
            let within = own.whom.namespace();
            host.starts_with('*') && own.is_plain && (within.is_none() || within == off.whom.namespace())
        }
    };
    let knows = |off: &Off| callers.off.iter().any(|own| covers(own, off));
    let off = called.off.iter().filter(|off| !off.whom.is_host() && !knows(off));
    off.map(|off| off.what.clone()).collect()
}

impl Policies {
    fn of(policies: &[Object], rules: &[Object], root: &str, configured: &[MeshPolicy]) -> Policies {
        let policies = counting(policies, root);
        let stays = |off: &Off| off.whom.namespace().is_some_and(|namespace| stays_within(&namespace, configured));
        let off = policies.iter().filter_map(|policy| turned_off(policy, root)).filter(|off| !stays(off));
        Policies {
            off: off.chain(rules.iter().filter_map(|rule| overrides(rule, configured))).collect(),
            strict: strict(&policies, root),
            picked: policies.iter().flat_map(|policy| picked(policy)).collect(),
            mutual: rules.iter().filter_map(|rule| mutual(rule, root)).collect(),
            bare: rules.iter().filter_map(|rule| bare(rule, root)).collect(),
            is_plain: configured.iter().any(MeshPolicy::is_plain),
        }
    }

    /// Whether those who are called take plain text.
    pub fn plain_text(&self, whom: &Whom) -> PlainText {
        let within = whom.namespace();
        let picked = |takes: Takes| {
            let is_within = |one: &&Picked| within.as_ref().is_none_or(|namespace| one.namespace == *namespace);
            self.picked.iter().filter(is_within).find(|one| one.takes == takes).map(|one| one.what.clone())
        };
        match self.strict.iter().find(|strict| strict.concerns(within.as_deref())) {
            Some(strict) => match picked(Takes::PlainText).filter(|_| whom.is_some_of_them()) {
                Some(picked) => PlainText::Unsure(picked),
                None => PlainText::Refused(strict.what.clone()),
            },
            None => match picked(Takes::MtlsAlone) {
                Some(picked) if whom.is_some_of_them() => PlainText::Unsure(picked),
                Some(picked) => PlainText::Refused(picked),
                None => PlainText::Taken,
            },
        }
    }

    /// Whether callers speak plain text unless a rule says otherwise, and none says it of all Services.
    pub fn speaks_plain_text(&self) -> bool {
        self.is_plain && !self.is_mutual()
    }

    /// Whether rules have callers speak mTLS with all Services of the mesh.
    pub fn is_mutual(&self) -> bool {
        self.mutual.contains(&Whom::Everybody) && self.bare.is_empty()
    }

    /// Whether rules have callers speak mTLS with a Service.
    pub fn is_mutual_with(&self, service: &str) -> bool {
        let concerned = || self.mutual.iter().filter(|whom| whom.concerns(service));
        let is_exact = |whom: &Whom| matches!(whom, Whom::Host { host, .. } if !host.starts_with('*'));
        concerned().any(is_exact)
            || concerned().next().is_some() && !self.bare.iter().any(|whom| whom.concerns(service))
    }
}

/// Those that count: of several for one namespace, or for the whole mesh, the oldest; and in the root namespace none
/// for workloads by their labels.
fn counting<'a>(policies: &'a [Object], root: &str) -> Vec<&'a Object> {
    let age = |policy: &Object| {
        let created = policy.creation_timestamp().unwrap_or_default().to_owned();
        (created, policy.name().to_owned())
    };
    let is_older = |policy: &Object, than: &Object| !selects(than) && age(than) < age(policy);
    let counts = |policy: &&Object| match selects(policy) {
        true => policy.namespace() != Some(root),
        false => !policies.iter().any(|other| other.namespace() == policy.namespace() && is_older(policy, other)),
    };
    policies.iter().filter(counts).collect()
}

/// Whether a policy is for some workloads. Istio takes an empty selector for none.
fn selects(policy: &Object) -> bool {
    !policy.strings("spec.selector.matchLabels").is_empty()
}

/// The policies that count where nothing more exact is said.
fn strict(policies: &[&Object], root: &str) -> Vec<Strict> {
    let for_all = || policies.iter().filter(|policy| !selects(policy));
    let mode = |policy: &Object| policy.str("spec.mtls.mode").to_owned();
    let says = |policy: &&&Object| !matches!(mode(policy).as_str(), "" | "UNSET");
    let other = for_all().filter(says).filter(|policy| mode(policy) != "STRICT");
    let other: BTreeSet<String> = other.filter_map(|policy| policy.namespace().map(str::to_owned)).collect();
    let strict = for_all().filter(|policy| mode(policy) == "STRICT").map(|policy| {
        let namespace = policy.namespace().unwrap_or_default().to_owned();
        let (of, scope) = match namespace == root {
            true => ("the whole mesh", Scope::AllBut(other.clone())),
            false => ("the whole namespace", Scope::Namespace(namespace.clone())),
        };
        Strict { what: format!("PeerAuthentication {namespace}/{} (STRICT for {of})", policy.name()), scope }
    });
    strict.collect()
}

/// What a policy for some workloads says of plain text: by its mode, and by those of single ports.
fn picked(policy: &Object) -> Vec<Picked> {
    if !selects(policy) {
        return Vec::new();
    }
    let ports = policy.get("spec.portLevelMtls").and_then(|ports| ports.as_object()).into_iter().flatten();
    let modes = ports.filter_map(|(_, port)| port.get("mode")?.as_str());
    let modes: BTreeSet<&str> = modes.chain([policy.str("spec.mtls.mode")]).collect();
    let of = |mode: &str| match mode {
        "STRICT" => Some(Takes::MtlsAlone),
        "PERMISSIVE" | "DISABLE" => Some(Takes::PlainText),
        _ => None,
    };
    let namespace = policy.namespace().unwrap_or_default();
    let one = |mode: &str| {
        let what = format!("PeerAuthentication {namespace}/{} ({mode} for some workloads)", policy.name());
        Some(Picked { what, namespace: namespace.to_owned(), takes: of(mode)? })
    };
    modes.into_iter().filter_map(one).collect()
}

impl Strict {
    /// Whether it is for workloads of a namespace; of all, where that is not said.
    fn concerns(&self, namespace: Option<&str>) -> bool {
        match (&self.scope, namespace) {
            (_, None) => true,
            (Scope::AllBut(others), Some(namespace)) => !others.contains(namespace),
            (Scope::Namespace(own), Some(namespace)) => own == namespace,
        }
    }
}

impl Whom {
    pub fn is_host(&self) -> bool {
        matches!(self, Whom::Host { .. })
    }

    /// The one namespace that it is within.
    fn namespace(&self) -> Option<String> {
        match self {
            Whom::Everybody => None,
            Whom::Namespace(namespace) | Whom::Workloads(namespace) => Some(namespace.clone()),
            Whom::Host { host, namespace } => {
                let service = service_host(host, namespace)?;
                let mut labels = service.split('.').skip(1);
                let within = labels.next()?.to_owned();
                (labels.next() == Some("svc")).then_some(within)
            }
        }
    }

    /// Whether it means fewer than all workloads of a namespace.
    fn is_some_of_them(&self) -> bool {
        match self {
            Whom::Everybody | Whom::Namespace(_) => false,
            Whom::Workloads(_) => true,
            Whom::Host { host, .. } => !host.starts_with('*'),
        }
    }

    /// Whether it may mean a Service.
    fn concerns(&self, service: &str) -> bool {
        let mut labels = service.split('.');
        let (name, within) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
        match self {
            Whom::Everybody => true,
            Whom::Namespace(namespace) | Whom::Workloads(namespace) => namespace == within,
            Whom::Host { host, namespace } => match host.strip_prefix('*') {
                Some(end) => service.ends_with(end),
                None if !host.contains('.') => host == name && namespace == within,
                None => {
                    service == host || service.strip_prefix(host.as_str()).is_some_and(|rest| rest.starts_with('.'))
                }
            },
        }
    }
}

impl Off {
    /// Whether it may be the reason that a Service is not called by mTLS.
    pub fn concerns(&self, service: &str) -> bool {
        self.whom.concerns(service)
    }
}

/// A policy by which somebody takes plain text alone.
fn turned_off(policy: &Object, root: &str) -> Option<Off> {
    let (whole, selects) = (policy.str("spec.mtls.mode") == "DISABLE", selects(policy));
    let ports = policy.get("spec.portLevelMtls").and_then(|ports| ports.as_object());
    // Ports count where workloads are selected alone.
    let mut ports = ports.into_iter().flatten().filter(|_| selects);
    let port = ports.find(|(_, port)| port.get("mode").and_then(|mode| mode.as_str()) == Some("DISABLE"));
    let namespace = policy.namespace().unwrap_or_default();
    let within = || namespace.to_owned();
    let (of, whom) = match (selects, whole, port) {
        (_, false, None) => return None,
        (true, true, _) => ("some workloads of the namespace".to_owned(), Whom::Workloads(within())),
        (_, false, Some((port, _))) => (format!("port {port} of some workloads"), Whom::Workloads(within())),
        (false, true, _) if namespace == root => ("the whole mesh".to_owned(), Whom::Everybody),
        (false, true, _) => ("the whole namespace".to_owned(), Whom::Namespace(within())),
    };
    Some(Off { what: format!("PeerAuthentication {namespace}/{} (for {of})", policy.name()), whom, is_plain: true })
}

/// A rule for Services of the mesh by which callers use something else than the mesh's own mTLS.
fn overrides(rule: &Object, configured: &[MeshPolicy]) -> Option<Off> {
    let (host, namespace) = (rule.str("spec.host"), rule.namespace().unwrap_or_default());
    let service = service_host(host, namespace)?;
    if keeps_within(&service, configured) {
        return None;
    }
    let mode = modes(rule.get("spec.trafficPolicy"))
        .or_else(|| rule.items("spec.subsets").iter().find_map(|subset| modes(subset.get("trafficPolicy"))))?;
    let what = format!("DestinationRule {namespace}/{} (for {host}: {mode})", rule.name());
    let whom = Whom::Host { host: host.to_owned(), namespace: namespace.to_owned() };
    Some(Off { what, whom, is_plain: mode == "DISABLE" })
}

/// Whether a Service is its cluster's alone by all mesh configurations.
fn keeps_within(service: &str, configured: &[MeshPolicy]) -> bool {
    let usual = [MeshPolicy::default()];
    let configured = if configured.is_empty() { &usual } else { configured };
    configured.iter().all(|policy| policy.keeps_within(service))
}

/// The same of all Services of a namespace: nobody calls its workloads from elsewhere.
fn stays_within(namespace: &str, configured: &[MeshPolicy]) -> bool {
    keeps_within(&format!("any.{namespace}.svc.cluster.local"), configured)
}

/// Whom a rule is for that says nothing of TLS, and is more exact than one for the whole mesh.
fn bare(rule: &Object, root: &str) -> Option<Whom> {
    let (host, namespace) = (rule.str("spec.host"), rule.namespace().unwrap_or_default());
    let service = service_host(host, namespace)?;
    let says_something = rule.get("spec.trafficPolicy.tls").is_some_and(|tls| !tls.is_null());
    let whom = Whom::Host { host: host.to_owned(), namespace: namespace.to_owned() };
    match (says_something, is_for_all(&service)) {
        (true, _) => None,
        (false, true) => (namespace != root).then(|| Whom::Namespace(namespace.to_owned())),
        (false, false) => (namespace == root || whom.namespace().as_deref() == Some(namespace)).then_some(whom),
    }
}

/// Whether a host is that of all Services of the mesh.
fn is_for_all(service: &str) -> bool {
    matches!(service, "*" | "*.local" | "*.cluster.local" | "*.svc")
}

/// Whom a rule has callers speak the mesh's mTLS with. Of any namespace but the root one it counts for the Services of
/// that namespace, and for clients there, who are not looked at.
fn mutual(rule: &Object, root: &str) -> Option<Whom> {
    let (host, namespace) = (rule.str("spec.host"), rule.namespace().unwrap_or_default());
    let service = service_host(host, namespace)?;
    if rule.str("spec.trafficPolicy.tls.mode") != "ISTIO_MUTUAL" || modes(rule.get("spec.trafficPolicy")).is_some() {
        return None;
    }
    let is_all = is_for_all(&service);
    let whom = Whom::Host { host: host.to_owned(), namespace: namespace.to_owned() };
    match (namespace == root, is_all) {
        (true, true) => Some(Whom::Everybody),
        (true, false) => Some(whom),
        (false, true) => Some(Whom::Namespace(namespace.to_owned())),
        (false, false) => (whom.namespace().as_deref() == Some(namespace)).then_some(whom),
    }
}

/// A mode other than the mesh's own, if a traffic policy says one.
fn modes(policy: Option<&serde_json::Value>) -> Option<&str> {
    let policy = policy?;
    let ports = policy.get("portLevelSettings").and_then(|ports| ports.as_array()).into_iter().flatten();
    let mut modes = std::iter::once(policy)
        .chain(ports)
        .filter_map(|one| one.get("tls"))
        .map(|tls| tls.get("mode").and_then(|mode| mode.as_str()).unwrap_or("DISABLE"));
    modes.find(|mode| *mode != "ISTIO_MUTUAL")
}

#[cfg(test)]
#[path = "policies_tests.rs"]
mod tests;
