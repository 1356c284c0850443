//! The job in a watcher that renews its token: written with the link, looked at by a refresh, removed before the link.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::spec::Spec;
use super::token_spec::RenewalSpec;
use super::watcher::{Link, RenewalBefore, failed};
use crate::cluster::{
    Adoption, Apply, BoundTo, Cluster, Delete, Error, Kind, OWNER_LABEL, Object, ObjectRef, Owner, Propagation, Secret,
    TokenRequest,
};
use crate::diag::Diagnostic;
use crate::istiod;
use crate::kept::managers;
use crate::kept::memory::Memory;
use crate::kept::objects::{Drift, Wanted};
use crate::kept::read;
use crate::mesh::{RENEWAL_CONTAINER, Renewal, RenewalPod, Schedule, Token, renewal_name};
use crate::resources::token;
use crate::value::Path;

/// Everything of a renewal, in the watcher.
const KINDS: &[Kind] = &[Kind::SERVICE_ACCOUNT, Kind::ROLE, Kind::CONFIG_MAP, Kind::ROLE_BINDING, Kind::CRON_JOB];
/// How long an API server may take to hear of a right that was just given.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(500);

/// What the job's Pod has in common with the watcher's istiod; or why no job can renew this token.
pub async fn prepare(link: Link<'_>, asked: &RenewalSpec) -> Result<RenewalPod, Diagnostic> {
    let namespace = link.spec.namespace.as_str();
    let deployments = link.watcher.list_now(&istiod::deployments(namespace)).await;
    let deployments = deployments.map_err(|error| failed(link, &error))?;
    let versions = deployments.iter().filter_map(istiod::version_of);
    let affected = versions.into_iter().find(|version| istiod::loses_endpoints_on_rotation(version));
    if let Some(version) = affected.filter(|_| !link.spec.token.rotate_on_affected_versions) {
        return Err(loses_endpoints(link, &version));
    }
    let of_istiod = deployments.iter().find_map(|live| RenewalPod::of(live.get("spec.template.spec")?));
    let Some(mut pod) = of_istiod else { return Err(without_istiod(link)) };
    if !pod.has_pull_secrets() {
        let account = deployments.iter().find_map(|live| live.get("spec.template.spec.serviceAccountName")?.as_str());
        let account = ObjectRef::namespaced(Kind::SERVICE_ACCOUNT, namespace, account.unwrap_or("default"));
        let account = link.watcher.get(&account).await.map_err(|error| failed(link, &error))?;
        pod.pull_by(account.as_ref().and_then(|account| account.get("imagePullSecrets")));
    }
    match &asked.image {
        Some(image) => Ok(RenewalPod { image: image.clone(), ..pod }),
        None if pod.has_no_shell() => Err(without_shell(link, &pod.image)),
        None => Ok(pod),
    }
}

/// Asks for a token as the job will, by the reader's token. What is granted is bound to the same Secret, and nobody
/// keeps it.
pub async fn prove(link: Link<'_>, token: &Token) -> Result<(), Diagnostic> {
    let bound = token::read(token.reveal()).ok().and_then(|claims| claims.secret);
    let request = TokenRequest {
        namespace: link.spec.namespace.as_str().to_owned(),
        service_account: link.spec.reader.service_account.as_str().to_owned(),
        audiences: Vec::new(),
        expires_in: link.spec.token.lifetime,
        bound_to: bound.map(|bound| BoundTo { kind: Kind::SECRET, name: bound.name, uid: bound.uid }),
    };
    let reader = link.watched.with_token(Secret::new(token.reveal()));
    let begun = Instant::now();
    loop {
        match reader.request_token(&request).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_forbidden() && begun.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
            Err(error) if error.is_forbidden() => return Err(not_allowed(link)),
            Err(error) => return Err(failed(link, &error)),
        }
    }
}

/// Makes the job, or brings it to what it shall be.
pub async fn write(link: Link<'_>, pod: RenewalPod, token: &Token) -> Result<(), Error> {
    let adoption = if link.spec.adopt { Adoption::Take } else { Adoption::Refuse };
    let known = link.known && link.renewal_before != RenewalBefore::No;
    let watcher = link.watcher.name();
    let renewed = Renewed { spec: link.spec, secret_name: link.secret_name, watcher, granted: granted(token) };
    for object in renewed.objects(pod) {
        let object = link.owner.put_on(object);
        let apply = Apply { object, owner: link.owner.clone(), known, adoption, force: known };
        link.watcher.apply(apply).await?;
    }
    Ok(())
}

/// A token that a job renews, and where it is.
#[derive(Clone, Copy)]
pub struct Renewed<'a> {
    pub spec: &'a Spec,
    pub secret_name: &'a str,
    pub watcher: &'a str,
    /// The seconds of its whole life.
    pub granted: u64,
}

