//! The attributes of `mesh_ca`, each declared once.

use crate::model;
use crate::resources::signing::ALGORITHMS;
use crate::value::{List, Map, Set, Value};

model! {
    /// One root of trust for the clusters of a mesh, and an intermediate of it for each: istiod signs its workloads'
    /// certificates with that.
    ///
    /// No private key is ever in the configuration, the plan or the state. The root's key is generated and kept in a
    /// Secret of its own, or given as a write-only attribute; those of the intermediates exist in the clusters'
    /// `cacerts` Secrets only.
    ///
    /// Certificates near their end are renewed by a plan like any other. Replacing the root is a rotation of three
    /// plans (trust both roots, issue from the new one, trust the new one alone) with a barrier over all clusters
    /// before each; the next step is always read from what the clusters really hold. To start one, raise
    /// `root.generation` or give another `root.certificate`; to turn back, set it back.
    pub struct Ca {
        /// Where the root is kept, as `cluster/namespace/name`; for a root that is brought, the first cluster's
        /// `cacerts`.
        #[attr(computed, keep)]
        pub id: Value<String>,
        /// Mark of this instance, which each of its objects carries as an annotation: it tells them from those of
        /// another state or block with the same name.
        #[attr(computed, keep)]
        pub instance: Value<String>,
        /// The root: generated and kept in `store`, or brought as `certificate`.
        #[attr(required)]
        pub root: Value<Root>,
        /// The clusters, by their key in the provider's `clusters`. Each gets an intermediate of its own as the Secret
        /// `cacerts`, before its istiod starts best.
        #[attr(required, validate(non_empty()))]
        pub clusters: Value<Map<ClusterCa>>,
        /// What intermediates are made like, from the next one on: a change re-issues none.
        #[attr(optional)]
        pub intermediate: Value<Intermediate>,
        /// How long a rotation of the root waits between its steps. Proxies that were injected without
        /// `PROXY_CONFIG_XDS_AGENT=true` learn of a new root only when they renew their certificate, and the old root
        /// must be trusted until the last certificate of it is gone. One day, Istio's lifetime of workload
        /// certificates, is right for both; where nothing is set and the control planes say more (`SECRET_TTL` in the
        /// mesh configuration, `DEFAULT_WORKLOAD_CERT_TTL`, up to `MAX_WORKLOAD_CERT_TTL`), it is as long as that. What
        /// single Pods ask for by annotation is not seen. `0s` continues at the next plan.
        #[attr(default("24h"), validate(duration_or_none()))]
        pub rotation_pause: Value<String>,
        /// Take over what exists and is someone else's: the Secret of `root.store` with the roots in it, whose keys
        /// whoever wrote it may know, and `cacerts` Secrets. Their intermediates stay in use; if one is of another
        /// root, a rotation brings the cluster over. Without it a Secret of this kind is an error. A `cacerts` that an
        /// apply has written once, and that somebody replaced, is not taken over again: see `accept_roots`.
        #[attr(default(false))]
        pub adopt: Value<bool>,
        /// SHA-256 fingerprints (of the DER, in hexadecimal) of roots of others that the mesh is to trust where
        /// clusters bring them. A root that is found in a cluster's `cacerts`, and that neither this resource put there
        /// nor `adopt` or `migrate_self_signed` names, is an error: it is given to no other cluster.
        #[attr(optional, validate(each(fingerprint())))]
        pub accept_roots: Value<Set<String>>,
        /// What to do where istiod already runs and signs with a root it made for itself: `true` trusts that root
        /// beside this one, writes `cacerts` and restarts istiod, which reads it only at its start; the next plans then
        /// drop the old root. Without it a cluster of this kind is an error.
        #[attr(default(false))]
        pub migrate_self_signed: Value<bool>,
        /// Leave clusters that cannot be reached as they are when they are taken out of `clusters`, and on destroy. A
        /// cluster that is gone for good could not be taken out otherwise. What stays in it is reported.
        #[attr(optional)]
        pub skip_unreachable_on_destroy: Value<bool>,
        /// Trust domain of the mesh's workload identities, as `trust_domain` of its `mesh_primary`: CAs whose name
        /// constraints do not permit it are refused. `cluster.local`, Istio's own, where nothing is set.
        #[attr(optional)]
        pub trust_domain: Value<String>,
        /// SHA-256 fingerprint (of the DER) of the root that all clusters issue from, or are being brought to. Other
        /// resources depend on it.
        #[attr(computed)]
        pub root_fingerprint: Value<String>,
        /// That root, PEM.
        #[attr(computed)]
        pub root_certificate: Value<String>,
        /// All roots that clusters trust, PEM: more than one only during a rotation.
        #[attr(computed)]
        pub root_certificates: Value<String>,
        /// Serial number of the root, hexadecimal.
        #[attr(computed)]
        pub root_serial: Value<String>,
        /// Start of the root's validity, RFC 3339.
        #[attr(computed)]
        pub root_not_before: Value<String>,
        /// End of the root's validity, RFC 3339.
        #[attr(computed)]
        pub root_not_after: Value<String>,
        /// The phase of the root's rotation: `settled`, `not-started`, `widening-trust`, `trust-widened`,
        /// `switching-issuers`, `issuers-switched` or `narrowing-trust`.
        #[attr(computed)]
        pub phase: Value<String>,
        /// Since when, RFC 3339.
        #[attr(computed)]
        pub phase_since: Value<String>,
    }
}

