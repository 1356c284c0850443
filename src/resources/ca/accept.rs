//! Whether istiod takes what was written. It refuses in silence: with several roots unless told to expect them, and for ever without
//! `cacerts` at its start. So it is asked before, and believed only when its own certificates and the bundle it hands out show it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::time::{Instant, sleep};

use super::Cx;
use super::apply::Written;
use super::decide::{Action, Decision};
use super::gather::{self, Live};
use super::secret::CaCerts;
use crate::cluster::{Delete, Error, Kind, Object, ObjectRef, PodPort, Query};
use crate::diag::{Diagnostic, Diagnostics};
use crate::kept::converge;
use crate::pki::{Bundle, Certificate};
use crate::value::Path;

/// Kept back of the time allowed, to say what istiod was last seen with.
const MARGIN: Duration = Duration::from_secs(10);
/// By which istiod hands roots out, in every namespace that it serves.
const HANDED_OUT: &str = "istio-ca-root-cert";
const PAUSE: Duration = Duration::from_millis(500);

/// Refuses a change of roots that a running istiod would refuse without a word.
pub async fn check_multi_root(decision: &Decision, live: &BTreeMap<String, Live>) -> Result<(), Diagnostics> {
    let checks = decision.actions.iter().filter_map(|(name, action)| {
        let live = live.get(name)?;
        let Action::Write { trusted, .. } = action else { return None };
        let present: Vec<String> = live.held.as_ref()?.roots.fingerprints().iter().map(ToString::to_string).collect();
        let changes = present.len() != trusted.len() || !present.iter().all(|root| trusted.contains(root));
        changes.then_some(async move { (name, single_root(live).await) })
    });
    let mut refused = Diagnostics::new();
    for (name, deployment) in join_all(checks).await {
        let path = Path::root("clusters").key(name);
        match deployment {
            Ok(None) => {}
            Ok(Some(deployment)) => refused.push(
                Diagnostic::error("istiod would not take the new roots")
                    .detail(format!(
                        "{deployment} in cluster {name} runs without ISTIO_MULTIROOT_MESH=true: it would refuse any change of the roots, and only its log would say so. Take the change of the root back for now (`root.generation`, `root.certificate`), set `multi_root = true` on its `mesh_primary`, apply, restart the workloads, and then begin again. Nothing was written."
                    ))
                    .at(path),
            ),
            Err(error) => refused.push(converge::diagnostic(&error).at(path)),
        }
    }
    refused.check()
}

/// A Deployment of istiod that expects one root for ever.
async fn single_root(live: &Live) -> Result<Option<String>, Error> {
    let query = Query::of(Kind::DEPLOYMENT).namespace(&live.namespace).label("app", "istiod");
    let deployments = live.cluster.list_now(&query).await?;
    Ok(deployments.iter().find(|deployment| !expects_several_roots(deployment)).map(ToString::to_string))
}

fn expects_several_roots(deployment: &Object) -> bool {
    let containers = deployment.items("spec.template.spec.containers");
    containers.iter().filter_map(|container| container.get("env")?.as_array()).flatten().any(|env| {
        env.get("name").is_some_and(|name| name == "ISTIO_MULTIROOT_MESH")
            && env.get("value").and_then(|value| value.as_str()).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    })
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
        let told = |error: Error| converge::diagnostic(&error);
        let istiods = gather::istiods(self.live).await.map_err(told)?;
        if istiods.is_empty() {
            // The first start reads whatever is there.
            return Ok(());
        }
        if self.live.secret.is_none() {
            self.restart(&istiods).await.map_err(told)?;
        }
        loop {
            let missing = self.missing().await;
            match missing {
                Ok(None) => return Ok(()),
                outcome if Instant::now() + PAUSE >= self.deadline => return Err(self.late(outcome)),
                _ => sleep(PAUSE).await,
            }
        }
    }

    /// An istiod that started without `cacerts` never looks again.
    async fn restart(&self, istiods: &[Object]) -> Result<(), Error> {
        for pod in istiods.iter().filter_map(Object::reference) {
            self.live.cluster.delete(&Delete::new(pod)).await?;
        }
        Ok(())
    }

    /// What istiod has not shown yet.
    async fn missing(&self) -> Result<Option<String>, Error> {
        let handed_out = self.handed_out().await?;
        if handed_out.is_empty() {
            return Ok(Some(format!("it has not handed out any roots yet (ConfigMap {HANDED_OUT})")));
        }
        if !handed_out.contains(&self.held.roots) {
            return Ok(Some(format!("it still hands out the roots it had before (ConfigMap {HANDED_OUT})")));
        }
        if !self.reissued {
            return Ok(None);
        }
        let running: Vec<Object> = gather::istiods(self.live).await?;
        for pod in running.iter().filter(|pod| pod.str("status.phase") == "Running") {
            if !self.serves_new_intermediate(pod.name()).await? {
                return Ok(Some(format!("{} still shows a certificate of another intermediate", pod.name())));
            }
        }
        Ok(if running.is_empty() { Some("no Pod of it runs".to_owned()) } else { None })
    }

    /// The roots that istiod hands out: in its own namespace or, where its `discoverySelectors` leave that out, in whichever it does. There may be other control
    /// planes, of other roots, in those.
    async fn handed_out(&self) -> Result<Vec<Bundle>, Error> {
        let roots = |map: &Object| Bundle::from_pem(map.strings("data").get("root-cert.pem")?).ok();
        let reference = ObjectRef::namespaced(Kind::CONFIG_MAP, &self.live.namespace, HANDED_OUT);
        if let Some(own) = self.live.cluster.get(&reference).await? {
            return Ok(roots(&own).into_iter().collect());
        }
        let elsewhere = Query::of(Kind::CONFIG_MAP).field("metadata.name", HANDED_OUT);
        Ok(self.live.cluster.list_now(&elsewhere).await?.iter().filter_map(roots).collect())
    }

    /// Whether the certificate an istiod shows its proxies is of the intermediate just written.
    async fn serves_new_intermediate(&self, pod: &str) -> Result<bool, Error> {
        let port = PodPort { namespace: self.live.namespace.clone(), pod: pod.to_owned(), port: 15012 };
        let stream = self.live.cluster.pod_stream(&port).await?;
        let Some(shown) = shown_certificate(stream).await else { return Ok(false) };
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

/// The certificate a TLS server shows; whether to trust it is for the caller to judge.
async fn shown_certificate(stream: crate::cluster::PodStream) -> Option<Certificate> {
    let seen = Arc::new(Observer::default());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&seen) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let name = ServerName::try_from("istiod.istio-system.svc").ok()?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    // The handshake may fail for want of a client certificate; what was shown was shown.
    let _ = tokio::time::timeout(Duration::from_secs(10), connector.connect(name, stream)).await;
    seen.0.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Notes the server's certificate. Nothing is sent over the connection, so that nothing has to be trusted.
#[derive(Debug, Default)]
struct Observer(Mutex<Option<Certificate>>);

impl ServerCertVerifier for Observer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Certificate::from_der(end_entity);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
