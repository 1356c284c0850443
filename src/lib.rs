//! A Terraform and OpenTofu provider that builds and keeps Istio meshes over several Kubernetes clusters.
//!
//! The modules form layers, listed here from the ground up; a module may use only those above it in this list.
//! `tests/integration/layers.rs` enforces the table.
#![forbid(unsafe_code)]

// Layer 0: pure.
pub mod value;

pub mod diag;

pub mod schema;

pub mod chart;
pub mod mesh;
pub mod pki;

// Layer 1: the lifecycle, and the outside world.
pub mod files;

pub mod cluster;
pub mod engine;
pub mod source;

// Between: what resources share.
pub mod istiod;
pub mod kept;

// Layer 2: the wire, and what it carries.
pub mod plugin;
pub mod resources;

// Layer 3: the provider as a whole.
pub mod docs;
pub mod provider;
pub mod review;
