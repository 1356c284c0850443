//! `mesh_ca`: one root of trust, an intermediate per cluster, no key in state. Gather, parse, decide, apply and prove,
//! state.

mod accept;
mod apply;
mod chain;
mod clock;
mod decide;
#[cfg(test)]
mod fixtures;
mod former;
mod gather;
mod home;
mod import;
mod issue;
mod list;
mod memory;
mod model;
mod plan;
mod refuse;
mod remove;
mod report;
mod revoked;
mod roots;
mod secret;
mod spec;
mod state;
mod written;

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{OptionFuture, join, join_all};
use time::OffsetDateTime;

use self::home::Home;
pub use self::memory::Private;
pub use self::model::Ca;
use self::model::ClusterCa;
use self::spec::{RootSpec, Spec};
pub use self::written::{Sample, written};
use super::client::{self, Client};
use crate::cluster::{Error, Kind, Object, Owner};
use crate::diag::{Diagnostic, Diagnostics, Severity};
use crate::engine::{Change, Ctx, Failed, Import, Moved, Plan, Resource};
use crate::kept::claim::{self, Asked, Claim, NewNamespace, Purpose};
use crate::kept::instance::Place;
use crate::kept::{self, converge};
use crate::mesh::{DeclaredCa, Pending, Phase, Rotation, SecretPlace};
use crate::model;
use crate::pki::{Bundle, Certificate};
use crate::resources::blocks::{Block, Seen};
use crate::resources::moved::{MovedSecret, is_of_tls, refused, refused_of_tls};
use crate::value::{Path, Value};

/// The certificate authority of a mesh.
pub struct MeshCa;

model! {
    /// What tells a CA from all others: where its root is kept, or the first of its `cacerts` Secrets.
    pub struct Identity {
        /// Key of the provider's `clusters`.
        #[attr(required)]
        pub cluster: Value<String>,
        /// Namespace of the Secret.
        #[attr(optional)]
        pub namespace: Value<String>,
        /// Name of the Secret.
        #[attr(optional)]
        pub name: Value<String>,
    }
}

type Cx = Ctx<Client, Private>;

impl Resource for MeshCa {
    type Client = Client;
    type Model = Ca;
    type Identity = Identity;
    type Private = Private;

