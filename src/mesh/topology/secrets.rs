//! Certificate authorities, and who may read whose Secrets.

use super::super::external::istiod_name_of;
use super::super::link_token::usual_user;
use super::links::minor;
use super::{ControlPlaneAt, DeclaredCa, Finding, SecretPlace, Severity, WatchedCluster};

/// The key of the root within reach of whoever has a watcher's token, in this place. What is there already is no error:
/// it works, and a plan is how it is changed.
pub(super) fn readable_root(
    watched: &WatchedCluster,
    authority: &DeclaredCa,
    place: &str,
    attribute: &'static str,
) -> Finding {
    let severity = if watched.is_new || authority.is_new { Severity::Error } else { Severity::Warning };
    let watchers: Vec<&str> = watched.watchers.iter().map(String::as_str).collect();
    Finding {
        severity,
        attribute,
        summary: "The root's key is within the watchers' reach",
        detail: format!(
            "The key of a `mesh_ca` is kept in cluster {place}, whose Secrets the tokens of {} can read, as every istiod asks to: whoever gets hold of one of them can issue certificates for \
             the whole mesh. Keep `root.store` in a cluster that nobody watches, or keep the key yourself: `root.certificate` with `private_key_wo`. To accept it all the same, set \
             `readable_by_watchers = true` in `root.store`.",
            watchers.join(", ")
        ),
    }
}

/// An istiod that waits for Secrets that it may not read: it never gets in sync.
pub(super) fn unreadable(
    watched: &WatchedCluster,
    watcher: &ControlPlaneAt,
    attribute: &'static str,
) -> Option<Finding> {
    let waits =
        watcher.reads_remote_secrets || watcher.version.as_deref().and_then(minor).is_some_and(|minor| minor < 31);
    if watched.reads_secrets
        || !waits
        || !watched.watchers.contains(&watcher.cluster)
        || watched.namespace != watcher.namespace
    {
        return None;
    }
    let (cluster, other) = (&watched.cluster, &watcher.cluster);
    let ways = match watcher.version.as_deref().and_then(minor) {
        Some(before @ ..31) => format!(
            "Istio 1.{before} always does. Leave `read_secrets` of the `mesh_remote_cluster` of {cluster} at `true`: whoever has a token of {other} can then read every Secret of \
             {cluster}, its `cacerts` among them."
        ),
        _ => format!(
            "Leave `read_secrets` of the `mesh_remote_cluster` of {cluster} at `true`; or, with Istio later than 1.31.0, set `read_remote_secrets = false` on the `mesh_primary` of \
             {other}, unless it serves gateways of other clusters that name credentials."
        ),
    };
    Some(Finding {
        severity: Severity::Error,
        attribute,
        summary: "An istiod waits for Secrets that it is not allowed to read",
        detail: format!(
            "The istiod of {other} watches {cluster}, and is in sync with it only when it has read its Secrets, for which it is given no right. {ways}"
        ),
    })
}

/// An istiod that is to log in by a token of its own, and is given none: it never gets in.
pub(super) fn without_token(watched: &WatchedCluster, watcher: &ControlPlaneAt) -> Option<Finding> {
    let audience = watched.link_audience.as_ref()?;
    let watches = watched.watchers.contains(&watcher.cluster) && watched.namespace == watcher.namespace;
    if !watches || watcher.link_audiences.contains(audience) {
        return None;
    }
    let (cluster, other) = (&watched.cluster, &watcher.cluster);
    Some(Finding {
        severity: Severity::Error,
        attribute: "link_token",
        summary: "An istiod has no token for this link",
        detail: format!(
            "The `mesh_remote_cluster` of {cluster} has `link_token`: the istiod of {other} is to log in to it by a token of its own, of the audience {audience}, and its `mesh_primary` gives it none. Set `link_token = {{ audiences = [\"{audience}\"] }}` on the `mesh_primary` of {other}, beside the audiences that are there, or leave `link_token` of the `mesh_remote_cluster` out."
        ),
    })
}

/// An istiod of a revision, which logs in by the ServiceAccount of that revision, where the rights are for that of the
/// default one. An expression of the API server's may give both one name.
pub(super) fn another_account(watched: &WatchedCluster, watcher: &ControlPlaneAt) -> Option<Finding> {
    watched.link_audience.as_ref()?;
    let revision = watcher.revision.as_deref()?;
    let watches = watched.usual_users.contains(&watcher.cluster) && watched.namespace == watcher.namespace;
    if !watches {
        return None;
    }
    let (cluster, other, account) = (&watched.cluster, &watcher.cluster, istiod_name_of(Some(revision)));
    let usual = usual_user(other, &watched.namespace, &istiod_name_of(None));
    let own = usual_user(other, &watched.namespace, &account);
    Some(Finding {
        severity: Severity::Warning,
        attribute: "link_token",
        summary: "The API server may know this istiod by another name",
        detail: format!(
            "The `mesh_remote_cluster` of {cluster} has `link_token` and gives the istiods of {other} their rights under the user name {usual:?}. The istiod of the revision {revision:?} in {other} has the ServiceAccount {account}, so that the API server of {cluster} calls it otherwise, unless an expression of its configuration gives all of them one name: it could read nothing of {cluster}. If it is the only istiod of {other}, set `users = {{ {other} = {own:?} }}` in `link_token` of the `mesh_remote_cluster`. If there are several, have `claimMappings.username.expression` there map all of them to one name, and set `users` to it, also where it is the usual one."
        ),
    })
}

/// The version that brought the switch: its istiod takes what it does not start for started, and ends (a nil
/// `CredentialsController` is asked whether it has synced).
pub(super) fn ends_at_once(declared: &ControlPlaneAt) -> Option<Finding> {
    let broken = declared.version.as_deref().is_some_and(|version| version.trim_start_matches('v') == "1.31.0");
    (broken && !declared.reads_remote_secrets).then(|| Finding {
        severity: Severity::Error,
        attribute: "read_remote_secrets",
        summary: "This istiod would crash at the first cluster that it watches",
        detail: "With this setting istiod 1.31.0 crashes at the first remote secret. Leave `read_remote_secrets` out, or use a later version of Istio.".to_owned(),
    })
}

/// `place` is the store's cluster, by the names that it has.
pub(super) fn same_store(store: &SecretPlace, place: &str) -> Finding {
    let SecretPlace { namespace, name, .. } = store;
    Finding {
        severity: Severity::Error,
        attribute: "root",
        summary: "Two CAs with one store",
        detail: format!(
            "Another `mesh_ca` keeps its root in the Secret {namespace}/{name} of cluster {place} too: each would make a root there, and one of the keys would be lost. One `mesh_ca` is \
             the CA of all clusters of a mesh: list them in its `clusters`. For meshes apart give each `store` another `name` or `namespace`."
        ),
    }
}

/// Clusters are certain by their names, and not by their uids: clones of one have the same.
pub(super) fn two_authorities(clusters: &[String], severity: Severity) -> Finding {
    Finding {
        severity,
        attribute: "clusters",
        summary: "Two CAs for one cluster",
        detail: format!(
            "Another `mesh_ca` writes the Secret cacerts in the same namespace of {} too; the two would overwrite each other's intermediate.",
            clusters.join(", ")
        ),
    }
}
