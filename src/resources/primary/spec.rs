//! From what the user wrote to a [`Spec`] that nothing later has a reason to refuse. The only place that rejects input.

use std::collections::BTreeMap;

use super::model::{Endpoints, Gateway, MeshNetwork, Primary};
use super::values;
use crate::chart::{self, Values};
use crate::diag::{Diagnostic, Diagnostics};
use crate::mesh::{
    self, Address, Cidr, ClusterName, ControlPlane, GatewayAt, MeshId, MeshNetworkAmbiguity, MeshNetworks, NameError,
    Namespace, Network, NetworkEndpoints, NetworkGateway, Revision, TrustDomain,
};
use crate::value::{List, Path, Value};

/// A control plane as it shall be, wholly known.
#[derive(Clone, Debug)]
pub struct Spec {
    pub control_plane: ControlPlane,
    pub tags: Vec<String>,
    pub base_values: Values,
    pub istiod_values: Values,
    pub trust_root: Option<String>,
    pub install_base: bool,
    pub adopt: bool,
    pub force_conflicts: bool,
}

impl Spec {
    /// `Ok(None)` where something it needs is not known yet. What is known is checked all the same.
    pub fn parse(model: &Primary) -> Result<Option<Spec>, Diagnostics> {
        let mut reader = Reader::default();
        let spec = reader.spec(model);
        match reader.diagnostics.has_errors() {
            true => Err(reader.diagnostics),
            false => Ok(spec.filter(|_| !reader.unknown)),
        }
    }

    /// The name of the release: of the istiod chart, of the resource among the control planes of a namespace.
    pub fn release(&self) -> String {
        release(self.control_plane.revision.as_ref().map(Revision::as_str))
    }

    /// The owner label of its objects.
    pub fn owner(&self) -> String {
        owner(self.control_plane.namespace.as_str(), &self.release())
    }
}

/// The owner label of a control plane's objects. A namespace other than the usual one is told too: the label is
/// also on objects of the cluster.
pub fn owner(namespace: &str, release: &str) -> String {
    let owner = match namespace {
        "istio-system" => format!("mesh_primary.{release}"),
        other => format!("mesh_primary.{release}.{other}"),
    };
    if owner.len() <= 63 { owner } else { format!("{}.{}", &owner[..50], crate::resources::fields::short(&owner)) }
}

/// The release of the chart istiod for a revision, as Istio's documentation names it.
pub fn release(revision: Option<&str>) -> String {
    revision.map_or_else(|| "istiod".to_owned(), |revision| format!("istiod-{revision}"))
}

/// Collects what is wrong, and notes what is not known yet.
#[derive(Default)]
struct Reader {
    diagnostics: Diagnostics,
    unknown: bool,
}

impl Reader {
    fn spec(&mut self, model: &Primary) -> Option<Spec> {
        let cluster_name = if model.cluster_name.is_unknown() || model.cluster_name.is_null() {
            &model.cluster
        } else {
            &model.cluster_name
        };
        let cluster_path = if model.cluster_name.known().is_some() { "cluster_name" } else { "cluster" };
        let cluster = self.name(cluster_name, Path::root(cluster_path), ClusterName::new);
        let namespace = self.name(&model.namespace, Path::root("namespace"), Namespace::new);
        let mesh_id = self.name(&model.mesh_id, Path::root("mesh_id"), MeshId::new);
        let network = self.name(&model.network, Path::root("network"), Network::new);
        let revision = self.name(&model.revision, Path::root("revision"), Revision::new);
        let trust_domain = self.name(&model.trust_domain, Path::root("trust_domain"), TrustDomain::new);
        let aliases = self.names(&model.trust_domain_aliases, &Path::root("trust_domain_aliases"), TrustDomain::new);
        let mut tags: Vec<String> = self.tags(model, revision.as_ref());
        tags.sort();
        let trust_root = self.trust_root(&model.trust_root);
        let mesh_networks = self.mesh_networks(model, network.as_ref());
        let external_istiod = self.plain(&model.external_istiod).unwrap_or(false);
        let install_base = self.plain(&model.install_base).unwrap_or(true);
        let adopt = self.plain(&model.adopt).unwrap_or(false);
        let force_conflicts = self.plain(&model.force_conflicts).unwrap_or(false);
        let user = self.documents(&model.values);

        let control_plane = ControlPlane {
            cluster: cluster?,
            mesh_id: mesh_id?,
            network,
            namespace: namespace?,
            revision,
            trust_domain,
            trust_domain_aliases: aliases,
            mesh_networks,
            external_istiod,
            custom_hosts: Vec::new(),
            multi_root: false,
            env: BTreeMap::new(),
            proxy_metadata: BTreeMap::new(),
        };
        let laid = match values::of(&control_plane, &tags, &user?) {
            Ok(laid) => laid,
            Err(contradictions) => {
                self.contradictions(contradictions);
                return None;
            }
        };
        Some(Spec {
            control_plane,
            tags,
            base_values: laid.base,
            istiod_values: laid.istiod,
            trust_root,
            install_base,
            adopt,
            force_conflicts,
        })
    }