    const NAME: &'static str = "ca";
    const TAKES_OVER_BY: &'static [&'static str] = &["adopt", "migrate_self_signed"];

    fn validate(&self, config: &Ca, diagnostics: &mut Diagnostics) {
        if let Err(errors) = Spec::parse(config) {
            diagnostics.append(errors);
        }
    }

    async fn plan(&self, cx: &mut Cx, plan: &mut Plan<'_, Ca>) -> Result<(), Diagnostics> {
        let Some(mut spec) = Spec::parse(&plan.planned)? else {
            plan::open_everything(&mut plan.planned);
            cx.client()?.walk.pending(Pending::Authority);
            return Ok(());
        };
        known_clusters(cx, &spec)?;
        declare(cx, &spec, plan.prior.is_none()).await?;
        only_block(cx, plan, &spec)?;
        let has_key = plan.config.root.known().is_some_and(|root| !root.private_key_wo.is_null());
        if let Some(prior) = plan.prior {
            cx.private.recollect(prior);
            spec.root.store().into_iter().for_each(|store| cx.private.turn_to(store, prior));
            let found = plan::as_found(&plan.planned, prior).filter(|_| cx.private.instance.imported);
            if let Some(found) = found {
                cx.warn(report::as_found(prior));
                plan.planned = found;
                return Ok(());
            }
        }
        spec.pause = cx.private.pause(&spec, !plan.config.rotation_pause.is_null());
        let inputs = plan::Inputs { spec: &spec, prior: plan.prior, memory: &cx.private, has_key };
        let words = plan::settle(&inputs, &mut plan.planned)?;
        words.into_iter().for_each(|word| cx.warn(word));
        let is_update = plan.is_update();
        if plan.prior.is_some() {
            cx.private.instance.plan_mark(&mut plan.planned.instance, is_update);
        }
        Ok(())
    }

    async fn plan_destroy(&self, cx: &mut Cx, prior: &Ca) -> Result<(), Diagnostics> {
        cx.private.recollect(prior);
        cx.warn(remove::consequences(prior, &cx.private));
        Ok(())
    }

    async fn apply(&self, cx: &mut Cx, change: Change<Ca>) -> Result<Ca, Failed<Ca>> {
        let purpose = match change.prior {
            Some(_) => Purpose::Update { in_new_namespace: new_namespace(&change.planned) },
            // A root that is found is not trusted, and a create that took up its Lease would have written for nothing.
            None => Purpose::Create { in_new_namespace: new_namespace(&change.planned), trusts_what_is_made: false },
        };
        let mark = change.prior.as_ref().and_then(|prior| prior.instance.known().cloned());
        let held = places(&cx.private, change.prior.iter().chain([&change.planned]));
        client::all_own(cx, held).await?;
        let mut change = change;
        let claim = match claim(cx, &change.planned, purpose, mark.as_deref()).await {
            Ok(claim) => claim,
            // What is to be done without a cluster that is gone is remembered, though nothing was written.
            Err(error) => {
                let skip_unreachable_on_destroy = change.planned.skip_unreachable_on_destroy;
                let partial = change.prior.map(|prior| Ca { skip_unreachable_on_destroy, ..prior });
                return Err(Failed { diagnostics: error, partial });
            }
        };
        change.planned.instance.fill(|| claim.as_ref().map(|claim| claim.owner.mark.clone()).unwrap_or_default());
        let outcome = apply::apply(cx, change, claim.as_ref()).await;
        if let Ok(state) = &outcome {
            let places = places(&cx.private, [state]);
            cx.private.instance.is_only_in(places.iter().map(String::as_str));
        }
        let Some(claim) = claim else { return outcome };
        let (told, outcome) = match outcome {
            Ok(state) => match leaves_home(&cx.private, &state) {
                Some(next) => return remove::leave_home(cx, claim, next, state).await,
                None => (claim.finish(&mut cx.private.instance).await, Ok(state)),
            },
            Err(failed) => (claim.refused(&mut cx.private.instance).await, Err(failed)),
        };
        told.into_iter().for_each(|warning| cx.warn(warning));
        outcome
    }

    async fn read(&self, cx: &mut Cx, state: Ca) -> Result<Option<Ca>, Diagnostics> {
        if client::without_clusters(cx)? {
            return Ok(Some(state));
        }
        let held = places(&cx.private, [&state]);
        client::all_own(cx, held).await?;
        read(cx, state, OffsetDateTime::now_utc()).await
    }

    async fn delete(&self, cx: &mut Cx, state: Ca) -> Result<(), Failed<Ca>> {
        let held = places(&cx.private, [&state]);
        client::all_own(cx, held).await?;
        remove::everything(cx, state).await
    }

    async fn import(&self, cx: &mut Cx, from: Import<Identity>) -> Result<Ca, Diagnostics> {
        import::import(cx, from).await
    }

    fn adopt(&self, source: Moved) -> Result<Option<Ca>, Diagnostics> {
        if is_of_tls(&source) {
            let instead = "Keep the root: set `root.certificate` and `root.private_key_wo` to it, set `adopt = true`, and apply. The intermediates in use stay.";
            return Err(refused_of_tls(&source, instead).into());
        }
        match MovedSecret::of(&source) {
            Some(secret) => Err(refused(
                &format!(
                    "The Secret {}/{} is of one cluster, and a `mesh_ca` is one root and the intermediates of all clusters.",
                    secret.namespace, secret.name
                ),
                "Import it by one `cacerts`: `import { to = mesh_ca.<name>, id = \"<cluster>/istio-system/cacerts\" }`.",
            )
            .into()),
            None => Ok(None),
        }
    }

    fn identity(&self, model: &Ca) -> Identity {
        let mut parts = model.id.text().splitn(3, '/').map(str::to_owned);
        let mut part = || match (&model.id, parts.next()) {
            (Value::Unknown, _) => Value::Unknown,
            (_, part) => part.into(),
        };
        Identity { cluster: part(), namespace: part(), name: part() }
    }
}

