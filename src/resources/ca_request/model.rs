//! The attributes of `mesh_ca_request`.

use crate::model;
use crate::resources::signing::ALGORITHMS;
use crate::value::{Map, Value};

model! {
    /// A key for a cluster's intermediate, and the request for its signature: for a mesh whose root is your own PKI's.
    ///
    /// The key is made in this provider and kept in a Secret of the cluster that needs it: it is never in the
    /// configuration, the plan or the state, and never leaves the cluster. The request is an attribute, for a signer in
    /// the same configuration: what it answers goes into `clusters.<name>.certificate_chain` of a `mesh_ca`, beside the
    /// `name` of this resource as `request`. So one apply makes the keys, has them signed and brings the mesh about.
    pub struct CaRequest {
        /// Cluster that the intermediate is for: a key of the provider's `clusters`.
        #[attr(required, replace, validate(non_empty()))]
        pub cluster: Value<String>,
        /// The system namespace of its istiod, as in the `mesh_ca`; created if need be.
        #[attr(default("istio-system"), replace, validate(dns_label()))]
        pub namespace: Value<String>,
        /// Name of the Secret.
        #[attr(default("mesh-ca-request"), replace, validate(dns_subdomain()), validate(not_istios()))]
        pub name: Value<String>,
        /// Counts the keys up: another number makes a new key, and a request for it. The cluster's intermediate stays
        /// in use until the new one is signed.
        #[attr(default(1), validate(at_least(1)))]
        pub generation: Value<i64>,
        /// Kind of key; a change takes effect with the next generation.
        #[attr(default("ECDSA-P256"), validate(one_of(ALGORITHMS)))]
        pub algorithm: Value<String>,
        /// Organization in the subject of the request; a change takes effect with the next generation.
        #[attr(default("Istio"), validate(non_empty()), validate(readable()))]
        pub organization: Value<String>,
        /// Take over a Secret of the same name that is someone else's. Its key is not used, as others may know it: a
        /// new one takes its place.
        #[attr(default(false))]
        pub adopt: Value<bool>,
        /// Take fields that another field manager owns.
        #[attr(default(false))]
        pub force_conflicts: Value<bool>,
        /// `cluster/namespace/name`.
        #[attr(computed, keep)]
        pub id: Value<String>,
        /// Mark of this instance, which each of its objects carries as an annotation: it tells them from those of
        /// another state or block with the same name.
        #[attr(computed, keep)]
        pub instance: Value<String>,
        /// The request to be signed, PEM (PKCS#10): for a CA with pathlen 0 and the DNS name `istiod.<namespace>.svc`.
        /// Null where the key is lost; the next apply makes a new one.
        #[attr(computed)]
        pub certificate_request: Value<String>,
        /// The Kubernetes objects, each with a digest of its owned fields. The key is no part of it.
        #[attr(computed)]
        pub objects: Value<Map<String>>,
        /// What is changed in those of these objects that stay: by object, a line for each field, with the value
        /// before, the value after and the field manager that had set it. A plan shows what an apply changes, a refresh
        /// what others have changed; after an apply it stays until the object changes again.
        #[attr(computed)]
        pub changes: Value<Map<String>>,
    }
}

/// Whether a Secret of this name is one that istiod reads, or where `mesh_ca` keeps a request of its own.
pub(super) fn is_istios(name: &str) -> bool {
    ["cacerts", "cacerts-request", "istio-ca-secret"].contains(&name)
}

fn not_istios() -> crate::schema::validate::Validator {
    crate::schema::validate::text("no name of a Secret that istiod or `mesh_ca` uses", |found| {
        if is_istios(found) { Err(format!("{found:?} is one.")) } else { Ok(()) }
    })
}
