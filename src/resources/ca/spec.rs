//! From what the user wrote to a [`Spec`]. The only place that rejects input.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use time::Duration;

use super::model::{Ca, ClusterCa, Intermediate, Root, Store};
use crate::cluster::Owner;
use crate::diag::Diagnostics;
use crate::mesh::{ClusterName, Namespace, TrustDomain};
use crate::pki::{
    self, Bundle, Certificate, CheckIntermediate, Fingerprint, KeyAlgorithm, MeshNames, PrivateKey, Problem, Subject,
    check_intermediate, root_of,
};
use crate::resources::parsing::{Parser, sentence};
use crate::resources::signing::chained;
use crate::schema::validate::parse_duration;
use crate::value::{Path, Value};

/// A CA as it shall be, wholly known.
#[derive(Debug)]
pub struct Spec {
    pub root: RootSpec,
    pub clusters: BTreeMap<String, ClusterSpec>,
    pub intermediate: IntermediateSpec,
    pub pause: Duration,
    pub adopt: bool,
    /// Fingerprints.
    pub accept_roots: BTreeSet<String>,
    pub migrate_self_signed: bool,
    /// Of the workloads' ids.
    pub trust_domain: String,
}

/// Where the root comes from.
#[derive(Debug)]
pub enum RootSpec {
    Generated(Generated),
    /// With the key only where the configuration is at hand.
    Brought {
        certificate: Box<Certificate>,
        key: Option<PrivateKey>,
        organization: String,
    },
}

/// A root that this provider generates and keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    pub store: StoreRef,
    pub generation: i64,
    pub algorithm: KeyAlgorithm,
    pub validity: Duration,
    pub subject: Subject,
    /// That watchers may read the store is accepted.
    pub is_readable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoreRef {
    pub cluster: String,
    pub namespace: String,
    pub name: String,
}

#[derive(Debug)]
pub struct ClusterSpec {
    pub namespace: Namespace,
    pub generation: i64,
    /// Signed outside.
    pub chain: Option<Vec<Certificate>>,
    /// The Secret of the `mesh_ca_request` whose key that is for.
    pub request: Option<String>,
}

#[derive(Clone, Copy, Debug)]
pub struct IntermediateSpec {
    pub algorithm: KeyAlgorithm,
    pub validity: Duration,
    pub renew_before: Duration,
}

impl Spec {
    /// `Ok(None)` where something it needs is not known yet. What is known is checked all the same.
    pub fn parse(model: &Ca) -> Result<Option<Spec>, Diagnostics> {
        let mut parser = Parser::default();
        let spec = read(&mut parser, model);
        parser.finish(spec)
    }

    /// Whose the objects of the instance with this mark are in this namespace.
    pub fn owner(&self, namespace: &str, mark: &str) -> Owner {
        owner(self.root.store(), namespace, mark)
    }
}

/// Whose a CA's objects in a namespace are. An older state's objects carry no mark: they count where this provider has
/// written them.
pub fn owner(store: Option<&StoreRef>, namespace: &str, mark: &str) -> Owner {
    owner_of(&label(store, namespace), mark)
}

/// The owner with this label and mark.
pub fn owner_of(label: &str, mark: &str) -> Owner {
    Owner { label: label.to_owned(), mark: mark.to_owned(), unmarked: true }
}

/// Where a model says that a generated root is kept.
pub fn store_of(model: &Ca) -> Option<StoreRef> {
    StoreRef::of(model.root.known()?.store.known()?)
}

/// The owner label of a CA's objects in a namespace.
pub fn label(store: Option<&StoreRef>, namespace: &str) -> String {
    let name = store.map_or("brought", |store| store.name.as_str());
    crate::kept::owner("mesh_ca", namespace, name)
}

impl RootSpec {
    pub fn store(&self) -> Option<&StoreRef> {
        match self {
            Self::Generated(generated) => Some(&generated.store),
            Self::Brought { .. } => None,
        }
    }

    pub fn organization(&self) -> Option<String> {
        match self {
            Self::Generated(generated) => generated.subject.organization.clone(),
            Self::Brought { organization, .. } => Some(organization.clone()),
        }
    }
}

impl StoreRef {
    /// As far as the model knows it.
    pub fn of(model: &Store) -> Option<Self> {
        Some(Self {
            cluster: model.cluster.known()?.clone(),
            namespace: model.namespace.known()?.clone(),
            name: model.name.known()?.clone(),
        })
    }
}

impl std::fmt::Display for StoreRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.cluster, self.namespace, self.name)
    }
}

