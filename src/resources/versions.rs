//! The version of Istio that goes with a control plane: gateways and remotes take their charts in it, unless they are
//! told another.

use std::time::{Duration, Instant};

use super::charts::Charts;
use super::client::{Client, briefly};
pub use super::walk::Followed;
use super::walk::Walk;
use crate::cluster::{Kind, ObjectRef};
use crate::diag::Diagnostic;
use crate::engine::Ctx;
use crate::istiod;
use crate::mesh::istiod_name_of;
use crate::value::Path;

/// What version it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// As the configuration says, or else as it runs.
    Known(String),
    /// The configuration will say.
    Open,
    /// It is not for others to say: somebody names one, or the charts are in a folder and are what they are.
    Named,
    /// It is not in the configuration as far as that has been planned, and does not run where it can be seen.
    Unknown,
}

/// For how long the core must have asked for nothing else before a control plane is taken for one that the
/// configuration does not have.
const QUIET: Duration = Duration::from_millis(300);
/// Kept back of the time that a plan may take, to ask for what runs.
const TIME_TO_ASK: Duration = Duration::from_secs(15);
/// How often it is looked whether the control plane has been planned.
const PAUSE: Duration = Duration::from_millis(20);

/// The version to follow. What the configuration declares comes first: a plan shows gateways of the version that their
/// control plane is upgraded to.
pub async fn follow<P>(cx: &Ctx<Client, P>, charts: Option<&Charts>, followed: Followed<'_>) -> Version {
    let Ok(client) = cx.client() else { return Version::Unknown };
    if client.charts.names_version(charts) {
        return Version::Named;
    }
    match client.walk.version_of(followed) {
        Some(declared) => declared.map_or(Version::Open, Version::Known),
        None => running(cx, followed).await,
    }
}

/// Waits, in a plan, for the control plane that is to be followed. The core plans in no fixed order where resources do
/// not refer to each other, so one that nobody has declared is waited for while others are planned: else the version
/// would be a matter of chance, and the plan that an apply makes once more could differ from the one that was shown. A
/// core that plans one resource after the other (`-parallelism=1`) plans none meanwhile: what is new and follows nobody
/// it knows is then left to the apply.
pub async fn wait_for<P>(cx: &Ctx<Client, P>, charts: Option<&Charts>, is_declared: impl Fn(&Walk) -> bool) {
    let Ok(client) = cx.client() else { return };
    if client.charts.names_version(charts) {
        return;
    }
    let declared = async {
        while !is_declared(&client.walk) {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        biased;
        () = declared => {}
        () = cx.others_are_quiet(QUIET) => {}
        // An apply plans once more while others change things, which may take longer than a plan may. What runs is
        // asked for then, as it was in the plan that was shown.
        () = tokio::time::sleep(cx.deadline().saturating_duration_since(Instant::now()).saturating_sub(TIME_TO_ASK)) => {}
    }
}

/// The version of the control plane as it runs.
async fn running<P>(cx: &Ctx<Client, P>, followed: Followed<'_>) -> Version {
    let Some(cluster) = briefly(cx, followed.cluster) else { return Version::Unknown };
    let istiod = ObjectRef::namespaced(Kind::DEPLOYMENT, followed.namespace, istiod_name_of(followed.revision));
    let live = cluster.get(&istiod).await.ok().flatten();
    live.as_ref().and_then(istiod::version_of).map_or(Version::Unknown, Version::Known)
}

/// A chart that is newer than its control plane, where somebody says so.
pub fn ahead<P>(cx: &Ctx<Client, P>, chart: &str, followed: Followed<'_>) -> Option<Diagnostic> {
    let declared = cx.client().ok()?.walk.version_of(followed)??;
    is_ahead(chart, &declared).then(|| {
        Diagnostic::warning(format!("Charts of {chart} are newer than the control plane of {declared}")).at(Path::root("charts").attr("version")).detail(format!(
            "The control plane in {} is of Istio {declared}; proxies and definitions of a newer minor version than their istiod's are not supported. Leave `version` out, which takes the control \
             plane's, or upgrade that first.",
            followed.cluster
        ))
    })
}

fn is_ahead(chart: &str, control_plane: &str) -> bool {
    let minor = |version: &str| -> Option<(u64, u64)> {
        let mut parts = version.trim_start_matches('v').split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    minor(chart).zip(minor(control_plane)).is_some_and(|(chart, control_plane)| chart > control_plane)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_minor_version_is_ahead() {
        for (chart, control_plane, ahead) in [
            ("1.31.1", "1.30.5", true),
            ("1.30.5", "1.31.1", false),
            ("1.31.9", "1.31.0", false),
            ("v2.0.0", "1.31.0", true),
            ("latest", "1.31.0", false),
        ] {
            assert_eq!(is_ahead(chart, control_plane), ahead, "{chart} {control_plane}");
        }
    }
}
