//! Into pods, by way of the API server: port-forward, exec, service proxy.

use std::pin::Pin;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Cluster, Error};

/// A port of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodPort {
    pub namespace: String,
    pub pod: String,
    pub port: u16,
}

/// A byte stream to a pod's port; arrives there from 127.0.0.1. Dropping it closes it.
pub type PodStream = Pin<Box<dyn ByteStream>>;

pub trait ByteStream: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> ByteStream for T {}

#[derive(Clone, Debug)]
pub struct HttpAnswer {
    pub status: u16,
    pub body: Bytes,
}

#[derive(Clone, Debug)]
pub struct ExecOutput {
    pub stdout: Bytes,
    pub stderr: String,
    /// 0 on success.
    pub code: i32,
}

impl Cluster {
    /// Port-forward: a stream to speak anything over (TLS, gRPC).
    pub async fn pod_stream(&self, port: &PodPort) -> Result<PodStream, Error> {
        todo!("{port:?}")
    }

    /// GET over a port-forward, HTTP/1.1.
    pub async fn pod_http_get(&self, port: &PodPort, path: &str) -> Result<HttpAnswer, Error> {
        todo!("{port:?} {path}")
    }

    /// Runs a command in a pod's container (the default one if `None`).
    pub async fn pod_exec(
        &self,
        pod: &PodPort,
        container: Option<&str>,
        command: &[&str],
    ) -> Result<ExecOutput, Error> {
        todo!("{pod:?} {container:?} {command:?}")
    }

    /// GET through the API server's service proxy; arrives unauthenticated at the service.
    pub async fn service_proxy_get(
        &self,
        namespace: &str,
        service_and_port: &str,
        path: &str,
    ) -> Result<HttpAnswer, Error> {
        todo!("{namespace} {service_and_port} {path}")
    }
}
