//! The objects of one cluster in memory: applied, patched, listed and deleted as an API server does it, as far as this
//! provider asks for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use terraform_provider_mesh::cluster::{FIELD_MANAGER, Kind};
use tokio::sync::broadcast;

/// Changes that a watch may still ask for.
const KEPT_CHANGES: usize = 400;

/// What finds an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub group: String,
    pub plural: String,
    /// Empty for kinds without namespaces.
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(kind: &Kind, namespace: &str, name: &str) -> Key {
        let text = |text: &str| text.to_owned();
        Key { group: text(&kind.group), plural: text(&kind.plural), namespace: text(namespace), name: text(name) }
    }
}

/// A change, as a watch tells it.
#[derive(Clone)]
pub struct Change {
    pub version: u64,
    pub what: &'static str,
    pub key: Key,
    pub object: Arc<Json>,
}

/// An answer that is not a success: its code and its Status.
#[derive(Debug)]
pub struct Refusal(pub u16, pub Json);

pub struct Store {
    /// Tells its objects from those of other clusters.
    number: usize,
    objects: BTreeMap<Key, Arc<Json>>,
    /// What this provider has applied of each.
    applied: BTreeMap<Key, Json>,
    version: u64,
    changes: VecDeque<Change>,
    told: broadcast::Sender<Change>,
}

/// What to do with an object.
pub struct Write<'a> {
    pub key: &'a Key,
    pub kind: &'a Kind,
    pub body: Json,
    /// Nothing is stored.
    pub dry: bool,
}

impl Store {
    pub fn new(number: usize) -> Store {
        // The first revision is before anything is written: no object has it.
        let (told, _) = broadcast::channel(1024);
        Store { number, objects: BTreeMap::new(), applied: BTreeMap::new(), version: 1, changes: VecDeque::new(), told }
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<Json>> {
        self.objects.get(key)
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    /// All objects of a kind; in one namespace where it is not empty.
    pub fn of<'a>(&'a self, kind: &Kind, namespace: &str) -> impl Iterator<Item = (&'a Key, &'a Arc<Json>)> + use<'a> {
        let from = Key::new(kind, namespace, "");
        let Key { group, plural, namespace, .. } = from.clone();
        let of_kind = self.objects.range(from..).take_while(move |(key, _)| key.group == group && key.plural == plural);
        of_kind.filter(move |(key, _)| namespace.is_empty() || key.namespace == namespace)
    }

    /// Changes after a version, and those to come.
    pub fn since(&self, version: u64) -> (Vec<Change>, broadcast::Receiver<Change>) {
        let past = self.changes.iter().filter(|change| change.version > version).cloned().collect();
        (past, self.told.subscribe())
    }

    /// Server-side apply by this provider. `true` where the object was made.
    pub fn apply(&mut self, write: Write<'_>) -> Result<(Arc<Json>, bool), Refusal> {
        let Write { key, kind, mut body, dry } = write;
        self.check_namespace(key)?;
        let metadata = body["metadata"].as_object_mut().ok_or_else(|| invalid("no metadata"))?;
        let asked = metadata.remove("resourceVersion");
        let uid = metadata.remove("uid");
        let live = self.objects.get(key).cloned();
        if let Some(live) = &live {
            let differs = |asked: &Option<Json>, member: &str| {
                asked.as_ref().is_some_and(|asked| *asked != live["metadata"][member])
            };
            if differs(&asked, "resourceVersion") || differs(&uid, "uid") {
                return Err(overtaken(key));
            }
        }
        let before = self.applied.get(key).cloned().unwrap_or_default();
        let mut object = live.as_deref().cloned().unwrap_or_else(|| json!({}));
        forget(&mut object, &before, &body);
        overlay(&mut object, &body);
        object["metadata"]["managedFields"] = json!([{
            "manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": kind.api_version(), "fieldsType": "FieldsV1",
            "time": now(), "fieldsV1": field_set(&body),
        }]);
        if dry {
            return Ok((Arc::new(object), live.is_none()));
        }
        if kind.plural == Kind::CUSTOM_RESOURCE_DEFINITION.plural {
            without_schemas(&mut object);
            without_schemas(&mut body);
        }
        self.applied.insert(key.clone(), body);
        Ok((self.put(key, object), live.is_none()))
    }

