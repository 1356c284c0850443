//! One watcher: its remote secret written, its istiods in sync, the credential before retired; and the way back. The only place that writes to watchers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::credential::{self, Condition, Issued, Judged, Order, Standing};
use super::diagnose;
use super::gather::Endpoint;
use super::istiod::{self, Verdict};
use super::spec::Spec;
use super::state;
use super::token;
use crate::cluster::{
    Adoption, Apply, Cluster, Delete, Error, Failure, INSTANCE_ANNOTATION, Kind, OWNER_LABEL, Object, ObjectRef, Owner,
    Patched, PodPort, ReplicaView, wait,
};
use crate::diag::Diagnostic;
use crate::kept::{converge, remove};
use crate::mesh::{
    CONFIG_KEY, CONFIG_SECRET, Credential, ParsedRemoteSecret, RemoteSecret, SecretForm, Token, is_external,
};
use crate::resources::walk::Walk;

/// istiod's port that answers whoever comes by port-forward.
const MONITORING_PORT: u16 = 15014;
const FIRST_PAUSE: Duration = Duration::from_millis(150);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// When to find out, from here, why a watcher is not in sync yet; and again, each time twice as late.
const PROBE_AFTER: Duration = Duration::from_secs(8);
/// How long an istiod that says `timeout` gets to change its mind.
const AFTER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long to wait for an istiod to appear at all.
const WITHOUT_ISTIOD: Duration = Duration::from_secs(45);
/// How long an istiod whose metrics cannot be read gets to notice a changed secret.
const BLIND_PAUSE: Duration = Duration::from_secs(10);

/// A link to make or to renew.
#[derive(Clone, Copy)]
pub struct Link<'a> {
    pub walk: &'a Walk,
    pub owner: &'a Owner,
    pub watched: &'a Cluster,
    pub watcher: &'a Cluster,
    /// Where the watcher's istiods look for remote secrets: in their own cluster, but for an external control plane.
    pub secrets: &'a Cluster,
    /// When to give up waiting: early enough to find out why.
    pub until: Instant,
    pub spec: &'a Spec,
    pub endpoint: &'a Endpoint,
    pub secret_name: &'a str,
    /// The watcher has had this link before.
    pub known: bool,
    /// The token it has shall stay, if it can be read.
    pub keep_token: bool,
}

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

impl Link<'_> {
    fn reference(&self) -> ObjectRef {
        secret_reference(self.spec, self.secret_name)
    }

    /// By what istiod knows the cluster.
    fn secret(&self) -> String {
        self.spec.registered_by(self.secret_name)
    }

    fn order(&self) -> Order<'_> {
        Order {
            watched: self.watched,
            owner: self.owner,
            spec: self.spec,
            watcher: self.watcher.name(),
            again: self.known,
        }
    }
}

pub fn secret_reference(spec: &Spec, name: &str) -> ObjectRef {
    ObjectRef::namespaced(Kind::SECRET, spec.namespace.as_str(), name)
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
    match credentials(link).await {
        Ok(credentials) => match elsewhere(link, &credentials).await {
            Some(error) => refused(error),
            None => match shortened(link, &credentials) {
                // Nobody has been told of the token yet: a link that would end before anybody renews it is not made.
                Some(short) if !link.known => {
                    let binding = credentials.binding.as_ref();
                    match credential::give_back(link.order(), binding).await {
                        Ok(()) => refused(short.refusal(link)),
                        Err(error) => refused(failed(link, &error)),
                    }
                }
                short => {
                    Established { warning: short.map(|short| short.warning(link)), ..with(link, credentials).await }
                }
            },
        },
        Err(error) => refused(failed(link, &error)),
    }
}

/// Refuses to hand a kubeconfig to an istiod that did not ask for one: at its next start it would take the cluster for its own, and forget the one it serves.
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

/// A token that ends before what was asked for, in seconds.
struct Shortened {
    asked: u64,
    granted: u64,
}

