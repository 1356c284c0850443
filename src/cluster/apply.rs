//! Server-side apply: of one object, and of many in the order their kinds ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use http::{Method, StatusCode};
use serde_json::Value;
use thiserror::Error as ThisError;
use tokio::time::{Instant, sleep};

use super::call::{Call, Ended};
use super::kind::split_api_version;
use super::read::{METADATA_ALONE, typed};
use super::session::PARALLEL;
use super::{
    Applied, Cluster, Conflict, Error, FIELD_MANAGER, Failure, Foreign, INSTANCE_ANNOTATION, Kind, Object, ObjectRef,
    Owner, Timeout, wait,
};

/// Time for CRDs to be served when the scope sets no deadline, and for one that another apply has just written.
const SERVED_TIME: Duration = Duration::from_secs(60);
/// CRDs under way at once per cluster: an API server works hard on each.
const DEFINITIONS_AT_ONCE: usize = 6;
/// Further attempts when others write the same object at the same time, each after twice the pause of the one before.
pub(super) const CONTENTION_ATTEMPTS: u32 = 6;
const CONTENTION_PAUSE: Duration = Duration::from_millis(20);

/// What to do where an object exists that is not the [`Owner`]'s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Adoption {
    /// Refuse with [`Failure::Foreign`](super::Failure::Foreign).
    #[default]
    Refuse,
    /// Take it over: apply with force, and take the fields from whoever installed it (helm, kubectl, istioctl, other
    /// Terraform providers) so that later changes do not conflict. Controllers keep what they manage.
    Take,
    /// Do not look. For objects known to be ours, and for those that several may share, such as a namespace.
    Assume,
}

/// The resource version of no object: etcd's first revision, which is there before anything is written. An apply that
/// carries it makes an object, and is refused with 409 where there is one already.
const NEVER_A_VERSION: &str = "1";

/// One object to apply.
#[derive(Clone, Debug)]
pub struct Apply {
    pub object: Object,
    pub owner: Owner,
    /// State names the object: see [`ApplyAll::known`].
    pub known: bool,
    pub adoption: Adoption,
    /// Take conflicting fields from their managers.
    pub force: bool,
}

/// Many objects to apply, in the order of their kinds, several at a time within one level.
///
/// CRDs are served before the objects of later levels are sent.
#[derive(Clone, Debug, Default)]
pub struct ApplyAll {
    pub objects: Vec<Object>,
    pub owner: Owner,
    /// Objects that state names. It is looked whose they are before they are written; others are made, and looked at
    /// only where there is one already.
    pub known: BTreeSet<ObjectRef>,
    /// Objects that may be written whosever they are, such as what another resource of this provider has left.
    pub taken: BTreeSet<ObjectRef>,
    pub adoption: Adoption,
    pub force: bool,
}

/// Some objects were applied, then something failed.
#[derive(Debug, ThisError)]
#[error("{} of {wanted} objects were applied, then {} failed", .applied.len(), .errors.len())]
pub struct ApplyAllError {
    /// In the order applied: the partial state reached.
    pub applied: Vec<Applied>,
    pub wanted: usize,
    /// At least one; what failed in the same level.
    pub errors: Vec<Error>,
}

impl Apply {
    /// An object of this owner; what is somebody else's is refused.
    pub fn new(object: Object, owner: Owner) -> Apply {
        Apply { object, owner, known: false, adoption: Adoption::Refuse, force: false }
    }

    /// An object that several may share, such as a namespace: nobody looks whose it is.
    pub fn shared(object: Object) -> Apply {
        Apply { object, owner: Owner::default(), known: false, adoption: Adoption::Assume, force: false }
    }
}

impl Cluster {
    /// Applies one object: creates it, or brings the fields given to the values given. Repeated as is when the
    /// connection breaks.
    pub async fn apply(&self, apply: Apply) -> Result<Applied, Error> {
        let reference = self.reference(&apply.object).await?;
        let standing = match (apply.adoption, apply.known) {
            (Adoption::Assume, _) => Standing::Taken,
            (_, true) => Standing::Known,
            (_, false) => Standing::New,
        };
        let step = Step { reference, object: apply.object, standing };
        let manner = Manner { owner: &apply.owner, adoption: apply.adoption, force: apply.force };
        self.apply_step(&step, manner).await
    }

