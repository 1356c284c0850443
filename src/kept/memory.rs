//! What is remembered of a resource's objects in one cluster beside its state, in the provider's private data: their
//! fields, and how the API server spells them.
//!
//! A core shows private data to nobody, and forgets it when the provider ends in the middle of an update. So nothing
//! here may be needed to tell whose an object is, or to remove it; what is missing is read anew from the cluster (see
//! [`super::objects::Recorded::seen`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fields::Fields;
use super::managers::{self, Held, HeldByOthers};
use super::objects::{Drift, Entry, Recorded, differences};
use super::packed;
use super::told::Told;
use crate::cluster::{Kind, Object};
use crate::value::{Map, Value};

impl Recorded {
    /// From the attribute `objects`, and what is remembered beside it.
    pub fn of(objects: &Value<Map<String>>, memory: &Memory) -> Recorded {
        let objects: BTreeMap<String, String> =
            objects.entries().map(|(key, digest)| (key.to_owned(), digest.clone())).collect();
        let remembered = |key: &String| Some((key.clone(), memory.fields(key)?.clone()));
        Recorded { fields: objects.keys().filter_map(remembered).collect(), objects }
    }
}

/// Of the objects in one cluster, by their names in state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// 0 in private data of before there was a `recorded`.
    #[serde(default)]
    version: u8,
    /// The fields that are ours, as they were applied or as the last refresh saw them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "packed")]
    recorded: BTreeMap<String, Fields>,
    /// How the API server spelled what we applied where it differs from what we sent.
    #[serde(default, rename = "fields")]
    spelled: BTreeMap<String, Fields>,
    /// The generation of each definition as applied: while it stays, its large body need not be read.
    #[serde(default)]
    generations: BTreeMap<String, i64>,
    /// Who has set a field to another value than ours, as the last refresh saw it.
    #[serde(default)]
    managers: BTreeMap<String, BTreeMap<String, String>>,
    /// What others hold beside what is ours, as the refresh of this walk saw it. It is not kept: they write what they
    /// like, and each change of it would be a change of state.
    #[serde(skip)]
    held: HeldByOthers,
    /// What the charts were told about the cluster when the objects were applied.
    #[serde(default, skip_serializing_if = "is_nothing")]
    told: Told,
    /// What they are told now: what the last refresh asked, or else the plan.
    #[serde(default, skip_serializing_if = "is_nothing")]
    tells: Told,
}

fn is_nothing(told: &Told) -> bool {
    *told == Told::default()
}

impl Default for Memory {
    fn default() -> Self {
        Memory {
            version: 1,
            recorded: BTreeMap::new(),
            spelled: BTreeMap::new(),
            generations: BTreeMap::new(),
            managers: BTreeMap::new(),
            held: BTreeMap::new(),
            told: Told::default(),
            tells: Told::default(),
        }
    }
}

impl Memory {
    /// What an import or a refresh has recorded, of which nobody noted how the API server spells it.
    pub fn of(recorded: &Recorded) -> Memory {
        Memory { recorded: recorded.fields.clone(), ..Memory::default() }
    }

    /// Remembers what is recorded. Returns the attribute `objects`.
    pub fn record(&mut self, recorded: &Recorded) -> Value<Map<String>> {
        self.version = 1;
        self.recorded.clone_from(&recorded.fields);
        recorded.objects_value()
    }

    /// Remembers who changed what, for the plan to say.
    pub fn note_drifts(&mut self, drifts: &[Drift]) {
        self.managers.clear();
        for drift in drifts {
            if let (Some(path), Some(manager)) = (&drift.path, &drift.manager) {
                self.managers.entry(drift.object.clone()).or_default().insert(path.clone(), manager.clone());
            }
        }
    }

    /// Remembers what others hold of these objects, for the plan to say.
    pub fn note_held(&mut self, live: &BTreeMap<String, Object>, recorded: &Recorded) {
        let nothing = Fields::new();
        let held = live
            .iter()
            .map(|(key, object)| (key.clone(), managers::others(object, recorded.fields.get(key).unwrap_or(&nothing))));
        self.held = held.filter(|(_, held)| !held.is_empty()).collect();
    }

    /// Hands over what [`Memory::note_held`] has noted, for the plan of this walk.
    pub fn take_held(&mut self) -> HeldByOthers {
        std::mem::take(&mut self.held)
    }