model! {
    /// A root.
    pub struct Root {
        /// The Secret to keep a generated root in: nothing else should be able to read it.
        #[attr(optional)]
        pub store: Value<Store>,
        /// Counts the generated roots up: a higher number starts the rotation to a new root. Needs `store`.
        #[attr(default(1), validate(at_least(1)))]
        pub generation: Value<i64>,
        /// Kind of key of a root to be generated; a change takes effect with the next generation.
        #[attr(default("ECDSA-P256"), validate(one_of(ALGORITHMS)))]
        pub algorithm: Value<String>,
        /// How long a root to be generated is valid; a change takes effect with the next generation.
        #[attr(default("3650d"), validate(duration()))]
        pub validity: Value<String>,
        /// Organization in the subject of roots and intermediates.
        #[attr(default("Istio"), validate(non_empty()), validate(readable()))]
        pub organization: Value<String>,
        /// Common name in the subject of a root to be generated.
        #[attr(default("Root CA"), validate(non_empty()), validate(readable()))]
        pub common_name: Value<String>,
        /// A root of your own, PEM, instead of `store`. Another certificate starts the rotation to it.
        #[attr(optional, document)]
        pub certificate: Value<String>,
        /// The private key of `certificate`, PEM (PKCS#1, PKCS#8 or SEC1). It is used and forgotten. Without it the
        /// intermediates are signed outside: sign each cluster's `certificate_request` and give the result as its
        /// `certificate_chain`.
        #[attr(optional, sensitive, write_only, document)]
        pub private_key_wo: Value<String>,
        /// Counts changes of `private_key_wo` up, which Terraform does not see.
        #[attr(optional)]
        pub private_key_wo_version: Value<i64>,
    }
}

model! {
    /// A Secret for the root.
    pub struct Store {
        /// Key of the provider's `clusters`.
        #[attr(required)]
        pub cluster: Value<String>,
        /// Namespace, best one of its own; created if need be.
        #[attr(default("mesh-root-ca"), validate(dns_label()))]
        pub namespace: Value<String>,
        /// Name of the Secret.
        #[attr(default("mesh-root-ca"), validate(dns_subdomain()))]
        pub name: Value<String>,
        /// Accept a store in a cluster whose Secrets the tokens of its watchers can read (`read_secrets` of its
        /// `mesh_remote_cluster`). Without it a store there is an error: whoever gets hold of one of these tokens could
        /// issue certificates for the whole mesh.
        #[attr(optional)]
        pub readable_by_watchers: Value<bool>,
    }
}

model! {
    /// How intermediates are made.
    pub struct Intermediate {
        /// Kind of key.
        #[attr(default("ECDSA-P256"), validate(one_of(ALGORITHMS)))]
        pub algorithm: Value<String>,
        /// How long an intermediate is valid, but never longer than the root.
        #[attr(default("730d"), validate(duration()))]
        pub validity: Value<String>,
        /// How long before its end an intermediate is renewed.
        #[attr(default("180d"), validate(duration()))]
        pub renew_before: Value<String>,
    }
}

model! {
    /// A cluster's intermediate.
    pub struct ClusterCa {
        /// The system namespace of its istiod; created if need be.
        #[attr(default("istio-system"), validate(dns_label()))]
        pub namespace: Value<String>,
        /// Counts intermediates up: another number re-issues this one.
        #[attr(default(1))]
        pub generation: Value<i64>,
        /// An intermediate signed outside, PEM: the answer to `certificate_request`, and behind it the CAs up to the
        /// root, if there are any.
        #[attr(optional, document)]
        pub certificate_chain: Value<String>,
        /// Name of the `mesh_ca_request` of this cluster and namespace that `certificate_chain` answers: its Secret has
        /// the key. So requests, signer and mesh can be in one configuration. Without it this resource makes a request
        /// of its own, as `certificate_request`.
        #[attr(optional, validate(dns_subdomain()))]
        pub request: Value<String>,
        /// The request to be signed outside, PEM, while one is open.
        #[attr(computed)]
        pub certificate_request: Value<String>,
        /// SHA-256 fingerprint (of the DER) of the intermediate.
        #[attr(computed)]
        pub fingerprint: Value<String>,
        /// Serial number of the intermediate, hexadecimal.
        #[attr(computed)]
        pub serial: Value<String>,
        /// Start of its validity, RFC 3339.
        #[attr(computed)]
        pub not_before: Value<String>,
        /// End of its validity, RFC 3339.
        #[attr(computed)]
        pub not_after: Value<String>,
        /// Fingerprint of the root it chains to.
        #[attr(computed)]
        pub issuer: Value<String>,
        /// Fingerprints of the roots the cluster trusts.
        #[attr(computed)]
        pub trusted: Value<List<String>>,
        /// The revocation lists that others put into `cacerts` as `ca-crl.pem`, which istiod gives to proxies: of each
        /// its issuer, how many certificates it revokes, and its end. This resource writes none and keeps them. Null
        /// where there are none.
        #[attr(computed)]
        pub revocation_lists: Value<List<String>>,
        /// `ready`, `renewal-due`, `awaiting-signature`, `missing`, `unreachable`, `foreign` (the Secret is no longer
        /// this provider's), or `invalid`.
        #[attr(computed)]
        pub state: Value<String>,
    }
}

/// A fingerprint, with or without colons.
fn fingerprint() -> crate::schema::validate::Validator {
    crate::schema::validate::text("a SHA-256 fingerprint", |found| match crate::pki::Fingerprint::parse(found) {
        Some(_) => Ok(()),
        None => Err(format!("{found:?} is not: write its 64 hexadecimal digits, as `root_fingerprint` has them.")),
    })
}
