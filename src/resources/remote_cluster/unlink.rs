//! The way back: a remote secret taken from a watcher, and its istiods waited for until they have forgotten the
//! cluster.

use std::time::{Duration, Instant};

use super::renewal;
use super::secret;
use super::spec::Spec;
use super::watcher::RenewalBefore;
use crate::cluster::{Cluster, Delete, Error, Failure, Kind, Owner, Patched, Query};
use crate::istiod::ReplicaView;
use crate::kept::report;
use crate::mesh::SecretForm;
use crate::resources::walk::Walk;

const FIRST_PAUSE: Duration = Duration::from_millis(150);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
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
    /// State names the link.
    pub known: bool,
    pub renewal_before: RenewalBefore,
    /// Wait until no replica knows the cluster any more.
    pub wait: bool,
}

/// How long istiods get to forget a cluster.
const FORGET_WITHIN: Duration = Duration::from_secs(60);

/// Deletes the remote secret, if it is ours, and waits until the watcher's istiods have forgotten the cluster. `Some`
/// says what could not be seen.
pub async fn unlink(unlink: Unlink<'_>) -> Result<Option<String>, Error> {
    let Unlink { walk, watcher, spec, secret_name, wait, .. } = unlink;
    renewal::remove(watcher, unlink.owner, spec.namespace.as_str(), unlink.renewal_before).await?;
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
        let views = match walk.istiods.since(watcher, spec.namespace.as_str(), begun).await {
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
    let Unlink { secrets, owner, spec, secret_name, known, .. } = unlink;
    let reference = secret::reference(spec, secret_name);
    // From the list that all who take back share: what has changed since is refused by its version, and looked at
    // again.
    let query = Query::owned(Kind::SECRET, spec.namespace.as_str());
    let listed = secrets.list(&query).await.unwrap_or_default();
    let mut held = listed.iter().find(|secret| secret.name() == reference.name).cloned();
    for _ in 0..ATTEMPTS {
        let live = match held.take() {
            Some(live) => Some(live),
            None => secrets.get(&reference).await?,
        };
        let Some(live) = live else { return Ok(TakenBack::Absent) };
        if !owner.has(&live, known) {
            let whose = report::whose(owner, &live);
            return Ok(TakenBack::NotOurs(format!("{reference} in cluster {} stays: {whose}", secrets.name())));
        }
        let version = live.resource_version().unwrap_or_default();
        if spec.form() == SecretForm::Remote && secret::has_others(&live, spec.id.as_str()) {
            let operations = secret::without_key(&live, spec.id.as_str(), version);
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
            Ok(true) => return Ok(TakenBack::Done),
            // Somebody has written it in between, or made it anew: it is looked at again.
            Ok(false) => {}
            Err(Error { failure: Failure::Api(status), .. }) if status.code == 409 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(TakenBack::NotOurs(format!("{reference} in cluster {} stays: others keep writing it", secrets.name())))
}
