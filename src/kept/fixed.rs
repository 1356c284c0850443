//! Fields that Kubernetes lets nobody change in an object that is there. An apply that changes one would be refused
//! half way, when other objects are written already, such as a Service that leads to Pods with the new labels.

use std::collections::BTreeSet;

use super::fields::Fields;
use super::objects::{Recorded, Wanted};
use crate::cluster::Kind;
use crate::diag::Diagnostic;

const SUMMARY: &str = "Fields that cannot be changed";

/// What a plan says of changes that the apply is going to refuse.
pub fn warning(id: &str, before: &Recorded, wanted: &Wanted) -> Option<Diagnostic> {
    let detail = detail(id, &changes(before, wanted))?;
    Some(Diagnostic::warning(SUMMARY).detail(format!(
        "{detail} An apply of this plan writes nothing and ends with an error, unless the plan replaces the resource."
    )))
}

/// What an apply says that refuses them before it writes anything.
pub fn refusal(id: &str, before: &Recorded, wanted: &Wanted) -> Option<Diagnostic> {
    let detail = detail(id, &changes(before, wanted))?;
    Some(Diagnostic::error(SUMMARY).detail(format!("{detail} Nothing was written.")))
}

fn detail(id: &str, changes: &[String]) -> Option<String> {
    (!changes.is_empty()).then(|| {
        format!(
            "Kubernetes refuses to change these fields of {id} in objects that are there:\n{}\n\nSet values that leave them as they are. To have other values, replace the resource \
             (`-replace` with its address), which deletes all of its objects first; or delete the objects that are named here, and plan again.",
            changes.join("\n")
        )
    })
}

/// A line for each such field. One that was not there before, or is not any more, may be a default that is written out,
/// but not in a selector: it has none.
fn changes(before: &Recorded, wanted: &Wanted) -> Vec<String> {
    let mut changes = Vec::new();
    for (key, entry) in wanted.iter() {
        let (Some(fixed), Some(fields)) = (fixed(&entry.reference.kind), before.fields.get(key)) else { continue };
        let of_these = |fields: &Fields| -> BTreeSet<String> {
            fields.keys().filter(|path| path.starts_with(fixed)).cloned().collect()
        };
        let (old, new) = (of_these(fields), of_these(&entry.fields));
        let is_known = fixed == SELECTOR && !old.is_empty();
        let paths = old.union(&new).filter(|path| is_known || old.contains(*path) && new.contains(*path));
        let said = |fields: &Fields, path: &str| fields.get(path).cloned().unwrap_or_else(|| "(none)".to_owned());
        let changed = paths.map(|path| (path, said(fields, path), said(&entry.fields, path)));
        let changed = changed.filter(|(_, before, after)| before != after);
        changes.extend(changed.map(|(path, before, after)| format!("- {key}: {path}: {before} -> {after}")));
    }
    changes
}

const SELECTOR: &str = "spec.selector.";

/// How the paths of such fields begin.
fn fixed(kind: &Kind) -> Option<&'static str> {
    match kind {
        kind if *kind == Kind::DEPLOYMENT || *kind == Kind::DAEMON_SET => Some(SELECTOR),
        kind if *kind == Kind::ROLE_BINDING || *kind == Kind::CLUSTER_ROLE_BINDING => Some("roleRef."),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::Object;

    fn wanted(objects: [(Kind, Value); 2]) -> Wanted {
        let mut wanted = Wanted::default();
        for (kind, object) in objects {
            let object = Object::new(object).expect("an object");
            wanted.insert(object.reference_as(kind), object, "owner");
        }
        wanted
    }

    fn gateway(labels: Value, replicas: u32, role: Value) -> Wanted {
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "b", "namespace": "a"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}}});
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "b", "namespace": "a"}, "roleRef": role});
        wanted([(Kind::DEPLOYMENT, deployment), (Kind::ROLE_BINDING, binding)])
    }

    #[test]
    fn what_no_apply_can_change_is_named_before_it_writes() {
        let before = gateway(json!({"app": "b", "istio": "eastwestgateway"}), 1, json!({"kind": "Role", "name": "b"}))
            .recorded();
        let same = gateway(
            json!({"app": "b", "istio": "eastwestgateway"}),
            3,
            json!({"kind": "Role", "name": "b", "apiGroup": "rbac.authorization.k8s.io"}),
        );
        assert!(refusal("east/a/b", &before, &same).is_none() && warning("east/a/b", &before, &same).is_none());
        let other = gateway(json!({"app": "b", "istio": "ingress"}), 1, json!({"kind": "Role", "name": "c"}));
        let refused = refusal("east/a/b", &before, &other).expect("refused").detail;
        for line in [
            "- Deployment a/b: spec.selector.matchLabels.istio: eastwestgateway -> ingress\n",
            "- RoleBinding a/b: roleRef.name: b -> c\n",
        ] {
            assert!(refused.contains(line), "{refused}");
        }
        assert_eq!(refused.matches("\n- ").count(), 2, "{refused}");
        let fewer = gateway(json!({"app": "b"}), 1, json!({"kind": "Role", "name": "b"}));
        let lost = refusal("east/a/b", &before, &fewer).expect("refused").detail;
        let line = |said: &str| format!("\n- Deployment a/b: spec.selector.matchLabels.istio: {said}\n");
        assert!(lost.contains(&line("eastwestgateway -> (none)")) && lost.matches("\n- ").count() == 1, "{lost}");
        let gained = refusal("east/a/b", &fewer.recorded(), &same).expect("refused").detail;
        assert!(gained.contains(&line("(none) -> eastwestgateway")) && gained.matches("\n- ").count() == 1, "{gained}");
        assert!(refusal("east/a/b", &Recorded::default(), &other).is_none(), "it is made anew");
    }
}
