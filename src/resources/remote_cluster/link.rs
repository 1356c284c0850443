//! One watcher: its remote secret written, its istiods in sync, the credential before retired.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::credential::{self, Condition, Issued, Judged, Standing};
use super::diagnose;
use super::renewal;
use super::secret;
use super::short;
use super::state::{PROJECTED, RENEWED};
use super::trusted;
use super::watcher::{Link, failed};
use crate::cluster::{Adoption, Apply, Error, INSTANCE_ANNOTATION, Kind, Object, ObjectRef};
use crate::diag::Diagnostic;
use crate::istiod::{self, ReplicaView, Verdict};
use crate::mesh::{CONFIG_KEY, Login, RemoteSecret, RenewalPod, Revision, SecretForm, Token, is_external};

const FIRST_PAUSE: Duration = Duration::from_millis(150);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// When to find out, from here, why a watcher is not in sync yet; and again, each time twice as late.
const PROBE_AFTER: Duration = Duration::from_secs(8);
/// How long an istiod that says `timeout` gets to change its mind.
const AFTER_TIMEOUT: Duration = Duration::from_secs(20);
/// The same where it said so before anything was written: what it asks for again after a refusal, it asks for after as
/// much as a minute.
const AFTER_REFUSALS: Duration = Duration::from_secs(70);
/// How long to wait for an istiod to appear at all.
const WITHOUT_ISTIOD: Duration = Duration::from_secs(45);
/// How long an istiod whose metrics cannot be read gets to notice a changed secret.
const BLIND_PAUSE: Duration = Duration::from_secs(10);

/// How far a link came.
pub struct Established {
    /// The standing of the token, if the secret is written.
    pub written: Option<Standing>,
    /// The token is the one there was.
    pub kept: bool,
    pub verdict: Verdict,
    pub istiod_version: Option<String>,
    /// The API server grants shorter tokens than were asked for.
    pub warning: Option<Diagnostic>,
    pub error: Option<Diagnostic>,
}

/// Makes, proves, writes, waits for every replica, retires.
pub async fn establish(link: Link<'_>) -> Established {
    let refused = |error| Established {
        written: None,
        kept: false,
        verdict: Verdict::Unknown,
        istiod_version: None,
        warning: None,
        error: Some(error),
    };
    if link.spec.is_config_cluster()
        && let Err(error) = waits_for_kubeconfig(link).await
    {
        return refused(error);
    }
    let job = match &link.spec.token.renewal {
        Some(asked) => match renewal::prepare(link, asked).await {
            Ok(pod) => Some(pod),
            Err(error) => return refused(error),
        },
        None => None,
    };
    let credentials = match &link.spec.link_token {
        Some(own) => match trusted::prove(link, own).await {
            Ok(token) => live(link).await.map(|live| Credentials { token, binding: None, live }),
            Err(error) => return refused(error),
        },
        None => credentials(link).await,
    };
    let credentials = match credentials {
        Ok(credentials) => credentials,
        Err(error) => return refused(failed(link, &error)),
    };
    if let Some(error) = elsewhere(link, &credentials).await {
        return refused(error);
    }
    let short = credentials.binding.as_ref().and_then(|_| short::granted(link.spec, &credentials.token));
    let ends = short::Ends { spec: link.spec, watched: link.watched.name(), watcher: link.watcher.name() };
    let unusable = match (&short, &job) {
        // A link that would end before anybody renews it is not made.
        (Some(short), _) if !link.known => Some(short.refusal(&ends, short::Stays::Nothing)),
        (_, Some(_)) => renewal::prove(link, &credentials.token).await.err(),
        // Whatever renewed the token before must not write over what comes now.
        (_, None) => {
            let namespace = link.spec.namespace.as_str();
            let removed = renewal::remove(link.watcher, link.owner, namespace, link.renewal_before).await;
            removed.err().map(|error| failed(link, &error))
        }
    };
    if let Some(error) = unusable {
        // Nobody has been told of the token yet.
        return match credential::give_back(link.order(), credentials.binding.as_ref()).await {
            Ok(()) => refused(error),
            Err(error) => refused(failed(link, &error)),
        };
    }
    Established { warning: short.map(|short| short.warning(&ends)), ..with(link, credentials, job).await }
}

