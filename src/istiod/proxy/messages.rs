//! The parts that are used of the messages between proxies and istiod. Numbers and types are those of
//! `security/v1alpha1/ca.proto` in istio/api, and of Envoy's `service/discovery/v3/discovery.proto`,
//! `config/endpoint/v3/endpoint.proto`, `config/endpoint/v3/endpoint_components.proto`, `config/core/v3/base.proto` and
//! `config/core/v3/address.proto`; what else a message holds is skipped.

use std::collections::HashMap;

use prost::Message;
use prost_types::value::Kind;
use prost_types::{Any, Struct, Value};

#[derive(Clone, PartialEq, Message)]
pub struct IstioCertificateRequest {
    /// A request in PEM.
    #[prost(string, tag = "1")]
    pub csr: String,
    /// Seconds.
    #[prost(int64, tag = "3")]
    pub validity_duration: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct IstioCertificateResponse {
    /// PEM: each certificate is its own, and the roots are one element, the last.
    #[prost(string, repeated, tag = "1")]
    pub cert_chain: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct DiscoveryRequest {
    #[prost(message, optional, tag = "2")]
    pub node: Option<Node>,
    #[prost(string, repeated, tag = "3")]
    pub resource_names: Vec<String>,
    #[prost(string, tag = "4")]
    pub type_url: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Node {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, Message)]
pub struct DiscoveryResponse {
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ClusterLoadAssignment {
    #[prost(string, tag = "1")]
    pub cluster_name: String,
    #[prost(message, repeated, tag = "2")]
    pub endpoints: Vec<LocalityLbEndpoints>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LocalityLbEndpoints {
    #[prost(message, repeated, tag = "2")]
    pub lb_endpoints: Vec<LbEndpoint>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LbEndpoint {
    #[prost(message, optional, tag = "1")]
    pub endpoint: Option<Endpoint>,
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Endpoint {
    #[prost(message, optional, tag = "1")]
    pub address: Option<Address>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Address {
    #[prost(message, optional, tag = "1")]
    pub socket_address: Option<SocketAddress>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SocketAddress {
    #[prost(string, tag = "2")]
    pub address: String,
    #[prost(uint32, tag = "3")]
    pub port_value: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    #[prost(map = "string, message", tag = "1")]
    pub filter_metadata: HashMap<String, Struct>,
}

impl Metadata {
    /// A text in what one filter is told.
    pub fn text(&self, filter: &str, key: &str) -> &str {
        match self.filter_metadata.get(filter).and_then(|told| told.fields.get(key)?.kind.as_ref()) {
            Some(Kind::StringValue(text)) => text,
            _ => "",
        }
    }
}

pub fn texts<const N: usize>(pairs: [(&str, &str); N]) -> Struct {
    let value = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    Struct { fields: pairs.into_iter().map(|(key, text)| (key.to_owned(), value(text))).collect() }
}