impl Renewed<'_> {
    /// The objects, for a token as it was granted.
    pub fn objects(self, pod: RenewalPod) -> Vec<Object> {
        let Self { spec, secret_name, watcher, granted } = self;
        let renewal = Renewal {
            cluster: &spec.id,
            namespace: &spec.namespace,
            secret_name,
            reader: &spec.reader.service_account,
            lifetime: spec.token.lifetime.as_secs(),
            schedule: Schedule::within(granted, &format!("{watcher}/{}", spec.id)),
            pod,
        };
        renewal.objects().into_iter().filter_map(Object::new).collect()
    }
}

/// The seconds of a token's whole life; none where its times are no times.
fn granted(token: &Token) -> u64 {
    let claims = token::read(token.reveal()).ok();
    let life = claims.and_then(|claims| claims.expires?.checked_sub(claims.issued?));
    life.and_then(|life| u64::try_from(life).ok()).unwrap_or_default()
}

/// Removes what this instance has of a renewal in a watcher. The job goes first, and is waited for: nothing then writes
/// a remote secret that is about to change.
pub async fn remove(watcher: &Cluster, owner: &Owner, namespace: &str, before: RenewalBefore) -> Result<(), Error> {
    if before == RenewalBefore::No {
        return Ok(());
    }
    let found = match read::owned(watcher, KINDS, namespace, owner).await {
        // Who may not list CronJobs has made none.
        Err(error) if before == RenewalBefore::Perhaps && error.is_forbidden() => return Ok(()),
        found => found?,
    };
    let mut found: Vec<(ObjectRef, Object)> = found.into_iter().collect();
    found.sort_by_key(|(reference, _)| std::cmp::Reverse(reference.kind.order));
    for (reference, live) in found {
        let delete = Delete {
            propagation: Propagation::Foreground,
            uid: live.uid().map(str::to_owned),
            ..Delete::new(reference)
        };
        watcher.delete_and_wait(&delete).await?;
    }
    Ok(())
}

/// A look at a renewal.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    pub watcher: &'a Cluster,
    pub owner: &'a Owner,
    pub spec: &'a Spec,
    pub secret_name: &'a str,
    pub token: &'a Token,
}

/// What of the renewal is missing or not as an apply would make it, in words. Of the Pod what was taken from istiod
/// when it was made may be older by now.
pub async fn differences(look: Look<'_>) -> Result<Vec<String>, Error> {
    let Look { watcher, owner, spec, secret_name, token } = look;
    let renewed = Renewed { spec, secret_name, watcher: watcher.name(), granted: granted(token) };
    let wanted = |pod: RenewalPod| {
        let mut wanted = Wanted::default();
        for object in renewed.objects(pod) {
            if let Some(reference) = object.reference() {
                wanted.insert(reference, object, &owner.label);
            }
        }
        wanted.recorded()
    };
    let mut live = read::live(watcher, &wanted(RenewalPod::default()), &Memory::default()).await?;
    live.retain(|_, object| owner.has(object, true));
    let job = live.iter().find(|(_, object)| object.kind() == Kind::CRON_JOB.kind);
    let of_job = job.and_then(|(_, job)| RenewalPod::of(job.get("spec.jobTemplate.spec.template.spec")?));
    let mut pod = of_job.unwrap_or_default();
    if let Some(image) = spec.token.renewal.as_ref().and_then(|renewal| renewal.image.clone()) {
        pod.image = image;
    }
    let (_, drifts) = wanted(pod).seen(&live, &Memory::default());
    let image =
        job.filter(|(_, job)| !has_our_image(job)).map(|(key, _)| format!("{key} has the image of somebody else"));
    Ok(drifts.iter().map(in_words).chain(image).collect())
}

/// Which image it is may be out of date, but whoever sets another takes the field from this provider.
fn has_our_image(job: &Object) -> bool {
    managers::ours(job).keys().any(|path| path.ends_with(&format!("containers[{RENEWAL_CONTAINER}].image")))
}

fn in_words(drift: &Drift) -> String {
    match &drift.path {
        None => format!("{} is missing", drift.object),
        Some(path) => format!("{} has another {path}", drift.object),
    }
}

fn path() -> Path {
    Path::root("token").attr("renewal")
}

fn job(spec: &Spec) -> String {
    format!("{}/{}", spec.namespace, renewal_name(&spec.id))
}

fn without_istiod(link: Link<'_>) -> Diagnostic {
    let (namespace, watcher) = (&link.spec.namespace, link.watcher.name());
    Diagnostic::error("The watcher has no istiod").at("watchers").detail(format!(
        "No istiod runs in namespace {namespace} of cluster {watcher}, so that there is no image for the job that renews its token. Refer to its `mesh_primary` in `watchers`, so that the control plane is there first."
    ))
}

fn without_shell(link: Link<'_>, image: &str) -> Diagnostic {
    Diagnostic::error("The image of istiod has no shell").at(path().attr("image")).detail(format!(
        "The istiod of {} runs {image}. The job that renews its token would run in the same image, and needs bash, curl and base64. Nothing was written to {}. Set `image` to one that has them, such as \
         the same image without `-distroless`.",
        link.watcher.name(),
        link.watcher.name()
    ))
}

