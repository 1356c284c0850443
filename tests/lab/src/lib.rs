//! Real Kubernetes clusters with real istiods on one machine, without containers.
//!
//! Everything that judges this project comes from elsewhere: the lab only starts it and joins it
//! together. It knows nothing of the provider and must not depend on it.

pub mod tools;
