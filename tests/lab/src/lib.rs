//! Real Kubernetes clusters with real istiods on one machine, without containers.
//!
//! Everything that judges this project comes from elsewhere: the lab only starts it and joins it
//! together. It knows nothing of the provider and must not depend on it.

#![forbid(unsafe_code)]

mod app;
mod audit;
mod balancer;
mod charts;
mod closed;
mod cluster;
mod control_plane;
pub mod daemon;
mod direct;
mod doors;
mod egress;
mod environment;
mod error;
mod fabric;
mod front;
mod home;
mod http1;
mod issuer;
mod job;
mod kubelet;
mod lab;
mod network;
mod pki;
mod populate;
mod process;
mod projection;
mod proxy;
mod reflect;
mod signer;
mod slots;
pub mod tools;
pub mod traffic;

pub use audit::{Request, Requests};
pub use balancer::Address;
pub use charts::{ChartRepository, OciRegistry};
pub use closed::ClosedNetwork;
pub use cluster::{Cluster, Istiod};
pub use error::{Error, Result, describe};
pub use fabric::possible as proxies_possible;
pub use front::Fault;
pub use job::Ran;
pub use lab::{Lab, Options, Proxies};
