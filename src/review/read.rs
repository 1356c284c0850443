//! The plan as `terraform show -json` and `tofu show -json` write it, read without trust: what is missing or of another
//! shape is nothing, and what could change the answer is a doubt that the page tells.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::Error;
use super::blank::{Blanked, blank, is_guarded};
use super::doubts::{Doubt, Doubts};
use super::reading::items;
use super::secrets::Secrets;
use super::text::{Prose, clean, count, names};
use super::whose::{ACTION, Whose, whose};
use crate::schema::Schema;

pub use super::instance::{Action, Check, InCluster, Instance, Invocation, Status, Type};
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
    /// Resources of others that change, and actions of others that are invoked.
    pub others: usize,
    /// Why the page may not tell all.
    pub doubts: Vec<Prose>,
    /// There may be changes of the mesh that it does not tell, or that could not be read.
    pub is_partial: bool,
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
    let mut reading = PlanReading { schemas, doubts: doubts(&file), sources: BTreeSet::new() };
    for change in take_items(file.resource_changes.take()) {
        reading.change(change, &mut plan);
    }
    for drift in take_items(file.resource_drift.take()) {
        plan.drift.extend(reading.instance(drift));
    }
    for invoked in take_items(file.action_invocations.take()) {
        plan.others += usize::from(whose(&invoked) != Whose::Mesh);
        plan.invocations.extend(reading.invocation(invoked));
    }
    reading.outside(file.prior_state.take(), &mut plan);
    let PlanReading { mut doubts, sources, .. } = reading;
    if sources.len() > 1 {
        let all = names(sources.iter().map(String::as_str));
        doubts.of_plan(format!("it has the provider of the mesh from several sources: {all}. Find out whether each of them is this provider"));
    }
    if plan.concerns_mesh() {
        plan.failed = file.checks.iter().flat_map(items).filter_map(failed).take(MOST).collect();
    }
    // What stays hides nothing that changes.
    plan.instances.sort_by_key(|instance| instance.action == Action::None && !instance.importing);
    let unread = plan.instances.iter().skip(MOST).filter(|one| one.action != Action::None || one.importing);
    plan.unread = unread.count();
    first(&mut plan.instances, "resources", &mut doubts);
    first(&mut plan.drift, "changes by others", &mut doubts);
    first(&mut plan.invocations, "actions", &mut doubts);
    plan.is_partial = doubts.hide_changes();
    plan.doubts = doubts.told();
    plan.instances.sort_by(|a, b| (a.kind, &a.address).cmp(&(b.kind, &b.address)));
    moved(&mut plan);
    Ok((plan, secrets))
}

fn first<T>(list: &mut Vec<T>, what: &str, doubts: &mut Doubts) {
    if list.len() > MOST {
        list.truncate(MOST);
        doubts.of_plan(format!("of the mesh's {what} no more than the first {MOST} are looked at"));
    }
}

