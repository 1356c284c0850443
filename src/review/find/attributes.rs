//! What single attributes say, by the table of rules. What needs more than the attribute itself is in the file of its
//! subject.
//!
//! `tests/integration/review_every_attribute.rs` demands of every attribute that it is judged, here or there, or that
//! its table says why it needs no judgement.

use std::collections::BTreeSet;

use super::Cx;
use super::rules::When::{self, Changes, Loses, Lowered, Narrows, Raised, Set, Shortens, Unset};
use super::rules::{RULES, Rule};
use crate::review::read::{Action, Instance, Reading};
use crate::review::text::{Name, some_of};
use crate::schema::validate::parse_duration;

/// Paths that have a rule, each with the resources whose attribute it is.
pub fn paths() -> impl Iterator<Item = (&'static str, &'static str)> {
    RULES.iter().flat_map(|rule| rule.of.iter().map(|kind| (kind.resource(), rule.path)))
}

pub fn of_plan(cx: &mut Cx<'_>) {
    for instance in &cx.plan.instances {
        // What goes, and what is new, is told as a whole.
        if instance.action == Action::None || !instance.before().is_there() || !instance.after().is_there() {
            continue;
        }
        for rule in RULES.iter().filter(|rule| rule.of.contains(&instance.kind)) {
            for place in places((instance.before(), instance.after()), rule.path) {
                if let Some(lost) = rule.when.meets(place.before, place.after) {
                    judge(cx, instance, rule, (&place, &lost));
                }
            }
        }
    }
}

fn judge(cx: &mut Cx<'_>, instance: &Instance, rule: &Rule, (place, lost): (&Place<'_>, &Lost)) {
    let Place { elements, before, after } = place;
    let of: String = elements.iter().map(|name| format!("{}: ", Name(name))).collect();
    let Lost { names, sure } = lost;
    let what = rule.what.replace("{}", &some_of("at least", *sure, names.iter().map(String::as_str)));
    let (before, after) = match !names.is_empty() && before.value().is_object() {
        true => ("there".into(), "gone".into()),
        false => (before.shown_or_there(), after.shown_or_there()),
    };
    cx.risk(rule.risk, instance, of + &what).at(rule.level).sides(before, after);
}

/// An attribute, and the elements of maps that it is in.
struct Place<'a> {
    elements: Vec<&'a str>,
    before: Reading<'a>,
    after: Reading<'a>,
}

/// What an attribute loses; nothing where that is the attribute itself.
#[derive(Debug, Default, PartialEq)]
struct Lost {
    names: Vec<String>,
    /// How many of them. Each item of a list that is not known yet may be one of the others.
    sure: usize,
}

/// What is below something that only one side has is not among them where it goes: that is told as a whole. Nor are
/// new elements of a map.
fn places<'a>((before, after): (Reading<'a>, Reading<'a>), path: &str) -> Vec<Place<'a>> {
    let mut found = vec![Place { elements: Vec::new(), before, after }];
    for part in path.split('.') {
        found.retain(|Place { before, after, .. }| after.is_there() || !before.is_there());
        let below = |Place { elements, before, after }: Place<'a>| match part {
            "*" => {
                let others = after.entries();
                let both = before.entries().into_iter().filter_map(move |(name, before)| {
                    let elements = elements.iter().copied().chain([name]).collect();
                    others.get(name).map(|after| Place { elements, before, after: *after })
                });
                both.collect()
            }
            name => vec![Place { elements, before: before.get(name), after: after.get(name) }],
        };
        found = found.into_iter().flat_map(below).collect();
    }
    found
}

impl When {
    /// What is lost, where it is so. What is not known, or hidden, is told as such.
    fn meets(self, before: Reading<'_>, after: Reading<'_>) -> Option<Lost> {
        let unknown = before.is_partly_unknown() || after.is_partly_unknown();
        let met = match self {
            Changes => {
                before.value() != after.value() && !after.is_partly_hidden() && !before.is_partly_hidden()
                    || after.is_unknown() && !after.is_hidden()
            }
            Raised => after.flag() && !before.flag(),
            Lowered => before.flag() && !after.is_unknown() && !after.flag(),
            Set => !before.is_there() && after.is_there(),
            Unset => before.is_there() && !after.is_there(),
            Narrows => {
                let (was, will) = (members(before), members(after));
                let all = |set: &BTreeSet<String>| set.is_empty() || set.contains("*");
                !unknown && !all(&will) && (all(&was) || !was.is_subset(&will))
            }
            Shortens => {
                let [was, will] = [before, after].map(|side| side.text().and_then(parse_duration));
                was.zip(will).is_some_and(|(was, will)| will < was)
            }
            Loses => {
                let names: Vec<String> = members(before).difference(&members(after)).cloned().collect();
                // The keys of a map are known where the map is, whatever is unknown within.
                let sure = names.len().saturating_sub(after.open_items()?);
                return (sure > 0).then_some(Lost { names, sure });
            }
        };
        met.then(Lost::default)
    }
}