fn read(parser: &mut Parser, model: &Ca) -> Option<Spec> {
    let root = parser.plain(&model.root).and_then(|root| read_root(parser, &root));
    let clusters = read_clusters(parser, &model.clusters);
    let trust_domain = match &model.trust_domain {
        Value::Null => Some(DEFAULT_TRUST_DOMAIN.to_owned()),
        value => parser.parse(value, "trust_domain", TrustDomain::new).map(|domain| domain.to_string()),
    };
    if let (Some(RootSpec::Brought { certificate, .. }), Some(clusters)) = (&root, &clusters) {
        check_chains(parser, certificate, clusters);
        if let Some(trust_domain) = &trust_domain {
            check_limits(parser, certificate, clusters, trust_domain);
        }
    }
    let intermediate = match &model.intermediate {
        Value::Null => Some(IntermediateSpec::DEFAULT),
        value => parser.plain(value).and_then(|intermediate| read_intermediate(parser, &intermediate)),
    };
    let pause = parser.plain(&model.rotation_pause).and_then(|text| length(&text));
    let adopt = parser.plain(&model.adopt).unwrap_or(false);
    parser.note(model.accept_roots.is_wholly_known());
    let accept_roots =
        model.accept_roots.items().filter_map(|text| Some(Fingerprint::parse(text)?.to_string())).collect();
    let migrate_self_signed = parser.plain(&model.migrate_self_signed).unwrap_or(false);
    if let (Some(RootSpec::Generated(_)), Some(clusters)) = (&root, &clusters) {
        for (name, cluster) in clusters {
            let given = [("certificate_chain", cluster.chain.is_some()), ("request", cluster.request.is_some())];
            for (attribute, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
                parser.refuse(
                    Path::root("clusters").key(name).attr(attribute),
                    "Signed outside, or here?",
                    format!("The root is generated by this provider, which then signs the intermediates too. Remove `{attribute}`, or bring the root's `certificate`."),
                );
            }
        }
    }
    let trust_domain = trust_domain?;
    Some(Spec {
        root: root?,
        clusters: clusters?,
        intermediate: intermediate?,
        pause: pause?,
        adopt,
        accept_roots,
        migrate_self_signed,
        trust_domain,
    })
}

/// What is wrong with a chain at any time. One that leads elsewhere is left alone: it is the answer to a root before,
/// or to come.
fn check_chains(parser: &mut Parser, root: &Certificate, clusters: &BTreeMap<String, ClusterSpec>) {
    let roots: Bundle = [root.clone()].into_iter().collect();
    for (name, cluster) in clusters {
        let Some((chain, intermediate)) = cluster.chain.as_ref().and_then(|chain| Some((chain, chain.first()?))) else {
            continue;
        };
        if root_of(chain, &roots).is_none() {
            continue;
        }
        let now = chain.iter().chain([root]).map(Certificate::not_before).max().unwrap_or(intermediate.not_before());
        let check = CheckIntermediate { chain, roots: &roots, public_key_info: None, now };
        let problems = check_intermediate(check);
        for problem in problems.iter().filter(|problem| !matches!(problem, Problem::Expired { .. })) {
            parser.refuse(
                Path::root("clusters").key(name).attr("certificate_chain"),
                "Unfit as an intermediate",
                sentence(&problem.to_string()),
            );
        }
    }
}

/// What the root, or a CA of a chain that leads to it, may not sign, though istiod must.
fn check_limits(parser: &mut Parser, root: &Certificate, clusters: &BTreeMap<String, ClusterSpec>, trust_domain: &str) {
    let roots = Bundle::from_iter([root.clone()]);
    let mut told = BTreeSet::new();
    for (name, cluster) in clusters {
        let names = mesh_names(cluster.namespace.as_str(), trust_domain);
        for problem in pki::check_limits(root, &names) {
            if told.insert(problem.to_string()) {
                let path = Path::root("root").attr("certificate");
                parser.refuse(path, "Unfit as a root", sentence(&problem.to_string()));
            }
        }
        let Some(chain) = cluster.chain.as_ref().filter(|chain| root_of(chain, &roots).is_some()) else { continue };
        for problem in pki::check_use(chain, &Bundle::default(), &names) {
            let path = Path::root("clusters").key(name).attr("certificate_chain");
            parser.refuse(path, "Unfit as an intermediate", sentence(&problem.to_string()));
        }
    }
}

/// Istio's own, unless the mesh has another.
const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";

/// What istiod signs for: itself, by the names that its chart gives it, and workloads.
pub fn mesh_names(namespace: &str, trust_domain: &str) -> MeshNames {
    let dns = ["istiod", "istiod-remote", "istio-pilot"].map(|name| format!("{name}.{namespace}.svc"));
    MeshNames { dns: dns.into(), trust_domain: trust_domain.to_owned() }
}

impl IntermediateSpec {
    /// What the model's defaults say too.
    const DEFAULT: Self =
        Self { algorithm: KeyAlgorithm::EcdsaP256, validity: Duration::days(730), renew_before: Duration::days(180) };
}