    /// Takes it back.
    pub fn give_held(&mut self, held: HeldByOthers) {
        self.held = held;
    }

    /// Who holds a field that is not ours, and the digest of its value.
    pub fn held(&self, key: &str, path: &str) -> Option<&Held> {
        self.held.get(key)?.get(path)
    }

    /// Notes how the API server answered the apply of `entry`.
    pub fn note(&mut self, key: &str, entry: &Entry, answer: &Object) {
        self.forget(key);
        // Of a definition the answer is its metadata alone.
        let bodiless = answer.get("spec").is_none() && entry.reference.kind == Kind::CUSTOM_RESOURCE_DEFINITION;
        let differences = match bodiless {
            true => Vec::new(),
            false => differences(&entry.fields, answer, Some(&Fields::new())),
        };
        let spelled: Fields =
            differences.into_iter().map(|difference| (difference.path, difference.is.unwrap_or_default())).collect();
        if !spelled.is_empty() {
            self.spelled.insert(key.to_owned(), spelled);
        }
        if let Some(generation) =
            answer.generation().filter(|_| entry.reference.kind == Kind::CUSTOM_RESOURCE_DEFINITION)
        {
            self.generations.insert(key.to_owned(), generation);
        }
    }

    /// What charts are told about the cluster.
    pub fn tells(&self) -> &Told {
        &self.tells
    }

    /// Remembers what they are to be told from here on.
    pub fn tell(&mut self, tells: Told) {
        self.tells = tells;
    }

    /// Remembers what a kind is that they bring.
    pub fn learn(&mut self, kind: &Kind) {
        self.tells.learn(kind);
    }

    /// The objects are applied as the charts make them of what they are told.
    pub fn note_told(&mut self) {
        self.told.clone_from(&self.tells);
    }

    /// How the cluster has changed since the objects were applied, as far as the charts ask.
    pub fn told_since(&self) -> Option<String> {
        self.told.since(&self.tells)
    }

    pub fn forget(&mut self, key: &str) {
        self.spelled.remove(key);
        self.generations.remove(key);
        self.managers.remove(key);
    }

    /// The fields as recorded; `None` where they are not remembered.
    pub fn fields(&self, key: &str) -> Option<&Fields> {
        self.recorded.get(key)
    }

    /// Whether the fields were kept in state when this was written: an object of which none are remembered is then as
    /// it was applied, by all we know. Otherwise the private data was lost, and with it all we knew.
    pub fn is_of_an_earlier_version(&self) -> bool {
        self.version == 0
    }

    pub fn spelled(&self, key: &str) -> Option<&Fields> {
        self.spelled.get(key)
    }

    /// The manager that last set a field to another value than ours.
    pub fn manager(&self, key: &str, path: &str) -> Option<&str> {
        self.managers.get(key)?.get(path).map(String::as_str)
    }

    /// Whether the specification of an object is what it was when it was applied, by its metadata alone.
    pub fn is_as_applied(&self, key: &str, live: &Object) -> bool {
        self.generations.get(key).is_some_and(|generation| live.generation() == Some(*generation))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_come_back_from_a_tenth_of_their_size() {
        let fields: Fields = (0..200)
            .map(|at| (format!("spec.template.spec.containers[discovery].env[V{at}].value"), at.to_string()))
            .collect();
        let memory =
            Memory { recorded: BTreeMap::from([("Deployment a/istiod".to_owned(), fields)]), ..Memory::default() };
        let text = serde_json::to_string(&memory).unwrap();
        assert_eq!(serde_json::from_str::<Memory>(&text).unwrap(), memory);
        assert!(text.len() * 5 < serde_json::to_string(&memory.recorded).unwrap().len(), "{}", text.len());
    }

    #[test]
    fn what_an_earlier_version_remembered_is_read() {
        let old = json!({"fields": {"Service a/b": {"spec.x": "y"}}, "generations": {"CustomResourceDefinition d": 3}});
        let memory: Memory = serde_json::from_value(old).unwrap();
        assert_eq!(memory.spelled("Service a/b").unwrap()["spec.x"], "y");
        assert_eq!(memory.fields("Service a/b"), None);
        assert!(memory.is_of_an_earlier_version());
        let torn: Memory = serde_json::from_value(json!({"version": 1, "recorded": "H4sIAAAA"})).unwrap();
        assert_eq!(torn, Memory::default());
    }
}
