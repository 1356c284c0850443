//! From what the user wrote to a [`Spec`] that nothing later has a reason to refuse. The only place that rejects input.

use std::collections::BTreeSet;

use serde_json::json;

use super::link_token::{self, LinkTokenSpec};
use super::model::RemoteCluster;
use super::token_spec;
pub use super::token_spec::TokenSpec;
use crate::chart::Values;
use crate::diag::Diagnostics;
use crate::kept::hidden::Hidden;
use crate::mesh::{
    Address, ClusterName, Namespace, Network, Reader, ReaderMode, RemoteDataPlane, Revision, SecretForm, ServerUrl,
    ServerUrlError, ServiceAccountName, SystemNamespace, istiod_name,
};
use crate::resources::parsing::{Parser, sentence};

/// A watched cluster as it shall be, wholly known.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The id in Istio.
    pub id: ClusterName,
    pub namespace: Namespace,
    /// Keys of the provider's clusters.
    pub watchers: BTreeSet<String>,
    pub reader: Reader,
    pub endpoint: EndpointSpec,
    pub token: TokenSpec,
    /// In place of the tokens.
    pub link_token: Option<LinkTokenSpec>,
    /// In the modes `remote` and `config`.
    pub remote: Option<Remote>,
    /// Key of the cluster in which the watchers' istiods look for remote secrets, where that is not their own.
    pub config_cluster: Option<String>,
    pub adopt: bool,
    pub wait: bool,
}

/// What the user says of the API server as watchers dial it; the rest is found out.
#[derive(Clone, Debug)]
pub struct EndpointSpec {
    pub server: Option<ServerUrl>,
    /// PEM.
    pub certificate_authority: Option<String>,
    pub tls_server_name: Option<String>,
    pub proxy_url: Option<String>,
    pub allow_loopback: bool,
}

/// The watched cluster's API server as a remote secret describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub server: ServerUrl,
    /// PEM.
    pub certificate_authority: Option<String>,
    pub tls_server_name: Option<String>,
    pub proxy_url: Option<String>,
}

/// A cluster without a control plane of its own.
#[derive(Clone, Debug)]
pub struct Remote {
    pub data_plane: RemoteDataPlane,
    pub system_namespace: SystemNamespace,
    pub base_values: Values,
    pub istiod_values: Values,
    /// What of the values no field shows.
    pub hidden: Hidden,
}

impl Spec {
    /// `Ok(None)` where something it needs is not known yet. What is known is checked all the same.
    pub fn parse(model: &RemoteCluster) -> Result<Option<Spec>, Diagnostics> {
        let mut parser = Parser::default();
        let spec = read(&mut parser, model);
        parser.finish(spec)
    }

    /// The owner label of the objects in the watched cluster and of the remote secrets.
    pub fn owner(&self) -> String {
        owner(self.namespace.as_str(), self.id.as_str())
    }

    /// How often an apply must come for no token to end; never where none ends, or none is stored.
    pub fn renew_within(&self) -> Option<String> {
        self.token.renew_within().filter(|_| self.link_token.is_none())
    }

    /// Whether istiod reads its configuration from the cluster.
    pub fn is_config_cluster(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.data_plane.is_config_cluster)
    }

    pub fn form(&self) -> SecretForm {
        if self.is_config_cluster() { SecretForm::Config } else { SecretForm::Remote }
    }

    /// By what istiods know the cluster: `namespace/name` of its remote secret. The one they read their configuration
    /// from has none.
    pub fn registered_by(&self, secret_name: &str) -> String {
        match self.form() {
            SecretForm::Remote => format!("{}/{secret_name}", self.namespace),
            SecretForm::Config => String::new(),
        }
    }

    /// Where the watcher's remote secrets are kept.
    pub fn secrets_of<'a>(&'a self, watcher: &'a str) -> &'a str {
        self.config_cluster.as_deref().unwrap_or(watcher)
    }
}

