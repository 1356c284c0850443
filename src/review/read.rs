//! The plan as `terraform show -json` and `tofu show -json` write it, read without trust: what is missing or of another
//! shape is nothing, and what could change the answer is a doubt that the page tells.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::Error;
use super::blank::{Blanked, blank};
use super::reading::items;
use super::secrets::Secrets;
use super::text::{Name, Prose, clean, count, names};
use crate::schema::{Attribute, Schema};

pub use super::instance::{Action, Check, Instance, Invocation, Type};
pub use super::reading::{Reading, UNKNOWN};

/// Schemas of the provider's resources, by type.
pub type Schemas = BTreeMap<String, Schema>;

/// More than any mesh has: who makes a plan larger does not make a review slow.
const MOST: usize = 5_000;

/// What of a plan concerns the mesh.
#[derive(Debug, Default)]
pub struct Plan {
    /// Version of the program that made it.
    pub version: String,
    /// When it was made.
    pub timestamp: Option<String>,
    /// Resources of the mesh, those that stay as they are included.
    pub instances: Vec<Instance>,
    /// What a refresh found different from what state remembers.
    pub drift: Vec<Instance>,
    /// Actions of the mesh that the plan invokes.
    pub invocations: Vec<Invocation>,
    /// Checks of the configuration that fail.
    pub failed: Vec<Check>,
    /// Resources of others that change.
    pub others: usize,
    /// Why the page may not tell all.
    pub doubts: Vec<Prose>,
    /// Changes of the mesh that are not looked at: whoever makes a plan so large could hide anything in it.
    pub unread: usize,
}

impl Plan {
    /// Something of the mesh is in it, or might be.
    pub fn concerns_mesh(&self) -> bool {
        !self.instances.is_empty() || !self.drift.is_empty() || !self.invocations.is_empty()
    }
}

/// The parts of the file that are looked at. Everything else is skipped unread.
#[derive(Deserialize)]
struct File {
    format_version: Option<Value>,
    terraform_version: Option<Value>,
    timestamp: Option<Value>,
    resource_changes: Option<Value>,
    resource_drift: Option<Value>,
    action_invocations: Option<Value>,
    deferred_action_invocations: Option<Value>,
    deferred_changes: Option<Value>,
    output_changes: Option<Value>,
    planned_values: Option<Value>,
    prior_state: Option<Value>,
    checks: Option<Value>,
    configuration: Option<Value>,
    variables: Option<Value>,
    values: Option<serde::de::IgnoredAny>,
    errored: Option<Value>,
    complete: Option<Value>,
}

/// Reads a plan, and what must not be shown of it. What is marked is gone from its place; the same text elsewhere is to
/// be judged, and to be hidden in what is said of it.
pub fn read(bytes: &[u8], schemas: &Schemas) -> Result<(Plan, Secrets), Error> {
    let mut file = parse(bytes)?;
    let secrets = secrets(&file)?;
    let text = |member: &Option<Value>| member.as_ref().and_then(Value::as_str).map(str::to_owned);
    let mut plan = Plan {
        version: text(&file.terraform_version).unwrap_or_default(),
        timestamp: text(&file.timestamp),
        ..Plan::default()
    };
    let reading = PlanReading { schemas };
    plan.doubts = doubts(&file);
    for change in take_items(file.resource_changes.take()) {
        reading.change(change, &mut plan);
    }
    for drift in take_items(file.resource_drift.take()) {
        if let Some((kind, schema)) = reading.concerns(&drift) {
            plan.drift.extend(instance(drift, kind, schema).ok());
        }
    }
    for invoked in take_items(file.action_invocations.take()) {
        invocation(invoked, &mut plan);
    }
    if plan.invocations.len() > MOST {
        plan.invocations.truncate(MOST);
        plan.doubts.push(format!("of the actions no more than the first {MOST} are looked at").into());
    }
    reading.outside(file.prior_state.take(), &mut plan);
    if plan.concerns_mesh() {
        plan.failed = file.checks.iter().flat_map(items).filter_map(failed).take(MOST).collect();
    }
    // What stays hides nothing that changes.
    plan.instances.sort_by_key(|instance| instance.action == Action::None && !instance.importing);
    let unread = plan.instances.iter().skip(MOST).filter(|one| one.action != Action::None || one.importing);
    plan.unread = unread.count();
    for (list, what) in [(&mut plan.instances, "resources"), (&mut plan.drift, "changes by others")] {
        if list.len() > MOST {
            list.truncate(MOST);
            plan.doubts.insert(0, format!("of the mesh's {what} no more than the first {MOST} are looked at").into());
        }
    }
    plan.instances.sort_by(|a, b| (a.kind, &a.address).cmp(&(b.kind, &b.address)));
    Ok((plan, secrets))
}

