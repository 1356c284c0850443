//! `data.mesh_reachability`: proof that calls cross.

mod callee;
mod caller;
mod door;
mod judge;
mod look;
mod model;
mod places;
mod route;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt as _, StreamExt as _};
use time::OffsetDateTime;
use tokio::time::sleep;

use self::caller::{Act, Caller};
use self::door::{Outcome, Spoken};
use self::judge::{
    Asked, Call, GatewayState, Here, Met, Neighbour, OtherDomain, There, Tried, Trouble, Unanswered, Unnamed, Verdict,
    Watched, Way,
};
use self::look::Look;
pub use self::model::Reachability;
use self::places::{Places, Seen};
use self::route::{Ends, KnownGateway, Route};
use super::client::{self, Client};
use super::system_namespaces::SystemNamespaces;
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::{Ctx, DataSource};
use crate::istiod::proxy::Endpoint;
use crate::mesh::{Host, Sni};
use crate::resources::parsing::sentence;
use crate::value::{Path, Set, Value};

/// Time for each cluster's answers.
const WITHIN: Duration = Duration::from_secs(20);
/// Connections under way at once.
const AT_ONCE: usize = 16;
/// A gateway that does not know an SNI yet hears of it within seconds of an apply.
const ASKED: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Proof that calls cross.
pub struct MeshReachability;

impl DataSource for MeshReachability {
    type Client = Client;
    type Model = Reachability;

    const NAME: &'static str = "reachability";

    async fn read(&self, cx: &mut Ctx<Client>, mut config: Reachability) -> Result<Reachability, Diagnostics> {
        let (from, to) = (names(cx, &config.from)?, names(cx, &config.to)?);
        let namespaces = SystemNamespaces::new(&cx.client()?.clusters, &config.namespace, &config.namespaces)?;
        let task = Task::new(&config, namespaces, OffsetDateTime::now_utc())?;
        let client = cx.client()?.clone();
        let looks = task.looks(cx, from.iter().chain(&to).cloned().collect()).await?;
        let seen = Places::of(&client.walk.istiods, looks).await;

        let from = seen.with_workloads(config.from.is_known(), from);
        let to = seen.with_workloads(config.to.is_known(), to);
        let callers = task.callers(&seen, &from, &to).await;
        let seen = task.gateways_elsewhere(cx, seen, &callers).await?;
        let mut proofs = Vec::new();
        for (from, to) in
            from.iter().flat_map(|from| to.iter().map(move |to| (from, to))).filter(|(from, to)| from != to)
        {
            let named = task.services.iter().map(Some);
            let unnamed = task.services.is_empty().then_some(None);
            for service in named.chain(unnamed) {
                proofs.push(task.prove(&seen, &callers, from, to, service).boxed());
            }
        }
        let found: Vec<model::Pair> = futures::stream::iter(proofs).buffered(AT_ONCE).collect().await;
        config.reachable = reachable(&found);
        config.findings = found.iter().filter(|pair| pair.verdict.text() != judge::REACHABLE).map(finding).collect();
        config.pairs = found.into_iter().collect();
        Ok(config)
    }
}

fn names(cx: &Ctx<Client>, set: &Value<Set<String>>) -> Result<Vec<String>, Diagnostic> {
    Ok(match set.known() {
        Some(set) => set.iter().filter_map(|name| name.known().cloned()).collect::<BTreeSet<_>>().into_iter().collect(),
        None => cx.client()?.clusters.names().map(str::to_owned).collect(),
    })
}

/// True where all are, false where one is broken, null where nothing is known to be.
fn reachable(pairs: &[model::Pair]) -> Value<bool> {
    let any = |verdict: &str| pairs.iter().any(|pair| pair.verdict.text() == verdict);
    match (any(judge::BROKEN), any(judge::UNKNOWN) || pairs.is_empty()) {
        (true, _) => false.into(),
        (false, true) => Value::Null,
        (false, false) => true.into(),
    }
}

