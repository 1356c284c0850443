//! The apply: the root, what each cluster holds, the decision, the writes, the proof, the state. In this order.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use time::OffsetDateTime;

use super::accept::{self, Written};
use super::decide::{Action, Ask, Decision, Seen, decide};
use super::gather::{self, Live};
use super::issue::{BACKDATED, serial, too_long};
use super::model::Ca;
use super::roots::{Held, Open, Roots};
use super::secret::{CACERTS, CaCerts, at_version, request_in, with_mark};
use super::spec::{RootSpec, Spec, mesh_names};
use super::{Cx, chain, clock, former, plan, refuse, remove, report, revoked, state};
use crate::cluster::{Adoption, Apply, Delete, INSTANCE_ANNOTATION, Object, Owner};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::{Change, Failed};
use crate::kept::claim::Claim;
use crate::kept::namespace;
use crate::mesh::Step;
use crate::pki::{
    Bundle, Certificate, CheckIntermediate, IntermediateProfile, LocalSigner, PrivateKey, Probe, Problem,
    SignIntermediate, Signer, Validity, check_intermediate, check_use, probe,
};
use crate::resources::parsing;
use crate::resources::signing::{self, OpenRequest, Requester, copied, generate, unmade};
use crate::value::Path;

pub async fn apply(cx: &mut Cx, change: Change<Ca>, claim: Option<&Claim>) -> Result<Ca, Failed<Ca>> {
    let Change { config, prior, planned: mut state, reached } = change;
    let mut spec = spec_with_key(&state, &config)?;
    spec.pause = cx.private.pause(&spec, !config.rotation_pause.is_null());
    let mark = state.instance.text().to_owned();
    if let Some(prior) = &prior {
        cx.private.recollect(prior);
    }
    let (live, mut failed) = gather::look_at_all(cx, &spec, &mark).await;
    let now = clock::corrected(cx, spec.clusters.keys(), OffsetDateTime::now_utc());
    if prior.is_none() && (spec.adopt || spec.migrate_self_signed) && !failed.is_empty() {
        return Err(refuse::half_seen(failed).into());
    }
    let held = Held { roots: gather::roots_held(live.values()), complete: failed.is_empty() };
    let mut roots = Roots::open(cx, Open { spec: &spec, prior: prior.as_ref(), mark: &mark, held: &held, now }).await?;
    if prior.is_none() {
        derive_id(&mut state, &spec);
    }
    report::root(&mut state, roots.to());
    clock::check(cx, spec.clusters.keys())?;
    refuse::foreign(&cx.private, &spec, &live)?;
    let admitted = refuse::strangers(&cx.private, &spec, prior.as_ref(), &live)?;
    admitted.told.into_iter().for_each(|warning| cx.warn(warning));

    let ask = ask(cx, &spec, &roots, prior.as_ref());
    let mut seen = seen(cx, &spec, prior.as_ref(), (&live, &failed), now);
    plan::hold_to(&state, &mut seen);
    let decision = decide(&ask, &seen).map_err(|error| plan::tangled(&error))?;
    if failed.is_empty() {
        refuse::surprise(&state, &decision, &live)?;
    }
    chain::refuse_unused(&spec, &decision, &live).check()?;
    revoked::refuse(&spec, &decision, &live)?;
    accept::check_multi_root(&decision, &live).await?;
    // From here on things are written: whatever fails, state knows of them.
    claim.into_iter().for_each(Claim::begin);
    cx.private.begin(&decision);
    match roots.save(cx, &spec).await {
        Ok(()) => {}
        Err(unsaved) if unsaved.may_be_there && prior.is_none() => {
            reached.set(state.clone());
            return Err(unsaved.in_doubt().into());
        }
        Err(unsaved) => return Err(unsaved.diagnostic.into()),
    }
    reached.set(state.clone());
    let made = write_all(&spec, &roots, &decision, &live, now).await;
    failed.extend(mark_older(&decision, &live).await);

    let mut written = BTreeMap::new();
    for (name, outcome) in made {
        match outcome {
            Ok(done) => drop(written.insert(name, done)),
            Err(diagnostic) => drop(failed.insert(name, diagnostic)),
        }
    }
    let is_clock_open = state.phase_since.is_unknown();
    tell(&mut state, prior.as_ref(), &spec, &live, &written, now);
    // The pause begins anew, also where the phase stays.
    if is_clock_open && decision.brings_own_roots(&seen) {
        state.phase_since = report::instant(now);
    }
    note(cx, &state, &admitted.roots, &written);
    gather::note_lifetimes(cx, &state, live.values()).await;
    reached.set(state.clone());
    if let Err(diagnostics) = accept::prove(cx, &live, &written).await {
        failed.extend(diagnostics);
    }
    let left = remove::no_longer_wanted(cx, &spec, prior.as_ref(), &mut state).await;
    let kept = roots.retire(cx, &spec, &state).await;
    former::retire(cx, &state).await;
    let mut errors: Diagnostics = failed.into_iter().map(|(name, error)| at_cluster(&name, error)).collect();
    errors.append(left);
    errors.extend(kept.err());
    if !errors.has_errors() && claim.is_some_and(|claim| claim.interrupted) {
        errors.append(remove::strays(cx, &state).await);
    }
    if errors.has_errors() { Err(Failed::from(errors).keeping(state)) } else { Ok(state) }
}