    /// Applies all, level by level. On failure, of which something foreign in the way is one, the level is finished and
    /// what was applied is told.
    pub async fn apply_all(&self, all: ApplyAll) -> Result<Vec<Applied>, ApplyAllError> {
        let wanted = all.objects.len();
        let failed = |applied, errors| ApplyAllError { applied, wanted, errors };
        // What CRDs define is read in their bodies, which is for nothing where no object can be of it.
        let custom = |object: &Object| {
            Kind::known(object.api_version(), object.kind()).is_none_or(|kind| kind.order == Kind::ISTIO_GATEWAY.order)
        };
        let defined: Vec<Kind> = match all.objects.iter().any(custom) {
            true => all.objects.iter().filter_map(first_defined).collect(),
            false => Vec::new(),
        };
        let manner = Manner { owner: &all.owner, adoption: all.adoption, force: all.force };
        let standing = |reference: &ObjectRef| match reference {
            _ if all.adoption == Adoption::Assume || all.taken.contains(reference) => Standing::Taken,
            _ if all.known.contains(reference) => Standing::Known,
            _ => Standing::New,
        };
        let steps = self.steps(all.objects, &standing, &defined).await;
        let steps = steps.map_err(|error| failed(Vec::new(), vec![error]))?;
        let uses_defined = steps.iter().any(|step| defined.iter().any(|kind| kind.is_version_of(&step.reference.kind)));
        let mut applied = Vec::with_capacity(wanted);
        let mut steps = steps.into_iter().peekable();
        while let Some(first) = steps.next() {
            let order = first.reference.kind.order;
            let mut level = vec![first];
            while let Some(step) = steps.next_if(|step| step.reference.kind.order == order) {
                level.push(step);
            }
            let defines = level.iter().any(|step| step.reference.kind == Kind::CUSTOM_RESOURCE_DEFINITION);
            // CRDs are large, and several clusters are at work at once: each is written out when its turn comes, and
            // dropped when it is applied.
            let at_once = if defines { DEFINITIONS_AT_ONCE } else { PARALLEL };
            let sent = level.into_iter().map(|step| async move { self.apply_step(&step, manner).await });
            let mut sent = futures::stream::iter(sent).buffered(at_once);
            let mut errors = Vec::new();
            while let Some(outcome) = sent.next().await {
                match outcome {
                    Ok(done) => applied.push(done),
                    Err(error) => errors.push(error),
                }
            }
            if !errors.is_empty() {
                if errors.iter().any(|error| error.conflict().is_some()) {
                    errors.extend(self.conflicts(steps.collect(), manner).await);
                }
                return Err(failed(applied, errors));
            }
            if defines
                && uses_defined
                && let Err(error) = self.wait_kinds_served(&defined).await
            {
                return Err(failed(applied, vec![error]));
            }
        }
        Ok(applied)
    }

    /// The conflicts that an apply of these would meet, so that the user hears of all at once and not of one level at
    /// each attempt. Nothing is stored.
    async fn conflicts(&self, steps: Vec<Step>, manner: Manner<'_>) -> Vec<Error> {
        let asked = steps.into_iter().map(|step| async move {
            if step.standing != Standing::Taken {
                let live = self.get_metadata(&step.reference).await.ok()??;
                manner.owner.may_write(&live, step.standing == Standing::Known).ok()?;
            }
            self.patch(&step.reference, &step.object, "&dryRun=All&force=false").await.err()
        });
        join_all(asked).await.into_iter().flatten().filter(|error| error.conflict().is_some()).collect()
    }

    /// Creates with `dryRun=All`: what admission webhooks make of the object (an injected pod, say). Nothing is stored.
    pub async fn create_dry_run(&self, object: &Object) -> Result<Object, Error> {
        let reference = self.reference(object).await?;
        let path =
            format!("{}?dryRun=All&fieldManager={FIELD_MANAGER}", reference.kind.path(reference.namespace.as_deref()));
        let call = Call { repeatable: true, ..Call::post(path, object.value()) };
        let value = self.json(call).await.map_err(|error| self.kind_served(error, &reference.kind))?;
        Ok(typed(value, &reference.kind))
    }