/// Whether the API server has granted less than was asked for, as managed clouds do: a day on EKS and AKS, two on GKE.
fn shortened(link: Link<'_>, credentials: &Credentials) -> Option<Shortened> {
    if link.spec.token.long_lived || credentials.binding.is_none() {
        return None;
    }
    let claims = token::read(credentials.token.reveal()).ok()?;
    let granted = u64::try_from(claims.expires? - claims.issued?).ok()?;
    let asked = link.spec.token.lifetime.as_secs();
    // Servers round.
    (granted + 60 < asked).then_some(Shortened { asked, granted })
}

impl Shortened {
    fn refusal(&self, link: Link<'_>) -> Diagnostic {
        Diagnostic::error("The API server grants shorter tokens than asked for").at("token").detail(format!(
            "{} The istiods of {} would lose cluster {} then, unless an apply has renewed the token before. So cluster {} is not linked: nothing was written to it, and the token is revoked. \
             Choose one of these:\n\
             - `token = {{ lifetime = \"{}\" }}` asks for what is granted. Then apply at least twice in that time, by a scheduled run of your pipeline.\n\
             - `token = {{ long_lived = true }}` uses a token that does not end. It is kept in a Secret of the watched cluster; deleting the Secret revokes it.\n\
             - Raise the limit of the API server (`--service-account-max-token-expiration`), where it is yours.",
            self.facts(link),
            link.watcher.name(),
            link.spec.id,
            link.watcher.name(),
            span(self.granted)
        ))
    }

    fn warning(&self, link: Link<'_>) -> Diagnostic {
        // Of several warnings with one summary Terraform shows the first alone.
        Diagnostic::warning(format!("{} gets shorter tokens than asked for", link.watcher.name())).at("token").detail(
            format!(
                "{} Apply at least twice in that time, or set `token = {{ long_lived = true }}`. To say that you know, set `token = {{ lifetime = \"{}\" }}`.",
                self.facts(link),
                span(self.granted)
            ),
        )
    }

    fn facts(&self, link: Link<'_>) -> String {
        format!(
            "The API server of cluster {} grants tokens for {}, and `token.lifetime` asks for {}.",
            link.watched.name(),
            span(self.granted),
            span(self.asked)
        )
    }
}

