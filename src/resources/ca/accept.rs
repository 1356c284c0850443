//! Whether istiod takes what was written. It refuses in silence: with several roots unless told to expect them, and for
//! ever without `cacerts` at its start. So it is asked before, and believed only when its own certificates and the
//! bundle it hands out show it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::Cx;
use super::decide::{Action, Decision};
use super::gather::Live;
use super::secret::CaCerts;
use crate::cluster::Error;
use crate::diag::{Diagnostic, Diagnostics};
use crate::istiod::{HANDED_OUT, Istiod};
use crate::resources::signing::OpenRequest;
use crate::value::Path;

/// Kept back of the time allowed, to say what istiod was last seen with.
const MARGIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);

/// What was written to a cluster.
pub enum Written {
    CaCerts { held: Box<CaCerts>, reissued: bool },
    Request(Box<OpenRequest>),
}

/// Refuses a change of roots that a running istiod would refuse without a word.
pub async fn check_multi_root(decision: &Decision, live: &BTreeMap<String, Live>) -> Result<(), Diagnostics> {
    let checks = decision.actions.iter().filter_map(|(name, action)| {
        let live = live.get(name)?;
        let Action::Write { trusted, .. } = action else { return None };
        let present: Vec<String> = live.held.as_ref()?.roots.fingerprints().iter().map(ToString::to_string).collect();
        let changes = present.len() != trusted.len() || !present.iter().all(|root| trusted.contains(root));
        changes.then_some(async move { (name, live.istiod().expecting_one_root().await) })
    });
    let mut refused = Diagnostics::new();
    for (name, deployment) in join_all(checks).await {
        let path = Path::root("clusters").key(name);
        match deployment {
            Ok(None) => {}
            Ok(Some(deployment)) => refused.push(
                Diagnostic::error("istiod would not take the new roots")
                    .detail(format!(
                        "{deployment} in cluster {name} runs without ISTIO_MULTIROOT_MESH=true: it would ignore any change of the roots, and only its log would say so. Undo the change of the root for now (`root.generation`, `root.certificate`). Set `multi_root = true` on its `mesh_primary`. Where another tool installs istiod, set `pilot.env.ISTIO_MULTIROOT_MESH` and `meshConfig.defaultConfig.proxyMetadata.PROXY_CONFIG_XDS_AGENT` to \"true\" in its values instead. Apply, restart the workloads, and then begin again. Nothing was written."
                    ))
                    .at(path),
            ),
            Err(error) => refused.push(Diagnostic::from(&error).at(path)),
        }
    }
    refused.check()
}

/// Waits until every istiod of the clusters written to works with what was written.
pub async fn prove(
    cx: &Cx,
    live: &BTreeMap<String, Live>,
    written: &BTreeMap<String, Written>,
) -> Result<(), BTreeMap<String, Diagnostic>> {
    let deadline = cx.deadline().checked_sub(MARGIN).unwrap_or_else(|| cx.deadline());
    let proofs = written.iter().filter_map(|(name, written)| match written {
        Written::CaCerts { held, reissued } => {
            let proof = Proof { live: live.get(name)?, held, reissued: *reissued, deadline: deadline.into() };
            Some(async move { (name, cx.run("waiting for istiod to take its certificates", proof.run()).await) })
        }
        Written::Request(_) => None,
    });
    let mut failed = BTreeMap::new();
    for (name, outcome) in join_all(proofs).await {
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(diagnostic)) | Err(diagnostic) => drop(failed.insert(name.clone(), diagnostic)),
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed) }
}

/// What one cluster's istiod has to show.
struct Proof<'a> {
    live: &'a Live,
    held: &'a CaCerts,
    reissued: bool,
    deadline: Instant,
}

impl Proof<'_> {
    async fn run(&self) -> Result<(), Diagnostic> {
        let istiod = self.live.istiod();
        let replicas = istiod.replicas(None).await?;
        if replicas.is_empty() {
            // The first start reads whatever is there.
            return Ok(());
        }
        if self.live.secret.is_none() {
            // An istiod that started without `cacerts` never looks again.
            istiod.restart(&replicas).await?;
        }
        loop {
            let missing = self.missing(&istiod).await;
            match missing {
                Ok(None) => return Ok(()),
                outcome if Instant::now() + PAUSE >= self.deadline => return Err(self.late(outcome)),
                _ => sleep(PAUSE).await,
            }
        }
    }

    /// What istiod has not shown yet.
    async fn missing(&self, istiod: &Istiod) -> Result<Option<String>, Error> {
        let handed_out = istiod.handed_out().await?;
        if handed_out.is_empty() {
            return Ok(Some(format!("it has not handed out any roots yet (ConfigMap {HANDED_OUT})")));
        }
        if !handed_out.contains(&self.held.roots) {
            return Ok(Some(format!("it still hands out the roots it had before (ConfigMap {HANDED_OUT})")));
        }
        if !self.reissued {
            return Ok(None);
        }
        let replicas = istiod.replicas(None).await?;
        for replica in &replicas {
            if !self.serves_new_intermediate(istiod, &replica.pod).await? {
                return Ok(Some(format!("{} still shows a certificate of another intermediate", replica.pod)));
            }
        }
        Ok(replicas.is_empty().then(|| "no Pod of it runs".to_owned()))
    }

    /// Whether the certificate an istiod shows its proxies is of the intermediate just written.
    async fn serves_new_intermediate(&self, istiod: &Istiod, pod: &str) -> Result<bool, Error> {
        let Some(shown) = istiod.served_certificate(pod).await? else { return Ok(false) };
        Ok(self.held.chain.first().is_some_and(|intermediate| shown.is_signed_by(intermediate)))
    }

    fn late(&self, outcome: Result<Option<String>, Error>) -> Diagnostic {
        let last = match outcome {
            Ok(missing) => missing.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        Diagnostic::error("istiod has not taken its certificates").detail(format!(
            "The Secret {}/cacerts was written, but istiod in cluster {} does not use it yet: {last}. The kubelet brings a changed Secret into the Pod within a minute or two; if its log says \"Multi root is disabled\" or \"Updating new ROOT-CA not supported\", it refuses the new roots. To continue, plan again.",
            self.live.namespace,
            self.live.cluster.name()
        ))
    }
}
