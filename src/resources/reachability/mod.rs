//! `data.mesh_reachability`: proof that calls cross.

mod callee;
mod caller;
mod door;
mod judge;
mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt as _, StreamExt as _};
use time::OffsetDateTime;
use tokio::time::sleep;

use self::caller::{Act, Caller, KnownGateway, Look};
use self::door::{Outcome, Spoken};
use self::judge::{Asked, Call, GatewayState, Here, Met, There, Tried, Trouble, Unanswered, Unnamed, Verdict, Way};
pub use self::model::Reachability;
use super::client::{self, Client};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::{Ctx, DataSource};
use crate::istiod;
use crate::istiod::proxy::Endpoint;
use crate::mesh::{Host, Sni};
use crate::resources::parsing::sentence;
use crate::value::{Path, Set, Value};

/// Time for each cluster's answers.
const WITHIN: Duration = Duration::from_secs(20);
/// Connections under way at once.
const AT_ONCE: usize = 16;
/// Of the addresses that clients are given, so many are tried.
const MOST_ADDRESSES: usize = 4;
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
        let task = Task::new(&config, OffsetDateTime::now_utc())?;
        let looks = task.looks(cx, from.iter().chain(&to).cloned().collect()).await?;
        let callers = task.callers(&cx.client()?.walk.istiods, &looks, &from, &to).await;
        let mut proofs = Vec::new();
        for (from, to) in
            from.iter().flat_map(|from| to.iter().map(move |to| (from, to))).filter(|(from, to)| from != to)
        {
            let named = task.services.iter().map(Some);
            let unnamed = task.services.is_empty().then_some(None);
            for service in named.chain(unnamed) {
                proofs.push(task.prove(&looks, &callers, from, to, service).boxed());
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
    namespace: String,
    account_namespace: String,
    account: String,
    services: Vec<Sni>,
    unanswered: Unanswered,
    /// By this time certificates are judged.
    now: OffsetDateTime,
}

type Looks = BTreeMap<String, Asked<Look>>;

impl Task {
    fn new(config: &Reachability, now: OffsetDateTime) -> Result<Self, Diagnostic> {
        let namespace = config.namespace.text().to_owned();
        let services = config.services.items().enumerate().map(|(index, one)| {
            let host = Host::new(one.host.text()).map_err(|error| {
                let path = Path::root("services").index(index).attr("host");
                Diagnostic::error("Not the name of a Service").at(path).detail(sentence(&error.to_string()))
            })?;
            let port = one.port.get().and_then(|port| port.try_into().ok()).unwrap_or_default();
            Ok(Sni { port, subset: None, host })
        });
        Ok(Task {
            account_namespace: config.caller_namespace.known().unwrap_or(&namespace).clone(),
            account: config.caller_service_account.text().to_owned(),
            services: services.collect::<Result<_, Diagnostic>>()?,
            unanswered: Unanswered::parse(config.unanswered_address.text()),
            namespace,
            now,
        })
    }

    /// All clusters at first sight. Those that are not called, nor call, may still serve one that does.
    async fn looks(&self, cx: &Ctx<Client>, wanted: BTreeSet<String>) -> Result<Looks, Diagnostics> {
        let mut clusters = Vec::new();
        for name in wanted {
            clusters.push(client::shortened(cx, &client::cluster(cx, &name)?, WITHIN));
        }
        let looks = clusters.iter().map(|cluster| async {
            let look = Look::at(cluster, &self.namespace).await;
            (cluster.name().to_owned(), look.map_err(|error| format!("{error}. {}", error.remedy())))
        });
        let mut looks: Looks = join_all(looks).await.into_iter().collect();
        let without = looks.values().flatten().any(|look| look.istiods.is_empty());
        if without {
            let others: Vec<String> = cx.client()?.clusters.names().map(str::to_owned).collect();
            for name in others.into_iter().filter(|name| !looks.contains_key(name)).collect::<Vec<_>>() {
                let cluster = client::shortened(cx, &client::cluster(cx, &name)?, WITHIN);
                let look = Look::at(&cluster, &self.namespace).await.map_err(|error| error.to_string());
                looks.insert(name, look);
            }
        }
        Ok(looks)
    }

    async fn callers(
        &self,
        istiods: &istiod::Looks,
        looks: &Looks,
        from: &[String],
        to: &[String],
    ) -> BTreeMap<String, Result<Caller, Trouble>> {
        let each = from
            .iter()
            .filter(|from| to.iter().any(|to| to != *from))
            .map(|name| async move { (name.clone(), self.caller(istiods, looks, name).await) });
        join_all(each).await.into_iter().collect()
    }

    async fn caller(&self, istiods: &istiod::Looks, looks: &Looks, name: &str) -> Result<Caller, Trouble> {
        let from = match looks.get(name) {
            Some(Ok(look)) => look,
            Some(Err(why)) => return Err(Trouble::unknown(why.clone())),
            None => return Err(Trouble::unknown("it was not asked".to_owned())),
        };
        let served_by = if from.istiods.is_empty() { self.serves(istiods, looks, from).await? } else { from };
        let act = Act {
            from,
            served_by,
            namespace: &self.namespace,
            account_namespace: &self.account_namespace,
            account: &self.account,
            services: &self.services,
        };
        let late = || Trouble::unknown(format!("its istiod has not answered within {} s", WITHIN.as_secs()));
        tokio::time::timeout(WITHIN, Caller::new(&act)).await.map_err(|_| late())?
    }

    /// The cluster whose istiod watches one that has none.
    async fn serves<'a>(&self, istiods: &istiod::Looks, looks: &'a Looks, remote: &Look) -> Result<&'a Look, Trouble> {
        for host in looks.values().flatten().filter(|host| host.istiod().is_some()) {
            let views = istiods.held(&host.cluster, &self.namespace).await;
            let views = views.map(|views| views.to_vec()).unwrap_or_default();
            let mut known =
                views.iter().filter_map(|view| view.clusters.as_ref().ok()).flat_map(|(clusters, _)| clusters);
            if known.any(|cluster| cluster.id == remote.id()) {
                return Ok(host);
            }
        }
        Err(Trouble::unknown(format!(
            "no istiod runs in its namespace {}, and none of the other clusters' says that it serves it",
            self.namespace
        )))
    }

    async fn prove(
        &self,
        looks: &Looks,
        callers: &BTreeMap<String, Result<Caller, Trouble>>,
        from: &str,
        to: &str,
        service: Option<&Sni>,
    ) -> model::Pair {
        let (host, port) = service.map_or(("", 0), |service| (service.host.as_str(), service.port));
        let sni = service.map(Sni::to_string).unwrap_or_default();
        let network = looks.get(to).and_then(|look| look.as_ref().ok()).map_or("", |look| look.network.as_str());
        let call = Call { from, to, network, host, port, sni: &sni };
        let mut pair = model::Pair {
            from: from.into(),
            to: to.into(),
            host: service.map(|service| service.host.to_string()).into(),
            port: service.map(|service| i64::from(service.port)).into(),
            ..model::Pair::default()
        };
        let verdict = match (callers.get(from), looks.get(to), looks.get(from)) {
            (Some(Ok(caller)), Some(Ok(to)), Some(Ok(from))) => {
                let other = callers.get(to.name()).and_then(|other| other.as_ref().ok());
                Proof { task: self, call, service, caller, other, from, to, looks }.run(&mut pair).await
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
    from: &'a Look,
    to: &'a Look,
    looks: &'a Looks,
}

impl Proof<'_> {
    async fn run(&self, pair: &mut model::Pair) -> Verdict {
        let (way, gateways) = self.way();
        if way == Way::Hbone {
            return judge::hbone(self.call);
        }
        let Some(service) = self.service else { return self.without_service(way, &gateways, pair).await };
        let endpoints = self.endpoints(service, way, &gateways);
        if endpoints.is_empty() {
            return self.sends_nothing(service, way, gateways.first().copied()).await;
        }
        if way == Way::Gateway && !self.caller.auto_mtls {
            return judge::no_auto_mtls(self.call);
        }
        let first = &endpoints[0];
        pair.address = format!("{}:{}", first.address, first.port).into();
        if way == Way::Gateway {
            pair.sni = self.call.sni.to_owned().into();
        }
        let gateway = gateways.first().copied();
        let mut asked = 1;
        let (tried, there) = loop {
            let (tried, there) = self.try_all(service, way, &endpoints, gateway).await;
            if asked == ASKED || !tried.iter().any(is_closed) {
                break (tried, there);
            }
            asked += 1;
            sleep(PAUSE).await;
        };
        let forwarded = tried.iter().find_map(|one| one.forwarded.as_ref()?.as_ref().ok());
        let met = forwarded.or_else(|| tried.iter().find_map(|one| one.spoken.as_ref()));
        pair.identity = met.and_then(|met| met.identity.clone()).into();
        let answered = forwarded.is_none() && tried.iter().any(|one| one.dialled.is_ok());
        let through = if answered { Some("address") } else { forwarded.map(|_| "port-forward") };
        pair.through = through.map(str::to_owned).into();
        judge::of_all(self.call, way, self.task.unanswered, &tried, there.as_ref())
    }

    /// How clients of the one cluster get to the other, as the istiod of the first has it.
    fn way(&self) -> (Way, Vec<&KnownGateway>) {
        let network = self.to.network.as_str();
        if network.is_empty() || network == self.from.network {
            return (Way::Direct, Vec::new());
        }
        let known: Vec<&KnownGateway> = self.caller.gateways.iter().filter(|one| one.network == network).collect();
        let passing: Vec<&KnownGateway> = known.iter().copied().filter(|one| one.port != 0).collect();
        match (known.is_empty(), passing.is_empty()) {
            (true, _) => (Way::NoGateway, Vec::new()),
            (false, true) => (Way::Hbone, known),
            (false, false) => (Way::Gateway, passing),
        }
    }

    /// Where clients are sent for the Service in that cluster.
    fn endpoints(&self, service: &Sni, way: Way, gateways: &[&KnownGateway]) -> Vec<Endpoint> {
        let told = self.caller.endpoints.get(&caller::named(service)).map(Vec::as_slice).unwrap_or_default();
        let is_it =
            |one: &&Endpoint| gateways.iter().any(|known| known.address == one.address && known.port == one.port);
        let mut found: Vec<Endpoint> = match way {
            Way::Gateway => told.iter().filter(is_it).cloned().collect(),
            _ => told.iter().filter(|one| one.cluster == self.to.id()).cloned().collect(),
        };
        found.sort();
        found.dedup_by(|a, b| (&a.address, a.port) == (&b.address, b.port));
        found.truncate(MOST_ADDRESSES);
        found
    }

    async fn without_service(&self, way: Way, gateways: &[&KnownGateway], pair: &mut model::Pair) -> Verdict {
        let gateway = gateways.first().copied();
        let behind = gateway.map_or(self.to, |known| self.cluster_of(known));
        let (state, exposed) = match gateway {
            Some(known) => tokio::join!(
                callee::gateway_state(&behind.cluster, known),
                callee::passes_on(&behind.cluster, behind.istiods.is_empty())
            ),
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
        let found = Unnamed { watched, gateway: state, exposed, trust, dialled };
        judge::without_service(self.call, way, self.task.unanswered, &found)
    }

    async fn sends_nothing(&self, service: &Sni, way: Way, gateway: Option<&KnownGateway>) -> Verdict {
        let watched = self.caller.watched(self.to);
        let (service, off, there) = tokio::join!(
            callee::service_state(&self.from.cluster, service),
            callee::off(&self.from.cluster, &self.task.namespace, service.host.as_str()),
            callee::there(self.to, &self.task.namespace, service, gateway),
        );
        judge::sends_nothing(self.call, way, &watched, &Here { service, off }, &there)
    }

    /// Each address; and, where one does not answer or answers wrongly, the cluster behind it.
    async fn try_all(
        &self,
        service: &Sni,
        way: Way,
        endpoints: &[Endpoint],
        gateway: Option<&KnownGateway>,
    ) -> (Vec<Tried>, Option<There>) {
        let mut tried = join_all(endpoints.iter().map(|endpoint| self.dial(endpoint))).await;
        if tried.iter().all(Tried::is_fine) {
            return (tried, None);
        }
        let behind = gateway.map_or(self.to, |known| self.cluster_of(known));
        let there = callee::there(behind, &self.task.namespace, service, gateway).await;
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

    async fn dial(&self, endpoint: &Endpoint) -> Tried {
        let Endpoint { address, port, mtls, .. } = endpoint;
        let mut tried = Tried { address: address.clone(), port: *port, dialled: Ok(()), spoken: None, forwarded: None };
        match door::dial(address, *port).await {
            Ok(stream) if *mtls => {
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
        Met { outcome, showed: !shown.is_empty(), vouched, identity, other_domain }
    }

    /// The cluster that a gateway is in, where it is among those looked at.
    fn cluster_of(&self, known: &KnownGateway) -> &Look {
        let mut looks = self.looks.values().flatten();
        looks.find(|look| look.id() == known.cluster || look.name() == known.cluster).unwrap_or(self.to)
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
