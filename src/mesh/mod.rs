//! Mesh semantics, pure: names, topology, Helm values, remote secrets, SNI, ServiceEntries. No Kubernetes client, no
//! clock.
//!
//! Builders return `serde_json::Value` in the shape kube-apiserver takes; they cannot fail, because their input
//! consists of types whose constructors have already refused what Istio would misread. Object metadata that says who
//! owns an object (labels of the provider) is the caller's to add.

mod address;
mod discovery;
mod external;
mod gateway;
mod gateway_values;
mod host_rules;
mod identity;
mod images;
mod injection_path;
mod injector;
mod link_token;
mod made_gateway;
mod mesh_config;
mod mesh_networks;
mod name;
mod platform;
mod pod_security;
mod policy;
mod reader;
mod remote_secret;
mod renewal;
mod rotation;
mod server;
mod service_entry;
mod service_host;
mod sni;
mod system_namespace;
mod topology;
mod values;

pub use address::{Address, AddressError, AddressKind, chart_takes_for_ipv4};
pub use discovery::{DiscoverySelectors, NAMESPACE_NAME_LABEL};
pub use external::{
    CONFIG_KEY, CONFIG_SECRET, CONFIG_TOKEN_KEY, IstiodExposure, externalize, is_external, istiod_name, istiod_name_of,
};
pub use gateway::{
    AMBIENT_CLASS, API_SERVER_GATEWAY, API_SERVER_SNI, AmbientGateway, ApiServerExposure, CROSS_NETWORK_GATEWAY,
    ControlPlaneExposure, ISTIOD_GATEWAY, Selector, ServiceExposure, east_west_selector, hosts_admit,
};
pub use gateway_values::{EastWestGateway, GatewayPorts, GatewayService};
pub use host_rules::{HostRules, RuleAt, Unlike, UnlikeRules, is_called, unlike};
pub use identity::{SpiffeId, SpiffeIdError};
pub use images::Images;
pub use injection_path::InjectedAs;
pub use injector::{INJECTION, injection_config_map, injection_webhooks, is_injection_config_map};
pub use link_token::{Audience, DEFAULT_AUDIENCE, LinkTokens, TrustedIssuer, usual_user};
pub use made_gateway::{MadeGateway, NO_SERVICE, SIDECAR_CLASS, made_name};
pub use mesh_config::mesh_field;
pub use mesh_networks::{
    Cidr, CidrError, GatewayAt, MeshNetwork, MeshNetworkAmbiguity, MeshNetworks, NetworkEndpoints, NetworkGateway,
};
pub use name::{
    ClusterName, Host, ImageHub, MeshId, NameError, Namespace, Network, Revision, ServiceAccountName, ServiceName,
    SubsetName, TrustDomain,
};
pub use platform::Platform;
pub use pod_security::{ENFORCE_LABEL, Level, violations};
pub use policy::{Difference, MeshPolicy, accepted_domains, differences};
pub use reader::{Reader, ReaderMode};
pub use remote_secret::{
    CLUSTER_ANNOTATION, Credential, Login, MULTI_CLUSTER_LABEL, ParseRemoteSecretError, ParsedRemoteSecret,
    RemoteSecret, SecretForm, Token,
};
pub use renewal::{RENEWAL_CONTAINER, Renewal, RenewalPod, Schedule, renewal_name};
pub use rotation::{Holding, Phase, Rotation, Step, Untrusting};
pub use server::{ServerUrl, ServerUrlError};
pub use service_entry::{
    ExportAlias, ExportPort, GATEWAY_PORT, Import, ImportAt, ImportEndpoint, ImportError, ImportPort, Protocol,
};
pub use service_host::service_host;
pub use sni::{Sni, SniError};
pub use system_namespace::{CONTROL_PLANE_CLUSTERS_ANNOTATION, SystemNamespace};
pub use topology::{
    Absence, Closed, ControlPlaneAt, DeclaredCa, DeclaredGateway, Finding, Mtls, Pending, Registry, Ruling,
    SecretPlace, ServedBy, Severity as FindingSeverity, Topology, Undefined, Unlisted, Unopened, Unrooted,
    WatchedCluster, only_or_in,
};
pub use values::{ControlPlane, REMOTE_CREDENTIALS, RemoteDataPlane};

/// The label that puts the endpoints of a cluster (on its system namespace), a Pod or a gateway Service into a network.
pub const NETWORK_LABEL: &str = "topology.istio.io/network";