fn parse(bytes: &[u8]) -> Result<File, Error> {
    if bytes.starts_with(b"PK\x03\x04") {
        return Err(Error::Binary);
    }
    let text = decode(bytes);
    let text = text.trim();
    if text.is_empty() {
        return Err(Error::Empty);
    }
    let file: File = serde_json::from_str(text).map_err(|error| match serde_json::from_str::<Value>(text) {
        Err(_) if text.lines().nth(1).is_some_and(|line| line.starts_with("{\"@level\"")) => Error::Stream,
        _ => Error::NotJson { line: error.line(), column: error.column() },
    })?;
    match (&file.format_version, &file.resource_changes, &file.planned_values) {
        (Some(Value::String(version)), changes, planned) => match version.split('.').next() {
            Some("0" | "1") if changes.is_some() || planned.is_some() => Ok(file),
            Some("0" | "1") => Err(if file.values.is_some() { Error::State } else { Error::NotAPlan }),
            _ => Err(Error::Format(clean(version))),
        },
        _ => Err(Error::NotAPlan),
    }
}

/// UTF-8, or what a shell of Windows makes of it.
fn decode(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    let wide = |from: fn([u8; 2]) -> u16| {
        let units = bytes[2..].chunks_exact(2).map(|pair| from([pair[0], pair[1]]));
        char::decode_utf16(units).map(|c| c.unwrap_or('\u{FFFD}')).collect::<String>().into()
    };
    match bytes {
        [0xFF, 0xFE, ..] => wide(u16::from_le_bytes),
        [0xFE, 0xFF, ..] => wide(u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8_lossy(rest),
        _ => String::from_utf8_lossy(bytes),
    }
}

fn secrets(file: &File) -> Result<Secrets, Error> {
    let mut secrets = Secrets::default();
    for part in [&file.resource_changes, &file.resource_drift] {
        for change in part.iter().flat_map(items) {
            secrets.marked_in_change(&change["change"]);
        }
    }
    for put_off in file.deferred_changes.iter().flat_map(items) {
        secrets.marked_in_change(&put_off["resource_change"]["change"]);
    }
    for invoked in invocations(file) {
        secrets.marked(&invoked["config_values"], &invoked["config_sensitive"]);
    }
    for change in file.output_changes.iter().filter_map(Value::as_object).flat_map(|outputs| outputs.values()) {
        secrets.marked_in_change(change);
    }
    let declared = file.configuration.as_ref().map(|configuration| &configuration["root_module"]["variables"]);
    for (name, variable) in file.variables.iter().filter_map(Value::as_object).flatten() {
        if declared.is_some_and(|declared| declared[name]["sensitive"] == true) {
            secrets.all_in(&variable["value"]);
        }
    }
    for part in [&file.prior_state, &file.planned_values].into_iter().flatten() {
        secrets.marked_in_state(part);
    }
    secrets.prepare()?;
    Ok(secrets)
}

/// Actions that the plan invokes, and those that it puts off.
fn invocations(file: &File) -> impl Iterator<Item = &Value> {
    let now = file.action_invocations.iter().flat_map(items);
    let later = file.deferred_action_invocations.iter().flat_map(items).map(|deferred| &deferred["action_invocation"]);
    now.chain(later)
}

fn doubts(file: &File) -> Vec<Prose> {
    let mut doubts: Vec<Prose> = Vec::new();
    if file.errored.as_ref() == Some(&Value::Bool(true)) {
        doubts.push("planning ended with an error, and the plan lacks what would have followed".into());
    }
    let changes = put_off(&file.deferred_changes, "resource_change");
    let actions = put_off(&file.deferred_action_invocations, "action_invocation");
    doubts.extend(
        changes
            .into_iter()
            .map(|(number, of)| format!("{} put off to a later plan{of}", count(number, "change")).into()),
    );
    doubts.extend(
        actions
            .into_iter()
            .map(|(number, of)| format!("{} put off to a later plan{of}", count(number, "action")).into()),
    );
    if file.complete.as_ref() == Some(&Value::Bool(false)) && doubts.is_empty() {
        doubts.push("the plan is not complete: another one follows it".into());
    }
    if file.resource_changes.as_ref().is_some_and(|changes| !changes.is_array()) {
        doubts.push("the changes in the plan cannot be read".into());
    }
    doubts
}

/// How many, and what of the mesh is among them.
fn put_off(list: &Option<Value>, member: &str) -> Option<(usize, String)> {
    let all = list.as_ref().map(items).filter(|all| !all.is_empty())?;
    let ours = all.iter().map(|deferred| &deferred[member]).filter(|one| is_of_mesh(one));
    let told: Vec<String> = ours
        .map(|one| {
            let words = action(&one["change"]["actions"]).map(|action| format!(" ({})", action.word()));
            one["address"].as_str().unwrap_or("?").to_owned() + &words.unwrap_or_default()
        })
        .collect();
    let of = if told.is_empty() { String::new() } else { format!(": {}", names(told.iter().map(String::as_str))) };
    Some((all.len(), of))
}

struct PlanReading<'a> {
    schemas: &'a Schemas,
}

