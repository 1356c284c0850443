//! `action.mesh_restart_workloads`: restarts workloads whose proxies are behind.

mod look;
mod model;
mod roll;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::look::{By, Judged};
pub use self::model::RestartWorkloads;
use self::roll::Rolled;
use super::client::{self, Client};
use super::parsing::sentence;
use crate::cluster::{Cluster, Error, Failure, Kind, ObjectRef};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::{Action, Ctx, Progress};
use crate::istiod::{HANDED_OUT, roots_of};
use crate::pki::{Bundle, Certificate};
use crate::schema::validate::parse_duration;
use crate::value::Path;

/// Time for the look at all namespaces.
const LOOK_WITHIN: Duration = Duration::from_secs(120);
const ROLLOUT_WITHIN: Duration = Duration::from_secs(600);
/// Between looks at the roots that are handed out.
const PAUSE: Duration = Duration::from_millis(500);

/// Restarts workloads whose proxies are behind.
pub struct MeshRestartWorkloads;

impl Action for MeshRestartWorkloads {
    type Client = Client;
    type Model = RestartWorkloads;

    const NAME: &'static str = "restart_workloads";

    fn validate(&self, config: &RestartWorkloads, diagnostics: &mut Diagnostics) {
        if let Some(text) = config.root_certificates.known() {
            diagnostics.extend(certificates(text).err());
        }
    }

    async fn plan(&self, cx: &mut Ctx<Client>, config: &RestartWorkloads) -> Result<(), Diagnostics> {
        Ok(client::known_cluster(cx, &config.cluster)?)
    }

    async fn invoke(
        &self,
        cx: &mut Ctx<Client>,
        config: RestartWorkloads,
        progress: &Progress,
    ) -> Result<(), Diagnostics> {
        let task = Task::new(cx, &config)?;
        task.wait_for_roots(cx, progress).await?;
        let Judged { behind, current, left, refused } = task.look(cx).await?;
        if !refused.is_empty() {
            return Err(forbidden(&refused).into());
        }
        if !left.is_empty() {
            cx.warn(not_restarted(&left));
        }
        let namespaces = task.namespaces.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        progress.say(counted(&namespaces, behind.len(), current)).await;
        task.restart(cx, &behind, progress).await
    }
}

/// What is asked for.
struct Task {
    cluster: Cluster,
    namespaces: BTreeSet<String>,
    by: By,
    roots: Option<Bundle>,
    rollout: Duration,
    /// The annotation of everything that is restarted.
    at: String,
}

impl Task {
    fn new(cx: &Ctx<Client>, config: &RestartWorkloads) -> Result<Task, Diagnostics> {
        let counts = |what: &str| config.behind_by.is_null() || config.behind_by.items().any(|by| by == what);
        Ok(Task {
            cluster: client::cluster(cx, config.cluster.text())?,
            namespaces: config.namespaces.items().cloned().collect(),
            by: By { proxy: counts("proxy"), roots: counts("roots") },
            roots: config.root_certificates.known().map(|text| certificates(text)).transpose()?,
            rollout: config.rollout_timeout.known().and_then(|text| parse_duration(text)).unwrap_or(ROLLOUT_WITHIN),
            at: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
        })
    }