/// How the names begin of the Secrets that the reader's tokens are bound to.
pub fn bindings(reader: &ServiceAccountName, id: &ClusterName) -> String {
    format!("{reader}.{}.", id.as_str().to_lowercase().replace('_', "-"))
}

/// The owner label of what a model describes.
pub fn label(model: &RemoteCluster) -> String {
    owner(model.namespace.text(), model.cluster_name.text())
}

pub fn owner(namespace: &str, id: &str) -> String {
    crate::kept::owner("mesh_remote_cluster", namespace, id)
}

fn read(parser: &mut Parser, model: &RemoteCluster) -> Option<Spec> {
    parser.note(!model.cluster.is_unknown());
    let id = if model.cluster_name.is_null() { &model.cluster } else { &model.cluster_name };
    let id_path = if model.cluster_name.is_known() { "cluster_name" } else { "cluster" };
    let id = parser.parse(id, id_path, ClusterName::new);
    let namespace = parser.parse(&model.namespace, "namespace", Namespace::new);
    let service_account = parser.parse(&model.service_account, "service_account", ServiceAccountName::new);
    let watchers = watchers(parser, model);
    let endpoint = endpoint(parser, model);
    let token = token_spec::read(parser, model);
    let link_token = link_token::read(parser, model, namespace.as_ref(), &watchers);
    let mode = parser.plain(&model.mode);
    let is_config = mode.as_deref() == Some("config");
    let is_remote = is_config || mode.as_deref() == Some("remote");
    let read_secrets = parser.plain(&model.read_secrets).unwrap_or(true);
    let export_services = parser.plain(&model.export_services).unwrap_or(false);
    let adopt = parser.plain(&model.adopt).unwrap_or(false);
    let wait = parser.plain(&model.wait).unwrap_or(true);
    if is_config {
        refuse_in_config(parser, model, &watchers);
    }
    let config_cluster = parser.plain(&model.config_cluster);
    let remote = match is_remote {
        true => remote(parser, model, id.as_ref(), namespace.as_ref(), &watchers),
        false => {
            refuse_in_peer(parser, model);
            None
        }
    };
    if is_remote && remote.is_none() {
        return None;
    }
    let (id, namespace) = (id?, namespace?);
    let service_account = match remote.as_ref().filter(|_| is_config) {
        Some(remote) => ServiceAccountName::new(istiod_name(remote.data_plane.revision.as_ref())).ok()?,
        None => service_account?,
    };
    let renewal = token.renewal.as_ref().map(|_| bindings(&service_account, &id));
    let users = link_token.iter().flat_map(|own| own.users.values().cloned()).collect();
    let reader = Reader {
        service_account,
        namespace: namespace.clone(),
        users,
        mode: if is_remote { ReaderMode::Remote } else { ReaderMode::Peer },
        read_secrets,
        renewal,
        export_services,
    };
    Some(Spec { id, namespace, watchers, reader, endpoint, token, link_token, remote, config_cluster, adopt, wait })
}

fn watchers(parser: &mut Parser, model: &RemoteCluster) -> BTreeSet<String> {
    parser.note(model.watchers.is_wholly_known());
    let watchers: BTreeSet<String> = model.watchers.items().cloned().collect();
    if let Some(own) = model.cluster.known().filter(|own| watchers.contains(*own)) {
        parser.refuse(
            "watchers",
            "A cluster cannot watch itself",
            format!("{own:?} is the watched cluster. Its own istiod reads it without a remote secret, and would ignore one: leave it out, such as by `if c != each.key`."),
        );
    }
    watchers
}