impl PlanReading<'_> {
    fn change(&self, change: Value, plan: &mut Plan) {
        let Some((kind, schema)) = self.concerns(&change) else {
            if is_of_mesh(&change) && change["mode"] == "managed" {
                plan.doubts.push(stranger(&change));
            } else if is_namesake(&change) {
                plan.doubts.push(namesake(&change));
            }
            let idle = items(&change["change"]["actions"]).iter().all(|word| *word == "no-op" || *word == "read");
            plan.others += usize::from(!idle);
            return;
        };
        match instance(change, kind, schema) {
            Ok(instance) => {
                let strange = strangers(schema, &instance.after);
                if !strange.is_empty() {
                    plan.doubts.push(
                        format!(
                            "{} has attributes that this version does not know: {}",
                            Name(&instance.address),
                            names(strange)
                        )
                        .into(),
                    );
                }
                plan.instances.push(instance);
            }
            Err(doubt) => plan.doubts.push(doubt),
        }
    }

    /// The kind of a resource of ours.
    fn concerns(&self, change: &Value) -> Option<(Type, &Schema)> {
        let name = change["type"].as_str()?;
        let (kind, name) = Type::ALL.into_iter().find(|(_, resource)| *resource == name)?;
        (is_of_mesh(change) && change["mode"] != "data").then_some((kind, self.schemas.get(name)?))
    }

    /// What state knows and the plan leaves out, as with `-target`: it stays.
    fn outside(&self, prior: Option<Value>, plan: &mut Plan) {
        let known: std::collections::BTreeSet<String> = plan
            .instances
            .iter()
            .flat_map(|i| [Some(i.address.clone()), i.previous_address.clone()])
            .flatten()
            .collect();
        let mut outside = Vec::new();
        let mut values = prior.unwrap_or_default().get_mut("values").map(Value::take).unwrap_or_default();
        let mut open = vec![take(&mut values, "root_module")];
        while let Some(mut module) = open.pop() {
            open.extend(take_items(Some(take(&mut module, "child_modules"))));
            for mut resource in take_items(Some(take(&mut module, "resources"))) {
                let Some((kind, schema)) = self.concerns(&resource) else { continue };
                let (values, marks) = (take(&mut resource, "values"), take(&mut resource, "sensitive_values"));
                if !values.is_object() {
                    continue;
                }
                resource["change"] = serde_json::json!({
                    "actions": ["no-op"], "before": values, "before_sensitive": marks, "after": values, "after_sensitive": marks,
                });
                outside.extend(instance(resource, kind, schema).ok().filter(|one| !known.contains(&one.address)));
            }
        }
        if !outside.is_empty() && !plan.instances.is_empty() {
            let left: Vec<&str> = outside.iter().map(|instance| instance.address.as_str()).collect();
            plan.doubts.push(format!("the plan leaves out what state knows: {}", names(left)).into());
        }
        plan.instances.extend(outside);
    }
}

