//! Readiness as pure predicates over an object that may not exist. No I/O here.

use std::sync::Arc;

use serde_json::Value;

use crate::cluster::{Condition, Object};

/// What a predicate says of the state seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ready,
    /// Not yet; why, in words.
    Pending(Vec<String>),
}

impl Verdict {
    pub fn pending(why: impl Into<String>) -> Verdict {
        Verdict::Pending(vec![why.into()])
    }
}

type Check = dyn Fn(Option<&Object>) -> Verdict + Send + Sync;

/// A named predicate: pure, so that every one of them is tested on written-down objects.
#[derive(Clone)]
pub struct Until {
    name: String,
    check: Arc<Check>,
}

impl Until {
    /// `name` completes "waited for Deployment x/y …": `to be available`.
    pub fn new(name: &str, check: impl Fn(Option<&Object>) -> Verdict + Send + Sync + 'static) -> Until {
        Until { name: name.to_owned(), check: Arc::new(check) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn check(&self, object: Option<&Object>) -> Verdict {
        (self.check)(object)
    }

    pub fn and(self, other: Until) -> Until {
        let name = format!("{} and {}", self.name, other.name);
        Until::new(&name, move |object| match (self.check(object), other.check(object)) {
            (Verdict::Pending(mut reasons), Verdict::Pending(more)) => {
                reasons.extend(more);
                Verdict::Pending(reasons)
            }
            (Verdict::Ready, verdict) | (verdict, Verdict::Ready) => verdict,
        })
    }
}

/// The rollout has finished: the current generation is seen, all replicas updated and available, and no old ones left.
pub fn deployment_available() -> Until {
    Until::new("to be available", |object| {
        let Some(deployment) = object else { return absent() };
        let count = |path: &str| deployment.get(path).and_then(Value::as_i64).unwrap_or(0);
        if count("status.observedGeneration") < deployment.generation().unwrap_or(0) {
            return Verdict::pending("the controller manager has not seen the current generation");
        }
        let wanted = deployment.get("spec.replicas").and_then(Value::as_i64).unwrap_or(1);
        let (updated, total, available) =
            (count("status.updatedReplicas"), count("status.replicas"), count("status.availableReplicas"));
        let mut reasons = Vec::new();
        if updated < wanted {
            reasons.push(format!("{updated} of {wanted} replicas are of the current revision"));
        } else if total > updated {
            reasons.push(format!("{} replicas of an older revision remain", total - updated));
        } else if available < updated {
            reasons.push(format!("{available} of {updated} replicas are available"));
        }
        if reasons.is_empty() {
            return Verdict::Ready;
        }
        reasons.extend(deployment.conditions().filter(|condition| !condition.is_true()).map(in_words));
        if let Some(failure) = deployment.condition("ReplicaFailure").filter(Condition::is_true) {
            reasons.push(in_words(failure));
        }
        Verdict::Pending(reasons)
    })
}

/// A Pod of the current specification is available on every node that shall have one.
pub fn daemon_set_available() -> Until {
    Until::new("to run on every node", |object| {
        let Some(daemon_set) = object else { return absent() };
        let count = |path: &str| daemon_set.get(path).and_then(Value::as_i64).unwrap_or(0);
        if count("status.observedGeneration") < daemon_set.generation().unwrap_or(0) {
            return Verdict::pending("the controller manager has not seen the current generation");
        }
        let wanted = count("status.desiredNumberScheduled");
        let (updated, available) = (count("status.updatedNumberScheduled"), count("status.numberAvailable"));
        if updated < wanted {
            return Verdict::pending(format!("{updated} of {wanted} nodes run the current revision"));
        }
        if available < wanted {
            return Verdict::pending(format!("it is available on {available} of {wanted} nodes"));
        }
        Verdict::Ready
    })
}

/// All Pods are of the current specification and available.
pub fn stateful_set_available() -> Until {
    Until::new("to be available", |object| {
        let Some(stateful_set) = object else { return absent() };
        let count = |path: &str| stateful_set.get(path).and_then(Value::as_i64).unwrap_or(0);
        if count("status.observedGeneration") < stateful_set.generation().unwrap_or(0) {
            return Verdict::pending("the controller manager has not seen the current generation");
        }
        let wanted = stateful_set.get("spec.replicas").and_then(Value::as_i64).unwrap_or(1);
        let (updated, available) = (count("status.updatedReplicas"), count("status.availableReplicas"));
        if updated < wanted {
            return Verdict::pending(format!("{updated} of {wanted} replicas are of the current revision"));
        }
        if available < wanted {
            return Verdict::pending(format!("{available} of {wanted} replicas are available"));
        }
        Verdict::Ready
    })
}

/// Every webhook of the configuration has a CA bundle.
pub fn webhook_ca_bundle_set() -> Until {
    Until::new("to have its CA bundle", |object| {
        let Some(configuration) = object else { return absent() };
        let bundle =
            |webhook: &Value| webhook.get("clientConfig")?.get("caBundle")?.as_str().map(|text| !text.is_empty());
        let bare = configuration.items("webhooks").iter().filter(|webhook| bundle(webhook) != Some(true));
        let names: Vec<&str> = bare.filter_map(|webhook| webhook.get("name")?.as_str()).collect();
        match names.as_slice() {
            [] => Verdict::Ready,
            names => Verdict::pending(format!("nobody has written the CA bundle of {}", names.join(", "))),
        }
    })
}

/// The object is not there; while it is, its finalizers and conditions tell why.
pub fn deleted() -> Until {
    Until::new("to be gone", |object| {
        let Some(object) = object else { return Verdict::Ready };
        let mut reasons = Vec::new();
        match object.get("metadata.deletionTimestamp").and_then(Value::as_str) {
            Some(since) => reasons.push(format!("it is being deleted since {since}")),
            None => reasons.push("its deletion has not been asked for, or it has been made again".to_owned()),
        }
        let finalizers = object.finalizers();
        if !finalizers.is_empty() {
            reasons.push(format!("it waits for the finalizers {}", finalizers.join(", ")));
        }
        reasons.extend(object.conditions().filter(Condition::is_true).map(in_words));
        Verdict::Pending(reasons)
    })
}

/// The status condition of this type is `True`, where it says so seen at the current generation.
pub fn condition(kind: &str) -> Until {
    let kind = kind.to_owned();
    Until::new(&format!("to be {kind}"), move |object| {
        let Some(object) = object else { return absent() };
        let condition = object.condition(&kind);
        // The standard says it of each condition, the built-in kinds of the whole status.
        let seen = condition.and_then(|condition| condition.seen);
        let seen = seen.or(object.get("status.observedGeneration").and_then(Value::as_i64));
        if seen.is_some_and(|seen| seen < object.generation().unwrap_or(0)) {
            return Verdict::pending("its controller has not seen the current generation");
        }
        match condition {
            Some(condition) if condition.is_true() => Verdict::Ready,
            Some(condition) => Verdict::pending(in_words(condition)),
            None => Verdict::pending(format!("it has no condition {kind}")),
        }
    })
}

/// A Secret has these data keys, none empty.
pub fn secret_has_keys(keys: &[&str]) -> Until {
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    Until::new(&format!("to have the keys {}", keys.join(", ")), move |object| {
        let Some(secret) = object else { return absent() };
        let data = secret.strings("data");
        let missing: Vec<&str> =
            keys.iter().map(String::as_str).filter(|key| data.get(key).is_none_or(|value| value.is_empty())).collect();
        match missing.as_slice() {
            [] => Verdict::Ready,
            missing => Verdict::pending(format!("it lacks {}", missing.join(", "))),
        }
    })
}

fn absent() -> Verdict {
    Verdict::pending("it does not exist")
}

/// `Available is False (MinimumReplicasUnavailable): Deployment does not have minimum availability.`
pub(super) fn in_words(condition: Condition<'_>) -> String {
    let mut words = format!("{} is {}", condition.kind, condition.status);
    if !condition.reason.is_empty() {
        words = format!("{words} ({})", condition.reason);
    }
    if !condition.message.is_empty() {
        words = format!("{words}: {}", condition.message);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(kind: &str, rest: Value) -> Object {
        let mut value = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "a", "generation": 2}});
        for (key, member) in rest.as_object().unwrap() {
            value[key] = member.clone();
        }
        Object::new(value).unwrap()
    }