/// Notes what was decided, and which clusters were written.
fn note(cx: &mut Cx, state: &Ca, allowed: &BTreeSet<String>, written: &BTreeMap<String, Written>) {
    let cacerts = written.iter().filter_map(|(name, written)| match written {
        Written::CaCerts { held, .. } => Some((name.clone(), held.chain.first()?.fingerprint().to_string())),
        Written::Request(_) => None,
    });
    cx.private.settle(state, allowed, cacerts);
}

/// A cluster's diagnostic, at the cluster.
fn at_cluster(name: &str, diagnostic: Diagnostic) -> Diagnostic {
    match &diagnostic.path {
        Some(path) if matches!(path.root_attribute(), Some("clusters" | "root")) => diagnostic,
        _ => diagnostic.at(Path::root("clusters").key(name)),
    }
}

/// The spec; the key is in the configuration only.
fn spec_with_key(planned: &Ca, config: &Ca) -> Result<Spec, Diagnostics> {
    let mut model = planned.clone();
    if let (Some(root), Some(configured)) = (model.root.known_mut(), config.root.known()) {
        root.private_key_wo = configured.private_key_wo.clone();
    }
    parsing::complete(Spec::parse(&model)?)
}

fn derive_id(state: &mut Ca, spec: &Spec) {
    let first = || {
        let (name, cluster) = spec.clusters.first_key_value()?;
        Some(format!("{name}/{}/{CACERTS}", cluster.namespace))
    };
    state.id.fill(|| spec.root.store().map(ToString::to_string).or_else(first).unwrap_or_default());
}

fn ask(cx: &Cx, spec: &Spec, roots: &Roots, prior: Option<&Ca>) -> Ask {
    let to = roots.to().fingerprint().to_string();
    let external = matches!(&spec.root, RootSpec::Brought { key: None, .. });
    let inputs = plan::Inputs { spec, prior, memory: &cx.private, has_key: !external };
    let pause_over = prior.is_none_or(|prior| plan::ask(&inputs, prior).pause_over);
    Ask {
        to,
        clusters: plan::wishes(spec, &cx.private),
        signers: roots.signers(),
        external,
        pause_over,
        begun: cx.private.begun,
    }
}

fn seen(
    cx: &Cx,
    spec: &Spec,
    prior: Option<&Ca>,
    (live, failed): (&BTreeMap<String, Live>, &BTreeMap<String, Diagnostic>),
    now: OffsetDateTime,
) -> BTreeMap<String, Seen> {
    let mut seen: BTreeMap<String, Seen> =
        live.iter().map(|(name, live)| (name.clone(), live.seen(name, &cx.private, spec, prior, now))).collect();
    for name in failed.keys() {
        let remembered = prior.and_then(|prior| {
            let renew_before = spec.intermediate.renew_before;
            let judge = report::Judge { root: prior, renew_before, now: None, adopt: cx.private.adopts(spec, name) };
            Some(report::seen(prior.clusters.entry(name)?, judge))
        });
        let remembered = remembered.unwrap_or_default();
        seen.insert(name.clone(), Seen { unreachable: true, ..remembered });
    }
    seen
}

