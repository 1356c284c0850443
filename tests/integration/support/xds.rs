//! What a proxy would be told: asks a real istiod over xDS, by `lab`'s judge, for clusters, endpoints, listeners and
//! the name table.
//!
//! ```ignore
//! let told = Proxy::sidecar("east", "net-east", "shop").ask(lab.cluster("east"))?;
//! let upstream = told.upstream("cart.shop.svc.cluster.local", 80).unwrap();   // SNI, SANs, endpoints, mTLS or not
//! told.addresses("cart.shop.svc.cluster.local");                               // by the name table
//! Proxy::gateway("west", "net-west", "istio-system").labelled("istio", "eastwestgateway").ask(west)?.chain(sni);
//! ```

use std::collections::BTreeSet;

use lab::tools::Tool;
use lab::{Cluster, Istiod};
use serde_json::Value as Json;

/// A proxy as it presents itself; istiod takes it at its word.
#[derive(Clone, Debug)]
pub struct Proxy {
    kind: &'static str,
    cluster_id: String,
    network: String,
    namespace: String,
    service_account: String,
    labels: Vec<String>,
    ip: String,
}

impl Proxy {
    /// A sidecar in a Pod without Services.
    pub fn sidecar(cluster_id: &str, network: &str, namespace: &str) -> Self {
        Self {
            kind: "sidecar",
            cluster_id: cluster_id.to_owned(),
            network: network.to_owned(),
            namespace: namespace.to_owned(),
            service_account: "default".to_owned(),
            labels: Vec::new(),
            ip: "10.255.255.254".to_owned(),
        }
    }

    /// A gateway; give it the labels that Gateway objects choose it by, and its Pod's address.
    pub fn gateway(cluster_id: &str, network: &str, namespace: &str) -> Self {
        Self { kind: "router", ..Self::sidecar(cluster_id, network, namespace) }
    }

    pub fn labelled(mut self, key: &str, value: &str) -> Self {
        self.labels.push(format!("{key}={value}"));
        self
    }

    pub fn at(mut self, ip: &str) -> Self {
        ip.clone_into(&mut self.ip);
        self
    }

    /// What the first istiod of the cluster says to it now.
    pub fn ask(&self, cluster: &Cluster) -> Result<Told, String> {
        let istiods = cluster.istiods();
        self.ask_of(cluster, istiods.first().ok_or("there is no istiod")?)
    }

    /// What this istiod of the cluster says to it now.
    pub fn ask_of(&self, cluster: &Cluster, istiod: &Istiod) -> Result<Told, String> {
        let port = istiod.port(15010).ok_or("istiod has no plain-text xDS port")?;
        let address = format!("127.0.0.1:{port}");
        let labels = self.labels.join(",");
        let arguments = [
            ("--address", address.as_str()),
            ("--type", self.kind),
            ("--cluster-id", &self.cluster_id),
            ("--network", &self.network),
            ("--namespace", &self.namespace),
            ("--service-account", &self.service_account),
            ("--labels", &labels),
            ("--ip", &self.ip),
        ];
        let arguments: Vec<&str> = arguments.iter().flat_map(|(flag, value)| [*flag, *value]).collect();
        let text = cluster.run(Tool::Xds, &arguments, None).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map(Told).map_err(|error| format!("{error}: {text}"))
    }

    /// Asks until the answer shows what is looked for, and returns that; fails with the last answer's names.
    #[track_caller]
    pub fn ask_until<T>(&self, cluster: &Cluster, what: &str, look: impl Fn(&Told) -> Option<T>) -> T {
        let (mut found, mut last) = (None, Err("not asked yet".to_owned()));
        let waited = cluster.wait_until(what, || {
            last = self.ask(cluster);
            found = last.as_ref().ok().and_then(&look);
            found.is_some()
        });
        match (waited, found) {
            (Ok(()), Some(found)) => found,
            (waited, _) => panic!("{waited:?}; {}", last.map_or_else(|error| error, |told| told.names())),
        }
    }
}

/// An answer: Envoy's resources as JSON, by kind (`clusters`, `endpoints`, `listeners`, `names`) and name.
#[derive(Clone, Debug)]
pub struct Told(pub Json);

/// Where a sidecar's requests for a name and port go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `address:port`, sorted.
    pub endpoints: Vec<String>,
    /// How each endpoint is spoken to, without repetitions; more than one is a fault in most tests.
    pub sockets: Vec<Socket>,
}

/// How an endpoint is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Socket {
    Plain,
    Tls {
        sni: String,
        /// Names that the other side's certificate must have one of; empty accepts any.
        sans: Vec<String>,
        alpn: Vec<String>,
        /// The client's own certificate is shown, too.
        mutual: bool,
    },
}

impl Told {
    /// The cluster for a name and port.
    pub fn upstream(&self, host: &str, port: u16) -> Option<Upstream> {
        self.upstream_of(&format!("outbound|{port}||{host}"))
    }