/// The clusters that hold something of the CA.
fn places<'a>(private: &Private, states: impl IntoIterator<Item = &'a Ca>) -> BTreeSet<String> {
    let stores = private.stores.iter().flatten().map(|store| store.cluster.clone());
    let mut places: BTreeSet<String> = stores.chain(private.home.iter().map(|home| home.cluster.clone())).collect();
    for state in states {
        places.extend(state.clusters.keys().map(str::to_owned));
        places.extend(spec::store_of(state).map(|store| store.cluster));
    }
    places
}

/// Where the Lease goes of a CA that has nothing more in the cluster that has it.
fn leaves_home(private: &Private, state: &Ca) -> Option<Home> {
    let home = private.home.as_ref()?;
    let former = private.former_stores(spec::store_of(state).as_ref());
    if former.iter().any(|store| store.cluster == home.cluster) {
        return None;
    }
    home::next(home, state)
}

/// Where a control plane lives, or may, gateways are to be injected; in a namespace of the root's own there are no
/// Pods.
fn new_namespace(model: &Ca) -> NewNamespace {
    let store = spec::store_of(model);
    let shared = |namespace: &str| {
        namespace == "istio-system"
            || model.clusters.entries().any(|(_, cluster)| cluster.namespace.text() == namespace)
    };
    match store {
        Some(store) if !shared(&store.namespace) => NewNamespace::MadeWithoutPods,
        _ => NewNamespace::Made,
    }
}

/// Whether the CA still has its Lease, where everything else of it is gone: it stays in state, and the next apply makes
/// its objects again.
async fn holds_lease(cx: &Cx, state: &Ca) -> Result<bool, Diagnostics> {
    let mark = state.instance.text();
    let Some(home) = home::of(cx, state, state.instance.as_deref()).await? else { return Ok(false) };
    let cluster = client::cluster(cx, &home.cluster)?;
    let held = kept::read::holds_lease(&cluster, Some(&home.namespace), &spec::owner_of(&home.label, mark)).await;
    Ok(held?)
}

/// The id by which a CA is imported.
fn id_of(model: &Ca, home: &Home) -> String {
    let beside = || format!("{}/{}/{}", home.cluster, home.namespace, secret::CACERTS);
    let made_as = || spec::store_of(model).map_or_else(beside, |it| it.to_string());
    model.id.known().cloned().unwrap_or_else(made_as)
}

/// Claims the CA at its home. `None` where it has none. One that leaves a cluster that is gone for good with its Lease
/// is claimed where it goes.
async fn claim(cx: &mut Cx, model: &Ca, purpose: Purpose, mark: Option<&str>) -> Result<Option<Claim>, Diagnostics> {
    let Some(mut home) = home::of(cx, model, mark).await? else { return Ok(None) };
    if let Some(next) = home::next(&home, model).filter(|_| remove::skips(model))
        && !client::answers(&client::cluster(cx, &home.cluster)?).await
    {
        home = next;
    }
    let Home { cluster: name, namespace, label } = &home;
    let cluster = client::cluster(cx, name)?;
    let id = id_of(model, &home);
    let place = Place { resource: "mesh_ca", id: &id, namespace, label };
    let adopt = model.adopt.get() == Some(true);
    let asked = Asked { cluster: &cluster, place, purpose, kinds: &[Kind::SECRET], mark, adopt };
    let mut claim = claim::claim(asked, &mut cx.private.instance).await?;
    claim.notice.take().into_iter().for_each(|warning| cx.warn(warning));
    cx.private.home = Some(home);
    Ok(Some(claim))
}

/// The store and the clusters must be of the provider's, as far as they are known when planning.
fn known_clusters(cx: &Cx, spec: &Spec) -> Result<(), Diagnostics> {
    let store =
        spec.root.store().map(|store| (store.cluster.as_str(), Path::root("root").attr("store").attr("cluster")));
    let clusters = spec.clusters.keys().map(|name| (name.as_str(), Path::root("clusters").key(name)));
    client::known_clusters(cx, store.into_iter().chain(clusters))
}