async fn write_all(
    spec: &Spec,
    roots: &Roots,
    decision: &Decision,
    live: &BTreeMap<String, Live>,
    now: OffsetDateTime,
) -> Vec<(String, Result<Written, Diagnostic>)> {
    let bundles = live.values().filter_map(|live| live.held.as_ref().map(|held| &held.roots));
    let mut known = report::roots(bundles);
    known.extend(
        live.values()
            .flat_map(|live| live.self_signed.iter())
            .chain([roots.to()])
            .map(|root| (root.fingerprint().to_string(), root.clone())),
    );
    let writes = decision.actions.iter().filter_map(|(name, action)| {
        let (live, known) = (live.get(name)?, &known);
        Some(async move {
            let job = Job { spec, roots, live, known, name, step: decision.step, now };
            (name.clone(), job.run(action).await)
        })
    });
    join_all(writes).await
}

/// Marks the `cacerts` of before marks that are not written anyway. Nothing else of them changes.
async fn mark_older(decision: &Decision, live: &BTreeMap<String, Live>) -> Vec<(String, Diagnostic)> {
    let marks = live.iter().filter(|(name, _)| !decision.actions.contains_key(*name)).filter_map(|(name, live)| {
        let secret = live.secret.as_ref().filter(|_| live.ours)?;
        let owner = live.owner.clone();
        if owner.mark.is_empty() || secret.annotation(INSTANCE_ANNOTATION).is_some() {
            return None;
        }
        let object = with_mark(secret, &gather::own_keys(secret), &owner);
        let object = at_version(object, secret.resource_version().unwrap_or_default());
        let apply = live.cluster.apply(Apply::new(object, owner));
        Some(async move { (name, apply.await.map_err(Diagnostic::from)) })
    });
    let marked = join_all(marks).await.into_iter();
    marked.filter_map(|(name, outcome)| Some((name.clone(), outcome.err()?))).collect()
}

/// One cluster's share of the work.
struct Job<'a> {
    spec: &'a Spec,
    roots: &'a Roots,
    live: &'a Live,
    known: &'a BTreeMap<String, Certificate>,
    name: &'a str,
    step: Option<Step>,
    now: OffsetDateTime,
}