/// Marks a link of a state of before marks that is as it shall be, and waits for nobody: the content stays. See
/// [`credential::mark`]. Returns what failed.
pub async fn mark(link: Link<'_>) -> Option<Diagnostic> {
    let live = match live(link).await {
        Ok(live) => live.filter(|live| live.annotation(INSTANCE_ANNOTATION).is_none())?,
        Err(error) => return Some(failed(link, &error)),
    };
    let token = secret::token_of(&live, link.spec.id.as_str());
    let login = match &link.spec.link_token {
        Some(own) => Login::Own(own.audience.clone()),
        None => Login::Token(token.clone()?),
    };
    if let (Some(asked), Some(token)) = (&link.spec.token.renewal, &token) {
        let pod = match renewal::prepare(link, asked).await {
            Ok(pod) => pod,
            Err(error) => return Some(error),
        };
        if let Err(error) = renewal::write(link, pod, token).await {
            return Some(failed(link, &error));
        }
    }
    write(link, &secret::remote(link.spec, link.endpoint, login)).await.err().map(|error| failed(link, &error))
}

/// Refuses to hand a kubeconfig to an istiod that did not ask for one: at its next start it would take the cluster for
/// its own, and forget the one it serves.
async fn waits_for_kubeconfig(link: Link<'_>) -> Result<(), Diagnostic> {
    let (namespace, name) = (link.spec.namespace.as_str(), link.spec.reader.service_account.as_str());
    let deployment = ObjectRef::namespaced(Kind::DEPLOYMENT, namespace, name);
    let (summary, found) = match link.watcher.get(&deployment).await {
        Ok(Some(live)) if is_external(live.value()) => return Ok(()),
        Ok(Some(_)) => ("The control plane is not an external one", "takes its configuration from its own cluster"),
        Ok(None) => ("No control plane waits for this cluster", "does not exist"),
        Err(error) => return Err(failed(link, &error)),
    };
    Err(Diagnostic::error(summary).at("watchers").detail(format!(
        "{deployment} in cluster {} {found}. Refer in `watchers` to the `cluster` of a `mesh_primary` with `config_cluster = {:?}`, the same namespace and the same revision.",
        link.watcher.name(),
        link.watched.name(),
    )))
}

/// Whether another API server than the watched cluster's answers at the address that the user gave for it.
async fn elsewhere(link: Link<'_>, credentials: &Credentials) -> Option<Diagnostic> {
    // The address that the provider itself uses has proved itself by issuing the token.
    let doubtful = link.spec.endpoint.server.is_some() && credentials.binding.is_some();
    match doubtful {
        true => diagnose::token_refused(link.watched, &link.spec.endpoint, link.endpoint, &credentials.token).await,
        false => None,
    }
}

/// The token to write or, where istiod has its own, one to try with; and what the watcher has before that.
struct Credentials {
    token: Token,
    /// What a new token is bound to; `None` where the one there was is kept, and where istiod has its own.
    binding: Option<ObjectRef>,
    live: Option<Object>,
}

/// The remote secret that the watcher has. There is none where a create begins with nothing. Otherwise it is read:
/// state may not know a link that an apply before has made, or that the watcher had under another name.
async fn live(link: Link<'_>) -> Result<Option<Object>, Error> {
    match link.known || link.may_have_tokens {
        true => link.secrets.get(&link.reference()).await,
        false => Ok(None),
    }
}

async fn credentials(link: Link<'_>) -> Result<Credentials, Error> {
    let live = live(link).await?;
    if link.keep_token
        && let Some(token) = live.as_ref().and_then(|live| secret::token_of(live, link.spec.id.as_str()))
    {
        return Ok(Credentials { token, binding: None, live });
    }
    let Issued { token, binding } = credential::issue(link.order()).await?;
    if link.known {
        credential::prove(link.watched, &token).await?;
    }
    Ok(Credentials { token, binding: Some(binding), live })
}