fn finding(pair: &model::Pair) -> String {
    let model::Pair { from, to, host, port, verdict, detail, .. } = pair;
    let service = match (host.known(), port.get()) {
        (Some(host), Some(port)) => format!(", {host}:{port},"),
        _ => String::new(),
    };
    format!("{} to {}{service} is {}: {}", from.text(), to.text(), verdict.text(), detail.text())
}

/// What is asked for.
struct Task {
    namespaces: SystemNamespaces,
    /// Istio's own where nobody has named one.
    account_namespace: Option<String>,
    account: String,
    services: Vec<Sni>,
    unanswered: Unanswered,
    /// By this time certificates are judged.
    now: OffsetDateTime,
}

impl Task {
    fn new(config: &Reachability, namespaces: SystemNamespaces, now: OffsetDateTime) -> Result<Self, Diagnostic> {
        let services = config.services.items().enumerate().map(|(index, one)| {
            let host = Host::new(one.host.text()).map_err(|error| {
                let path = Path::root("services").index(index).attr("host");
                Diagnostic::error("Not the name of a Service").at(path).detail(sentence(&error.to_string()))
            })?;
            let port = one.port.get().and_then(|port| port.try_into().ok()).unwrap_or_default();
            Ok(Sni { port, subset: None, host })
        });
        Ok(Task {
            account_namespace: config.caller_namespace.known().cloned(),
            account: config.caller_service_account.text().to_owned(),
            services: services.collect::<Result<_, Diagnostic>>()?,
            unanswered: Unanswered::parse(config.unanswered_address.text()),
            namespaces,
            now,
        })
    }

    /// All clusters at first sight. Those that are not called, nor call, may still serve one that does.
    async fn looks(&self, cx: &Ctx<Client>, wanted: BTreeSet<String>) -> Result<Seen, Diagnostics> {
        let mut looks = self.looks_at(cx, wanted).await?;
        if looks.values().flatten().any(|look| look.istiods.is_empty()) {
            looks.extend(self.looks_at(cx, self.others(cx, &looks)?).await?);
        }
        Ok(looks)
    }

    async fn looks_at(&self, cx: &Ctx<Client>, wanted: BTreeSet<String>) -> Result<Seen, Diagnostics> {
        let mut clusters = Vec::new();
        for name in wanted {
            clusters.push(client::shortened(cx, &client::cluster(cx, &name)?, WITHIN));
        }
        let looks = clusters.iter().map(|cluster| async {
            let look = Look::at(cluster, self.namespaces.of(cluster.name())).await;
            (cluster.name().to_owned(), look.map_err(|error| format!("{error}. {}", error.remedy())))
        });
        Ok(join_all(looks).await.into_iter().collect())
    }

    /// The provider's clusters that were not looked at.
    fn others(&self, cx: &Ctx<Client>, looks: &Seen) -> Result<BTreeSet<String>, Diagnostic> {
        let names = cx.client()?.clusters.names().map(str::to_owned);
        Ok(names.filter(|name| !looks.contains_key(name)).collect())
    }

