//! Fields that a plan sets and that another field manager holds: the API server refuses them at apply, unless they are
//! taken. So the plan says it. Pure.

use super::fields;
use super::managers::{self, Held};
use super::memory::Memory;
use super::objects::{Recorded, Wanted};
use crate::cluster::{FIELD_MANAGER, Kind};
use crate::diag::Diagnostic;
use crate::value::{Map, Value};

/// Lines of the warning.
const SHOWN: usize = 12;

/// What a plan that does not take fields has to say of those that it would have to, from what the last refresh saw to
/// what is wanted. `objects` is the attribute of state.
pub fn warning(id: &str, objects: &Value<Map<String>>, memory: &Memory, wanted: &Wanted) -> Option<Diagnostic> {
    let seen = Recorded::of(objects, memory);
    told(id, &seen, wanted, |key, path| memory.manager(key, path), |key, path| memory.held(key, path))
}

/// Who holds a field: `put_back` of one that is ours and has another value than we gave it, `added` of one that is not
/// ours yet, with the digest of its value.
fn told<'a>(
    id: &str,
    seen: &Recorded,
    wanted: &Wanted,
    put_back: impl Fn(&str, &str) -> Option<&'a str>,
    added: impl Fn(&str, &str) -> Option<&'a Held>,
) -> Option<Diagnostic> {
    let mut lines = Vec::new();
    for (key, entry) in wanted.iter() {
        // What resources share is written beside what others hold.
        let Some(before) = seen.fields.get(key).filter(|_| entry.reference.kind != Kind::NAMESPACE) else { continue };
        for (path, value) in &entry.fields {
            let by = match before.get(path).map(|is| fields::like(value, is)) {
                Some(is) if fields::same(path, value, Some(&is)) => None,
                Some(_) => put_back(key, path).filter(|by| *by != FIELD_MANAGER),
                None => added(key, path).filter(|(_, is)| *is != managers::digest_of(value)).map(|(by, _)| by.as_str()),
            };
            lines.extend(by.map(|by| format!("- {key}: {path}, by {by}")));
        }
    }
    let more = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    if more > 0 {
        lines.push(format!("- and {more} more"));
    }
    (!lines.is_empty()).then(|| {
        // Of several warnings with one summary Terraform shows the first alone.
        Diagnostic::warning(format!("Another field manager holds fields of {id} that this plan sets"))
            .detail(format!(
                "{}\n\nThe apply will be refused. Set `force_conflicts = true` to overwrite these fields, or set their live values in the configuration.",
                lines.join("\n")
            ))
            .at("force_conflicts")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::Object;

    fn wanted(replicas: u32) -> Wanted {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "b", "namespace": "a"}, "spec": {"replicas": replicas, "paused": true}});
        let object = Object::new(object).expect("an object");
        let mut wanted = Wanted::default();
        wanted.insert(object.reference_as(Kind::DEPLOYMENT), object, "owner");
        wanted
    }

    fn said(seen: u32, by: Option<&'static str>) -> Option<String> {
        let manager = |_: &str, path: &str| by.filter(|_| path == "spec.replicas");
        told("east/a/b", &wanted(seen).recorded(), &wanted(1), manager, |_, _| None).map(|warning| warning.detail)
    }

    #[test]
    fn a_field_that_another_holds_is_told_of_before_the_apply_refuses_it() {
        let told = said(3, Some("kubectl-edit")).expect("a warning");
        assert!(
            told.starts_with("- Deployment a/b: spec.replicas, by kubectl-edit\n\nThe apply will be refused."),
            "{told}"
        );
        assert!(told.contains("force_conflicts = true"));
        assert_eq!(said(1, Some("kubectl-edit")), None, "it is as it is wanted");
        assert_eq!(said(3, Some(FIELD_MANAGER)), None, "our own");
        assert_eq!(said(3, None), None, "nobody's");
    }

    #[test]
    fn a_field_that_this_plan_adds_and_another_holds_is_told_of() {
        let mut seen = wanted(1).recorded();
        seen.fields.values_mut().for_each(|fields| drop(fields.remove("spec.paused")));
        let said = |value: &str| {
            let held = ("kubectl-edit".to_owned(), managers::digest_of(value));
            let added = |_: &str, path: &str| (path == "spec.paused").then_some(&held);
            told("east/a/b", &seen, &wanted(1), |_, _| None, added).map(|warning| warning.detail)
        };
        assert!(said("false").is_some_and(|said| said.starts_with("- Deployment a/b: spec.paused, by kubectl-edit")));
        assert_eq!(said("true"), None, "it has this value");
    }
}
