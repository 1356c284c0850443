//! Where charts come from: Helm repositories, OCI registries, directories and archives; a digest-addressed cache.