impl Job<'_> {
    async fn run(&self, action: &Action) -> Result<Written, Diagnostic> {
        let owner = &self.live.owner;
        namespace::ensure(&self.live.cluster, &self.live.namespace, &owner.label).await?;
        match action {
            Action::Request => self.request(owner).await,
            Action::Write { issue, trusted } => self.cacerts(issue.as_deref(), trusted, owner).await,
        }
    }

    async fn cacerts(
        &self,
        issue: Option<&str>,
        trusted: &BTreeSet<String>,
        owner: &Owner,
    ) -> Result<Written, Diagnostic> {
        let (chain, key) = match issue {
            None => self.present()?,
            Some(root) => match self.roots.signer(root) {
                Some((certificate, key)) => self.issue(certificate, key).await?,
                None => self.answered()?,
            },
        };
        // An issuer that is to stay trusted first, then the others: agents read from the front.
        let issuer = issue
            .or(self
                .live
                .held
                .as_ref()
                .and_then(CaCerts::issuer)
                .map(Certificate::fingerprint)
                .map(|f| f.to_string())
                .as_deref())
            .map(str::to_owned);
        let mut order: Vec<&String> = trusted.iter().collect();
        order.sort_by_key(|root| Some(root.as_str()) != issuer.as_deref());
        let bundle: Bundle = order.into_iter().filter_map(|root| self.known.get(root).cloned()).collect();
        let twice = (self.step == Some(Step::Switch)).then(|| self.roots.to().clone());
        let was = self.live.held.as_ref();
        let held = CaCerts {
            chain,
            key,
            roots: bundle,
            lists: was.map(|held| held.lists.clone()).unwrap_or_default(),
            has_unreadable_lists: was.is_some_and(|held| held.has_unreadable_lists),
            twice,
        };
        self.check(&held)?;
        if issue.is_some() {
            self.check_use(&held)?;
        }
        let object = held.object(&self.live.namespace, owner);
        self.write(object, owner).await?;
        if issue.is_some() && self.live.open.is_some() {
            let request = Delete::new(request_in(&self.live.namespace));
            self.live.cluster.delete(&request).await?;
        }
        Ok(Written::CaCerts { held: Box::new(held), reissued: issue.is_some() })
    }

    /// Writes over what it was decided on and nothing else.
    async fn write(&self, object: Object, owner: &Owner) -> Result<(), Diagnostic> {
        // What is ours already is ours whole: whoever changed its keys is overruled, as the plan has shown.
        let adoption = if self.live.ours { Adoption::Assume } else { Adoption::Take };
        let written = match self.live.secret.as_ref().and_then(Object::resource_version) {
            Some(version) => {
                let object = at_version(object, version);
                self.live
                    .cluster
                    .apply(Apply { adoption, force: true, ..Apply::new(object, owner.clone()) })
                    .await
                    .map(Some)
            }
            None => self.live.cluster.apply_new(&object).await,
        };
        match written {
            Ok(Some(_)) => Ok(()),
            Err(error) if !error.is_contention() => Err(error.into()),
            Ok(None) | Err(_) => Err(Diagnostic::error("The Secret cacerts has changed meanwhile").detail(format!(
                "Somebody else, perhaps another run, has written {}/{CACERTS} in cluster {} since it was read. It was not written. Plan again.",
                self.live.namespace, self.name
            ))),
        }
    }

    /// The intermediate that is there stays.
    fn present(&self) -> Result<(Vec<Certificate>, PrivateKey), Diagnostic> {
        let held = self.live.held.as_ref().ok_or_else(|| Diagnostic::bug("There is no intermediate to keep."))?;
        Ok((held.chain.clone(), copied(&held.key)?))
    }

    async fn issue(
        &self,
        root: &Certificate,
        signing: &PrivateKey,
    ) -> Result<(Vec<Certificate>, PrivateKey), Diagnostic> {
        if self.now > root.not_after() {
            return Err(Diagnostic::error("The root has expired")
                .detail(format!(
                    "The root was valid until {}: nobody takes a certificate that it signs. Raise `root.generation`: the clusters then get intermediates of a new root.",
                    root.not_after().date()
                ))
                .at(Path::root("root").attr("generation")));
        }
        let not_after = self.now.checked_add(self.spec.intermediate.validity);
        let not_after = not_after.ok_or_else(|| too_long(Path::root("intermediate").attr("validity")))?;
        let key = generate(self.spec.intermediate.algorithm).await?;
        let profile = self.profile();
        let ask = SignIntermediate {
            request: &profile.request(&key).map_err(|error| unmade(&error))?,
            profile: &profile,
            validity: Validity { not_before: self.now - BACKDATED, not_after },
            serial: serial()?,
        };
        let chain = LocalSigner { certificate: root, key: signing }.sign(&ask).map_err(|error| unmade(&error))?;
        Ok((chain, key))
    }

    /// A chain signed outside, with the key that asked for it.
    fn answered(&self) -> Result<(Vec<Certificate>, PrivateKey), Diagnostic> {
        let path = Path::root("clusters").key(self.name).attr("certificate_chain");
        let chain = self.spec.clusters.get(self.name).and_then(|cluster| cluster.chain.clone());
        let chain = chain.ok_or_else(|| Diagnostic::bug("There is no chain signed outside."))?;
        let leaf = chain.first().map(Certificate::public_key_info).unwrap_or_default();
        let present = self.live.held.as_ref().map(|held| &held.key);
        let waiting = self.live.requested.iter().chain(&self.live.open).map(|open| &open.key);
        let key = waiting.chain(present).find(|key| key.public_key_info() == leaf);
        let key = key.ok_or_else(|| {
            let request = self.spec.clusters.get(self.name).and_then(|cluster| cluster.request.as_deref());
            let remedy = match request {
                None if self.live.open.is_some() => "Sign the present `certificate_request`.".to_owned(),
                None => "No request is open. Remove the chain; raise `generation` of the cluster to ask for a signature.".to_owned(),
                Some(request) => format!(
                    "Neither is it that of the Secret {}/{request}, which `request` names. Sign the `certificate_request` of that mesh_ca_request.",
                    self.live.namespace
                ),
            };
            Diagnostic::error("The chain answers another request")
                .detail(format!("The first certificate of the chain is for a key that this cluster does not have. {remedy}"))
                .at(path)
        })?;
        Ok((chain, copied(key)?))
    }

    /// A request for a signature from outside; one that is open stays.
    async fn request(&self, owner: &Owner) -> Result<Written, Diagnostic> {
        let open = match &self.live.open {
            Some(open) => open.copied()?,
            None => OpenRequest::make(&self.profile(), self.spec.intermediate.algorithm).await?,
        };
        let object = owner.put_on(open.object(&request_in(&self.live.namespace)));
        let apply = Apply::new(object, owner.clone());
        self.live.cluster.apply(apply).await?;
        Ok(Written::Request(Box::new(open)))
    }

    fn profile(&self) -> IntermediateProfile {
        let organization = self.spec.root.organization();
        let organization = organization.as_deref();
        signing::profile(Requester { organization, cluster: self.name, namespace: &self.live.namespace })
    }

    /// Nothing is written that istiod would refuse.
    fn check(&self, held: &CaCerts) -> Result<(), Diagnostic> {
        let key = held.key.public_key_info();
        let check =
            CheckIntermediate { chain: &held.chain, roots: &held.roots, public_key_info: Some(&key), now: self.now };
        self.refuse(&check_intermediate(check))
    }

    /// Nothing new is written that signs what nobody takes.
    fn check_use(&self, held: &CaCerts) -> Result<(), Diagnostic> {
        let CaCerts { chain, key, roots, .. } = held;
        let names = &mesh_names(&self.live.namespace, &self.spec.trust_domain);
        let mut problems = check_use(chain, roots, names);
        if problems.is_empty() {
            problems.extend(probe(Probe { chain, key, roots, names, now: self.now }).map_err(|error| unmade(&error))?);
        }
        self.refuse(&problems)
    }

    fn refuse(&self, problems: &[Problem]) -> Result<(), Diagnostic> {
        if problems.is_empty() {
            return Ok(());
        }
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let path = Path::root("clusters").key(self.name);
        let brought = self.spec.clusters.get(self.name).is_some_and(|cluster| cluster.chain.is_some());
        Err(Diagnostic::error("The intermediate is unfit")
            .detail(format!("{}. The Secret was not written.", problems.join(". ")))
            .at(if brought { path.attr("certificate_chain") } else { path }))
    }
}