/// What other resources contradict. A CA that is to be made has no id yet: what is asked for tells it from others.
async fn declare(cx: &mut Cx, spec: &Spec, is_new: bool) -> Result<(), Diagnostics> {
    let store = spec.root.store().map(|store| SecretPlace {
        cluster: store.cluster.clone(),
        namespace: store.namespace.clone(),
        name: store.name.clone(),
    });
    let clusters = spec.clusters.iter().map(|(name, cluster)| (name.clone(), cluster.namespace.to_string()));
    let named = spec.clusters.keys().chain(store.as_ref().map(|store| &store.cluster));
    client::tell_apart(cx, named.map(String::as_str)).await;
    let is_readable = matches!(&spec.root, RootSpec::Generated(generated) if generated.is_readable);
    let declared = DeclaredCa { store, clusters: clusters.collect(), is_new, is_readable };
    let mut found = cx.client()?.walk.authority(&format!("{spec:?}"), declared);
    found.check()?;
    found.into_iter().for_each(|warning| cx.warn(warning));
    Ok(())
}

/// Refuses a second block that stands for this CA, such as a copy of it.
fn only_block(cx: &Cx, plan: &Plan<'_, Ca>, spec: &Spec) -> Result<(), Diagnostics> {
    let first = || {
        spec.clusters.iter().next().map(|(name, cluster)| format!("{name}/{}/{}", cluster.namespace, secret::CACERTS))
    };
    let (id, attribute) = match spec.root.store() {
        Some(store) => (Some(store.to_string()), "root"),
        None => (first(), "clusters"),
    };
    let Some(id) = id else { return Ok(()) };
    let seen = Seen::of(plan, |ca| &ca.instance);
    Ok(client::refuse_another(cx, Block { resource: "mesh_ca", id: &id, attribute, seen })?)
}

/// Looks at the store and at every cluster; notes the time, by which the next plan decides what is due.
async fn read(cx: &mut Cx, mut state: Ca, now: OffsetDateTime) -> Result<Option<Ca>, Diagnostics> {
    cx.private.recollect(&state);
    cx.private.strange.clear();
    let store = spec::store_of(&state);
    let Looks { kept, clusters } = look_everywhere(cx, &state, store.as_ref()).await;
    clock::check(cx, state.clusters.keys())?;
    let now = clock::corrected(cx, state.clusters.keys(), now);
    let mut there = false;
    // Where the root is no longer generated, the former stores are judged by themselves.
    let mut stored = store.as_ref().map(|_| cx.private.roots.clone()).unwrap_or_default();
    if let (Some(store), Some(kept)) = (&store, kept) {
        let answered = clusters.iter().filter_map(|(_, looked)| looked.as_ref().ok()?.as_ref().ok());
        match note_store(cx, store, kept?, &gather::roots_held(answered), &mut state) {
            Some(found) => (there, stored) = (true, found),
            None => stored.clear(),
        }
    }
    // What an earlier version wrote may be refused today, and is still read and removed.
    let spec = Spec::parse(&state).ok().flatten();
    let renew_before = spec.as_ref().map(|spec| spec.intermediate.renew_before).unwrap_or_default();
    let mut bundles = Vec::new();
    let mut holdings = BTreeMap::new();
    let mut complete = true;
    revoked::warnings(&clusters, now).into_iter().for_each(|warning| cx.warn(warning));
    let answered = clusters.iter().filter(|(name, _)| state.clusters.entry(name).is_some());
    let answered = answered.filter_map(|(_, looked)| looked.as_ref().ok()?.as_ref().ok());
    gather::note_lifetimes(cx, &state, answered).await;
    for (name, looked) in clusters {
        let Some(mut model) = state.clusters.entry(&name).cloned() else { continue };
        match looked? {
            Ok(live) => {
                report::request(&mut model, live.open.as_ref());
                note_strange(&mut cx.private, &name, &live);
                if !cx.private.instance.imported && model.fingerprint.is_known() {
                    report::recreated(&name, &live).into_iter().for_each(|warning| cx.warn(warning));
                }
                there |= live.secret.is_some() || live.open.is_some();
                match (&live.held, &live.secret) {
                    (Some(held), _) => {
                        report::certificates(&mut model, held);
                        let exchanged = live.is_exchanged(&name, &cx.private);
                        let is = if exchanged { state::INVALID } else { state::of(held, renew_before, now) };
                        model.state = if live.ours { is } else { state::FOREIGN }.into();
                        if live.ours && is == state::INVALID {
                            cx.warn(report::invalid(&name, &live, &report::unfit(held, exchanged, now)));
                        }
                        let accepted =
                            held.roots.iter().filter(|root| cx.private.is_accepted(&root.fingerprint().to_string()));
                        bundles.push(accepted.cloned().collect::<Bundle>());
                        holdings.extend(held.holding().map(|holding| (name.clone(), holding)));
                    }
                    (None, Some(_)) if !live.ours => {
                        report::nothing(&mut model, state::FOREIGN);
                        live.theirs.iter().for_each(|theirs| report::foreign(&mut model, theirs));
                    }
                    (None, Some(_)) => {
                        report::nothing(&mut model, state::INVALID);
                        live.theirs.iter().for_each(|theirs| report::foreign(&mut model, theirs));
                        let fault = live.fault.as_ref().map(ToString::to_string).unwrap_or_default();
                        cx.warn(report::invalid(&name, &live, &fault));
                    }
                    (None, None) if live.open.is_some() || awaits(&model) => {
                        report::nothing(&mut model, state::AWAITING_SIGNATURE);
                    }
                    (None, None) => {
                        missing(&name, &model).into_iter().for_each(|warning| cx.warn(warning));
                        report::nothing(&mut model, state::MISSING);
                    }
                }
            }
            Err(silent) => {
                cx.warn(silent);
                model.state = state::UNREACHABLE.into();
                (there, complete) = (true, false);
            }
        }
        if let Some(clusters) = state.clusters.known_mut() {
            clusters.insert(name, Value::Known(model));
        }
    }
    // With its Lease a destroy that was killed is still to be finished.
    if !there && !holds_lease(cx, &state).await? {
        return Ok(None);
    }
    cx.private.observed_at = Some(now.unix_timestamp());
    if complete {
        let roots = report::roots(&bundles);
        state.root_certificates = report::pem(&roots).into();
        let rotation = Rotation { to: state.root_fingerprint.text().to_owned() };
        let before = state.clone();
        if let Ok(phase) = rotation.phase(&holdings) {
            if let Some(spec) = &spec {
                let pause = cx.private.pause(spec, false);
                cx.private.notice_killed(&before, phase, plan::is_pause_over(&before, Some(now), pause));
            }
            // An apply that was cut off at its very end leaves the key of a root that nobody trusts: the next one
            // removes it.
            let over =
                phase == Phase::Settled && (leftover(&stored, &state, &roots) || former::is_over(cx, &state).await);
            report::phase(&mut state, if over { Phase::Narrowing } else { phase }, Some(&before), now);
        }
    }
    Ok(Some(state))
}