async fn with(link: Link<'_>, credentials: Credentials, job: Option<RenewalPod>) -> Established {
    let Credentials { token, binding, live } = credentials;
    let own = link.spec.link_token.as_ref();
    let kept = binding.is_none() && own.is_none();
    let mut standing = if own.is_some() { PROJECTED } else { standing(link, &token) };
    if !kept && own.is_none() {
        // As the plan said of it: the clock here may not be that of the server which has just issued it.
        standing.condition = Condition::Valid;
    }
    if job.is_some() {
        standing = RENEWED;
    }
    let kept_binding = credential::binding_of(link.spec, &token).filter(|_| kept);
    // By this one it is tried from here; what is written may name a file that only istiod has.
    let tried = secret::remote(link.spec, link.endpoint, Login::Token(token.clone()));
    let remote = match own {
        Some(own) => secret::remote(link.spec, link.endpoint, Login::Own(own.audience.clone())),
        None => tried.clone(),
    };
    let changes = live.as_ref().is_some_and(|live| !secret::says(live, &remote));
    // Of the files that it mounts istiod counts no changes.
    let counted = changes && link.spec.form() == SecretForm::Remote;
    let restarts = changes && !counted && live.as_ref().is_some_and(|live| !secret::says_of(live, &remote, CONFIG_KEY));
    let events = if counted { events(link).await } else { None };
    let begun = Instant::now();
    let reached = |written, error: Option<&Error>| Established {
        written,
        kept,
        verdict: Verdict::Unknown,
        istiod_version: None,
        warning: None,
        error: error.map(|error| failed(link, error)),
    };
    if let Err(error) = write(link, &remote).await {
        return reached(None, Some(&error));
    }
    if let Some(pod) = job
        && let Err(error) = renewal::write(link, pod, &token).await
    {
        let condition = Condition::Unrenewed;
        return reached(Some(Standing { condition, ..standing }), Some(&error));
    }
    if restarts && let Err(error) = restart(link).await {
        return reached(Some(standing), Some(&error));
    }
    let written = |verdict, istiod_version, error| Established {
        verdict,
        istiod_version,
        error,
        ..reached(Some(standing), None)
    };
    // One that is kept may have others beside it, of runs that were cut off.
    let keep = binding.or(kept_binding);
    if !link.spec.wait {
        // Nobody looks at what istiods use by now. Those of a Secret that was gone use none of its tokens, and those of
        // one that stays as it is have long had the one in it.
        let is_unused = live.as_ref().map_or(link.may_have_tokens, |_| !changes && (kept || own.is_some()));
        let retired = if is_unused { credential::retire(link.order(), keep.as_ref()).await } else { Ok(()) };
        return written(Verdict::Unknown, None, retired.err().map(|error| Diagnostic::from(&error)));
    }
    let changed = counted.then_some(Changed { events });
    match in_sync(link, &tried, changed, begun).await {
        Ok(version) => {
            let order = credential::Order { secrets: Some(link.secrets), ..link.order() };
            // What is taken over has had tokens of an instance before; a link that somebody has deleted, its own.
            let retired = match (link.known || link.may_have_tokens || link.spec.adopt, &keep) {
                // What a link by tokens left, before istiod came with its own.
                (true, None) if own.is_some() => credential::retire(order, None).await,
                (true, Some(_)) => credential::retire(order, keep.as_ref()).await,
                _ => Ok(()),
            };
            written(Verdict::Synced, version, retired.err().map(|error| Diagnostic::from(&error)))
        }
        Err((verdict, error)) => written(verdict, None, Some(error)),
    }
}

/// istiod reads its kubeconfig when it starts, and never again.
async fn restart(link: Link<'_>) -> Result<(), Error> {
    let istiod = link.istiod();
    let revision = link.spec.remote.as_ref().and_then(|remote| remote.data_plane.revision.as_ref());
    istiod.restart(&istiod.replicas(Some(Revision::label(revision))).await?).await
}

fn standing(link: Link<'_>, token: &Token) -> Standing {
    let service_account = link.spec.reader.service_account.as_str();
    let judged = Judged { now: link.now, spec: &link.spec.token, service_account, live: None };
    credential::standing(token, judged)
}