/// Settles the state: for clusters that were written by what was written, for the others by what they hold.
fn tell(
    state: &mut Ca,
    prior: Option<&Ca>,
    spec: &Spec,
    live: &BTreeMap<String, Live>,
    written: &BTreeMap<String, Written>,
    now: OffsetDateTime,
) {
    let mut bundles: Vec<&Bundle> = Vec::new();
    let mut holdings = BTreeMap::new();
    let mut silent = false;
    let Some(clusters) = state.clusters.known_mut() else { return };
    for (name, model) in clusters.iter_mut() {
        let (Some(model), Some(live)) = (model.known_mut(), live.get(name)) else {
            // It gave no answer: state goes on with what it remembers, and the phase counts it.
            if let (Some(model), Some(was)) = (model.known_mut(), prior.and_then(|prior| prior.clusters.entry(name))) {
                *model = was.clone();
                silent = true;
                holdings.extend(report::holding(was).map(|holding| (name.clone(), holding)));
            }
            continue;
        };
        let (held, open) = match written.get(name) {
            Some(Written::CaCerts { held, reissued: true }) => (Some(&**held), None),
            Some(Written::CaCerts { held, reissued: false }) => (Some(&**held), live.open.as_ref()),
            Some(Written::Request(open)) => (live.held.as_ref(), Some(&**open)),
            None => (live.held.as_ref(), live.open.as_ref()),
        };
        report::request(model, open);
        let (promised, lists) = (model.state.clone(), model.revocation_lists.clone());
        match held {
            Some(held) => {
                report::certificates(model, held);
                model.state = state::of(held, spec.intermediate.renew_before, now).into();
                bundles.push(&held.roots);
                holdings.extend(held.holding().map(|holding| (name.clone(), holding)));
            }
            None if open.is_some() || model.request.is_known() => {
                report::nothing(model, state::AWAITING_SIGNATURE);
            }
            None => report::nothing(model, state::MISSING),
        }
        report::keep_state(model, promised);
        // What others have changed since the plan, the next refresh tells.
        if !lists.is_unknown() {
            model.revocation_lists = lists;
        }
    }
    let remembered = prior.filter(|_| silent).and_then(|prior| Bundle::from_pem(prior.root_certificates.text()).ok());
    bundles.extend(&remembered);
    state.root_certificates = report::pem(&report::roots(bundles)).into();
    let rotation = crate::mesh::Rotation { to: state.root_fingerprint.text().to_owned() };
    if let Ok(phase) = rotation.phase(&holdings) {
        report::phase(state, phase, prior, now);
    }
}