/// Another resource asks for the signature, and none has come yet.
fn awaits(model: &ClusterCa) -> bool {
    model.request.is_known() && model.fingerprint.is_null()
}

/// The certificates of a cluster, by name, where they were there before: nothing of its istiod differs until it
/// restarts.
fn missing(name: &str, model: &ClusterCa) -> Option<Diagnostic> {
    let fingerprint = model.fingerprint.known()?;
    let namespace = model.namespace.text();
    let short = fingerprint.get(..16).unwrap_or(fingerprint);
    let lists: Vec<&str> = model.revocation_lists.items().map(String::as_str).collect();
    let lists = match lists.is_empty() {
        true => String::new(),
        false => format!(
            " With it went `ca-crl.pem`, the revocation lists that others had put there: {}. Put them there again after the apply, with a list of the new intermediate.",
            lists.join("; ")
        ),
    };
    Some(Diagnostic::warning(format!("The certificates of {name} are gone")).at(Path::root("clusters").key(name)).detail(format!(
        "Secret {namespace}/cacerts in cluster {name}, which held the intermediate {short}…, is missing. Its istiod keeps what it has read. After a restart it would sign with a root that it makes for \
         itself, and the other clusters would refuse its workloads. The plan shows the new intermediate that an apply makes. Find out who deleted the Secret.{lists}"
    )))
}

/// Notes roots that no apply has put there, for the plan to tell whose they are.
fn note_strange(private: &mut Private, name: &str, live: &gather::Live) {
    let roots = live.held.iter().chain(&live.theirs).flat_map(|held| held.roots.iter());
    let roots = roots.map(|root| (root.fingerprint().to_string(), root.subject().to_owned()));
    let roots: BTreeMap<String, String> = roots.filter(|(root, _)| !private.is_accepted(root)).collect();
    if !roots.is_empty() {
        private.strange.insert(name.to_owned(), memory::Strange { roots, managers: live.managers() });
    }
}

