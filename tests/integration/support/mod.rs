//! What several subjects share: a provider that needs no cluster, and a core in process.

pub mod core;
pub mod library;
pub mod random;
pub mod specimen;