fn endpoint(parser: &mut Parser, model: &RemoteCluster) -> EndpointSpec {
    // Not known yet is not refused yet.
    parser.note(!model.allow_loopback_server.is_unknown());
    let allow_loopback = model.allow_loopback_server.get().unwrap_or(model.allow_loopback_server.is_unknown());
    let server = parser.plain(&model.server).and_then(|text| match server(&text, allow_loopback) {
        Ok(server) => Some(server),
        Err(error) => {
            refuse_server(parser, &error);
            None
        }
    });
    let certificate_authority = parser.plain(&model.certificate_authority).filter(|pem| match certificates(pem) {
        Ok(_) => true,
        Err(why) => {
            parser.refuse("certificate_authority", "Not PEM certificates", why);
            false
        }
    });
    let proxy_url = parser.plain(&model.proxy_url).filter(|url| {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_lowercase());
        let known = matches!(scheme.as_deref(), Some("http" | "https" | "socks5"));
        if !known {
            parser.refuse("proxy_url", "Not a proxy's URL", "It must begin with `http://`, `https://` or `socks5://`.");
        }
        known
    });
    EndpointSpec {
        server,
        certificate_authority,
        tls_server_name: parser.plain(&model.tls_server_name),
        proxy_url,
        allow_loopback,
    }
}

/// The server's URL, if watchers can mean the same machine by it.
pub fn server(text: &str, allow_loopback: bool) -> Result<ServerUrl, ServerUrlError> {
    let server = ServerUrl::parse(text)?;
    if allow_loopback { Ok(server) } else { server.reachable_from_elsewhere() }
}

fn refuse_server(parser: &mut Parser, error: &ServerUrlError) {
    let detail = format!(
        "{} Set `server` to the address by which Pods of the watchers reach this API server; for kind, k3d and minikube that is the IP address of the node.",
        sentence(&error.to_string())
    );
    parser.refuse("server", "Watchers cannot use this address", detail);
}

/// The certificates of a PEM text, each in DER.
pub fn certificates(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut found = Vec::new();
    for block in x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()) {
        let block = block.map_err(|_| "The text holds a block that is not PEM.".to_owned())?;
        if block.label != "CERTIFICATE" {
            return Err(format!(
                "The text holds a block of the type {:?}; only certificates belong here.",
                block.label
            ));
        }
        block.parse_x509().map_err(|_| "The text holds a certificate that cannot be read.".to_owned())?;
        found.push(block.contents);
    }
    if found.is_empty() { Err("The text holds no certificate.".to_owned()) } else { Ok(found) }
}

fn refuse_in_peer(parser: &mut Parser, model: &RemoteCluster) {
    if model.mode.as_deref() != Some("peer") {
        return;
    }
    for (attribute, set) in [
        ("control_plane", model.control_plane.is_known()),
        ("control_plane_address", model.control_plane_address.is_known()),
        ("config_cluster", model.config_cluster.is_known()),
        ("network", model.network.is_known()),
        ("revision", model.revision.is_known()),
        ("values", model.values.is_known()),
        ("sensitive_values", model.sensitive_values.is_known()),
        ("charts", model.charts.is_known()),
    ] {
        if set {
            let detail = format!(
                "With `mode = \"peer\"` the watched cluster has a control plane of its own, which `mesh_primary` describes; `{attribute}` belongs to the modes `remote` and `config`."
            );
            parser.refuse(attribute, "Not in the mode peer", detail);
        }
    }
}

/// What has no meaning for the cluster that an istiod reads its configuration from.
fn refuse_in_config(parser: &mut Parser, model: &RemoteCluster, watchers: &BTreeSet<String>) {
    if model.watchers.is_wholly_known() && watchers.len() != 1 {
        parser.refuse(
            "watchers",
            "One cluster runs the control plane",
            "With `mode = \"config\"` the only watcher is the cluster whose istiod reads its configuration from here: the `cluster` of the `mesh_primary` with this cluster as \
             `config_cluster`. Further clusters that it serves are of the mode `remote`.",
        );
    }
    let default_account = model.service_account.known().is_none_or(|account| account == "istio-mesh-reader");
    for (attribute, is_set) in [
        ("control_plane", model.control_plane.is_known()),
        ("config_cluster", model.config_cluster.is_known()),
        ("link_token", model.link_token.is_known()),
        ("service_account", !default_account),
        ("read_secrets", model.read_secrets.get() == Some(false)),
        ("export_services", model.export_services.get() == Some(true)),
    ] {
        if is_set {
            let detail = format!(
                "In the mode `config` istiod uses this cluster's id, and the ServiceAccount `istiod` from its charts. Leave \
                 `{attribute}` out."
            );
            parser.refuse(attribute, "Not in the mode config", detail);
        }
    }
}

