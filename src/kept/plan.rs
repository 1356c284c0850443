//! What a plan says of a resource's objects in one cluster. Pure.

use super::changes::{self, Before};
use super::contested;
use super::memory::Memory;
use super::objects::Wanted;
use crate::diag::Diagnostic;
use crate::value::{Map, Value};

/// What is known when the objects in one cluster are planned.
#[derive(Clone, Copy, Debug)]
pub struct Planning<'a> {
    /// What to call the resource.
    pub id: &'a str,
    /// What state says; `None` for a resource that is to be made.
    pub before: Option<Before<'a>>,
    pub memory: &'a Memory,
    /// The attribute.
    pub force_conflicts: Value<bool>,
}

/// The two attributes as they are planned, and what else there is to say.
#[derive(Debug)]
pub struct Planned {
    pub objects: Value<Map<String>>,
    pub changes: Value<Map<String>>,
    /// Fields that an apply would be refused.
    pub warning: Option<Diagnostic>,
}

impl Planning<'_> {
    pub fn objects(self, wanted: &Wanted) -> Planned {
        let Planning { id, before, memory, force_conflicts } = self;
        let recorded = wanted.recorded();
        let contested = before.and_then(|before| contested::warning(id, before.objects, memory, wanted));
        Planned {
            objects: recorded.objects_value(),
            changes: changes::planned(before, memory, &recorded),
            // Whether they are taken may not be known yet.
            warning: contested.filter(|_| matches!(force_conflicts.get(), Some(false)) || force_conflicts.is_null()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::{Kind, Object};
    use crate::kept::objects::{Drift, Recorded};

    fn wanted(replicas: u32) -> Wanted {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "b", "namespace": "a"}, "spec": {"replicas": replicas}});
        let object = Object::new(object).expect("an object");
        let mut wanted = Wanted::default();
        wanted.insert(object.reference_as(Kind::DEPLOYMENT), object, "owner");
        wanted
    }

    #[test]
    fn what_another_holds_is_told_unless_it_is_taken_or_that_is_not_known() {
        let live: Recorded = wanted(3).recorded();
        let mut memory = Memory::of(&live);
        memory.note_drifts(&[Drift {
            object: "Deployment a/b".into(),
            path: Some("spec.replicas".into()),
            was: Some("1".into()),
            is: Some("3".into()),
            manager: Some("kubectl-edit".into()),
        }]);
        let (objects, nothing) = (live.objects_value(), Value::Null);
        let before = Some(Before { objects: &objects, changes: &nothing });
        for (force_conflicts, told) in
            [(false.into(), true), (Value::Null, true), (true.into(), false), (Value::Unknown, false)]
        {
            let planned = Planning { id: "east/a/b", before, memory: &memory, force_conflicts }.objects(&wanted(1));
            assert_eq!(planned.warning.is_some(), told, "{force_conflicts:?}");
            let line = "spec.replicas: 3 -> 1 (set by kubectl-edit)".to_owned();
            assert_eq!(planned.changes.entry("Deployment a/b"), Some(&line));
        }
    }
}