/// Seconds in the largest unit that divides them, as durations are written: `24h`.
fn span(seconds: u64) -> String {
    match seconds {
        s if s % 86_400 == 0 && s > 0 => format!("{}d", s / 86_400),
        s if s % 3_600 == 0 && s > 0 => format!("{}h", s / 3_600),
        s if s % 60 == 0 && s > 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// The token to write, and what the watcher has before that.
struct Credentials {
    token: Token,
    /// What a new token is bound to; `None` where the one there was is kept.
    binding: Option<ObjectRef>,
    live: Option<Object>,
}

async fn credentials(link: Link<'_>) -> Result<Credentials, Error> {
    let live = match link.known {
        true => link.secrets.get(&link.reference()).await?,
        false => None,
    };
    if link.keep_token
        && let Some(token) = live.as_ref().and_then(|live| token_of(live, link.spec.id.as_str()))
    {
        return Ok(Credentials { token, binding: None, live });
    }
    let Issued { token, binding } = credential::issue(link.order()).await?;
    if link.known {
        credential::prove(link.watched, &token).await?;
    }
    Ok(Credentials { token, binding: Some(binding), live })
}

async fn with(link: Link<'_>, credentials: Credentials) -> Established {
    let Credentials { token, binding, live } = credentials;
    let kept = binding.is_none();
    let mut standing = standing(link, &token);
    if !kept {
        // As the plan said of it: the clock here may not be that of the server which has just issued it.
        standing.condition = Condition::Valid;
    }
    let kept_binding = credential::binding_of(link.spec, &token).filter(|_| kept);
    let remote = remote_secret(link, token);
    let changes = live.as_ref().is_some_and(|live| !says(live, &remote));
    // Of the files that it mounts istiod counts no changes.
    let counted = changes && link.spec.form() == SecretForm::Remote;
    let restarts = changes && !counted && live.as_ref().is_some_and(|live| !says_of(live, &remote, CONFIG_KEY));
    let events = if counted { events(link).await } else { None };
    let begun = Instant::now();
    if let Err(error) = write(link, &remote).await {
        let error = Some(failed(link, &error));
        return Established {
            written: None,
            kept,
            verdict: Verdict::Unknown,
            istiod_version: None,
            warning: None,
            error,
        };
    }
    if restarts && let Err(error) = restart(link).await {
        let error = Some(failed(link, &error));
        return Established {
            written: Some(standing),
            kept,
            verdict: Verdict::Unknown,
            istiod_version: None,
            warning: None,
            error,
        };
    }
    let written = |verdict, istiod_version, error| Established {
        written: Some(standing),
        kept,
        verdict,
        istiod_version,
        warning: None,
        error,
    };
    if !link.spec.wait {
        return written(Verdict::Unknown, None, None);
    }
    let changed = counted.then_some(Changed { events });
    match in_sync(link, &remote, changed, begun).await {
        Ok(version) => {
            // One that is kept may have others beside it, of runs that were cut off.
            let keep = binding.or(kept_binding);
            let retired = match (link.known, &keep) {
                (true, Some(_)) => credential::retire(link.order(), keep.as_ref()).await,
                _ => Ok(()),
            };
            written(Verdict::Synced, version, retired.err().map(|error| converge::diagnostic(&error)))
        }
        Err((verdict, error)) => written(verdict, None, Some(error)),
    }
}

/// Whether the live secret holds these very bytes already: then istiod has nothing to notice.
fn says(live: &Object, remote: &RemoteSecret) -> bool {
    remote.data().keys().all(|key| says_of(live, remote, key))
}

fn says_of(live: &Object, remote: &RemoteSecret, key: &str) -> bool {
    remote.data().get(key).is_some_and(|text| live.data(key).is_some_and(|data| data == text.as_bytes()))
}

/// istiod reads its kubeconfig when it starts, and never again: its Pods are replaced, one after the other.
async fn restart(link: Link<'_>) -> Result<(), Error> {
    let namespace = link.spec.namespace.as_str();
    let deployment = ObjectRef::namespaced(Kind::DEPLOYMENT, namespace, link.spec.reader.service_account.as_str());
    for replica in link.watcher.istiod(namespace).replicas(None).await? {
        link.watcher.delete(&Delete::new(ObjectRef::namespaced(Kind::POD, namespace, replica.pod))).await?;
        link.watcher.wait(&deployment, &wait::deployment_available()).await?;
    }
    Ok(())
}

/// A failure that is the watcher's is told at the watchers.
fn failed(link: Link<'_>, error: &Error) -> Diagnostic {
    let diagnostic = converge::diagnostic(error);
    if *error.cluster == *link.watcher.name() && diagnostic.path.is_none() {
        diagnostic.at("watchers")
    } else {
        diagnostic
    }
}

fn standing(link: Link<'_>, token: &Token) -> Standing {
    let service_account = link.spec.reader.service_account.as_str();
    let judged =
        Judged { now: jiff::Timestamp::now().as_second(), spec: &link.spec.token, service_account, live: None };
    credential::standing(token, judged)
}

/// The token in a live remote secret.
pub fn token_of(live: &Object, id: &str) -> Option<Token> {
    match described(live, id)?.credential {
        Credential::Token(token) => Some(token),
        _ => None,
    }
}

/// What a live remote secret says of the cluster `id`.
pub fn described(secret: &Object, id: &str) -> Option<ParsedRemoteSecret> {
    if secret.name() == CONFIG_SECRET {
        let (name, parsed) = ParsedRemoteSecret::from_config_object(secret.value()).ok()?;
        return (name == id).then_some(parsed);
    }
    let clusters = ParsedRemoteSecret::from_object(secret.value()).ok()?;
    clusters.into_iter().find(|(name, _)| name.as_str() == id)?.1.ok()
}

fn remote_secret(link: Link<'_>, token: Token) -> RemoteSecret {
    let Endpoint { server, certificate_authority, tls_server_name, proxy_url } = link.endpoint.clone();
    RemoteSecret {
        cluster: link.spec.id.clone(),
        namespace: link.spec.namespace.clone(),
        server,
        certificate_authority,
        tls_server_name,
        proxy_url,
        token,
        form: link.spec.form(),
    }
}

async fn write(link: Link<'_>, remote: &RemoteSecret) -> Result<(), Error> {
    let mut object = Object::of(&link.reference());
    if let (Some(object), serde_json::Value::Object(members)) = (object.value_mut().as_object_mut(), remote.object()) {
        for (member, value) in members.into_iter().filter(|(member, _)| member != "metadata") {
            object.insert(member, value);
        }
    }
    let object = match link.spec.form() {
        SecretForm::Remote => object.with_label(crate::mesh::MULTI_CLUSTER_LABEL, "true"),
        SecretForm::Config => object,
    };
    let object = object
        .with_label(OWNER_LABEL, &link.owner.label)
        .with_annotation(INSTANCE_ANNOTATION, &link.owner.mark)
        .with_annotation(crate::mesh::CLUSTER_ANNOTATION, link.spec.id.as_str());
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
    let replicas = link.watcher.istiod(link.spec.namespace.as_str()).replicas(None).await.ok()?;
    let mut events = BTreeMap::new();
    for replica in replicas {
        let count = events_of(link, &replica.pod).await?;
        events.insert(replica.pod, count);
    }
    Some(events)
}

async fn events_of(link: Link<'_>, pod: &str) -> Option<u64> {
    let port =
        PodPort { namespace: link.spec.namespace.as_str().to_owned(), pod: pod.to_owned(), port: MONITORING_PORT };
    let answer = link.watcher.pod_http_get(&port, "/metrics").await.ok().filter(|answer| answer.status == 200)?;
    Some(istiod::secret_events(&String::from_utf8_lossy(&answer.body)))
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
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 5 / 4).min(LONGEST_PAUSE);
        let (views, verdict) = match look(link, since).await {
            Ok(found) => found,
            Err(error) => return Err((Verdict::Unknown, diagnose::unasked(link.watcher, &error))),
        };
        if verdict == Verdict::Synced {
            return Ok(state::versions(&views));
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
        let gave_up = timed_out.is_some_and(|since| since.elapsed() > AFTER_TIMEOUT);
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
    let begun = Instant::now();
    for (pod, before) in before {
        // A replica that went away, or cannot be asked any more, is waited for by its verdict alone.
        while begun.elapsed() < BLIND_PAUSE * 3 && events_of(link, &pod).await.is_some_and(|now| now <= before) {
            tokio::time::sleep(FIRST_PAUSE).await;
        }
    }
}

type Looked = (std::sync::Arc<[ReplicaView]>, Verdict);

/// What the istiods say, since they took the secret up: all clusters that a watcher is told of at the same time share a look.
async fn look(link: Link<'_>, since: Instant) -> Result<Looked, Error> {
    let views = link.walk.istiods(link.watcher, link.spec.namespace.as_str(), since).await?;
    let verdict = istiod::verdict(&views, link.spec.id.as_str(), &link.secret());
    Ok((views, verdict))
}

/// A link to take away.
#[derive(Clone, Copy)]
pub struct Unlink<'a> {
    pub walk: &'a Walk,
    pub owner: &'a Owner,
    pub watcher: &'a Cluster,
    /// As in [`Link`].
    pub secrets: &'a Cluster,
    pub spec: &'a Spec,
    pub secret_name: &'a str,
    /// Wait until no replica knows the cluster any more.
    pub wait: bool,
}

/// How long istiods get to forget a cluster.
const FORGET_WITHIN: Duration = Duration::from_secs(60);

/// Deletes the remote secret, if it is ours, and waits until the watcher's istiods have forgotten the cluster. `Some` says what could not be seen.
pub async fn unlink(unlink: Unlink<'_>) -> Result<Option<String>, Error> {
    let Unlink { walk, watcher, spec, secret_name, wait, .. } = unlink;
    match take_back(unlink).await? {
        TakenBack::Absent => return Ok(None),
        TakenBack::NotOurs(why) => return Ok(Some(why)),
        TakenBack::Done => {}
    }
    // An istiod never forgets the cluster that it was started with; without its token it can do nothing there.
    if !wait || spec.is_config_cluster() {
        return Ok(None);
    }
    let secret = spec.registered_by(secret_name);
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let views = match walk.istiods(watcher, spec.namespace.as_str(), begun).await {
            Ok(views) => views,
            Err(error) => {
                return Ok(Some(format!(
                    "whether the istiods of cluster {} have forgotten {} could not be asked: {error}",
                    watcher.name(),
                    spec.id
                )));
            }
        };
        let registered = |view: &&ReplicaView| {
            view.clusters.as_ref().is_ok_and(|(clusters, _)| clusters.iter().any(|cluster| cluster.secret == secret))
        };
        if !views.iter().any(|view| registered(&view)) {
            return Ok(None);
        }
        if begun.elapsed() > FORGET_WITHIN {
            return Ok(Some(format!(
                "the istiods of cluster {} still list {} although its remote secret is gone: restart them",
                watcher.name(),
                spec.id
            )));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 5 / 4).min(LONGEST_PAUSE);
    }
}