    /// A JSON patch (RFC 6902).
    pub fn patch(&mut self, key: &Key, operations: &Json) -> Result<Arc<Json>, Refusal> {
        let live = self.objects.get(key).cloned().ok_or_else(|| absent(key))?;
        let mut object = (*live).clone();
        for operation in operations.as_array().into_iter().flatten() {
            let path = operation["path"].as_str().unwrap_or_default();
            let value = operation["value"].clone();
            match operation["op"].as_str() {
                Some("test") if object.pointer(path) == Some(&value) => {}
                Some("replace") if path == "/metadata/resourceVersion" => {
                    if object["metadata"]["resourceVersion"] != value {
                        return Err(overtaken(key));
                    }
                }
                Some("replace" | "add") => set(&mut object, path, value).ok_or_else(|| invalid(path))?,
                _ => return Err(invalid(path)),
            }
        }
        Ok(self.put(key, object))
    }

    /// Stores an object as it is, and tells who watches. One that is as it was is not written.
    pub fn put(&mut self, key: &Key, mut object: Json) -> Arc<Json> {
        let live = self.objects.get(key).cloned();
        let metadata = &mut object["metadata"];
        if key.plural == Kind::NAMESPACE.plural {
            metadata["labels"]["kubernetes.io/metadata.name"] = key.name.clone().into();
        }
        if let Some(live) = &live {
            for kept in ["uid", "creationTimestamp", "resourceVersion", "generation"] {
                metadata[kept] = live["metadata"][kept].clone();
            }
            let same = |a: &Json, b: &Json| {
                let members = a.as_object().into_iter().flatten().map(|(member, _)| member);
                let members = members.chain(b.as_object().into_iter().flatten().map(|(member, _)| member));
                members.filter(|member| *member != "metadata").all(|member| a[member] == b[member])
                    && ["labels", "annotations", "finalizers"]
                        .iter()
                        .all(|part| a["metadata"][part] == b["metadata"][part])
            };
            if same(&object, live) {
                return live.clone();
            }
        }
        self.version += 1;
        let generation = live.as_ref().and_then(|live| live["metadata"]["generation"].as_u64()).unwrap_or(1);
        let changed = live.as_ref().is_some_and(|live| live["spec"] != object["spec"]);
        let metadata = &mut object["metadata"];
        metadata["generation"] = (generation + u64::from(changed)).into();
        metadata["resourceVersion"] = self.version.to_string().into();
        if live.is_none() {
            metadata["uid"] = format!("{:08x}-0000-4000-8000-{:012x}", self.number, self.version).into();
            metadata["creationTimestamp"] = now().into();
        }
        let object = Arc::new(object);
        self.objects.insert(key.clone(), object.clone());
        self.tell(if live.is_some() { "MODIFIED" } else { "ADDED" }, key, object.clone());
        object
    }

    /// Deletes one object, with its namespace's content where it is one.
    pub fn delete(&mut self, key: &Key, preconditions: &Json) -> Result<Json, Refusal> {
        let live = self.objects.get(key).cloned().ok_or_else(|| absent(key))?;
        for (member, name) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
            let asked = &preconditions[member];
            if !asked.is_null() && *asked != live["metadata"][member] {
                let message =
                    format!("Precondition failed: {name} in precondition: {asked}, {name} in object meta differs");
                return Err(Refusal(409, status(409, "Conflict", &message, details(key))));
            }
        }
        if key.plural == "namespaces" {
            let content: Vec<Key> =
                self.objects.keys().filter(|inside| inside.namespace == key.name).cloned().collect();
            content.iter().for_each(|inside| self.take(inside));
        }
        self.take(key);
        let mut answer = status(200, "", "", details(key));
        answer["status"] = "Success".into();
        Ok(answer)
    }

    /// Takes an object out, whoever asks.
    pub fn take(&mut self, key: &Key) {
        self.applied.remove(key);
        if let Some(gone) = self.objects.remove(key) {
            self.version += 1;
            self.tell("DELETED", key, gone);
        }
    }

    fn tell(&mut self, what: &'static str, key: &Key, object: Arc<Json>) {
        let change = Change { version: self.version, what, key: key.clone(), object };
        if self.changes.len() == KEPT_CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(change.clone());
        // Nobody may be watching.
        drop(self.told.send(change));
    }

    fn check_namespace(&self, key: &Key) -> Result<(), Refusal> {
        let place = Key::new(&Kind::NAMESPACE, "", &key.namespace);
        match key.namespace.is_empty() || self.objects.contains_key(&place) {
            true => Ok(()),
            false => Err(absent(&place)),
        }
    }
}

pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub fn status(code: u16, reason: &str, message: &str, details: Json) -> Json {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason, "message": message,
        "details": details,
    })
}

fn details(key: &Key) -> Json {
    json!({ "name": key.name, "group": key.group, "kind": key.plural })
}

pub fn absent(key: &Key) -> Refusal {
    let message = format!("{} \"{}\" not found", key.plural, key.name);
    Refusal(404, status(404, "NotFound", &message, details(key)))
}

fn overtaken(key: &Key) -> Refusal {
    let message = format!(
        "Operation cannot be fulfilled on {} \"{}\": the object has been modified; please apply your changes to the latest version and try again",
        key.plural, key.name
    );
    Refusal(409, status(409, "Conflict", &message, details(key)))
}

fn invalid(what: &str) -> Refusal {
    Refusal(
        422,
        status(
            422,
            "Invalid",
            &format!("the server rejected our request due to an error in our request: {what}"),
            json!({}),
        ),
    )
}

/// Takes out what was applied before and is not any more.
fn forget(live: &mut Json, before: &Json, now: &Json) {
    let (Some(members), Some(before)) = (live.as_object_mut(), before.as_object()) else { return };
    for (name, was) in before {
        match now.get(name) {
            None => drop(members.remove(name)),
            Some(is) => members.get_mut(name).into_iter().for_each(|live| forget(live, was, is)),
        }
    }
}

fn overlay(live: &mut Json, applied: &Json) {
    match (live, applied) {
        (Json::Object(live), Json::Object(applied)) => {
            for (name, value) in applied {
                overlay(live.entry(name.clone()).or_insert(Json::Null), value);
            }
        }
        (live, applied) => *live = applied.clone(),
    }
}

/// The fields of an applied object. A list is one value here.
fn field_set(body: &Json) -> Json {
    fn below(value: &Json, is_left_out: &dyn Fn(&str) -> bool) -> Json {
        let members = value.as_object().into_iter().flatten().filter(|(name, _)| !is_left_out(name));
        let fields = members.map(|(name, value)| (format!("f:{name}"), below(value, &|_| false)));
        Json::Object(fields.collect::<Map<_, _>>())
    }
    let mut set = below(body, &|name| matches!(name, "apiVersion" | "kind" | "metadata"));
    let metadata = below(&body["metadata"], &|name| matches!(name, "name" | "namespace"));
    if metadata.as_object().is_some_and(|fields| !fields.is_empty()) {
        set["f:metadata"] = metadata;
    }
    set
}

/// A schema is as large as all other objects of a cluster together, and nobody reads it here.
fn without_schemas(definition: &mut Json) {
    for version in definition["spec"]["versions"].as_array_mut().into_iter().flatten() {
        version.as_object_mut().into_iter().for_each(|version| drop(version.remove("schema")));
    }
}

fn set(object: &mut Json, path: &str, value: Json) -> Option<()> {
    let (parent, last) = path.rsplit_once('/')?;
    let name = last.replace("~1", "/").replace("~0", "~");
    let parent = match object.pointer(parent).is_some() {
        true => object.pointer_mut(parent)?,
        false => return None,
    };
    parent.as_object_mut()?.insert(name, value);
    Some(())
}