/// What has drifted had another address before as its resource had.
fn moved(plan: &mut Plan) {
    let moves = plan.instances.iter().filter_map(|one| Some((one.address.as_str(), one.previous_address.clone()?)));
    let moves: BTreeMap<&str, String> = moves.collect();
    for drifted in plan.drift.iter_mut().filter(|drifted| drifted.previous_address.is_none()) {
        drifted.previous_address = moves.get(drifted.address.as_str()).cloned();
    }
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

fn doubts(file: &File) -> Doubts {
    let mut doubts = Doubts::default();
    let mut follows = false;
    if file.errored.as_ref() == Some(&Value::Bool(true)) {
        doubts.of_plan("planning ended with an error, and the plan lacks what would have followed");
        follows = true;
    }
    for (list, member, what) in [
        (&file.deferred_changes, "resource_change", "change"),
        (&file.deferred_action_invocations, "action_invocation", "action"),
    ] {
        if let Some((number, of)) = put_off(list, member) {
            doubts.of_plan(format!("{} put off to a later plan{of}", count(number, what)));
            follows = true;
        }
    }
    if file.complete.as_ref() == Some(&Value::Bool(false)) && !follows {
        doubts.of_plan("the plan is not complete: another one follows it");
    }
    for (name, part) in [
        ("resource_changes", &file.resource_changes),
        ("resource_drift", &file.resource_drift),
        ("action_invocations", &file.action_invocations),
        ("deferred_changes", &file.deferred_changes),
        ("deferred_action_invocations", &file.deferred_action_invocations),
        ("checks", &file.checks),
    ] {
        let is_read = |part: &Value| part.as_array().is_some_and(|items| items.iter().all(Value::is_object));
        if part.as_ref().is_some_and(|part| !is_read(part)) {
            doubts.at(Doubt::Part, name);
        }
    }
    doubts
}

/// How many, and what of the mesh is among them.
fn put_off(list: &Option<Value>, member: &str) -> Option<(usize, String)> {
    let all = list.as_ref().map(items).filter(|all| !all.is_empty())?;
    let ours = all.iter().map(|deferred| &deferred[member]).filter(|one| whose(one) != Whose::Other);
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
    doubts: Doubts,
    /// Source addresses of this provider.
    sources: BTreeSet<String>,
}

impl PlanReading<'_> {
    fn change(&mut self, change: Value, plan: &mut Plan) {
        if whose(&change) != Whose::Mesh {
            let idle = items(&change["change"]["actions"]).iter().all(|word| *word == "no-op" || *word == "read");
            plan.others += usize::from(!idle);
        }
        let Some(instance) = self.instance(change) else { return };
        let strange = self.schemas.get(instance.kind.resource()).map(|schema| strangers(schema, &instance.after));
        let strange = strange.filter(|strange| !strange.is_empty());
        strange.into_iter().for_each(|strange| self.doubts.by(Doubt::Attribute, &instance.address, strange));
        plan.instances.push(instance);
    }

    /// A resource of ours. What may be one and is not known, or cannot be read, is a doubt.
    fn instance(&mut self, change: Value) -> Option<Instance> {
        let address = address(&change);
        let (kind, schema) = self.known(&change, &address)?;
        match instance(change, kind, schema) {
            Ok(instance) => Some(instance),
            Err(doubt) => {
                self.doubts.at(doubt, &address);
                None
            }
        }
    }

    fn known<'s>(&mut self, change: &Value, address: &str) -> Option<(Type, &'s Schema)>
    where
        Self: 's,
    {
        if !self.is_ours(change, address) {
            return None;
        }
        let kind = Type::ALL.into_iter().find(|(_, name)| change["type"] == *name);
        let known = kind.and_then(|(kind, name)| Some((kind, self.schemas.get(name)?)));
        if known.is_none() {
            self.doubts.at(Doubt::Kind, address);
        }
        known
    }

    fn is_ours(&mut self, one: &Value, address: &str) -> bool {
        let whose = whose(one);
        match whose {
            Whose::Mesh => {
                self.sources.insert(provider(one).to_owned());
            }
            Whose::Copy => self.doubts.by(Doubt::Copy, address, [provider(one)]),
            Whose::Other => {}
        }
        whose == Whose::Mesh
    }

    fn invocation(&mut self, mut invoked: Value) -> Option<Invocation> {
        let address = address(&invoked);
        if !self.is_ours(&invoked, &address) {
            return None;
        }
        if invoked["type"] != ACTION {
            self.doubts.at(Doubt::Kind, &address);
            return None;
        }
        let (values, marks) = (take(&mut invoked, "config_values"), take(&mut invoked, "config_sensitive"));
        let Blanked { after: config, hidden: [_, hidden], .. } =
            blank((Value::Null, &Value::Null), (values, &marks), &[]);
        Some(Invocation { address, config, unknown: also(take(&mut invoked, "config_unknown"), hidden) })
    }

    /// What state knows and the plan leaves out, as with `-target`: it stays.
    fn outside(&mut self, prior: Option<Value>, plan: &mut Plan) {
        let planned: BTreeSet<String> = plan
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
                let (values, marks) = (take(&mut resource, "values"), take(&mut resource, "sensitive_values"));
                let change = serde_json::json!({
                    "actions": ["no-op"], "before": values, "before_sensitive": marks, "after": values, "after_sensitive": marks,
                });
                // What is no resource stays what it is.
                resource.as_object_mut().and_then(|members| members.insert("change".to_owned(), change));
                outside.extend(self.instance(resource).filter(|one| !planned.contains(&one.address)));
            }
        }
        if !plan.instances.is_empty() {
            outside.iter().for_each(|one| self.doubts.at(Doubt::LeftOut, &one.address));
        }
        plan.instances.extend(outside);
    }
}

fn address(of: &Value) -> String {
    of["address"].as_str().unwrap_or("(no address)").to_owned()
}

fn provider(of: &Value) -> &str {
    of["provider_name"].as_str().unwrap_or("(no name)")
}

fn instance(mut change: Value, kind: Type, schema: &Schema) -> Result<Instance, Doubt> {
    let address = address(&change);
    let text = |member: &Value| member.as_str().map(str::to_owned);
    let (previous_address, reason) = (text(&change["previous_address"]), text(&change["action_reason"]));
    let deposed = !change["deposed"].is_null();
    let mut body = take(&mut change, "change");
    let action = action(&body["actions"]).ok_or(Doubt::Actions)?;
    let (mut before, mut after) = (take(&mut body, "before"), take(&mut body, "after"));
    let unknown = take(&mut body, "after_unknown");
    // Whatever the plan calls it: what differs, or may, is judged.
    let differs = before != after || Reading::new(&after, &unknown).is_partly_unknown();
    let action = if action == Action::None && differs { Action::Update } else { action };
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
    let (was, will) = (before.is_object(), after.is_object() || unknown == true);
    let fits = match action {
        Action::None => was == will,
        Action::Create => will,
        Action::Update | Action::Replace => was && will,
        Action::Delete | Action::Forget => was,
    };
    if !fits || !before.is_null() && !was || !after.is_null() && !will {
        return Err(Doubt::Values);
    }
    let marks = (&body["before_sensitive"], &body["after_sensitive"]);
    let guarded = [marks.0, marks.1].into_iter().any(|marks| is_guarded(marks, &schema.attributes));
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
        unknown: also(unknown, hidden),
    })
}

/// A check that does not hold, with what each of its instances says.
fn failed(check: &Value) -> Option<Check> {
    let status = |of: &Value| match of["status"].as_str() {
        Some("fail") => Some(Status::Fails),
        Some("error") => Some(Status::NotEvaluated),
        _ => None,
    };
    let instances = items(&check["instances"]).iter().filter(|instance| status(instance).is_some());
    let problems = instances.flat_map(|instance| items(&instance["problems"]));
    let messages = problems.filter_map(|problem| problem["message"].as_str()).take(MOST).map(str::to_owned).collect();
    let address = check["address"]["to_display"].as_str().unwrap_or("(no address)").to_owned();
    Some(Check { address, status: status(check)?, messages })
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
