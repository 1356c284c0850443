//! A resource with every kind of attribute and nesting, and with faults on request; and one of each of its siblings.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use terraform_provider_mesh::diag::{Diagnostic, Diagnostics};
use terraform_provider_mesh::engine::{
    Arguments, Change, Ctx, DataSource, DeferredReason, Ephemeral, Failed, Function, FunctionError, Import, Moved,
    Opened, Parameter, Plan, Resource, Signature,
};
use terraform_provider_mesh::model;
use terraform_provider_mesh::value::{Dyn, List, Map, Number, Set, Type, Value};

use super::library::{Library, ShelfModel};

model! {
    /// One of everything.
    pub struct SpecimenModel {
        /// Name, which is also its key in the library.
        #[attr(required, replace, validate(dns_label()))]
        pub name: Value<String>,
        /// A text that may be missing.
        #[attr(optional)]
        pub text: Value<String>,
        /// A text that means the same in any case.
        #[attr(optional, same(|a, b| a.as_str().map(str::to_lowercase) == b.as_str().map(str::to_lowercase)))]
        pub title: Value<String>,
        /// A flag with a default.
        #[attr(default(true))]
        pub flag: Value<bool>,
        /// A text with a default.
        #[attr(default("plain"), validate(one_of(&["plain", "fancy"])))]
        pub style: Value<String>,
        /// An exact number.
        #[attr(optional)]
        pub amount: Value<Number>,
        /// A text that the provider chooses unless configured, and then keeps.
        #[attr(optional, computed, keep)]
        pub chosen: Value<String>,
        /// A text that the provider chooses anew with each change unless configured.
        #[attr(optional, computed)]
        pub drawn: Value<String>,
        /// Counts the changes.
        #[attr(computed)]
        pub revision: Value<i64>,
        /// Something of any type.
        #[attr(optional)]
        pub anything: Value<Dyn>,
        /// A list of texts with a default.
        #[attr(default(vec!["a"]))]
        pub tags: Value<List<String>>,
        /// A set of texts.
        #[attr(optional)]
        pub topics: Value<Set<String>>,
        /// A map of texts.
        #[attr(optional, validate(each_key(non_empty())))]
        pub labels: Value<Map<String>>,
        /// A nested object.
        #[attr(optional)]
        pub origin: Value<Origin>,
        /// A nested list.
        #[attr(optional)]
        pub parts: Value<List<Part>>,
        /// A nested set.
        #[attr(optional)]
        pub marks: Value<Set<Mark>>,
        /// A nested map.
        #[attr(optional)]
        pub copies: Value<Map<Part>>,
        /// A nested object that only the provider sets.
        #[attr(computed)]
        pub report: Value<Report>,
        /// A secret that lies in state.
        #[attr(optional, sensitive, validate(one_of(&["open", "sesame"])))]
        pub secret: Value<String>,
        /// A secret that does not.
        #[attr(optional, write_only, sensitive)]
        pub password_wo: Value<String>,
        /// Changes when the password does.
        #[attr(optional)]
        pub password_wo_version: Value<i64>,
        /// How long the password is, so that a test can see that it arrived.
        #[attr(computed)]
        pub password_length: Value<i64>,
        /// What to do wrong.
        #[attr(optional, validate(one_of(&["early", "late", "panic", "panic_late", "hang", "defer", "lie"])))]
        pub fault: Value<String>,
        /// Not to be used any more.
        #[attr(optional, deprecated("Use text."))]
        pub old_text: Value<String>,
    }
}

model! {
    /// Where it is from.
    pub struct Origin {
        /// Country.
        #[attr(required, replace)]
        pub country: Value<String>,
        /// Year, guessed unless given.
        #[attr(optional, computed, keep)]
        pub year: Value<i64>,
        /// A nested secret.
        #[attr(optional, write_only)]
        pub note_wo: Value<String>,
        /// How sure it is.
        #[attr(default("sure"))]
        pub certainty: Value<String>,
    }
}

model! {
    /// A part.
    pub struct Part {
        /// What it is called.
        #[attr(required)]
        pub label: Value<String>,
        /// Its weight.
        #[attr(default(1))]
        pub weight: Value<i64>,
        /// Serial number.
        #[attr(computed, keep)]
        pub serial: Value<String>,
    }
}

model! {
    /// A mark.
    pub struct Mark {
        /// Its colour.
        #[attr(required)]
        pub colour: Value<String>,
        /// Its size.
        #[attr(default("small"))]
        pub size: Value<String>,
        /// Code of the colour.
        #[attr(computed)]
        pub code: Value<String>,
    }
}