fn instance(mut change: Value, kind: Type, schema: &Schema) -> Result<Instance, Prose> {
    let address = change["address"].as_str().unwrap_or("(no address)").to_owned();
    let text = |member: &Value| member.as_str().map(str::to_owned);
    let (previous_address, reason) = (text(&change["previous_address"]), text(&change["action_reason"]));
    let deposed = !change["deposed"].is_null();
    let mut body = take(&mut change, "change");
    let Some(action) = action(&body["actions"]) else {
        return Err(format!("what happens to {} cannot be read", Name(&address)).into());
    };
    let (mut before, mut after) = (take(&mut body, "before"), take(&mut body, "after"));
    // Whatever the plan calls it: what differs is judged.
    let action = if action == Action::None && before != after { Action::Update } else { action };
    let importing = body["importing"].is_object();
    let leaves_old = action == Action::Replace && items(&body["actions"]).iter().any(|word| *word == "forget");
    let creates_first = action == Action::Replace && body["actions"][0] == "create";
    match action {
        Action::Create if !importing => before = Value::Null,
        Action::Delete => after = Value::Null,
        // It stays where it is, as it is.
        Action::Forget => after = before.clone(),
        _ => {}
    }
    if !before.is_null() && !before.is_object() || !after.is_null() && !after.is_object() {
        return Err(format!("the values of {} cannot be read", Name(&address)).into());
    }
    let marks = (&body["before_sensitive"], &body["after_sensitive"]);
    let guarded = is_guarded(schema, marks.0) || is_guarded(schema, marks.1);
    let Blanked { before, after, hidden: [before_hidden, hidden] } =
        blank((before, marks.0), (after, marks.1), &schema.attributes);
    Ok(Instance {
        address,
        kind,
        action,
        importing,
        deposed,
        previous_address,
        reason,
        leaves_old,
        guarded,
        creates_first,
        before,
        after,
        before_hidden,
        unknown: also(take(&mut body, "after_unknown"), hidden),
    })
}

fn invocation(mut invoked: Value, plan: &mut Plan) {
    if !is_of_mesh(&invoked) {
        return;
    }
    if invoked["type"] != "mesh_restart_workloads" {
        return plan.doubts.push(stranger(&invoked));
    }
    let (values, marks) = (take(&mut invoked, "config_values"), take(&mut invoked, "config_sensitive"));
    let Blanked { after: config, hidden: [_, hidden], .. } = blank((Value::Null, &Value::Null), (values, &marks), &[]);
    plan.invocations.push(Invocation {
        address: invoked["address"].as_str().unwrap_or("(no address)").to_owned(),
        config,
        unknown: also(take(&mut invoked, "config_unknown"), hidden),
    });
}

fn stranger(of: &Value) -> Prose {
    let address = of["address"].as_str().unwrap_or("?");
    format!("{} is of a kind that this version does not know", Name(address)).into()
}

/// Whether another provider calls a resource of its own as ours is called: a copy of this one does.
fn is_namesake(change: &Value) -> bool {
    let ours = Type::ALL.iter().any(|(_, name)| change["type"] == *name);
    ours && change["mode"] == "managed" && !is_of_mesh(change)
}

fn namesake(of: &Value) -> Prose {
    let text = |name: &str| Name(of[name].as_str().unwrap_or("?")).to_string();
    format!("{} is of the provider {}, which this review does not know", text("address"), text("provider_name")).into()
}

