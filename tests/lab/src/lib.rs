//! Real Kubernetes clusters with real istiods on one machine, without containers.
//!
//! Everything that judges this project comes from elsewhere: the lab only starts it and joins it
//! together. It knows nothing of the provider and must not depend on it.

#![forbid(unsafe_code)]

mod audit;
mod balancer;
mod charts;
mod cluster;
mod control_plane;
pub mod daemon;
mod egress;
mod error;
mod front;
mod home;
mod kubelet;
mod lab;
mod network;
mod pki;
mod process;
mod projection;
mod reflect;
mod slots;
pub mod tools;

pub use audit::{Request, Requests};
pub use balancer::Address;
pub use charts::{ChartRepository, OciRegistry};
pub use cluster::{Cluster, Istiod};
pub use error::{Error, Result, describe};
pub use front::Fault;
pub use lab::{Lab, Options};
