//! Validating webhooks: open while istiod does not serve them, istiod's own once it does.

use serde_json::{Value as Json, json};

use super::claim::Claim;
use super::converge::{Converge, Converged};
use super::memory::Memory;
use super::objects::Wanted;
use crate::cluster::{Cluster, Conflict, ConflictingField, Error, Kind, Object, ObjectRef};

impl Claim {
    /// Converges with the validators as they must be: what istiod does not serve fails open, lest it refuse everything.
    ///
    /// An istiod that an interrupted apply has left may make a validator its own between the look and the write; then
    /// it is looked at again, and only the rest is written.
    pub async fn converge_serving(&self, step: Converge<'_>, memory: &mut Memory) -> Result<Converged, Error> {
        let open = while_not_serving(step.cluster, step.wanted).await?;
        let converged = self.converge(Converge { wanted: &open, ..step }, memory).await;
        if !began_to_serve(&converged.errors) {
            return Ok(converged);
        }
        match while_not_serving(step.cluster, step.wanted).await {
            Ok(open) => {
                let rest = Converge { wanted: &open, prior: &converged.recorded, ..step };
                Ok(self.converge_but(rest, true, memory).await)
            }
            Err(error) => Ok(Converged { errors: vec![error], ..converged }),
        }
    }
}

async fn while_not_serving(cluster: &Cluster, wanted: &Wanted) -> Result<Wanted, Error> {
    let mut wanted = wanted.clone();
    let validators: Vec<ObjectRef> = wanted
        .iter()
        .filter(|(_, entry)| entry.reference.kind == Kind::VALIDATING_WEBHOOK_CONFIGURATION)
        .map(|(_, entry)| entry.reference.clone())
        .collect();
    for reference in validators {
        let live = cluster.get(&reference).await?;
        if live.as_ref().is_none_or(|live| !serves(live)) {
            wanted.amend(&reference, fail_open);
        }
    }
    Ok(wanted)
}

fn fail_open(object: &mut Object) {
    for webhook in object.value_mut().get_mut("webhooks").and_then(Json::as_array_mut).into_iter().flatten() {
        if let Some(webhook) = webhook.as_object_mut() {
            webhook.entry("failurePolicy").or_insert(json!("Ignore"));
        }
    }
}

fn serves(webhooks: &Object) -> bool {
    let policy = |webhook: &Json| webhook.get("failurePolicy").and_then(Json::as_str) == Some("Ignore");
    !webhooks.items("webhooks").iter().any(policy)
}

/// Nothing failed but that istiod, which serves them now, holds the policies.
fn began_to_serve(errors: &[Error]) -> bool {
    let is_policy = |field: &ConflictingField| field.field.ends_with(".failurePolicy");
    let served = |conflict: &Conflict| {
        conflict.object.kind == Kind::VALIDATING_WEBHOOK_CONFIGURATION && conflict.fields.iter().all(is_policy)
    };
    !errors.is_empty() && errors.iter().all(|error| error.conflict().is_some_and(served))
}