/// A check that does not hold, with what each of its instances says.
fn failed(check: &Value) -> Option<Check> {
    let status = |of: &Value| match of["status"].as_str() {
        Some("fail") => Some("fails"),
        Some("error") => Some("could not be evaluated"),
        _ => None,
    };
    let instances = items(&check["instances"]).iter().filter(|instance| status(instance).is_some());
    let problems = instances.flat_map(|instance| items(&instance["problems"]));
    let messages = problems.filter_map(|problem| problem["message"].as_str()).take(MOST).map(str::to_owned).collect();
    let address = check["address"]["to_display"].as_str().unwrap_or("(no address)").to_owned();
    Some(Check { address, status: status(check)?, messages })
}

/// Whatever the registry or mirror is called that it came from.
fn is_of_mesh(change: &Value) -> bool {
    let provider = change["provider_name"].as_str().unwrap_or_default();
    let ours = provider.rsplit('/').next() == Some("mesh");
    ours && change["type"].as_str().is_some_and(|name| name.starts_with("mesh_"))
}

fn action(actions: &Value) -> Option<Action> {
    let words: Vec<&str> = items(actions).iter().filter_map(|word| word.as_str()).collect();
    Some(match words[..] {
        ["no-op" | "read"] => Action::None,
        ["create"] => Action::Create,
        ["update"] => Action::Update,
        ["delete"] => Action::Delete,
        ["forget"] => Action::Forget,
        ["delete", "create"] | ["create", "delete"] => Action::Replace,
        // The old one stays behind.
        ["create", "forget"] | ["forget", "create"] => Action::Replace,
        _ => return None,
    })
}

/// Whether a configured attribute is marked.
fn is_guarded(schema: &Schema, marks: &Value) -> bool {
    let configured =
        |attribute: &&Attribute| !attribute.is_computed_only() && !attribute.sensitive && !attribute.write_only;
    *marks == true
        || schema
            .attributes
            .iter()
            .filter(configured)
            .any(|attribute| marks_any(&marks[&attribute.name], &attribute.shape))
}

/// Whether anything is marked besides what its own schema hides always.
fn marks_any(marks: &Value, shape: &crate::schema::Shape) -> bool {
    match marks {
        Value::Bool(marked) => *marked,
        Value::Array(items) => items.iter().any(|item| marks_any(item, shape)),
        Value::Object(members) => members.iter().any(|(name, mark)| {
            let attribute = match shape {
                crate::schema::Shape::Nested(nested) => {
                    nested.attributes.iter().find(|attribute| attribute.name == *name)
                }
                crate::schema::Shape::Type(_) => None,
            };
            match attribute {
                Some(attribute) if attribute.sensitive || attribute.write_only => false,
                Some(attribute) => marks_any(mark, &attribute.shape),
                None => marks_any(mark, shape),
            }
        }),
        _ => false,
    }
}

/// Attributes that the schema lacks and that say something.
fn strangers<'a>(schema: &Schema, after: &'a Value) -> Vec<&'a str> {
    let members = after.as_object().into_iter().flatten();
    let strange = members.filter(|(name, value)| !value.is_null() && schema.attribute(name).is_none());
    strange.map(|(name, _)| name.as_str()).collect()
}

/// What is not known, and what is hidden besides.
fn also(unknown: Value, hidden: Value) -> Value {
    match (unknown, hidden) {
        (unknown, Value::Null) | (unknown @ Value::Bool(true), _) => unknown,
        (Value::Object(mut unknown), Value::Object(hidden)) => {
            for (name, hidden) in hidden {
                let place = unknown.entry(name).or_insert(Value::Null);
                *place = also(place.take(), hidden);
            }
            Value::Object(unknown)
        }
        (Value::Array(mut unknown), Value::Array(hidden)) => {
            unknown.resize(unknown.len().max(hidden.len()), Value::Null);
            for (place, hidden) in unknown.iter_mut().zip(hidden) {
                *place = also(place.take(), hidden);
            }
            Value::Array(unknown)
        }
        (_, hidden) => hidden,
    }
}

/// A member, whatever it is a member of.
fn take(of: &mut Value, name: &str) -> Value {
    of.get_mut(name).map(Value::take).unwrap_or_default()
}

fn take_items(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}