fn remote(
    parser: &mut Parser,
    model: &RemoteCluster,
    id: Option<&ClusterName>,
    namespace: Option<&Namespace>,
    watchers: &BTreeSet<String>,
) -> Option<Remote> {
    let known = model.watchers.is_wholly_known();
    let is_config = model.mode.as_deref() == Some("config");
    let control_plane = match (model.control_plane.is_null(), watchers.len()) {
        _ if is_config => id.cloned(),
        (false, _) => parser.parse(&model.control_plane, "control_plane", ClusterName::new),
        (true, 1) => watchers.first().and_then(|only| ClusterName::new(only.as_str()).ok()),
        (true, _) => {
            if known {
                parser.refuse("control_plane", "No control plane is named", "With several watchers, or none, say which control plane serves this cluster: set `control_plane` to its `cluster_name`.");
            }
            None
        }
    };
    if model.control_plane_address.is_null() {
        parser.refuse(
            "control_plane_address",
            "No address of the control plane",
            "Without a control plane in it, proxies and API server of this cluster reach the control plane through its gateway: set this to an address of the \
             `mesh_eastwest_gateway` that exposes it, such as `mesh_eastwest_gateway.east.addresses[0].value`, or of the `mesh_primary` itself if it has `expose`.",
        );
    }
    if let (Some(own), Some(serving)) = (id, &control_plane)
        && own == serving
        && !is_config
    {
        parser.refuse(
            "control_plane",
            "A cluster cannot be its own remote",
            format!("{serving} is the watched cluster."),
        );
    }
    let address = parser.parse(&model.control_plane_address, "control_plane_address", |text| Address::parse(&text));
    let network = parser.parse(&model.network, "network", Network::new);
    let revision = parser.parse(&model.revision, "revision", Revision::new);
    let user = parser.values(&model.values);
    let hidden = parser.hidden([&user], &model.sensitive_values);
    let (id, namespace) = (id?.clone(), namespace?.clone());
    let data_plane = RemoteDataPlane {
        cluster: id,
        network: network.clone(),
        namespace: namespace.clone(),
        revision,
        istiod: address?,
        webhook_port: RemoteDataPlane::DEFAULT_WEBHOOK_PORT,
        is_config_cluster: is_config,
    };
    // The annotation is for remotes: of its own cluster an istiod takes care unasked.
    let control_planes = if is_config { Vec::new() } else { vec![control_plane?] };
    let system_namespace = SystemNamespace { name: namespace, network, control_planes };
    refuse_decided(parser, &user, &data_plane);
    let lay = |attributes: serde_json::Value| {
        let mut values = user.clone();
        if let serde_json::Value::Object(attributes) = attributes {
            values.merge(attributes.into());
        }
        values
    };
    let (base_values, istiod_values) = (lay(data_plane.base_values()), lay(data_plane.istiod_values()));
    Some(Remote { data_plane, system_namespace, base_values, istiod_values, hidden })
}

/// Places that attributes decide, and a values document therefore must not.
const DECIDED: &[(&str, &[&str])] = &[
    ("cluster_name", &["global", "multiCluster", "clusterName"]),
    ("network", &["global", "network"]),
    ("namespace", &["global", "istioNamespace"]),
    ("control_plane_address", &["global", "remotePilotAddress"]),
    ("revision", &["revision"]),
    ("mode", &["profile"]),
];