    fn pending(until: &Until, object: Option<&Object>) -> String {
        match until.check(object) {
            Verdict::Pending(reasons) => reasons.join("; "),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_rollout_is_over_when_the_new_are_available_and_the_old_gone() {
        let until = deployment_available();
        let with = |status: Value| object("Deployment", json!({"spec": {"replicas": 2}, "status": status}));
        assert_eq!(pending(&until, None), "it does not exist");
        assert_eq!(
            pending(&until, Some(&with(json!({"observedGeneration": 1})))),
            "the controller manager has not seen the current generation"
        );
        let status = json!({"observedGeneration": 2, "updatedReplicas": 1, "replicas": 2, "availableReplicas": 2});
        assert_eq!(pending(&until, Some(&with(status))), "1 of 2 replicas are of the current revision");
        let status = json!({"observedGeneration": 2, "updatedReplicas": 2, "replicas": 3, "availableReplicas": 3});
        assert_eq!(pending(&until, Some(&with(status))), "1 replicas of an older revision remain");
        let status = json!({"observedGeneration": 2, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 1,
            "conditions": [{"type": "Available", "status": "False", "reason": "R", "message": "m"}, {"type": "Progressing", "status": "True"}]});
        assert_eq!(pending(&until, Some(&with(status))), "1 of 2 replicas are available; Available is False (R): m");
        let status = json!({"observedGeneration": 2, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2});
        assert_eq!(until.check(Some(&with(status))), Verdict::Ready);
        let none = object("Deployment", json!({"spec": {"replicas": 0}, "status": {"observedGeneration": 2}}));
        assert_eq!(until.check(Some(&none)), Verdict::Ready, "nobody waits for replicas that nobody wants");
    }

    #[test]
    fn a_daemon_set_runs_on_every_node_that_shall_have_it() {
        let until = daemon_set_available();
        let with = |status: Value| object("DaemonSet", json!({"status": status}));
        assert_eq!(pending(&until, None), "it does not exist");
        let status = json!({"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 1});
        assert_eq!(pending(&until, Some(&with(status))), "1 of 3 nodes run the current revision");
        let status = json!({"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2});
        assert_eq!(pending(&until, Some(&with(status))), "it is available on 2 of 3 nodes");
        let status = json!({"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3});
        assert_eq!(until.check(Some(&with(status))), Verdict::Ready);
        assert_eq!(until.check(Some(&with(json!({"observedGeneration": 2})))), Verdict::Ready, "no node is to have it");
    }

    #[test]
    fn a_stateful_set_is_over_when_all_its_replicas_are_of_the_current_revision() {
        let until = stateful_set_available();
        let with = |status: Value| object("StatefulSet", json!({"spec": {"replicas": 2}, "status": status}));
        assert_eq!(pending(&until, None), "it does not exist");
        let status = json!({"observedGeneration": 1, "updatedReplicas": 2, "availableReplicas": 2});
        assert_eq!(pending(&until, Some(&with(status))), "the controller manager has not seen the current generation");
        let status = json!({"observedGeneration": 2, "updatedReplicas": 1, "availableReplicas": 2});
        assert_eq!(pending(&until, Some(&with(status))), "1 of 2 replicas are of the current revision");
        let status = json!({"observedGeneration": 2, "updatedReplicas": 2, "availableReplicas": 1});
        assert_eq!(pending(&until, Some(&with(status))), "1 of 2 replicas are available");
        let status = json!({"observedGeneration": 2, "updatedReplicas": 2, "availableReplicas": 2});
        assert_eq!(until.check(Some(&with(status))), Verdict::Ready);
    }

    #[test]
    fn every_webhook_needs_its_bundle() {
        let with = |bundle: Value| {
            object(
                "MutatingWebhookConfiguration",
                json!({"webhooks": [{"name": "a", "clientConfig": {"caBundle": "x"}}, {"name": "b", "clientConfig": {"caBundle": bundle}}]}),
            )
        };
        assert_eq!(pending(&webhook_ca_bundle_set(), Some(&with(json!("")))), "nobody has written the CA bundle of b");
        assert_eq!(webhook_ca_bundle_set().check(Some(&with(json!("y")))), Verdict::Ready);
    }

    #[test]
    fn a_condition_is_of_the_current_generation() {
        let with = |seen: i64| {
            let condition = json!({"type": "Programmed", "status": "True", "observedGeneration": seen});
            object("Gateway", json!({"status": {"conditions": [condition]}}))
        };
        let until = condition("Programmed");
        assert_eq!(pending(&until, Some(&with(1))), "its controller has not seen the current generation");
        assert_eq!(until.check(Some(&with(2))), Verdict::Ready);
    }

    #[test]
    fn predicates_combine() {
        let (there, gone) = (secret_has_keys(&["a"]), deleted());
        let object = object("Secret", json!({"data": {"a": "eA=="}}));
        assert_eq!(there.check(Some(&object)), Verdict::Ready);
        assert_eq!(pending(&there.clone().and(secret_has_keys(&["a", "b"])), Some(&object)), "it lacks b");
        assert_eq!(pending(&there.clone().and(secret_has_keys(&["c"])), None), "it does not exist; it does not exist");
        assert_eq!(there.and(gone).name(), "to have the keys a and to be gone");
    }
}