    /// A gateway on the way may be in a cluster that nobody named.
    async fn gateways_elsewhere<'a>(
        &'a self,
        cx: &Ctx<Client>,
        mut seen: Places<'a>,
        callers: &BTreeMap<String, Result<Caller, Trouble>>,
    ) -> Result<Places<'a>, Diagnostics> {
        let mut gateways = callers.values().flatten().flat_map(|caller| &caller.gateways);
        let is_missing = |known: &KnownGateway| !known.cluster.is_empty() && seen.by_id(&known.cluster).is_none();
        let others = self.others(cx, &seen.looks)?;
        if !others.is_empty() && gateways.any(is_missing) {
            seen.looks.extend(self.looks_at(cx, others).await?);
        }
        Ok(seen)
    }

    async fn callers(
        &self,
        seen: &Places<'_>,
        from: &[String],
        to: &[String],
    ) -> BTreeMap<String, Result<Caller, Trouble>> {
        let each = from
            .iter()
            .filter(|from| to.iter().any(|to| to != *from))
            .map(|name| async move { (name.clone(), self.caller(seen, name).await) });
        join_all(each).await.into_iter().collect()
    }

    async fn caller(&self, seen: &Places<'_>, name: &str) -> Result<Caller, Trouble> {
        let from = match seen.looks.get(name) {
            Some(Ok(look)) => look,
            Some(Err(why)) => return Err(Trouble::unknown(why.clone())),
            None => return Err(Trouble::unknown("it was not asked".to_owned())),
        };
        if let Some(served) = seen.hosts_for(from) {
            return Err(Trouble::unknown(judge::without_workloads(name, served.name())));
        }
        let nobody = || {
            format!(
                "no istiod runs in its namespace {}, and none of the other clusters' says that it serves it",
                from.namespace
            )
        };
        let served_by = seen.served_by(from).ok_or_else(|| Trouble::unknown(nobody()))?;
        let act = Act {
            from,
            served_by,
            account_namespace: self.account_namespace.as_ref().unwrap_or(&from.namespace),
            account: &self.account,
            services: &self.services,
        };
        let late = || Trouble::unknown(format!("its istiod has not answered within {} s", WITHIN.as_secs()));
        tokio::time::timeout(WITHIN, Caller::new(&act)).await.map_err(|_| late())?
    }

    async fn prove(
        &self,
        seen: &Places<'_>,
        callers: &BTreeMap<String, Result<Caller, Trouble>>,
        from: &str,
        to: &str,
        service: Option<&Sni>,
    ) -> model::Pair {
        let (host, port) = service.map_or(("", 0), |service| (service.host.as_str(), service.port));
        let sni = service.map(Sni::to_string).unwrap_or_default();
        let networks = match (callers.get(from), seen.looks.get(to)) {
            (Some(Ok(caller)), Some(Ok(to))) => caller.networks_of(to),
            _ => BTreeSet::new(),
        };
        let network = networks.iter().map(String::as_str).collect::<Vec<_>>().join(" or ");
        let call = Call { from, to, network: &network, host, port, sni: &sni };
        let mut pair = model::Pair {
            from: from.into(),
            to: to.into(),
            host: service.map(|service| service.host.to_string()).into(),
            port: service.map(|service| i64::from(service.port)).into(),
            ..model::Pair::default()
        };
        let served = seen.looks.get(to).and_then(|there| seen.hosts_for(there.as_ref().ok()?));
        let verdict = match (callers.get(from), seen.looks.get(to), seen.looks.get(from)) {
            _ if served.is_some() => judge::no_workloads(to, served.map_or("", Look::name)),
            (Some(Ok(caller)), Some(Ok(to)), Some(Ok(from))) => {
                let other = callers.get(to.name()).and_then(|other| other.as_ref().ok());
                Proof { task: self, call, service, caller, other, callers, networks, from, to, seen }
                    .run(&mut pair)
                    .await
            }
            (Some(Err(trouble)), ..) => judge::without_caller(call, trouble),
            (_, Some(Err(why)), _) => {
                Verdict { verdict: judge::UNKNOWN, layer: Some("link"), detail: format!("{to} cannot be read: {why}") }
            }
            _ => judge::without_caller(call, &Trouble::unknown("it was not asked".to_owned())),
        };
        pair.verdict = verdict.verdict.into();
        pair.layer = verdict.layer.map(str::to_owned).into();
        pair.detail = verdict.detail.into();
        pair
    }
}

/// Whether a gateway may only not have heard yet.
fn is_closed(tried: &Tried) -> bool {
    let last = match &tried.forwarded {
        Some(forwarded) => forwarded.as_ref().ok(),
        None => tried.spoken.as_ref(),
    };
    last.is_some_and(|met| met.outcome == Outcome::Closed)
}