model! {
    /// A report.
    pub struct Report {
        /// What was found.
        #[attr(computed)]
        pub findings: Value<List<String>>,
    }
}

model! {
    /// Identity of a specimen.
    pub struct SpecimenIdentity {
        /// Its name.
        #[attr(required)]
        pub name: Value<String>,
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpecimenPrivate {
    pub applies: u32,
}

pub struct Specimen;

impl Resource for Specimen {
    type Client = Library;
    type Model = SpecimenModel;
    type Identity = SpecimenIdentity;
    type Private = SpecimenPrivate;

    const NAME: &'static str = "specimen";
    const VERSION: i64 = 2;
    const TAKES_OVER_BY: &'static [&'static str] = &["flag"];

    async fn plan(
        &self,
        cx: &mut Ctx<Library, SpecimenPrivate>,
        plan: &mut Plan<'_, SpecimenModel>,
    ) -> Result<(), Diagnostics> {
        match plan.config.fault.as_deref() {
            Some("defer") => cx.defer(DeferredReason::ResourceConfigUnknown),
            Some("lie") => plan.planned.text = "not what was configured".into(),
            _ => {}
        }
        if plan.planned.style.as_deref() == Some("fancy") {
            cx.warn(Diagnostic::warning("Fancy").detail("Fancy specimens need care.").at("style"));
        }
        // A specimen cannot shrink.
        let shrinks = plan.prior.is_some_and(|prior| prior.amount.known() > plan.planned.amount.known());
        if shrinks && plan.planned.amount.is_known() {
            plan.replace("amount");
        }
        Ok(())
    }

    async fn apply(
        &self,
        cx: &mut Ctx<Library, SpecimenPrivate>,
        change: Change<SpecimenModel>,
    ) -> Result<SpecimenModel, Failed<SpecimenModel>> {
        let fault = change.config.fault.as_deref();
        match fault {
            Some("early") => return Err(Diagnostic::error("Failed early").at("fault").into()),
            Some("panic") => panic!("on request"),
            Some("hang") => {
                let forever = cx.run("hanging about", std::future::pending::<()>()).await;
                return forever.map(|()| unreachable!("pending")).map_err(|d| Failed::from(d).keeping(change.planned));
            }
            _ => {}
        }
        cx.private.applies += 1;
        let mut state = settled(change.planned, change.prior.as_ref());
        if !change.config.password_wo.is_null() || change.prior.is_none() {
            state.password_length = Value::Known(change.config.password_wo.text().len() as i64);
        } else {
            state.password_length = change.prior.map(|prior| prior.password_length).unwrap_or_default();
        }
        cx.client()?.put(&key(&state), &state);
        match fault {
            Some("late") => Err(Failed::from(Diagnostic::error("Failed late")).keeping(state)),
            Some("panic_late") => {
                change.reached.set(state);
                panic!("late, on request")
            }
            _ => Ok(state),
        }
    }

    async fn read(
        &self,
        cx: &mut Ctx<Library, SpecimenPrivate>,
        state: SpecimenModel,
    ) -> Result<Option<SpecimenModel>, Diagnostics> {
        Ok(cx.client()?.get(&key(&state)))
    }

    async fn delete(
        &self,
        cx: &mut Ctx<Library, SpecimenPrivate>,
        state: SpecimenModel,
    ) -> Result<(), Failed<SpecimenModel>> {
        if state.fault.as_deref() == Some("late") {
            return Err(Diagnostic::error("Cannot be destroyed").into());
        }
        cx.client()?.remove(&key(&state));
        Ok(())
    }

    async fn import(
        &self,
        cx: &mut Ctx<Library, SpecimenPrivate>,
        from: Import<SpecimenIdentity>,
    ) -> Result<SpecimenModel, Diagnostics> {
        let name = match from {
            Import::Id(name) => name,
            Import::Identity(identity) => identity.name.text().to_owned(),
        };
        let stub = SpecimenModel { name: name.as_str().into(), ..SpecimenModel::default() };
        match cx.client()?.get::<SpecimenModel>(&key(&stub)) {
            Some(_) => Ok(stub),
            None => Err(Diagnostic::error("No such specimen").detail(format!("There is no specimen {name:?}.")).into()),
        }
    }

    fn identity(&self, model: &SpecimenModel) -> SpecimenIdentity {
        SpecimenIdentity { name: model.name.clone() }
    }

    /// Version 0 called the name `label`, version 1 had the flag as a text.
    fn upgrade(&self, from: i64, mut state: serde_json::Value) -> Result<serde_json::Value, Diagnostics> {
        match from {
            0 => state["name"] = state["label"].take(),
            _ => state["flag"] = (state["flag"] == "yes").into(),
        }
        Ok(state)
    }

    fn adopt(&self, source: Moved) -> Result<Option<SpecimenModel>, Diagnostics> {
        if source.type_name != "library_shelf" {
            return Ok(None);
        }
        let name = source.state["room"].as_str().unwrap_or_default().to_owned();
        Ok(Some(SpecimenModel { name: name.into(), ..SpecimenModel::default() }))
    }
}

fn key(state: &SpecimenModel) -> String {
    format!("specimen-{}", state.name.text())
}

/// What apply finds out about what the plan left open.
fn settled(mut state: SpecimenModel, prior: Option<&SpecimenModel>) -> SpecimenModel {
    let revision = prior.and_then(|prior| prior.revision.get()).unwrap_or(0) + 1;
    state.revision = Value::Known(revision);
    state.chosen.fill(|| format!("chosen in revision {revision}"));
    state.drawn.fill(|| format!("drawn in revision {revision}"));
    if let Value::Known(origin) = &mut state.origin {
        origin.year.fill(|| 1900);
    }
    let number = |parts: &mut dyn Iterator<Item = &mut Value<Part>>| {
        for (i, part) in parts.filter_map(Value::known_mut).enumerate() {
            part.serial.fill(|| format!("{i}"));
        }
    };
    if let Value::Known(parts) = &mut state.parts {
        number(&mut parts.iter_mut());
    }
    if let Value::Known(copies) = &mut state.copies {
        number(&mut copies.values_mut());
    }
    if let Value::Known(marks) = &mut state.marks {
        let coded = |mark: &Mark| Mark { code: format!("#{}", mark.colour.text()).into(), ..mark.clone() };
        *marks = marks.iter().filter_map(Value::known).map(coded).collect();
    }
    if state.report.is_unknown() {
        let findings = ["fine".to_owned()].into_iter().collect();
        state.report = Value::Known(Report { findings });
    }
    state
}

model! {
    /// Looks at a shelf.
    pub struct PeekModel {
        /// Room to look into.
        #[attr(required)]
        pub room: Value<String>,
        /// How closely to look.
        #[attr(default("briefly"))]
        pub how: Value<String>,
        /// Number of books there.
        #[attr(computed)]
        pub books: Value<i64>,
    }
}

pub struct Peek;

impl DataSource for Peek {
    type Client = Library;
    type Model = PeekModel;

    const NAME: &'static str = "peek";

    async fn read(&self, cx: &mut Ctx<Library>, mut config: PeekModel) -> Result<PeekModel, Diagnostics> {
        let Some(shelf) = cx.client()?.get::<ShelfModel>(&format!("shelf-{}", config.room.text())) else {
            return Err(Diagnostic::error("No such room").at("room").into());
        };
        config.books = shelf.total;
        Ok(config)
    }
}

model! {
    /// A pass to a reading room.
    pub struct PassModel {
        /// Room to enter.
        #[attr(required)]
        pub room: Value<String>,
        /// The pass.
        #[attr(computed, sensitive)]
        pub token: Value<String>,
    }
}

#[derive(Default, Serialize, Deserialize)]
pub struct PassPrivate {
    pub renewals: u32,
}

pub struct Pass;

impl Ephemeral for Pass {
    type Client = Library;
    type Model = PassModel;
    type Private = PassPrivate;

    const NAME: &'static str = "pass";

    async fn open(
        &self,
        _: &mut Ctx<Library, PassPrivate>,
        mut config: PassModel,
    ) -> Result<Opened<PassModel>, Diagnostics> {
        config.token = format!("pass to {}", config.room.text()).into();
        let renew_at = Some(std::time::SystemTime::now() + Duration::from_secs(60));
        Ok(Opened { result: config, renew_at })
    }

    async fn renew(&self, cx: &mut Ctx<Library, PassPrivate>) -> Result<Option<std::time::SystemTime>, Diagnostics> {
        cx.private.renewals += 1;
        Ok(None)
    }
}

/// Says a text twice.
pub struct Twice;

impl Function for Twice {
    fn name(&self) -> &'static str {
        "twice"
    }

    fn signature(&self) -> Signature {
        Signature {
            summary: "Says a text twice".to_owned(),
            description: "Returns the text followed by itself.".to_owned(),
            parameters: vec![Parameter::new("text", Type::String, "What to say.")],
            variadic: None,
            returns: Type::String,
            deprecated: None,
        }
    }

    fn call(&self, arguments: &Arguments) -> Result<Dyn, FunctionError> {
        let text: String = arguments.get(0)?;
        if text.is_empty() {
            return Err(FunctionError::at(0, "There is nothing to say."));
        }
        Ok(Dyn::from(text.repeat(2)))
    }
}