fn loses_endpoints(link: Link<'_>, version: &str) -> Diagnostic {
    let watcher = link.watcher.name();
    Diagnostic::error("This version of istiod loses endpoints at each renewal").at(path()).detail(format!(
        "{watcher} runs Istio {version}, whose istiod loses a cluster's endpoints when its remote secret changes (repaired in 1.30.4 and 1.31). A job would change it several times in a token's life. Upgrade \
         {watcher} first, or leave `renewal` out."
    ))
}

fn not_allowed(link: Link<'_>) -> Diagnostic {
    let (spec, watched) = (link.spec, link.watched.name());
    Diagnostic::error("The reader is not allowed to request its next token").at(path()).detail(format!(
        "ServiceAccount {}/{} of cluster {watched} has a Role that lets it ask for tokens of its own, and the API server refuses it all the same. An admission or authorization webhook of {watched} may be the \
         reason. The job in {} could renew nothing, so nothing was written there. Allow it, or choose another of the ways in the guide on credentials.",
        spec.namespace,
        spec.reader.service_account,
        link.watcher.name()
    ))
}

/// What a link that cannot be taken away leaves in a watcher: its remote secret and, where there is one, the job that
/// renews the token.
pub fn left(secret: &ObjectRef, spec: &Spec, before: RenewalBefore) -> String {
    match before {
        RenewalBefore::Made => format!("{secret}, with CronJob {} that renews its token,", job(spec)),
        RenewalBefore::Perhaps | RenewalBefore::No => secret.to_string(),
    }
}

/// The token is older than one that is renewed.
pub fn overdue(spec: &Spec, (watcher, ends): (&str, &str)) -> Diagnostic {
    let (job, id) = (job(spec), &spec.id);
    let (namespace, name) = (&spec.namespace, renewal_name(id));
    // Of several warnings with one summary Terraform shows the first alone.
    Diagnostic::warning(format!("The token of {watcher} for {id} was not renewed in time")).at("token").detail(format!(
        "The token ends at {ends}, and CronJob {job} in cluster {watcher} should have renewed it by now. Its Jobs say why: `kubectl get jobs -n {namespace}`, then `kubectl logs -n {namespace} -l app={name}`. An apply issues a new token and recreates the job."
    ))
}

/// Others have changed the job.
pub fn changed(spec: &Spec, watcher: &str, differences: &[String]) -> Diagnostic {
    const SHOWN: usize = 6;
    let shown: Vec<String> = differences.iter().take(SHOWN).map(|what| format!("- {what}")).collect();
    let more = differences.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("\n- and {more} more") } else { String::new() };
    Diagnostic::warning(format!("The renewal of the token of {watcher} for {} is not as it was made", spec.id)).at("token").detail(format!(
        "In cluster {watcher}:\n{}{more}\n\nSomebody has changed it, or another version of the provider made it. The token may end without a renewal. An apply restores the job and what it needs, and keeps the token.",
        shown.join("\n")
    ))
}

/// Whether there is a renewal cannot be seen.
pub fn unseen(spec: &Spec, watcher: &str, error: &Error) -> Diagnostic {
    Diagnostic::warning(format!("The renewal of the token of {watcher} for {} cannot be seen", spec.id))
        .at("token")
        .detail(format!(
            "Whether CronJob {} in cluster {watcher} is as it was made is not known: {error}. {}",
            job(spec),
            error.remedy()
        ))
}

/// Whether a watcher has a job of this link; and then its image, where that is not istiod's.
pub async fn found(watcher: &Cluster, spec: &Spec) -> Result<Option<Option<String>>, Error> {
    let reference = ObjectRef::namespaced(Kind::CRON_JOB, spec.namespace.as_str(), renewal_name(&spec.id));
    let live = watcher.get(&reference).await?;
    let Some(job) = live.filter(|live| live.label(OWNER_LABEL) == Some(spec.owner().as_str())) else { return Ok(None) };
    let image = |spec: Option<&Value>| Some(RenewalPod::of(spec?)?.image);
    let istiods = watcher.list_now(&istiod::deployments(spec.namespace.as_str())).await?;
    let own = image(job.get("spec.jobTemplate.spec.template.spec"));
    let shared = istiods.iter().any(|live| image(live.get("spec.template.spec")) == own);
    Ok(Some(own.filter(|_| !shared)))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_life_of_a_token_with_any_times_is_told() {
        for (issued, expires, life) in [
            (1_000, 87_400, 86_400),
            (87_400, 1_000, 0),
            (-2, i64::MAX, 0),
            (i64::MIN, i64::MAX, 0),
            (i64::MAX, i64::MIN, 0),
        ] {
            let claims = json!({"exp": expires, "iat": issued, "kubernetes.io": {
                "namespace": "istio-system", "serviceaccount": {"name": "reader", "uid": "a-1"}}});
            let token = Token::new(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string())));
            assert_eq!(granted(&token), life, "{issued} {expires}");
        }
    }
}