/// What came of taking a remote secret back.
enum TakenBack {
    Done,
    Absent,
    NotOurs(String),
}

/// Deletes the remote secret, or this cluster's key in one that holds others' as well.
async fn take_back(unlink: Unlink<'_>) -> Result<TakenBack, Error> {
    const ATTEMPTS: u32 = 6;
    let Unlink { secrets, owner, spec, secret_name, .. } = unlink;
    let reference = secret_reference(spec, secret_name);
    for _ in 0..ATTEMPTS {
        let Some(live) = secrets.get(&reference).await? else { return Ok(TakenBack::Absent) };
        if !owner.has(&live, true) {
            let whose = remove::whose(owner, &live);
            return Ok(TakenBack::NotOurs(format!("{reference} in cluster {} stays: {whose}", secrets.name())));
        }
        let version = live.resource_version().unwrap_or_default();
        if spec.form() == SecretForm::Remote && has_others(&live, spec.id.as_str()) {
            let operations = without_key(&live, spec.id.as_str(), version);
            match secrets.patch_if(&reference, &operations).await? {
                Patched::Done(_) => return Ok(TakenBack::Done),
                Patched::Absent => return Ok(TakenBack::Absent),
                Patched::Refused => continue,
            }
        }
        let delete = Delete {
            uid: live.uid().map(str::to_owned),
            resource_version: Some(version.to_owned()),
            ..Delete::new(reference.clone())
        };
        match secrets.delete(&delete).await {
            Ok(_) => return Ok(TakenBack::Done),
            // Somebody has written it in between: it is looked at again.
            Err(Error { failure: Failure::Api(status), .. }) if status.code == 409 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(TakenBack::NotOurs(format!("{reference} in cluster {} stays: others keep writing it", secrets.name())))
}

fn has_others(live: &Object, id: &str) -> bool {
    live.strings("data").keys().any(|key| *key != id)
}

/// Takes this cluster's key out, and with it what says that the Secret is this resource's.
fn without_key(live: &Object, id: &str, version: &str) -> serde_json::Value {
    let escaped = |text: &str| text.replace('~', "~0").replace('/', "~1");
    let mut operations = vec![json!({ "op": "test", "path": "/metadata/resourceVersion", "value": version })];
    if live.data(id).is_some() {
        operations.push(json!({ "op": "remove", "path": format!("/data/{}", escaped(id)) }));
    }
    for (member, key) in [
        ("labels", OWNER_LABEL),
        ("annotations", INSTANCE_ANNOTATION),
        ("annotations", crate::mesh::CLUSTER_ANNOTATION),
    ] {
        let is_there = if member == "labels" { live.label(key).is_some() } else { live.annotation(key).is_some() };
        if is_there {
            operations.push(json!({ "op": "remove", "path": format!("/metadata/{member}/{}", escaped(key)) }));
        }
    }
    operations.into()
}