    /// A known value; null is `None`, and so is unknown, which is noted.
    fn plain<T: Clone>(&mut self, value: &Value<T>) -> Option<T> {
        self.unknown |= value.is_unknown();
        value.known().cloned()
    }

    fn name<T>(
        &mut self,
        value: &Value<String>,
        path: Path,
        parse: impl Fn(String) -> Result<T, NameError>,
    ) -> Option<T> {
        let text = self.plain(value)?;
        parse(text).map_err(|error| self.refuse(path, "Invalid name", error)).ok()
    }

    fn names<T>(
        &mut self,
        list: &Value<List<String>>,
        path: &Path,
        parse: impl Fn(String) -> Result<T, NameError>,
    ) -> Vec<T> {
        let list = self.plain(list).unwrap_or_default();
        list.iter().enumerate().filter_map(|(index, value)| self.name(value, path.index(index), &parse)).collect()
    }

    fn tags(&mut self, model: &Primary, revision: Option<&Revision>) -> Vec<String> {
        self.unknown |= !model.tags.is_settled();
        let path = || Path::root("tags");
        let tags: Vec<String> = model.tags.items().cloned().collect();
        for tag in &tags {
            // A tag's webhook and Service carry it in their names as they carry a revision.
            if tag != "default"
                && let Err(error) = Revision::new(tag.clone())
            {
                self.refuse(path(), "Invalid tag", format!("{tag:?}: {}", error.reason));
            }
            if revision.is_some_and(|revision| revision.as_str() == tag) {
                self.refuse(
                    path(),
                    "A tag is named like the revision",
                    format!("{tag:?} already selects this control plane: its revision has that name."),
                );
            }
        }
        tags
    }