fn refuse_decided(parser: &mut Parser, user: &Values, data_plane: &RemoteDataPlane) {
    let attributes = data_plane.istiod_values();
    let user = json!(user.as_map());
    for (attribute, path) in DECIDED {
        let said = path.iter().try_fold(&user, |value, step| value.get(step));
        let decided = path.iter().try_fold(&attributes, |value, step| value.get(step));
        if let Some(said) = said
            && Some(said) != decided
        {
            let detail = format!(
                "The values set `{}` to {said}. The attribute `{attribute}` sets this: remove it from the values.",
                path.join(".")
            );
            parser.refuse("values", "A value contradicts an attribute", detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::value::Value;

    fn model() -> RemoteCluster {
        RemoteCluster {
            cluster: "east".into(),
            namespace: "istio-system".into(),
            watchers: Value::Known(["west".to_owned()].into_iter().collect()),
            mode: "peer".into(),
            service_account: "istio-mesh-reader".into(),
            ..RemoteCluster::default()
        }
    }

    /// Where the complaints are, and what they say.
    fn refusals(model: &RemoteCluster) -> Vec<String> {
        let complaints = Spec::parse(model).expect_err("refused");
        complaints.iter().map(|one| format!("{}: {}", one.path.clone().unwrap_or_default(), one.summary)).collect()
    }

    #[test]
    fn a_peer_needs_little() {
        let spec = Spec::parse(&model()).unwrap().unwrap();
        assert_eq!(spec.id.as_str(), "east");
        assert_eq!(spec.owner(), "mesh_remote_cluster.east");
        assert_eq!(spec.token.lifetime, Duration::from_secs(90 * 86_400));
        assert!(spec.remote.is_none());
    }

    #[test]
    fn what_is_not_known_yet_is_no_error() {
        for model in [
            RemoteCluster { watchers: Value::Unknown, ..model() },
            RemoteCluster { cluster_name: Value::Unknown, ..model() },
            RemoteCluster { mode: "remote".into(), control_plane_address: Value::Unknown, ..model() },
            RemoteCluster { server: "https://127.0.0.1:6443".into(), allow_loopback_server: Value::Unknown, ..model() },
        ] {
            assert!(Spec::parse(&model).unwrap().is_none());
        }
    }

    #[test]
    fn a_cluster_cannot_watch_itself() {
        let itself = RemoteCluster { watchers: Value::Known(["east".to_owned()].into_iter().collect()), ..model() };
        assert_eq!(refusals(&itself), ["watchers: A cluster cannot watch itself"]);
    }

    #[test]
    fn servers_that_mean_another_machine_to_each_watcher_are_refused_unless_asked_for() {
        for server in [
            "https://127.0.0.1:6443",
            "https://localhost",
            "https://169.254.1.1",
            "10.0.0.1:6443",
            "http://api.example.com",
        ] {
            let wrong = RemoteCluster { server: server.into(), ..model() };
            assert_eq!(refusals(&wrong), ["server: Watchers cannot use this address"], "{server}");
        }
        let asked =
            RemoteCluster { server: "https://127.0.0.1:6443".into(), allow_loopback_server: true.into(), ..model() };
        assert!(Spec::parse(&asked).unwrap().is_some());
    }

    #[test]
    fn each_mode_has_its_attributes() {
        let peer = RemoteCluster { control_plane: "west".into(), network: "n1".into(), ..model() };
        assert_eq!(refusals(&peer), ["control_plane: Not in the mode peer", "network: Not in the mode peer"]);
        let remote = RemoteCluster { mode: "remote".into(), ..model() };
        assert_eq!(refusals(&remote), ["control_plane_address: No address of the control plane"]);
        let remote = RemoteCluster { control_plane_address: "10.0.0.9".into(), ..remote };
        let spec = Spec::parse(&remote).unwrap().unwrap().remote.unwrap();
        assert_eq!(spec.system_namespace.control_planes[0].as_str(), "west", "the only watcher serves it");
    }

    #[test]
    fn several_watchers_leave_open_who_serves_a_remote() {
        let watchers = Value::Known(["west".to_owned(), "north".to_owned()].into_iter().collect());
        let remote =
            RemoteCluster { mode: "remote".into(), watchers, control_plane_address: "10.0.0.9".into(), ..model() };
        assert_eq!(refusals(&remote), ["control_plane: No control plane is named"]);
    }
}