    /// Waits until the kinds are served, one version of each.
    ///
    /// Asks the group-versions, whose answers are small, rather than the CRDs, whose bodies are large.
    async fn wait_kinds_served(&self, kinds: &[Kind]) -> Result<(), Error> {
        let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for kind in kinds {
            wanted.entry(kind.api_version()).or_default().insert(kind.plural.to_string());
        }
        let started = Instant::now();
        let ends = self.scope.deadline.unwrap_or(started + SERVED_TIME);
        let mut pause = Duration::from_millis(50);
        for (api_version, plurals) in wanted {
            loop {
                let served = self.discover(&api_version).await?;
                let missing: Vec<&str> = plurals
                    .iter()
                    .map(String::as_str)
                    .filter(|plural| served.iter().all(|kind| kind.plural != *plural))
                    .collect();
                if missing.is_empty() {
                    break;
                }
                if Instant::now() + pause >= ends {
                    return Err(self.error(Failure::Timeout(Timeout {
                        waiting_for: format!("{api_version} to be served"),
                        waited: started.elapsed(),
                        last_state: vec![format!("not served yet: {}", missing.join(", "))],
                        unanswered: false,
                    })));
                }
                let ended = self.scope.bound(sleep(pause)).await;
                ended.map_err(|ended| {
                    self.error(ended.failure(&format!("waiting for {api_version} to be served"), started))
                })?;
                pause = (pause * 2).min(Duration::from_millis(500));
            }
        }
        Ok(())
    }

    /// Kinds and order of all objects; kinds that CRDs among them define need not be served yet.
    async fn steps(
        &self,
        objects: Vec<Object>,
        standing: &impl Fn(&ObjectRef) -> Standing,
        defined: &[Kind],
    ) -> Result<Vec<Step>, Error> {
        let mut steps = Vec::with_capacity(objects.len());
        for object in objects {
            let (group, version) = split_api_version(object.api_version());
            let known = Kind::known(object.api_version(), object.kind());
            let is_its = |kind: &&Kind| kind.group == group && kind.kind == object.kind();
            let in_its_version = |kind: &Kind| Kind { version: version.to_owned().into(), ..kind.clone() };
            let kind = match known.or_else(|| defined.iter().find(is_its).map(in_its_version)) {
                Some(kind) => kind,
                None => self.kind(object.api_version(), object.kind()).await?,
            };
            let reference = object.reference_as(kind);
            steps.push(Step { standing: standing(&reference), reference, object });
        }
        steps.sort_by_key(|step| step.reference.kind.order);
        Ok(steps)
    }