/// Whether the store keeps the key of a root that no cluster trusts, beside the one that is wanted.
fn leftover(stored: &BTreeMap<i64, String>, state: &Ca, trusted: &BTreeMap<String, Certificate>) -> bool {
    let generation = state.root.known().and_then(|root| root.generation.get());
    generation.is_some_and(|wanted| stored.contains_key(&wanted))
        && stored.iter().any(|(number, root)| Some(*number) != generation && !trusted.contains_key(root))
}

/// What was asked of a cluster, or the warning that it gave no answer or that the provider no longer knows it.
type Answer<T> = Result<Result<T, Diagnostic>, Diagnostic>;

/// What the store and the clusters answered.
struct Looks {
    /// The store's Secret.
    kept: Option<Answer<Option<Object>>>,
    clusters: Vec<(String, Answer<gather::Live>)>,
}

/// Looks at the store and at all clusters at once: it is the first look of a plan, which has to connect to each of
/// them.
async fn look_everywhere(cx: &Cx, state: &Ca, store: Option<&spec::StoreRef>) -> Looks {
    let kept = OptionFuture::from(store.map(|store| look_into(cx, store)));
    let clusters = state.clusters.entries().map(|(name, model)| async move {
        let owner = spec::owner(store, model.namespace.text(), state.instance.text());
        (name.to_owned(), look(cx, name, model.namespace.text(), owner).await)
    });
    let (kept, clusters) = join(kept, join_all(clusters)).await;
    Looks { kept, clusters }
}

async fn look(cx: &Cx, name: &str, namespace: &str, owner: Owner) -> Answer<gather::Live> {
    match client::cluster(cx, name) {
        Ok(cluster) => answered(gather::look(cluster, namespace, owner).await),
        Err(unknown) => Ok(Err(Diagnostic { severity: Severity::Warning, ..unknown })),
    }
}

async fn look_into(cx: &Cx, store: &spec::StoreRef) -> Answer<Option<Object>> {
    let cluster = client::cluster(cx, &store.cluster)?;
    answered(cluster.get(&secret::RootStore::reference(store)).await)
}

fn answered<T>(answer: Result<T, Error>) -> Answer<T> {
    match answer {
        Ok(found) => Ok(Ok(found)),
        Err(error) if error.may_be_missed() => Ok(Err(converge::stale(&error))),
        Err(error) => Err(error.into()),
    }
}

/// What is in the store; `None` where it is not there. A root that is gone from it is told; the clusters, which hold
/// these roots, go on without it.
fn note_store(
    cx: &mut Cx,
    store: &spec::StoreRef,
    kept: Result<Option<Object>, Diagnostic>,
    held: &BTreeSet<String>,
    state: &mut Ca,
) -> Option<BTreeMap<i64, String>> {
    let as_before = |cx: &Cx| Some(cx.private.roots.clone());
    let found = match kept {
        Ok(found) => found,
        Err(silent) => {
            cx.warn(silent);
            return as_before(cx);
        }
    };
    let generation = state.root.known().and_then(|root| root.generation.get()).unwrap_or_default();
    let roots = match found.as_ref().map(secret::RootStore::read) {
        Some(Ok(roots)) => roots,
        Some(Err(key)) => {
            cx.private.damage = Some(format!("the key {key} is missing or damaged"));
            return as_before(cx);
        }
        None => secret::RootStore::default(),
    };
    let own = found.as_ref().map(gather::own_keys).unwrap_or_default();
    cx.private.damage = cx.private.judge(&roots, &own).err();
    if cx.private.damage.is_some() {
        return as_before(cx);
    }
    let all = roots.fingerprints();
    let roots = cx.private.believed(roots, held);
    cx.private.note_store(&roots);
    if let Some(found) = found.as_ref().filter(|_| !cx.private.instance.imported) {
        let owner = spec::owner(Some(store), &store.namespace, state.instance.text());
        report::store_recreated(store, found, &owner).into_iter().for_each(|warning| cx.warn(warning));
    }
    match roots.0.get(&generation) {
        Some(root) => report::root(state, &root.certificate),
        None => cx.warn(memory::lost(store, generation)),
    }
    found.map(|_| all)
}
