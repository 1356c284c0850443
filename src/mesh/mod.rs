//! Mesh semantics, pure: names, topology, Helm values, remote secrets, SNI, ServiceEntries. No Kubernetes client, no clock.