    /// Applies one object; where its definition has just been written, by whomever, once the API server serves it.
    async fn apply_step(&self, step: &Step, manner: Manner<'_>) -> Result<Applied, Error> {
        let ends = Instant::now() + SERVED_TIME;
        let mut pause = Duration::from_millis(50);
        let mut comes = None;
        loop {
            let error = match self.apply_served(step, manner).await {
                Err(error) if error.is_unknown_kind() => error,
                done => return done,
            };
            if comes.is_none() {
                comes = Some(self.is_to_serve(&step.reference.kind).await);
            }
            let goes_on = comes == Some(true) && Instant::now() + pause < ends;
            if !goes_on || self.scope.bound(sleep(pause)).await.is_err() {
                return Err(error);
            }
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    /// Applies an object that may be someone else's. One that state names is looked at before it is written. Any other
    /// is sent as one that must not be there yet, in a single request; only where there is one it is looked at whose it
    /// is.
    async fn apply_served(&self, step: &Step, manner: Manner<'_>) -> Result<Applied, Error> {
        let Step { reference, object, standing } = step;
        if *standing == Standing::Taken {
            self.keep_replicas(reference, object, None).await?;
            return self.send_apply(reference, object, manner.force).await;
        }
        let mut looks_first = *standing == Standing::Known;
        let mut attempt = 0;
        loop {
            let mut refused = None;
            if !looks_first {
                match self.create(reference, object).await? {
                    Created::Made(created) => return Ok(*created),
                    Created::Refused(error) => refused = Some(error),
                }
            }
            looks_first = false;
            let Some(live) = self.get_metadata(reference).await? else {
                // It went in between; or the refusal is about something else, such as a quota that others count on.
                match refused {
                    Some(refused) if attempt >= CONTENTION_ATTEMPTS => return Err(refused),
                    Some(refused) => self.let_others_write(attempt, refused).await?,
                    None => continue,
                }
                attempt += 1;
                continue;
            };
            // On its way out it is nobody's: what comes next is made anew.
            if live.is_terminating() {
                self.wait(reference, &wait::deleted()).await?;
                continue;
            }
            let is_its = manner.owner.may_write(&live, *standing == Standing::Known);
            if let Err(owners) = &is_its
                && manner.adoption != Adoption::Take
            {
                let foreign = Foreign { object: reference.clone(), owners: owners.clone() };
                return Err(self.error(Failure::Foreign(Box::new(foreign))));
            }
            self.keep_replicas(reference, object, Some(live)).await?;
            return match is_its {
                Ok(()) => self.send_apply(reference, object, manner.force).await,
                Err(_) => self.take(reference, object).await,
            };
        }
    }

    /// Applies the object only if it does not exist: `None` if it does.
    pub async fn apply_new(&self, object: &Object) -> Result<Option<Applied>, Error> {
        Ok(match self.create(&self.reference(object).await?, object).await? {
            Created::Made(created) => Some(*created),
            Created::Refused(_) => None,
        })
    }

    async fn create(&self, reference: &ObjectRef, object: &Object) -> Result<Created, Error> {
        let mut precondition = object.clone();
        if let Some(metadata) = precondition.value_mut().get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".to_owned(), NEVER_A_VERSION.into());
        }
        match self.send_apply(reference, &precondition, false).await {
            Ok(applied) => Ok(Created::Made(Box::new(applied))),
            Err(error) if error.is_contention() => Ok(Created::Refused(error)),
            // The merge is tried before the version is compared.
            Err(error @ Error { failure: Failure::Conflict(_), .. }) => Ok(Created::Refused(error)),
            Err(error) => Err(error),
        }
    }

    /// Takes an object over: our values win, and who installed it no longer manages its fields. Controllers keep
    /// theirs.
    async fn take(&self, reference: &ObjectRef, object: &Object) -> Result<Applied, Error> {
        let mut applied = self.send_apply(reference, object, true).await?;
        for attempt in 0_u32.. {
            let entries = applied.object.items("metadata.managedFields");
            let kept: Vec<&Value> = entries.iter().filter(|entry| !is_installers(entry)).collect();
            if kept.len() == entries.len() {
                break;
            }
            match self.set_managers(reference, &applied.object, &kept).await {
                Ok(object) => applied.object = object,
                // Someone has written in between: look again.
                Err(refused) if refused.is_contention() && attempt < CONTENTION_ATTEMPTS => {
                    self.let_others_write(attempt, refused).await?;
                    let Some(live) = self.get(reference).await? else { break };
                    applied.object = live;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(applied)
    }

    async fn send_apply(&self, reference: &ObjectRef, object: &Object, force: bool) -> Result<Applied, Error> {
        let mut attempt = 0;
        loop {
            let (status, value) = match Box::pin(self.patch(reference, object, &format!("&force={force}"))).await {
                // The server gave up merging our change with others' that came at the same time.
                Err(refused)
                    if refused.is_contention()
                        && object.resource_version().is_none()
                        && object.uid().is_none()
                        && attempt < CONTENTION_ATTEMPTS =>
                {
                    self.let_others_write(attempt, refused).await?;
                    attempt += 1;
                    continue;
                }
                // It may be refused for what it has done itself, the first time.
                Err(refused) if refused.is_contention() && refused.repeated => {
                    self.shared.held.forget_kind(&reference.kind);
                    let live = self.get(reference).await?.filter(|live| came_through(live, object));
                    let created = object.resource_version() == Some(NEVER_A_VERSION);
                    let applied = live.map(|object| Applied { reference: reference.clone(), object, created });
                    return applied.ok_or(refused);
                }
                answer => answer?,
            };
            self.shared.held.forget_kind(&reference.kind);
            let object = typed(value, &reference.kind);
            if !object.is_terminating() {
                return Ok(Applied { reference: reference.clone(), object, created: status == StatusCode::CREATED });
            }
            // It was deleted and is not gone yet: what is written to it now goes with it.
            self.wait(reference, &wait::deleted()).await?;
        }
    }

    /// Time for the others who write the object; the refusal itself, where none is left.
    pub(super) async fn let_others_write(&self, attempt: u32, refused: Error) -> Result<(), Error> {
        match self.scope.bound(sleep(CONTENTION_PAUSE * 2_u32.pow(attempt))).await {
            Err(ended @ Ended::Cancelled) => {
                let doing = "waiting for others to have written the object";
                Err(self.error(ended.failure(doing, Instant::now())))
            }
            Err(Ended::Late) => Err(refused),
            Ok(()) => Ok(()),
        }
    }

    async fn patch(
        &self,
        reference: &ObjectRef,
        object: &Object,
        parameters: &str,
    ) -> Result<(StatusCode, Value), Error> {
        let call = Call {
            method: Method::PATCH,
            accept: answer_form(&reference.kind),
            // The type says YAML, of which JSON is a part.
            content_type: Some("application/apply-patch+yaml"),
            body: applied_body(object).into(),
            ..Call::get(format!("{}?fieldManager={FIELD_MANAGER}{parameters}", reference.path()))
        };
        let answer = self.object_json(call, reference).await;
        answer.map_err(|error| match &error.failure {
            Failure::Api(status) if error.is_contention() => match Conflict::parse(reference, status) {
                Some(conflict) => Error { failure: Failure::Conflict(Box::new(conflict)), ..error },
                None => error,
            },
            _ => self.kind_served(error, &reference.kind),
        })
    }
}

/// Whether an object is what was sent, by an instance that nobody else writes for: without a mark another run may have
/// sent the same.
fn came_through(live: &Object, sent: &Object) -> bool {
    fn includes(live: &Value, sent: &Value) -> bool {
        match (live, sent) {
            (Value::Object(live), Value::Object(sent)) => {
                sent.iter().all(|(key, sent)| live.get(key).is_some_and(|live| includes(live, sent)))
            }
            _ => live == sent,
        }
    }
    let mut sent = sent.clone();
    if let Some(metadata) = sent.value_mut().get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    // What was left out of it is to be gone.
    let has_its_data = sent.get("data").is_none_or(|data| live.get("data") == Some(data));
    let is_its_own = sent.annotation(INSTANCE_ANNOTATION).is_some() && !live.is_terminating();
    is_its_own && has_its_data && includes(live.value(), sent.value())
}

/// One object on its way.
struct Step {
    reference: ObjectRef,
    object: Object,
    standing: Standing,
}

/// What came of making an object that must not be there yet.
enum Created {
    Made(Box<Applied>),
    /// There is one, as the API server says; or others are at work on something else that this needs.
    Refused(Error),
}

/// What is known of an object before it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Most likely it is not there yet.
    New,
    /// State names it.
    Known,
    /// It may be written whosever it is.
    Taken,
}

/// In whose name objects are written, and what to do about those of others.
#[derive(Clone, Copy)]
struct Manner<'a> {
    owner: &'a Owner,
    adoption: Adoption,
    force: bool,
}

/// The body of a CRD is as large as all others together and says nothing new: its metadata tells generation and
/// managers.
fn answer_form(kind: &Kind) -> &'static str {
    match *kind == Kind::CUSTOM_RESOURCE_DEFINITION {
        true => METADATA_ALONE,
        false => Call::JSON,
    }
}

/// The kind that a CRD defines, in the first version it serves.
pub(super) fn first_defined(definition: &Object) -> Option<Kind> {
    definition.defined().into_iter().next()
}

/// The API server refuses an apply that carries `managedFields`.
fn applied_body(object: &Object) -> String {
    if object.get("metadata.managedFields").is_none() {
        return object.to_json();
    }
    let mut object = object.clone();
    if let Some(metadata) = object.value_mut().get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object.to_json()
}

/// The managers of tools that install and then leave, as opposed to controllers that keep writing.
fn is_installers(entry: &Value) -> bool {
    const NAMES: &[&str] = &[
        "before-first-apply",
        "helm",
        "Helm",
        "istioctl",
        "istio-operator",
        "kubectl",
        "kubectl-client-side-apply",
        "kubectl-create",
        "kubectl-edit",
        "HashiCorp",
        "Terraform",
    ];
    const PREFIXES: &[&str] =
        &["terraform-provider-helm", "terraform-provider-kubernetes", "terraform-provider-kubectl"];
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
    let manager = text("manager");
    text("subresource").is_empty()
        && (NAMES.contains(&manager) || PREFIXES.iter().any(|prefix| manager.starts_with(prefix)))
}
