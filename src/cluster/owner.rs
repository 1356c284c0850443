//! Whose an object is. It belongs to an instance of a resource, told by a mark that its creation made, and not to a
//! name: two states, two blocks or a resource and its replacement may carry the same name.

use serde_json::Value;

use super::{FIELD_MANAGER, OWNER_LABEL, Object};

/// On every object of an instance: the instance's mark.
pub const INSTANCE_ANNOTATION: &str = "terraform-provider-mesh/instance";

/// Who asks, and what tells its objects from those of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Value of [`OWNER_LABEL`]: resource and name. Objects are found by it; it proves nothing.
    pub label: String,
    /// The instance's mark; empty where it has none yet.
    pub mark: String,
    /// Objects without any mark may be this instance's: its state is older than marks, or was imported.
    pub unmarked: bool,
}

impl Owner {
    /// An owner of before marks: its objects are told by their label, and by who wrote them.
    pub fn by_label(label: &str) -> Owner {
        Owner { label: label.to_owned(), mark: String::new(), unmarked: true }
    }

    /// The object with the label and, where there is one, the mark.
    pub fn put_on(&self, object: Object) -> Object {
        let object = object.with_label(OWNER_LABEL, &self.label);
        if self.mark.is_empty() { object } else { object.with_annotation(INSTANCE_ANNOTATION, &self.mark) }
    }

    /// Whether the object may be written without asking. `known` says that state names it. The error says whose it is.
    pub fn may_write(&self, live: &Object, known: bool) -> Result<(), Vec<String>> {
        let given_up = live.annotation(INSTANCE_ANNOTATION).is_none()
            && live.label(OWNER_LABEL).is_none()
            && is_managed_by(live, FIELD_MANAGER);
        if given_up || self.has(live, known) { Ok(()) } else { Err(self.others(live)) }
    }

    /// Whether the object is this instance's, so that it may be removed. `known` says that state names it.
    pub fn has(&self, live: &Object, known: bool) -> bool {
        match live.annotation(INSTANCE_ANNOTATION) {
            // Whoever copies an object copies its mark: what state does not name counts only where we wrote the mark.
            Some(mark) => !self.mark.is_empty() && mark == self.mark && (known || wrote_mark(live)),
            None => {
                self.unmarked
                    && match live.label(OWNER_LABEL) {
                        // A label is copied as well: what state does not name counts only where we wrote the object.
                        Some(label) => label == self.label && (known || is_managed_by(live, FIELD_MANAGER)),
                        None => known,
                    }
            }
        }
    }

    /// Whether another instance of this provider holds the object.
    pub fn is_taken_over(&self, live: &Object) -> bool {
        live.annotation(INSTANCE_ANNOTATION).is_some_and(|mark| mark != self.mark) && wrote_mark(live)
    }

    /// Whose the object is, in words.
    pub fn others(&self, live: &Object) -> Vec<String> {
        let label = live.label(OWNER_LABEL);
        match (live.annotation(INSTANCE_ANNOTATION), label) {
            (Some(mark), Some(label)) if label == self.label && mark != self.mark => {
                vec![format!("another instance of {label} (instance {mark})")]
            }
            (Some(mark), Some(label)) if mark != self.mark => {
                vec![format!("{label} of this provider (instance {mark})")]
            }
            (None, Some(label)) if is_managed_by(live, FIELD_MANAGER) => vec![format!("{label} of this provider")],
            _ => match live.annotation("meta.helm.sh/release-name") {
                Some(release) => {
                    let namespace = live.annotation("meta.helm.sh/release-namespace").unwrap_or_default();
                    vec![format!("the Helm release {namespace}/{release}")]
                }
                None => managers(live),
            },
        }
    }
}

/// All managers of the object, subresources (status, scale) left out.
pub fn managers(object: &Object) -> Vec<String> {
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let entries = object.items("metadata.managedFields");
    let mut managers: Vec<String> = entries
        .iter()
        .filter(|entry| text(entry, "subresource").is_empty())
        .map(|entry| text(entry, "manager"))
        .collect();
    managers.sort();
    managers.dedup();
    managers
}