    /// Waits until every namespace is given the roots, if any are asked for. A change of `cacerts` reaches istiod by
    /// its kubelet, and so later than the apply that makes it.
    async fn wait_for_roots(&self, cx: &Ctx<Client>, progress: &Progress) -> Result<(), Diagnostics> {
        let Some(wanted) = &self.roots else { return Ok(()) };
        let cluster = client::shortened(cx, &self.cluster, self.rollout + LOOK_WITHIN);
        let (since, mut told) = (Instant::now(), false);
        loop {
            let looks = self.namespaces.iter().map(|namespace| async {
                let map = ObjectRef::namespaced(Kind::CONFIG_MAP, namespace.as_str(), HANDED_OUT);
                Ok::<_, Error>((namespace.as_str(), cluster.get(&map).await?))
            });
            let looks = join_all(looks).await.into_iter().collect::<Result<Vec<_>, Error>>();
            let looks = looks?;
            let is_given = |given: &Bundle| {
                given.len() == wanted.len() && given.iter().all(|certificate| wanted.contains(certificate))
            };
            let others = looks.iter().filter(|(_, map)| !map.as_ref().and_then(roots_of).is_some_and(|r| is_given(&r)));
            let others: Vec<&str> = others.map(|(namespace, _)| *namespace).collect();
            if others.is_empty() {
                return Ok(());
            }
            let others = others.join(", ");
            if since.elapsed() >= self.rollout {
                return Err(not_given(&others, self.rollout).into());
            }
            if !told {
                progress.say(format!("{others}: waiting until istiod hands out the roots.")).await;
                told = true;
            }
            tokio::select! {
                () = cx.cancellation().cancelled() => return Err(interrupted().into()),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn look(&self, cx: &Ctx<Client>) -> Result<Judged, Diagnostics> {
        let cluster = client::shortened(cx, &self.cluster, LOOK_WITHIN);
        let looks = join_all(self.namespaces.iter().map(|namespace| look::look(&cluster, namespace, self.by))).await;
        let mut all = Judged::default();
        for found in looks {
            let found = found?;
            all.behind.extend(found.behind);
            all.current += found.current;
            all.left.extend(found.left);
            all.refused.extend(found.refused);
        }
        Ok(all)
    }

    /// One after the other. The first that fails is the last.
    async fn restart(
        &self,
        cx: &Ctx<Client>,
        behind: &[(ObjectRef, String)],
        progress: &Progress,
    ) -> Result<(), Diagnostics> {
        for (at, (workload, why)) in behind.iter().enumerate() {
            let place = format!("{} of {}", at + 1, behind.len());
            progress.say(format!("{place}: {workload} is restarted: {why}.")).await;
            let begun = Instant::now();
            let cluster = client::shortened(cx, &self.cluster, self.rollout);
            let failed = match roll::roll(&cluster, workload, &self.at).await {
                Ok(Rolled::Done) => {
                    let seconds = begun.elapsed().as_secs();
                    progress.say(format!("{place}: {workload} is available after {seconds} s.")).await;
                    continue;
                }
                Ok(Rolled::Gone) => {
                    progress.say(format!("{place}: {workload} is gone.")).await;
                    continue;
                }
                Ok(Rolled::Refused) => unwritten(workload),
                Err(error) => unfinished(workload, &error),
            };
            let rest: Vec<String> = behind[at + 1..].iter().map(|(workload, _)| workload.to_string()).collect();
            return Err(resumes(failed, at, &rest).into());
        }
        Ok(())
    }
}

/// Roots in PEM, at least one.
fn certificates(text: &str) -> Result<Bundle, Diagnostic> {
    let read = Certificate::all_from_pem(text).map_err(|error| error.to_string());
    match read {
        Ok(found) if !found.is_empty() => Ok(found.into_iter().collect()),
        Ok(_) => Err("it holds none".to_owned()),
        Err(why) => Err(why),
    }
    .map_err(|why| {
        Diagnostic::error("No certificates").at(Path::root("root_certificates")).detail(format!(
            "These must be the roots of the mesh in PEM, such as `root_certificates` of a `mesh_ca`: {why}."
        ))
    })
}

fn counted(namespaces: &str, behind: usize, current: usize) -> String {
    match behind {
        0 => format!("{namespaces}: nothing is behind. Workloads with a proxy: {current}."),
        behind => format!("{namespaces}: {behind} to restart, {current} with a proxy that is not behind."),
    }
}

fn listed(lines: &[String]) -> String {
    lines.iter().map(|line| format!("- {line}")).collect::<Vec<_>>().join("\n")
}

fn forbidden(refused: &[String]) -> Diagnostic {
    Diagnostic::error("Nothing was restarted").at(Path::root("namespaces")).detail(format!(
        "Every workload must be judged before the first is restarted, and must keep its proxy:\n{}\n\nCorrect this, or take \
         the namespace out of `namespaces`. Where a new Pod would get no proxy, the namespace or the template has lost \
         its label for injection, or no istiod of that revision runs.",
        listed(refused)
    ))
}

fn not_restarted(left: &[String]) -> Diagnostic {
    Diagnostic::warning("Some Pods were not restarted")
        .detail(format!("They may be behind, and this action does not restart them:\n{}", listed(left)))
}

fn not_given(namespaces: &str, within: Duration) -> Diagnostic {
    Diagnostic::error("The roots are not handed out").at(Path::root("root_certificates")).detail(format!(
        "After {} s, {HANDED_OUT} of these namespaces has other roots than `root_certificates`: {namespaces}. Nothing was \
         restarted. Look at the log of istiod; a namespace that another mesh's control plane serves needs an action of \
         its own.",
        within.as_secs()
    ))
}

fn unwritten(workload: &ObjectRef) -> Diagnostic {
    Diagnostic::error("A workload could not be restarted")
        .detail(format!("The API server refused to change {workload}, or others kept changing it."))
}

fn unfinished(workload: &ObjectRef, error: &Error) -> Diagnostic {
    match &error.failure {
        Failure::Timeout(_) => Diagnostic::error("A rollout did not finish").detail(format!(
            "{} Kubernetes keeps the old Pods of {workload} that are available as long as its update strategy says.",
            sentence(&error.to_string())
        )),
        Failure::Cancelled { .. } => interrupted(),
        _ => Diagnostic::from(error),
    }
}

fn interrupted() -> Diagnostic {
    Diagnostic::error("Interrupted").detail("The run was stopped while workloads were restarted.")
}

/// Adds where an action that failed has come to, and how to continue.
fn resumes(failed: Diagnostic, before: usize, rest: &[String]) -> Diagnostic {
    let rest = match rest {
        [] => "None was left to restart.".to_owned(),
        rest => format!("Not restarted: {}.", rest.join(", ")),
    };
    let detail = format!(
        "{}\n\nRestarted before: {before}. {rest} Invoke the action again to continue: it restarts what is still behind.",
        failed.detail
    );
    failed.detail(detail)
}
