//! Finds the requests in the provider's clusters, for `terraform query`. Their Secrets hold keys: nothing of them but
//! names is handed on.

use super::{Identity, MeshCaRequest};
use crate::cluster::{Kind, OWNER_LABEL, Object, Query as Lookup};
use crate::diag::Diagnostics;
use crate::engine::{Ctx, Found, FoundObject, Listable, Query};
use crate::model;
use crate::resources::client::Client;
use crate::resources::listing;
use crate::value::Value;

model! {
    /// Finds requests for intermediates, for `terraform query`: the Secrets in the provider's clusters that a
    /// `mesh_ca_request` made, whichever state it is in.
    pub struct Requests {
        /// Only those in this cluster, a key of the provider's `clusters`.
        #[attr(optional, validate(non_empty()))]
        pub cluster: Value<String>,
        /// Only those in this namespace.
        #[attr(optional, validate(dns_label()))]
        pub namespace: Value<String>,
    }
}

impl Listable for MeshCaRequest {
    type Query = Requests;

    async fn list(
        &self,
        cx: &mut Ctx<Client>,
        query: Query<Requests>,
        found: &mut Found<Self>,
    ) -> Result<(), Diagnostics> {
        let asked = &query.config;
        let labelled = [listing::within(Lookup::of(Kind::SECRET).selector(OWNER_LABEL), &asked.namespace)];
        for names in listing::clusters(cx, &asked.cluster, "cluster")?.chunks(listing::AT_ONCE) {
            for (cluster, secrets) in listing::search(cx, names, &labelled).await? {
                for secret in secrets.iter().filter(|secret| is_request(secret)) {
                    if !found.push(request(&cluster, secret)).await {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

fn is_request(secret: &Object) -> bool {
    secret.label(OWNER_LABEL).is_some_and(|owner| owner.starts_with("mesh_ca_request."))
}

fn request(cluster: &str, secret: &Object) -> FoundObject<MeshCaRequest> {
    let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name());
    FoundObject {
        name: format!("{cluster}/{namespace}/{name}{}", listing::maker(secret)),
        identity: Identity { cluster: cluster.into(), namespace: namespace.into(), name: name.into() },
        warnings: Diagnostics::new(),
    }
}
