//! Finds the control planes of the provider's clusters, for `terraform query`: every Deployment of istiod, whoever installed it.

use super::{Identity, MeshPrimary, import};
use crate::cluster::{Kind, Query as Lookup};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::{Ctx, Found, FoundObject, Listable, Query};
use crate::kept::converge;
use crate::model;
use crate::resources::client;
use crate::resources::client::Client;
use crate::value::Value;

model! {
    /// Which control planes to find.
    pub struct Control {
        /// Only those of this cluster, a key of the provider's `clusters`.
        #[attr(optional)]
        pub cluster: Value<String>,
    }
}

impl Listable for MeshPrimary {
    type Query = Control;

    async fn list(
        &self,
        cx: &mut Ctx<Client>,
        query: Query<Control>,
        found: &mut Found<Self>,
    ) -> Result<(), Diagnostics> {
        let names: Vec<String> = match query.config.cluster.known() {
            Some(name) => vec![name.clone()],
            None => cx.client()?.clusters.names().map(str::to_owned).collect(),
        };
        for name in names {
            let cluster = client::cluster(cx, &name)?;
            let deployments = match cluster.list(&Lookup::of(Kind::DEPLOYMENT).label("app", "istiod")).await {
                Ok(deployments) => deployments,
                Err(error) => {
                    cx.warn(Diagnostic { severity: crate::diag::Severity::Warning, ..converge::diagnostic(&error) });
                    continue;
                }
            };
            for deployment in deployments.iter() {
                let revision = deployment.label("istio.io/rev").filter(|revision| *revision != "default");
                let identity = Identity {
                    cluster: name.as_str().into(),
                    namespace: deployment.namespace().unwrap_or_default().into(),
                    revision: revision.map(str::to_owned).into(),
                };
                let mut warnings = Diagnostics::new();
                let state = match query.with_state {
                    true => match import::look(cx, identity.clone()).await {
                        Ok(looked) => {
                            warnings.extend(looked.warning);
                            Some(looked.state)
                        }
                        Err(errors) => {
                            warnings.append(errors);
                            None
                        }
                    },
                    false => None,
                };
                let object = FoundObject { name: format!("{name}: {deployment}"), identity, state, warnings };
                if !found.push(object).await {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