/// One Service of one cluster, from another.
struct Proof<'a> {
    task: &'a Task,
    call: Call<'a>,
    /// `None` where nobody has named one.
    service: Option<&'a Sni>,
    caller: &'a Caller,
    /// The other cluster as a caller, where it is one.
    other: Option<&'a Caller>,
    callers: &'a BTreeMap<String, Result<Caller, Trouble>>,
    /// The networks that endpoints of the other cluster may be in.
    networks: BTreeSet<String>,
    from: &'a Look,
    to: &'a Look,
    seen: &'a Places<'a>,
}

impl Proof<'_> {
    async fn run(&self, pair: &mut model::Pair) -> Verdict {
        let told = self
            .service
            .map(|service| self.caller.endpoints.get(&caller::named(service)).map(Vec::as_slice).unwrap_or_default());
        let ends = Ends {
            own: self.from.proxies_network(),
            networks: self.networks.clone(),
            to: self.to.id(),
            known: &self.caller.gateways,
            told,
        };
        let Route { way, gateways, endpoints } = ends.route();
        if way == Way::Hbone {
            return judge::hbone(self.call);
        }
        let Some(service) = self.service else { return self.without_service(way, &gateways, pair).await };
        if endpoints.is_empty() {
            return self.sends_nothing(service, way, gateways.first().copied()).await;
        }
        let speaks_mtls = match self.speaks_mtls(service).await {
            Ok(false) if way == Way::Gateway => return judge::no_auto_mtls(self.call),
            Ok(speaks) => speaks,
            Err(why) => return judge::rules_unread(self.call, &why),
        };
        if way == Way::Gateway {
            let headless = callee::is_headless(&self.from.cluster, &self.to.cluster, service).await;
            if let Some(verdict) = judge::headless(self.call, headless) {
                return verdict;
            }
        }
        let neighbours = self.neighbours(&gateways, &endpoints).await;
        if let Some(verdict) = judge::past_neighbours(self.call, &self.caller.watched(self.to), &neighbours) {
            return verdict;
        }
        let first = &endpoints[0];
        pair.address = format!("{}:{}", first.address, first.port).into();
        if way == Way::Gateway {
            pair.sni = self.call.sni.to_owned().into();
        }
        let gateway = gateways.first().copied();
        let mut asked = 1;
        let (mut tried, there) = loop {
            let (tried, there) = self.try_all(service, way, &endpoints, gateway, speaks_mtls).await;
            if asked == ASKED || !tried.iter().any(is_closed) {
                break (tried, there);
            }
            asked += 1;
            sleep(PAUSE).await;
        };
        self.with_domain_of_remote(&mut tried).await;
        let forwarded = tried.iter().find_map(|one| one.forwarded.as_ref()?.as_ref().ok());
        let met = forwarded.or_else(|| tried.iter().find_map(|one| one.spoken.as_ref()));
        pair.identity = met.and_then(|met| met.identity.clone()).into();
        let answered = forwarded.is_none() && tried.iter().any(|one| one.dialled.is_ok());
        let through = if answered { Some("address") } else { forwarded.map(|_| "port-forward") };
        pair.through = through.map(str::to_owned).into();
        judge::of_all(self.call, way, self.task.unanswered, &tried, there.as_ref())
    }

    /// Whether the caller's clients speak mTLS with those who take it: on their own, or by a rule.
    async fn speaks_mtls(&self, service: &Sni) -> Asked<bool> {
        if self.caller.auto_mtls {
            return Ok(true);
        }
        let ruled_in = self.seen.ruled(self.from);
        callee::is_mutual(ruled_in, service.host.as_str()).await
    }

    /// A trust domain that the caller's mesh configuration does not accept may be that of the other cluster's own.
    async fn with_domain_of_remote(&self, tried: &mut [Tried]) {
        if !tried.iter_mut().flat_map(Tried::met_mut).any(|met| met.other_domain.is_some()) {
            return;
        }
        let known = self.caller.domain_of_remote(self.to).await;
        for met in tried.iter_mut().flat_map(Tried::met_mut) {
            met.other_domain = met.other_domain.take().and_then(|other| match &known {
                Ok(Some(domain)) if *domain == other.domain => None,
                Ok(_) => Some(other),
                Err(why) => Some(OtherDomain { unsure: Some(why.clone()), ..other }),
            });
        }
    }

    /// The other clusters whose gateways these addresses are, each with what its istiod says of the one that is called:
    /// a gateway passes on only to those that its istiod reads.
    async fn neighbours(&self, gateways: &[&KnownGateway], endpoints: &[Endpoint]) -> Vec<Neighbour> {
        let is_on_the_way = |known: &&&KnownGateway| {
            endpoints.is_empty() || endpoints.iter().any(|one| one.address == known.address && one.port == known.port)
        };
        let clusters: BTreeSet<&str> =
            gateways.iter().filter(is_on_the_way).map(|known| known.cluster.as_str()).collect();
        let others = clusters.into_iter().filter(|id| !id.is_empty() && !self.to.has_id(id));
        let neighbours = others.map(|id| async move {
            match self.seen.by_id(id) {
                Some(look) => Neighbour { cluster: look.name().to_owned(), reads: self.reads(look).await },
                None => Neighbour {
                    cluster: id.to_owned(),
                    reads: Watched::Unknown("it is none of the provider's `clusters`".to_owned()),
                },
            }
        });
        join_all(neighbours).await
    }

    /// What the istiod that serves a neighbour says of the cluster that is called. Who was asked as a caller need not
    /// be asked again.
    async fn reads(&self, neighbour: &Look) -> Watched {
        let is_its_own = self.seen.served_by(neighbour).is_some_and(|host| host.id() == self.to.id());
        match self.callers.get(neighbour.name()) {
            Some(Ok(caller)) if !is_its_own => caller.watched(self.to),
            _ => self.seen.reads(neighbour, self.to).await,
        }
    }

    async fn without_service(&self, way: Way, gateways: &[&KnownGateway], pair: &mut model::Pair) -> Verdict {
        let gateway = gateways.first().copied();
        let behind = gateway.map_or(self.to, |known| self.cluster_of(known));
        let opened_in = self.seen.ruled(behind);
        let (state, exposed) = match gateway {
            Some(known) => {
                tokio::join!(callee::gateway_state(&behind.cluster, known), callee::passes_on(opened_in))
            }
            None => (Ok(GatewayState::Elsewhere), Ok(true)),
        };
        let dialled = match gateway {
            Some(known) => {
                let at = format!("{}:{}", known.address, known.port);
                pair.address = at.clone().into();
                Some((at, door::dial(&known.address, known.port).await.map(drop)))
            }
            None => None,
        };
        let trust = self.other.map(|other| {
            let now = self.task.now;
            let vouch = |by: &Caller, of: &Caller| door::vouched(&of.identity.chain, &by.roots(), now);
            let Call { from, to, .. } = self.call;
            let unlike = |by: &str, of: &str, why: String| {
                format!("the roots of {by} do not vouch for certificates of {of}: {why}")
            };
            let there = vouch(self.caller, other).map_err(|why| unlike(from, to, why));
            there.and(vouch(other, self.caller).map_err(|why| unlike(to, from, why)))
        });
        let watched = self.caller.watched(self.to);
        let neighbours = self.neighbours(gateways, &[]).await;
        let places = callee::names(behind, opened_in);
        let found = Unnamed { watched, neighbours, places, gateway: state, exposed, trust, dialled };
        judge::without_service(self.call, way, self.task.unanswered, &found)
    }

    async fn sends_nothing(&self, service: &Sni, way: Way, gateway: Option<&KnownGateway>) -> Verdict {
        let watched = self.caller.watched(self.to);
        let ruled_in = self.seen.ruled(self.from);
        let ((state, port_name), off, there) = tokio::join!(
            callee::service_state(&self.from.cluster, service),
            callee::off(ruled_in, service.host.as_str()),
            callee::there(self.asked(gateway), service, gateway),
        );
        let ruled_in = ruled_in.map_or(self.call.from, |ruled| ruled.by.name()).to_owned();
        let here = Here { service: state, port_name, off, ruled_in };
        judge::sends_nothing(self.call, way, &watched, &here, &there)
    }

    /// Each address; and, where one does not answer or answers wrongly, the cluster behind it.
    async fn try_all(
        &self,
        service: &Sni,
        way: Way,
        endpoints: &[Endpoint],
        gateway: Option<&KnownGateway>,
        speaks_mtls: bool,
    ) -> (Vec<Tried>, Option<There>) {
        let mut tried = join_all(endpoints.iter().map(|endpoint| self.dial(endpoint, speaks_mtls))).await;
        // Of who takes connections nobody knows yet whether it takes plain text.
        if tried.iter().all(|one| one.is_fine() && one.spoken.is_some()) {
            return (tried, None);
        }
        let behind = gateway.map_or(self.to, |known| self.cluster_of(known));
        let there = callee::there(self.asked(gateway), service, gateway).await;
        if let (Way::Gateway, Ok(GatewayState::Ready(pod))) = (way, &there.gateway) {
            let forwarded = match behind.cluster.pod_stream(pod).await {
                Ok(stream) => Ok(self.met(door::speak(stream, self.call.sni, &self.caller.identity).await)),
                Err(error) => Err(error.to_string()),
            };
            for one in tried.iter_mut().filter(|one| !one.is_fine()) {
                one.forwarded = Some(forwarded.clone());
            }
        }
        (tried, Some(there))
    }

    async fn dial(&self, endpoint: &Endpoint, speaks_mtls: bool) -> Tried {
        let Endpoint { address, port, mtls, .. } = endpoint;
        let is_plain = !(*mtls && speaks_mtls);
        let (dialled, spoken, forwarded) = (Ok(()), None, None);
        let mut tried = Tried { address: address.clone(), port: *port, is_plain, dialled, spoken, forwarded };
        match door::dial(address, *port).await {
            Ok(stream) if !is_plain => {
                tried.spoken = Some(self.met(door::speak(stream, self.call.sni, &self.caller.identity).await))
            }
            Ok(_) => {}
            Err(why) => tried.dialled = Err(why),
        }
        tried
    }

    fn met(&self, Spoken { shown, outcome }: Spoken) -> Met {
        let vouched = door::vouched(&shown, &self.caller.roots(), self.task.now);
        let identity =
            shown.first().and_then(|leaf| leaf.uris().iter().find(|uri| uri.starts_with("spiffe://")).cloned());
        let other_domain = identity.as_deref().and_then(|identity| self.caller.other_domain(identity));
        let other_domain = other_domain.map(|domain| OtherDomain { domain, unsure: None });
        Met { outcome, showed: !shown.is_empty(), vouched, identity, other_domain }
    }

    /// The cluster that a gateway is in, where it is among those looked at.
    fn cluster_of(&self, known: &KnownGateway) -> &Look {
        self.seen.by_id(&known.cluster).unwrap_or(self.to)
    }

    /// Which clusters say what is wrong.
    fn asked(&self, gateway: Option<&KnownGateway>) -> callee::Asking<'_> {
        let behind = gateway.map_or(self.to, |known| self.cluster_of(known));
        callee::Asking { to: self.to, behind, opened_in: self.seen.ruled(behind), ruled_in: self.seen.ruled(self.to) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(verdict: &str) -> model::Pair {
        model::Pair { verdict: verdict.into(), ..model::Pair::default() }
    }

    #[test]
    fn one_broken_pair_says_no_and_one_unknown_keeps_from_saying_yes() {
        let of = |verdicts: &[&str]| reachable(&verdicts.iter().map(|verdict| pair(verdict)).collect::<Vec<_>>());
        assert_eq!(of(&["reachable", "reachable"]), true.into());
        assert_eq!(of(&["reachable", "unknown"]), Value::Null);
        assert_eq!(of(&["unknown", "broken", "reachable"]), false.into());
        assert_eq!(of(&[]), Value::Null, "of nothing nothing is known");
    }
}