async fn write(link: Link<'_>, remote: &RemoteSecret) -> Result<(), Error> {
    let object = secret::object(&link.reference(), remote, link.owner);
    let adoption = if link.spec.adopt { Adoption::Take } else { Adoption::Refuse };
    // What is ours already is ours whole: whoever changed it meanwhile is overruled, as the plan has shown.
    let apply = Apply { object, owner: link.owner.clone(), known: link.known, adoption, force: link.known };
    link.secrets.apply(apply).await.map(drop)
}

/// The secret was changed, not made: `synced` may still be said of what it held before.
struct Changed {
    /// Events on secrets that each replica had seen before; `None` where their metrics cannot be read.
    events: Option<BTreeMap<String, u64>>,
}

async fn events(link: Link<'_>) -> Option<BTreeMap<String, u64>> {
    let istiod = link.istiod();
    let mut events = BTreeMap::new();
    for replica in istiod.replicas(None).await.ok()? {
        let count = istiod.secret_events(&replica.pod).await?;
        events.insert(replica.pod, count);
    }
    Some(events)
}

/// Waits until every replica is in sync on what was written, and not on what was there before.
/// istiod's version, or why it is not.
async fn in_sync(
    link: Link<'_>,
    remote: &RemoteSecret,
    changed: Option<Changed>,
    written: Instant,
) -> Result<Option<String>, (Verdict, Diagnostic)> {
    if let Some(changed) = changed {
        noticed(link, changed).await;
    }
    // A look that began before this may still speak of what the secret held before.
    let since = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut probe_after = PROBE_AFTER;
    let mut timed_out: Option<Instant> = None;
    let mut patience = None;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 5 / 4).min(LONGEST_PAUSE);
        let (views, verdict) = match look(link, since).await {
            Ok(found) => found,
            Err(error) => return Err((Verdict::Unknown, diagnose::unasked(link.watcher, &error))),
        };
        if verdict == Verdict::Synced {
            return Ok(istiod::oldest_version(&views));
        }
        let waited = written.elapsed();
        let case = diagnose::Case {
            watched: link.watched,
            watcher: link.watcher,
            spec: link.spec,
            remote,
            secret: &link.secret(),
            views: &views,
            verdict,
        };
        if let Some(diagnostic) = diagnose::hopeless(&case, waited > WITHOUT_ISTIOD) {
            return Err((verdict, diagnostic));
        }
        if waited > probe_after {
            probe_after = waited * 2;
            if let Some(diagnostic) = diagnose::refused_here(&case).await {
                return Err((verdict, diagnostic));
            }
        }
        timed_out = timed_out
            .filter(|_| verdict == Verdict::Timeout)
            .or_else(|| (verdict == Verdict::Timeout).then(Instant::now));
        // Said at the first look, it is of the attempts of before.
        let patience = *patience.get_or_insert(if timed_out.is_some() { AFTER_REFUSALS } else { AFTER_TIMEOUT });
        let gave_up = timed_out.is_some_and(|since| since.elapsed() > patience);
        if gave_up || Instant::now() >= link.until {
            return Err((verdict, diagnose::not_in_sync(&case).await));
        }
    }
}

/// Waits until every replica has handled the changed secret.
async fn noticed(link: Link<'_>, changed: Changed) {
    let Some(before) = changed.events else {
        tokio::time::sleep(BLIND_PAUSE).await;
        return;
    };
    let (begun, istiod) = (Instant::now(), link.istiod());
    for (pod, before) in before {
        // A replica that went away, or cannot be asked any more, is waited for by its verdict alone.
        while begun.elapsed() < BLIND_PAUSE * 3 && istiod.secret_events(&pod).await.is_some_and(|now| now <= before) {
            tokio::time::sleep(FIRST_PAUSE).await;
        }
    }
}

type Views = (std::sync::Arc<[ReplicaView]>, Verdict);

/// What the istiods say, since they took the secret up: all clusters that a watcher is told of at the same time share a
/// look.
async fn look(link: Link<'_>, since: Instant) -> Result<Views, Error> {
    let views = link.walk.istiods.since(link.watcher, link.spec.namespace.as_str(), since).await?;
    let verdict = istiod::verdict(&views, link.spec.id.as_str(), &link.secret());
    Ok((views, verdict))
}