/// Items of a list, or keys of a map.
fn members(reading: Reading<'_>) -> BTreeSet<String> {
    match reading.value().is_object() {
        true => reading.entries().into_keys().map(str::to_owned).collect(),
        false => reading.texts().into_iter().map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn meets(when: When, before: &Value, after: &Value) -> Option<Lost> {
        when.meets(Reading::new(before, &Value::Null), Reading::new(after, &Value::Null))
    }

    #[test]
    fn all_that_is_lost_is_named() {
        let lost = |before: Value, after: Value| meets(Loses, &before, &after).unwrap_or_default().names;
        assert_eq!(lost(json!(["a", "b", "c"]), json!(["b"])), ["a", "c"]);
        assert_eq!(lost(json!({ "a": {}, "b": {} }), Value::Null), ["a", "b"]);
        assert!(lost(json!(["a"]), json!(["a", "b"])).is_empty());
    }

    #[test]
    fn what_is_unknown_may_be_what_was_there_and_is_no_more_than_that() {
        let lost = |before: Value, after: Value, unknown: Value| {
            let lost = Loses.meets(Reading::new(&before, &Value::Null), Reading::new(&after, &unknown));
            lost.map(|lost| (lost.names.join(" "), lost.sure))
        };
        let two = || json!(["a", "b"]);
        assert_eq!(lost(two(), json!(["a", null]), json!([false, true])), None);
        assert_eq!(lost(two(), json!([null]), json!([true])), Some(("a b".to_owned(), 1)));
        assert_eq!(lost(two(), Value::Null, json!(true)), None);
        // A core may leave out the places of what is not known.
        assert_eq!(lost(two(), json!([]), json!([true, true])), None);
        let within = json!({ "b": { "x": true } });
        assert_eq!(lost(json!({ "a": {}, "b": {} }), json!({ "b": {} }), within), Some(("a".to_owned(), 1)));
        let new = json!({ "a": true });
        assert_eq!(lost(json!({ "a": {} }), json!({}), new), None);
    }

    #[test]
    fn who_sees_a_service_is_narrowed_only_from_more() {
        for (before, after, narrower) in [
            (json!(["shop"]), json!(["*"]), false),
            (json!(["shop"]), Value::Null, false),
            (json!(["*"]), Value::Null, false),
            (json!(["*", "shop"]), json!(["shop"]), true),
            (Value::Null, json!(["shop"]), true),
            (json!(["shop", "pay"]), json!(["pay"]), true),
            (json!(["shop"]), json!(["pay", "shop"]), false),
            (json!(["*"]), json!(["*", "."]), false),
        ] {
            assert_eq!(meets(Narrows, &before, &after).is_some(), narrower, "{before} to {after}");
        }
    }

    #[test]
    fn what_is_below_something_that_goes_is_told_by_that_alone() {
        let with = json!({ "token": { "renewal": { "image": "a" } } });
        for (after, found) in
            [(json!({ "token": { "renewal": {} } }), 1), (json!({ "token": {} }), 0), (json!({}), 0), (Value::Null, 0)]
        {
            let sides = (Reading::new(&with, &Value::Null), Reading::new(&after, &Value::Null));
            assert_eq!(places(sides, "token.renewal.image").len(), found, "{after}");
        }
        // What is new is not.
        let (nothing, unknown) = (json!({}), json!({ "token": true }));
        let from = |before, after, unknown| {
            places((Reading::new(before, &Value::Null), Reading::new(after, unknown)), "token.renewal.image").len()
        };
        assert_eq!((from(&nothing, &with, &Value::Null), from(&with, &nothing, &unknown)), (1, 1));
    }

    #[test]
    fn only_what_can_be_lost_has_braces() {
        for rule in RULES {
            let lost = matches!(rule.when, Loses);
            assert_eq!(rule.what.matches("{}").count(), usize::from(lost), "{}: {}", rule.path, rule.what);
        }
    }
}