fn read_root(parser: &mut Parser, root: &Root) -> Option<RootSpec> {
    let path = Path::root("root");
    let organization = parser.plain(&root.organization);
    let unsettled = root.store.is_unknown() || root.certificate.is_unknown();
    let (store, certificate) = (parser.plain(&root.store), parser.plain(&root.certificate));
    match (store, certificate) {
        _ if unsettled => None,
        (Some(_), Some(_)) => {
            parser.refuse(
                path.attr("certificate"),
                "Two roots",
                "Give either `store`, for a root that is generated, or `certificate`, for one of your own.",
            );
            None
        }
        (None, None) => {
            parser.refuse(
                path,
                "No root",
                "Give `store`, for a root to be generated and kept there, or `certificate`, for one of your own.",
            );
            None
        }
        (Some(store), None) => {
            if root.private_key_wo.is_known() {
                parser.refuse(
                    path.attr("private_key_wo"),
                    "A key without its certificate",
                    "Give the `certificate` too, or remove the key.",
                );
            }
            let generated = Generated {
                is_readable: parser.plain(&store.readable_by_watchers).unwrap_or(false),
                store: read_store(parser, &store)?,
                generation: parser.plain(&root.generation)?,
                algorithm: KeyAlgorithm::from_name(&parser.plain(&root.algorithm)?)?,
                validity: length(&parser.plain(&root.validity)?)?,
                subject: Subject { organization, common_name: parser.plain(&root.common_name)?, locality: None },
            };
            Some(RootSpec::Generated(generated))
        }
        (None, Some(pem)) => {
            let certificate = read_root_certificate(parser, &pem, &path.attr("certificate"))?;
            let key = match &root.private_key_wo {
                Value::Known(pem) => Some(read_key(parser, pem, &certificate, &path.attr("private_key_wo"))?),
                _ => None,
            };
            Some(RootSpec::Brought { certificate: Box::new(certificate), key, organization: organization? })
        }
    }
}

fn read_root_certificate(parser: &mut Parser, pem: &str, path: &Path) -> Option<Certificate> {
    let certificate = match Certificate::from_pem(pem) {
        Ok(certificate) => certificate,
        Err(error) => {
            parser.refuse(path.clone(), "Not a certificate", chained(&error));
            return None;
        }
    };
    // What depends on the time is no matter of the configuration: it is told by plan and apply.
    for problem in crate::pki::check_root(&certificate, certificate.not_before()) {
        parser.refuse(path.clone(), "Unfit as a root", sentence(&problem.to_string()));
    }
    if certificate.path_len() == Some(0) {
        parser.refuse(
            path.clone(),
            "Unfit as a root",
            format!("The certificate {} has pathlen 0: it cannot sign intermediates. Give a root without a pathlen, or of at least 1.", certificate.subject()),
        );
    }
    Some(certificate)
}

fn read_key(parser: &mut Parser, pem: &str, certificate: &Certificate, path: &Path) -> Option<PrivateKey> {
    match PrivateKey::from_pem(pem) {
        Ok(key) if key.public_key_info() == certificate.public_key_info() => Some(key),
        Ok(_) => {
            let detail = format!("The private key does not belong to the certificate {}.", certificate.subject());
            parser.refuse(path.clone(), "Key and certificate do not match", detail);
            None
        }
        Err(error) => {
            parser.refuse(path.clone(), "Not a usable private key", chained(&error));
            None
        }
    }
}

fn read_store(parser: &mut Parser, store: &Store) -> Option<StoreRef> {
    let cluster = parser.plain(&store.cluster);
    let namespace = parser.plain(&store.namespace);
    let name = parser.plain(&store.name);
    Some(StoreRef { cluster: cluster?, namespace: namespace?, name: name? })
}

fn read_clusters(
    parser: &mut Parser,
    clusters: &Value<crate::value::Map<ClusterCa>>,
) -> Option<BTreeMap<String, ClusterSpec>> {
    let clusters = parser.plain(clusters)?;
    let mut read = BTreeMap::new();
    for (name, cluster) in &clusters {
        let path = Path::root("clusters").key(name);
        if let Err(error) = ClusterName::new(name.as_str()) {
            parser.refuse(path.clone(), "Unsuitable name", sentence(&error.to_string()));
        }
        let Some(cluster) = parser.plain(cluster) else { continue };
        let namespace = parser.parse(&cluster.namespace, path.attr("namespace"), Namespace::new);
        let generation = parser.plain(&cluster.generation);
        let chain = parser.plain(&cluster.certificate_chain).and_then(|pem| match Certificate::all_from_pem(&pem) {
            Ok(chain) => Some(chain),
            Err(error) => {
                parser.refuse(path.attr("certificate_chain"), "Not a chain of certificates", chained(&error));
                None
            }
        });
        let request = parser.plain(&cluster.request);
        if let (Some(namespace), Some(generation)) = (namespace, generation) {
            read.insert(name.clone(), ClusterSpec { namespace, generation, chain, request });
        }
    }
    Some(read)
}

fn read_intermediate(parser: &mut Parser, intermediate: &Intermediate) -> Option<IntermediateSpec> {
    let algorithm = KeyAlgorithm::from_name(&parser.plain(&intermediate.algorithm)?)?;
    let validity = length(&parser.plain(&intermediate.validity)?)?;
    let renew_before = length(&parser.plain(&intermediate.renew_before)?)?;
    if renew_before >= validity {
        parser.refuse(
            Path::root("intermediate").attr("renew_before"),
            "Always due",
            "An intermediate would be due for renewal as soon as it is made. `renew_before` must be shorter than `validity`.",
        );
    }
    Some(IntermediateSpec { algorithm, validity, renew_before })
}

fn length(text: &str) -> Option<Duration> {
    parse_duration(text).and_then(|length| length.try_into().ok())
}