    /// The cluster with this name in Envoy.
    pub fn upstream_of(&self, name: &str) -> Option<Upstream> {
        let cluster = self.0["clusters"].get(name)?;
        let assignment = self.0["endpoints"].get(name).unwrap_or(&cluster["loadAssignment"]);
        let endpoints = items(&assignment["endpoints"]).iter().flat_map(|locality| items(&locality["lbEndpoints"]));
        let (mut addresses, mut sockets) = (Vec::new(), BTreeSet::new());
        for endpoint in endpoints {
            let address = &endpoint["endpoint"]["address"]["socketAddress"];
            addresses.push(format!("{}:{}", text(&address["address"]), address["portValue"]));
            sockets.insert(socket(cluster, endpoint));
        }
        addresses.sort();
        Some(Upstream { endpoints: addresses, sockets: sockets.into_iter().collect() })
    }

    /// The Envoy clusters that filter chains for this server name lead to; none if no chain is for it.
    pub fn chain(&self, server_name: &str) -> Vec<String> {
        let listeners = self.0["listeners"].as_object().into_iter().flatten();
        let chains = listeners.flat_map(|(_, listener)| items(&listener["filterChains"]));
        let meant = chains
            .filter(|chain| items(&chain["filterChainMatch"]["serverNames"]).iter().any(|name| name == server_name));
        let filters = meant.flat_map(|chain| items(&chain["filters"]));
        filters.filter_map(|filter| filter["typedConfig"]["cluster"].as_str().map(str::to_owned)).collect()
    }

    /// What the names in a client's certificate may begin with for an inbound chain of this sidecar to accept it.
    pub fn accepted_peers(&self) -> BTreeSet<String> {
        let listeners = self.0["listeners"].as_object().into_iter().flatten();
        let chains = listeners.flat_map(|(_, listener)| items(&listener["filterChains"]));
        let contexts = chains.map(|chain| validation(&chain["transportSocket"]["typedConfig"]["commonTlsContext"]));
        contexts.flat_map(sans).filter_map(|san| san["prefix"].as_str().map(str::to_owned)).collect()
    }

    /// Every server name that some filter chain is for.
    pub fn server_names(&self) -> BTreeSet<String> {
        let listeners = self.0["listeners"].as_object().into_iter().flatten();
        let chains = listeners.flat_map(|(_, listener)| items(&listener["filterChains"]));
        let names = chains.flat_map(|chain| items(&chain["filterChainMatch"]["serverNames"]));
        names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
    }

    /// What the agent's DNS answers.
    pub fn addresses(&self, host: &str) -> Vec<String> {
        items(&self.0["names"][host]).iter().map(|ip| text(ip).to_owned()).collect()
    }

    /// What there is, for a message.
    pub fn names(&self) -> String {
        let mut text = String::new();
        for (kind, resources) in self.0.as_object().into_iter().flatten() {
            let names: Vec<&str> = resources.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            text += &format!("{kind}: {}\n", names.join(", "));
        }
        text
    }
}

/// The transport socket that Envoy would choose for an endpoint: the first that its metadata matches, else the
/// cluster's own.
fn socket(cluster: &Json, endpoint: &Json) -> Socket {
    let labels = &endpoint["metadata"]["filterMetadata"]["envoy.transport_socket_match"];
    let matches = |candidate: &&Json| {
        candidate["match"].as_object().into_iter().flatten().all(|(key, value)| labels[key] == *value)
    };
    let matched = items(&cluster["transportSocketMatches"]).iter().find(matches);
    let socket = matched.map_or(&cluster["transportSocket"], |matched| &matched["transportSocket"]);
    let config = &socket["typedConfig"];
    if !text(&config["@type"]).ends_with("UpstreamTlsContext") {
        return Socket::Plain;
    }
    let common = &config["commonTlsContext"];
    let sans = sans(validation(common)).map(|san| text(&san["exact"]).to_owned());
    let own = items(&common["tlsCertificateSdsSecretConfigs"]).iter().any(|secret| secret["name"] == "default");
    Socket::Tls {
        sni: text(&config["sni"]).to_owned(),
        sans: sans.collect(),
        alpn: items(&common["alpnProtocols"]).iter().map(|name| text(name).to_owned()).collect(),
        mutual: own,
    }
}

fn validation(common: &Json) -> &Json {
    match &common["combinedValidationContext"]["defaultValidationContext"] {
        Json::Null => &common["validationContext"],
        combined => combined,
    }
}

/// The matchers of names in the other side's certificate.
fn sans(validation: &Json) -> impl Iterator<Item = &Json> {
    let typed = items(&validation["matchTypedSubjectAltNames"]).iter().map(|san| &san["matcher"]);
    typed.chain(items(&validation["matchSubjectAltNames"]))
}

fn items(value: &Json) -> &[Json] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Json) -> &str {
    value.as_str().unwrap_or_default()
}