/// Whether a manager has applied any field of the object.
pub fn is_managed_by(object: &Object, manager: &str) -> bool {
    applied_sets(object, manager).next().is_some()
}

/// Whether this provider's manager holds the annotation that carries the mark.
fn wrote_mark(object: &Object) -> bool {
    let field = format!("f:{INSTANCE_ANNOTATION}");
    applied_sets(object, FIELD_MANAGER)
        .any(|set| set.get("f:metadata").and_then(|metadata| metadata.get("f:annotations")?.get(&field)).is_some())
}

fn applied_sets<'a>(object: &'a Object, manager: &'a str) -> impl Iterator<Item = &'a Value> {
    let text = |entry: &'a Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
    object
        .items("metadata.managedFields")
        .iter()
        .filter(move |entry| text(entry, "manager") == manager && text(entry, "operation") == "Apply")
        .filter_map(|entry| entry.get("fieldsV1"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live(label: Option<&str>, mark: Option<&str>, by: &str) -> Object {
        let annotation = format!("f:{INSTANCE_ANNOTATION}");
        let mut object = Object::new(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "c", "managedFields": [
                {"manager": by, "operation": "Apply", "fieldsV1": {"f:metadata": {"f:annotations": {annotation: {}}}}},
            ]},
        }))
        .unwrap();
        if let Some(label) = label {
            object.set_label(OWNER_LABEL, label);
        }
        match mark {
            Some(mark) => object.with_annotation(INSTANCE_ANNOTATION, mark),
            None => object,
        }
    }

    fn owner(unmarked: bool) -> Owner {
        Owner { label: "mesh_ca.x".into(), mark: "m1".into(), unmarked }
    }

    #[test]
    fn a_name_proves_nothing_and_a_mark_does() {
        let ours = live(Some("mesh_ca.x"), Some("m1"), FIELD_MANAGER);
        let other_state = live(Some("mesh_ca.x"), Some("m2"), FIELD_MANAGER);
        assert!(owner(false).has(&ours, true) && owner(false).may_write(&ours, true).is_ok());
        assert!(!owner(true).has(&other_state, true));
        assert_eq!(
            owner(true).may_write(&other_state, true).unwrap_err(),
            ["another instance of mesh_ca.x (instance m2)"]
        );
        assert!(owner(true).is_taken_over(&other_state));
    }

    #[test]
    fn a_copy_with_our_label_and_mark_is_not_ours_unless_state_names_it() {
        let copy = live(Some("mesh_ca.x"), Some("m1"), "kubectl");
        assert!(!owner(false).has(&copy, false));
        assert!(owner(false).has(&copy, true), "restored from a backup under the name that state has");
    }

    #[test]
    fn what_was_made_anew_by_hand_is_not_ours() {
        let anew = live(None, None, "kubectl-create");
        assert!(!owner(false).has(&anew, true));
        assert_eq!(owner(false).may_write(&anew, true).unwrap_err(), ["kubectl-create"]);
        assert!(owner(true).has(&anew, true), "imported: nobody has marked it yet");
        assert!(!owner(true).has(&anew, false));
    }

    #[test]
    fn a_state_older_than_marks_goes_by_label_as_it_did() {
        let old = live(Some("mesh_ca.x"), None, FIELD_MANAGER);
        assert!(owner(true).has(&old, true) && owner(true).has(&old, false));
        assert!(!owner(true).has(&live(Some("mesh_ca.y"), None, FIELD_MANAGER), true));
        assert!(owner(false).may_write(&old, false).is_err(), "a new instance takes nothing of an old state");
        let labelled = live(Some("mesh_ca.x"), None, "kubectl");
        assert!(!owner(true).has(&labelled, false), "its label is a copy, and whether all is marked was forgotten");
        assert!(!Owner::by_label("mesh_ca.x").has(&labelled, false), "also where there is no mark at all");
        assert!(owner(true).has(&labelled, true) && Owner::by_label("mesh_ca.x").has(&labelled, true));
    }

    #[test]
    fn what_a_resource_of_ours_gave_up_may_be_written_and_not_removed() {
        let given_up = live(None, None, FIELD_MANAGER);
        assert!(owner(false).may_write(&given_up, false).is_ok());
        assert!(!owner(false).has(&given_up, false));
    }
}