    fn trust_root(&mut self, value: &Value<String>) -> Option<String> {
        let text = self.plain(value)?;
        let bare: String = text.chars().filter(|c| *c != ':').collect::<String>().to_ascii_lowercase();
        let bare =
            bare.strip_prefix("sha256").map(|rest| rest.trim_start_matches(['=', '-', ' ']).to_owned()).unwrap_or(bare);
        if bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some(bare);
        }
        self.refuse(
            Path::root("trust_root"),
            "Not a SHA-256 fingerprint",
            "Give the 64 hexadecimal digits of the root certificate's SHA-256 fingerprint, such as `mesh_ca.this.root_fingerprint`.",
        );
        None
    }

    fn mesh_networks(&mut self, model: &Primary, own: Option<&Network>) -> MeshNetworks {
        let mut networks = MeshNetworks::default();
        let path = Path::root("mesh_networks");
        for (name, value) in self.plain(&model.mesh_networks).unwrap_or_default() {
            let at = path.key(name.clone());
            let network = self.name(&Value::Known(name), at.clone(), Network::new);
            let Some(described) = self.plain(&value) else { continue };
            let described = self.mesh_network(&described, &at);
            if let Some(network) = network {
                networks.0.insert(network, described);
            }
        }
        for ambiguity in networks.ambiguities() {
            let at = match &ambiguity {
                MeshNetworkAmbiguity::ClusterTwice { networks, .. }
                | MeshNetworkAmbiguity::Overlap { networks, .. } => path.key(networks.1.to_string()).attr("endpoints"),
            };
            self.refuse(
                at,
                "Networks contradict each other",
                format!("{}. istiod would choose one of them, in silence.", capital(&ambiguity.to_string())),
            );
        }
        self.shadowed(model, &networks, own);
        networks
    }

    /// The label of the namespace beats meshNetworks: an entry for this cluster in another network would never count.
    fn shadowed(&mut self, model: &Primary, networks: &MeshNetworks, own: Option<&Network>) {
        let (Some(own), Some(cluster)) = (own, model.cluster_name.known().or(model.cluster.known())) else { return };
        for (network, described) in networks.0.iter().filter(|(network, _)| *network != own) {
            let claims = described
                .endpoints
                .iter()
                .any(|endpoints| matches!(endpoints, NetworkEndpoints::FromRegistry(name) if name.as_str() == cluster));
            if claims {
                self.refuse(
                    Path::root("mesh_networks").key(network.to_string()).attr("endpoints"),
                    "This entry would never count",
                    format!(
                        "It puts cluster {cluster} into network {network}, but `network` puts it into {own} by a label, and istiod lets labels \
                         win over mesh networks. Remove the entry, or remove `network`."
                    ),
                );
            }
        }
    }

    fn mesh_network(&mut self, described: &MeshNetwork, path: &Path) -> mesh::MeshNetwork {
        let endpoints = self.each(&described.endpoints, &path.attr("endpoints"), Self::endpoints);
        let gateways = self.each(&described.gateways, &path.attr("gateways"), Self::gateway);
        for (index, gateway) in gateways.iter().enumerate() {
            let by_service = matches!(&gateway.at, GatewayAt::Service(_));
            let registries = endpoints.iter().any(|endpoints| matches!(endpoints, NetworkEndpoints::FromRegistry(_)));
            if by_service && !registries && !self.unknown {
                self.refuse(
                    path.attr("gateways").index(index).attr("registry_service_name"),
                    "No cluster to find the gateway's Service in",
                    "istiod looks the Service up only in clusters that `from_registry` of the same network names, and there is none. \
                     Name the cluster there, or give the gateway's `address`.",
                );
            }
        }
        mesh::MeshNetwork { endpoints, gateways }
    }

    fn each<T: Clone, U>(
        &mut self,
        list: &Value<List<T>>,
        path: &Path,
        read: impl Fn(&mut Self, &T, &Path) -> Option<U>,
    ) -> Vec<U> {
        let list = self.plain(list).unwrap_or_default();
        let mut read_all = Vec::new();
        for (index, value) in list.iter().enumerate() {
            let Some(element) = self.plain(value) else { continue };
            read_all.extend(read(self, &element, &path.index(index)));
        }
        read_all
    }

    fn endpoints(&mut self, endpoints: &Endpoints, path: &Path) -> Option<NetworkEndpoints> {
        let unknown = endpoints.from_registry.is_unknown() || endpoints.from_cidr.is_unknown();
        self.unknown |= unknown;
        match (endpoints.from_registry.known(), endpoints.from_cidr.known()) {
            (Some(_), Some(_)) => {
                self.refuse(
                    path.clone(),
                    "Two kinds of endpoints at once",
                    "Give either `from_registry` or `from_cidr`; write two elements for both.",
                );
                None
            }
            (Some(_), None) => self
                .name(&endpoints.from_registry, path.attr("from_registry"), ClusterName::new)
                .map(NetworkEndpoints::FromRegistry),
            (None, Some(text)) => match Cidr::parse(text) {
                Ok(cidr) => Some(NetworkEndpoints::FromCidr(cidr)),
                Err(error) => {
                    self.refuse(path.attr("from_cidr"), "Not an address range", capital(&format!("{error}.")));
                    None
                }
            },
            (None, None) => {
                if !unknown {
                    self.refuse(path.clone(), "No endpoints", "Give either `from_registry` or `from_cidr`.");
                }
                None
            }
        }
    }

    fn gateway(&mut self, gateway: &Gateway, path: &Path) -> Option<NetworkGateway> {
        let unknown = gateway.address.is_unknown() || gateway.registry_service_name.is_unknown();
        self.unknown |= unknown;
        let port = self.plain(&gateway.port).and_then(|port| u16::try_from(port).ok()).unwrap_or(15443);
        let at = match (gateway.address.known(), gateway.registry_service_name.known()) {
            (Some(address), None) => match Address::parse(address) {
                Ok(address) => GatewayAt::Address(address),
                Err(error) => {
                    self.refuse(path.attr("address"), "Not an address", capital(&format!("{error}.")));
                    return None;
                }
            },
            (None, Some(service)) => GatewayAt::Service(service.clone()),
            (None, None) if unknown => return None,
            _ => {
                self.refuse(path.clone(), "Where is the gateway?", "Give either `address` or `registry_service_name`.");
                return None;
            }
        };
        Some(NetworkGateway { at, port })
    }

    fn documents(&mut self, documents: &Value<List<String>>) -> Option<Values> {
        self.unknown |= !documents.is_settled();
        let mut values = Values::default();
        for (index, document) in self.plain(documents).unwrap_or_default().iter().enumerate() {
            let Some(text) = document.known() else { continue };
            match chart::Values::from_yaml(text) {
                Ok(document) => values.merge(document),
                Err(error) => {
                    self.refuse(
                        Path::root("values").index(index),
                        "Not a values document",
                        format!("{error}. Give a YAML mapping, as in a file for `helm --values`."),
                    );
                    return None;
                }
            }
        }
        Some(values)
    }

    fn contradictions(&mut self, contradictions: Vec<values::Contradiction>) {
        for values::Contradiction { attribute, path, document, decided } in contradictions {
            self.refuse(
                Path::root("values"),
                "A value contradicts an attribute",
                format!("The values set `{path}` to {document}, but the attribute `{attribute}` makes it {decided}. Remove it from the values, or change the attribute."),
            );
        }
    }

    fn refuse(&mut self, path: Path, summary: &str, detail: impl std::fmt::Display) {
        self.diagnostics.push(Diagnostic::error(summary).detail(detail.to_string()).at(path));
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
