//! What a CA writes, for the page that lists it.

use super::home::Home;
use super::model::Ca;
use super::secret::{self, CaCerts, RootStore, StoredRoot};
use super::spec::{RootSpec, Spec};
use super::{home, new_namespace};
use crate::diag::Diagnostics;
use crate::kept::claim::NewNamespace;
use crate::kept::{instance::Place, namespace};
use crate::pki::{Bundle, Certificate, KeyAlgorithm, PrivateKey};
use crate::resources::parsing;
use crate::resources::signing::{self, OpenRequest, Requester, copied};
use crate::resources::written::{MARK, Written};

/// A certificate and its key to stand for all others.
pub struct Sample {
    pub certificate: Certificate,
    pub key: PrivateKey,
}

pub async fn written(planned: &Ca, sample: &Sample) -> Result<Written, Diagnostics> {
    let spec = parsing::complete(Spec::parse(planned)?)?;
    let mut written = Written::default();
    if let Some(store) = spec.root.store() {
        let owner = spec.owner(&store.namespace, MARK);
        let made = match new_namespace(planned) {
            NewNamespace::MadeWithoutPods => namespace::without_pods(&store.namespace, &owner.label),
            NewNamespace::Made | NewNamespace::Refused => namespace::plain(&store.namespace, &owner.label),
        };
        written.add(&store.cluster, made)?;
        let root = StoredRoot { certificate: sample.certificate.clone(), key: copied(&sample.key)? };
        written.add(&store.cluster, RootStore([(1, root)].into()).object(store, &owner))?;
    }
    let signs = !matches!(spec.root, RootSpec::Brought { key: None, .. });
    for (name, cluster) in &spec.clusters {
        let system = cluster.namespace.as_str();
        let owner = spec.owner(system, MARK);
        written.add(name, namespace::plain(system, &owner.label))?;
        let (chain, roots) = (vec![sample.certificate.clone()], Bundle::from_iter([sample.certificate.clone()]));
        let held = CaCerts {
            chain,
            key: copied(&sample.key)?,
            roots,
            lists: Vec::new(),
            has_unreadable_lists: false,
            twice: None,
        };
        written.add(name, held.object(system, &owner))?;
        if !signs && cluster.request.is_none() {
            let requester = Requester { organization: None, cluster: name, namespace: system };
            let open = OpenRequest::make(&signing::profile(requester), KeyAlgorithm::default()).await?;
            written.add(name, owner.put_on(open.object(&secret::request_in(system))))?;
        }
    }
    if let Some(Home { cluster, namespace, label }) = home::usual(planned, |_| true) {
        let place = Place { resource: "mesh_ca", id: planned.id.text(), namespace: &namespace, label: &label };
        written.claim(&cluster, place)?;
    }
    Ok(written)
}
