//! A core in process: validates, plans, plans again, applies, refreshes, imports and destroys as Terraform and OpenTofu
//! do, through the engine's entry points and over encoded values.

use std::sync::{Arc, Mutex};

use serde_json::Value as Json;
use terraform_provider_mesh::diag::Diagnostics;
use terraform_provider_mesh::engine::rpc::*;
use terraform_provider_mesh::engine::{DeferredReason, Engine, Provider, Registry};
use terraform_provider_mesh::schema::{Attribute, Nested, Nesting, Schema, Shape};
use terraform_provider_mesh::value::{Dyn, Path, Type, json, msgpack};

/// The text that stands for an unknown value in the configurations of tests.
pub const UNKNOWN: &str = "(known after apply)";

pub struct Core {
    pub engine: Arc<Engine>,
    pub capabilities: ClientCapabilities,
    /// Takes all plans up to the next apply for those of one walk, as the core makes them of one configuration. Else
    /// each further plan of the same thing begins another.
    pub one_walk: bool,
    walk: Mutex<Walk>,
}

/// What the core does between two Configures: it plans everything once, or applies.
#[derive(Default)]
struct Walk {
    config: Json,
    /// What new blocks planned so far stand for.
    new: Vec<(String, Vec<Option<Dyn>>)>,
}

/// An object as the core stores it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub json: String,
    pub version: i64,
    pub private: Vec<u8>,
    pub identity: Option<Vec<u8>>,
    pub tainted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Nothing,
    Create,
    Update,
    Replace,
    Destroy,
}

/// A plan, ready to be applied.
#[derive(Clone, Debug)]
pub struct Planned {
    pub action: Action,
    pub config: Dyn,
    pub prior: Option<Stored>,
    pub planned: Dyn,
    pub replace: Vec<Path>,
    pub private: Vec<u8>,
    pub identity: Option<Encoded>,
    pub warnings: Diagnostics,
    pub deferred: Option<DeferredReason>,
}

/// What became of an apply.
#[derive(Debug)]
pub struct Applied {
    pub stored: Option<Stored>,
    pub diagnostics: Diagnostics,
}

impl Core {
    /// Configures a provider.
    pub async fn new<P: Provider>(
        provider: P,
        registry: Registry<P::Client>,
        config: Json,
    ) -> Result<Self, Diagnostics> {
        let capabilities = ClientCapabilities { write_only_attributes_allowed: true, ..Default::default() };
        let core =
            Self { engine: Engine::new(provider, registry), capabilities, one_walk: false, walk: Mutex::default() };
        core.configure(config).await?;
        Ok(core)
    }

    /// Begins another walk, as the core does before it applies, or when it plans what it has planned already.
    pub async fn walk_anew(&self) {
        // Providers of other tests count how often they are configured.
        if self.engine.schema().resources.contains_key("mesh_primary") {
            let config = self.walk.lock().unwrap().config.clone();
            self.configure(config).await.expect("the provider can be configured again");
        }
    }

    pub async fn configure(&self, config: Json) -> Result<(), Diagnostics> {
        *self.walk.lock().unwrap() = Walk { config: config.clone(), new: Vec::new() };
        let schema = &self.engine.schema().provider;
        let config = encode(&value(&config, &schema.ty()), schema);
        self.engine.validate_provider_config(ValidateProviderConfig { config: config.clone() }).await.check()?;
        let terraform_version = "1.14.0".to_owned();
        let request = ConfigureProvider { terraform_version, config, capabilities: self.capabilities };
        self.engine.configure_provider(request).await.check()
    }

    /// Asks for two things at once, as the cores do unless they are told `-parallelism=1`: what waits for others can
    /// then expect them.
    pub async fn ask_side_by_side(&self) {
        let schema = &self.engine.schema().data_sources["mesh_status"];
        let config = encode(&value(&serde_json::json!({"namespace": "istio-system"}), &schema.ty()), schema);
        let request = ReadDataSource { type_name: "mesh_status".to_owned(), config, ..Default::default() };
        futures::join!(self.engine.read_data_source(request.clone()), self.engine.read_data_source(request));
    }

    pub fn schema(&self, type_name: &str) -> &Schema {
        &self.engine.schema().resources[type_name]
    }

    /// A configuration written as JSON: missing attributes are null, [`UNKNOWN`] is unknown.
    pub fn config(&self, type_name: &str, config: Json) -> Dyn {
        value(&config, &self.schema(type_name).ty())
    }

    pub async fn validate(&self, type_name: &str, config: Json) -> Diagnostics {
        self.validate_value(type_name, &self.config(type_name, config)).await
    }

    pub async fn validate_value(&self, type_name: &str, config: &Dyn) -> Diagnostics {
        let config = encode(config, self.schema(type_name));
        let request = ValidateConfig { type_name: type_name.to_owned(), config, capabilities: self.capabilities };
        self.engine.validate_resource_config(request).await
    }

    /// Refreshes: upgrades the stored state, then reads. `None`: the object is gone.
    pub async fn refresh(&self, type_name: &str, stored: &Stored) -> Result<Option<Stored>, Diagnostics> {
        self.refresh_told(type_name, stored).await.map(|(read, _)| read)
    }

    /// The same, with the warnings.
    pub async fn refresh_told(
        &self,
        type_name: &str,
        stored: &Stored,
    ) -> Result<(Option<Stored>, Diagnostics), Diagnostics> {
        let current_state = self.upgrade(type_name, stored).await?;
        let request = ReadResource {
            type_name: type_name.to_owned(),
            current_state,
            private: stored.private.clone(),
            current_identity: stored.identity.clone().map(|msgpack| Encoded { msgpack, json: Vec::new() }),
            capabilities: self.capabilities,
        };
        let mut response = self.engine.read_resource(request).await;
        if response.diagnostics.has_errors() {
            return Err(response.diagnostics);
        }
        let told = std::mem::take(&mut response.diagnostics);
        let state = self.decode(type_name, &response.new_state);
        assert!(state.is_wholly_known(), "a state that was read holds unknown values");
        let has_identity = self.engine.schema().identities.contains_key(type_name);
        assert!(state.is_null() || response.new_identity.is_some() == has_identity, "no identity after a read");
        Ok((self.store(type_name, &state, response.private, response.new_identity, stored.tainted), told))
    }

    async fn upgrade(&self, type_name: &str, stored: &Stored) -> Result<Encoded, Diagnostics> {
        let request = UpgradeResourceState {
            type_name: type_name.to_owned(),
            version: stored.version,
            json: stored.json.clone().into_bytes(),
        };
        let mut upgraded = self.engine.upgrade_resource_state(request).await;
        upgraded.diagnostics.check()?;
        Ok(upgraded.state.expect("an upgrade without errors has a state"))
    }

    /// Refreshes and plans what a configuration asks for; `None` asks to destroy.
    pub async fn plan(
        &self,
        type_name: &str,
        config: Option<Json>,
        stored: Option<&Stored>,
    ) -> Result<Planned, Diagnostics> {
        if let Some(config) = &config {
            self.validate(type_name, config.clone()).await.check()?;
        }
        let prior = match stored {
            Some(stored) => self.refresh(type_name, stored).await?,
            None => None,
        };
        let config = config.map_or(Dyn::Null, |config| self.config(type_name, config));
        self.plan_against(type_name, config, prior).await
    }

    /// Plans without refreshing and validating.
    pub async fn plan_against(
        &self,
        type_name: &str,
        config: Dyn,
        prior: Option<Stored>,
    ) -> Result<Planned, Diagnostics> {
        let state = prior.as_ref().map_or(Dyn::Null, |stored| self.state(type_name, stored));
        if config.is_null() && prior.is_none() {
            return Ok(Planned::nothing());
        }
        if prior.is_none() {
            let named = ["cluster", "namespace", "name", "revision", "host", "cluster_name"];
            let block = (type_name.to_owned(), named.iter().map(|name| config.attr(name).cloned()).collect::<Vec<_>>());
            let is_planned = self.walk.lock().unwrap().new.contains(&block);
            if is_planned && !self.one_walk {
                self.walk_anew().await;
            }
            self.walk.lock().unwrap().new.push(block);
        }
        let private = prior.as_ref().map(|stored| stored.private.clone()).unwrap_or_default();
        let identity = prior.as_ref().and_then(|stored| stored.identity.clone());
        let mut first = self.ask(type_name, &config, &state, private, identity).await?;
        let planned = self.decode(type_name, &first.planned_state);
        let before = |path: &Path| (state.at(path).cloned(), planned.at(path).cloned());
        let replace: Vec<Path> = std::mem::take(&mut first.requires_replace);
        let replaces = replace.iter().map(before).any(|(before, after)| {
            assert!(before.is_some() || after.is_some(), "a replacement path leads nowhere: {replace:?}");
            before != after
        });
        let tainted = prior.as_ref().is_some_and(|stored| stored.tainted);
        let action = match (&prior, planned.is_null()) {
            (None, _) => Action::Create,
            (Some(_), true) => Action::Destroy,
            (Some(_), false) if replaces || tainted => Action::Replace,
            (Some(_), false) if planned == state => Action::Nothing,
            (Some(_), false) => Action::Update,
        };
        let response = match action {
            Action::Replace => self.ask(type_name, &config, &Dyn::Null, first.planned_private, None).await?,
            _ => first,
        };
        Ok(Planned {
            action,
            planned: self.decode(type_name, &response.planned_state),
            config,
            prior,
            replace,
            private: response.planned_private,
            identity: response.planned_identity,
            warnings: response.diagnostics,
            deferred: response.deferred,
        })
    }

    /// One PlanResourceChange.
    async fn ask(
        &self,
        type_name: &str,
        config: &Dyn,
        prior: &Dyn,
        prior_private: Vec<u8>,
        prior_identity: Option<Vec<u8>>,
    ) -> Result<PlanResourceChangeResponse, Diagnostics> {
        let schema = self.schema(type_name);
        let proposed = if config.is_null() { Dyn::Null } else { proposed_new(&schema.attributes, prior, config) };
        let request = PlanResourceChange {
            type_name: type_name.to_owned(),
            prior_state: encode(prior, schema),
            proposed_new_state: encode(&proposed, schema),
            config: encode(config, schema),
            prior_private,
            planned_private: Vec::new(),
            prior_identity: prior_identity.map(|msgpack| Encoded { msgpack, json: Vec::new() }),
            capabilities: self.capabilities,
        };
        let mut response = self.engine.plan_resource_change(request).await;
        if response.diagnostics.has_errors() {
            return Err(response.diagnostics);
        }
        if !self.capabilities.deferral_allowed {
            assert_eq!(response.deferred, None, "deferred although the client does not allow it");
        }
        response.diagnostics = response.diagnostics.into_iter().filter(|d| !d.is_error()).collect();
        Ok(response)
    }

    /// Plans again with what is known by now, compares, and applies.
    pub async fn apply(&self, type_name: &str, planned: Planned) -> Applied {
        let config = planned.config.clone();
        self.apply_with(type_name, planned, config).await
    }

    /// The same, with a configuration whose unknown values have become known.
    pub async fn apply_with(&self, type_name: &str, planned: Planned, config: Dyn) -> Applied {
        let Planned { action, prior, .. } = planned.clone();
        if action == Action::Nothing {
            return Applied { stored: prior, diagnostics: Diagnostics::new() };
        }
        self.walk_anew().await;
        let mut prior_left = prior.clone();
        if action == Action::Replace {
            let destroy = self.plan_against(type_name, Dyn::Null, prior.clone()).await;
            let destroy = destroy.expect("a destroy that is part of a replacement can be planned");
            let destroyed = self.change(type_name, &destroy).await;
            if destroyed.diagnostics.has_errors() {
                return destroyed;
            }
            prior_left = None;
        }
        let again = match self.plan_against(type_name, config, prior_left).await {
            Ok(again) => again,
            Err(diagnostics) => return Applied { stored: prior, diagnostics },
        };
        let expected = if action == Action::Replace { Action::Create } else { action };
        let agrees = again.action == expected || expected == Action::Update && again.action == Action::Nothing;
        assert!(agrees, "planned {expected:?}, at apply {:?}", again.action);
        assert_refines(&planned.planned, &again.planned, &Path::empty());
        let applied = self.change(type_name, &again).await;
        self.walk_anew().await;
        applied
    }

    /// One ApplyResourceChange.
    async fn change(&self, type_name: &str, planned: &Planned) -> Applied {
        let schema = self.schema(type_name);
        let prior = planned.prior.as_ref().map_or(Dyn::Null, |stored| self.state(type_name, stored));
        let request = ApplyResourceChange {
            type_name: type_name.to_owned(),
            prior_state: encode(&prior, schema),
            planned_state: encode(&planned.planned, schema),
            config: encode(&planned.config, schema),
            planned_private: planned.private.clone(),
            planned_identity: planned.identity.clone(),
            capabilities: self.capabilities,
        };
        let response = self.engine.apply_resource_change(request).await;
        let state = self.decode(type_name, &response.new_state);
        let failed = response.diagnostics.has_errors();
        assert!(state.is_wholly_known(), "unknown values after apply");
        if !failed {
            assert_eq!(state.is_null(), planned.planned.is_null(), "null after create or update, or not after destroy");
        }
        let tainted = failed && planned.prior.is_none();
        let stored = if failed && state.is_null() && !planned.planned.is_null() {
            planned.prior.clone()
        } else {
            self.store(type_name, &state, response.private, response.new_identity, tainted)
        };
        Applied { stored, diagnostics: response.diagnostics }
    }

    pub async fn import(&self, type_name: &str, id: &str) -> Result<Option<Stored>, Diagnostics> {
        self.import_by(ImportResourceState { id: id.to_owned(), ..self.import_request(type_name) }).await
    }

    pub async fn import_by_identity(&self, type_name: &str, identity: Json) -> Result<Option<Stored>, Diagnostics> {
        let schema = &self.engine.schema().identities[type_name];
        let identity = Some(encode(&value(&identity, &schema.ty()), schema));
        self.import_by(ImportResourceState { identity, ..self.import_request(type_name) }).await
    }

    fn import_request(&self, type_name: &str) -> ImportResourceState {
        ImportResourceState { type_name: type_name.to_owned(), capabilities: self.capabilities, ..Default::default() }
    }

    async fn import_by(&self, request: ImportResourceState) -> Result<Option<Stored>, Diagnostics> {
        let type_name = request.type_name.clone();
        let mut response = self.engine.import_resource_state(request).await;
        response.diagnostics.check()?;
        let [imported] = &response.imported[..] else { panic!("expected one imported object") };
        assert_eq!(imported.type_name, type_name);
        let state = self.decode(&type_name, &imported.state);
        let stub = self.store(&type_name, &state, imported.private.clone(), imported.identity.clone(), false);
        self.refresh(&type_name, &stub.expect("an imported state is not null")).await
    }

    /// The stored state as a value.
    pub fn state(&self, type_name: &str, stored: &Stored) -> Dyn {
        json::decode_state(stored.json.as_bytes(), &self.schema(type_name).ty()).expect("stored by us")
    }

    fn store(
        &self,
        type_name: &str,
        state: &Dyn,
        private: Vec<u8>,
        identity: Option<Encoded>,
        tainted: bool,
    ) -> Option<Stored> {
        let schema = self.schema(type_name);
        (!state.is_null()).then(|| Stored {
            json: json::encode(state, &schema.ty()).expect("a state that was decoded can be encoded"),
            version: schema.version,
            private,
            identity: identity.map(|identity| identity.msgpack),
            tainted,
        })
    }

    fn decode(&self, type_name: &str, encoded: &Encoded) -> Dyn {
        assert!(encoded.json.is_empty(), "answers are msgpack");
        if encoded.msgpack.is_empty() {
            return Dyn::Null;
        }
        msgpack::decode(&encoded.msgpack, &self.schema(type_name).ty()).expect("answers fit the schema")
    }
}

impl Planned {
    fn nothing() -> Self {
        Self {
            action: Action::Nothing,
            config: Dyn::Null,
            prior: None,
            planned: Dyn::Null,
            replace: Vec::new(),
            private: Vec::new(),
            identity: None,
            warnings: Diagnostics::new(),
            deferred: None,
        }
    }

    pub fn at(&self, path: impl Into<Path>) -> &Dyn {
        self.planned.at(&path.into()).expect("the path leads somewhere")
    }
}

pub fn encode(value: &Dyn, schema: &Schema) -> Encoded {
    let msgpack = msgpack::encode(value, &schema.ty()).expect("values of tests fit their schema");
    Encoded { msgpack, json: Vec::new() }
}

/// JSON as a value of a type: what is missing is null, [`UNKNOWN`] is unknown.
pub fn value(json: &Json, ty: &Type) -> Dyn {
    match (json, ty) {
        (Json::Null, _) => Dyn::Null,
        (Json::String(text), _) if text == UNKNOWN => Dyn::UNKNOWN,
        (Json::String(text), Type::String) => Dyn::from(text.as_str()),
        (Json::Bool(value), Type::Bool) => Dyn::Bool(*value),
        (Json::Number(number), Type::Number) => Dyn::Number(number.to_string().parse().expect("a number")),
        (Json::Array(elements), Type::List(ty)) => Dyn::List(elements.iter().map(|e| value(e, ty)).collect()),
        (Json::Array(elements), Type::Set(ty)) => Dyn::set(elements.iter().map(|e| value(e, ty))),
        (Json::Array(elements), Type::Tuple(types)) => {
            Dyn::Tuple(elements.iter().zip(types).map(|(e, ty)| value(e, ty)).collect())
        }
        (Json::Object(members), Type::Map(ty)) => {
            Dyn::Map(members.iter().map(|(key, member)| (key.clone(), value(member, ty))).collect())
        }
        (Json::Object(members), Type::Object(types)) => {
            for name in members.keys() {
                assert!(types.contains_key(name), "there is no attribute {name}");
            }
            Dyn::object(types.iter().map(|(name, ty)| (name, value(members.get(name).unwrap_or(&Json::Null), ty))))
        }
        (json, Type::Dynamic) => {
            let ty = implied_type(json);
            let inner = value(json, &ty);
            Dyn::Dynamic(ty, Box::new(inner))
        }
        (json, ty) => panic!("{json} is not {}", ty.describe()),
    }
}

fn implied_type(json: &Json) -> Type {
    match json {
        Json::Null => Type::Dynamic,
        Json::Bool(_) => Type::Bool,
        Json::Number(_) => Type::Number,
        Json::String(_) => Type::String,
        Json::Array(elements) => Type::Tuple(elements.iter().map(implied_type).collect()),
        Json::Object(members) => Type::object(members.iter().map(|(name, member)| (name, implied_type(member)))),
    }
}

/// What the core proposes: the configuration, with computed attributes it leaves out taken from the prior state.
fn proposed_new(attributes: &[Attribute], prior: &Dyn, config: &Dyn) -> Dyn {
    Dyn::object(attributes.iter().map(|attribute| {
        let of = |object: &Dyn| object.attr(&attribute.name).cloned().unwrap_or(Dyn::Null);
        (&attribute.name, proposed_attribute(attribute, &of(prior), &of(config)))
    }))
}

fn proposed_attribute(attribute: &Attribute, prior: &Dyn, config: &Dyn) -> Dyn {
    if config.is_null() && attribute.computed {
        return prior.clone();
    }
    let Shape::Nested(Nested { nesting, attributes }) = &attribute.shape else { return config.clone() };
    let element = |prior: Option<&Dyn>, config: &Dyn| match config {
        Dyn::Object(_) => proposed_new(attributes, prior.unwrap_or(&Dyn::Null), config),
        other => other.clone(),
    };
    match (nesting, config) {
        (Nesting::Single, config) => element(Some(prior), config),
        (Nesting::List, Dyn::List(elements)) => Dyn::List(
            elements.iter().enumerate().map(|(i, config)| element(prior.at(&Path::empty().index(i)), config)).collect(),
        ),
        (Nesting::Map, Dyn::Map(elements)) => {
            let each = |(key, config): (&String, _)| (key.clone(), element(prior.at(&Path::empty().key(key)), config));
            Dyn::Map(elements.iter().map(each).collect())
        }
        (Nesting::Set, Dyn::Set(elements)) => {
            let priors = if let Dyn::Set(priors) = prior { priors.to_vec() } else { Vec::new() };
            // A prior element stands for a configured one when it could have come from it.
            let mut left: Vec<Option<Dyn>> = priors.into_iter().map(Some).collect();
            Dyn::set(elements.iter().map(|config| {
                let found = left
                    .iter_mut()
                    .find(|prior| prior.as_ref().is_some_and(|prior| matches(attributes, prior, config)));
                let prior = found.and_then(Option::take);
                element(prior.as_ref(), config)
            }))
        }
        (_, other) => other.clone(),
    }
}

fn matches(attributes: &[Attribute], prior: &Dyn, config: &Dyn) -> bool {
    attributes.iter().all(|attribute| {
        let (prior, config) = (prior.attr(&attribute.name), config.attr(&attribute.name));
        config.is_some_and(Dyn::is_null) && attribute.computed || prior == config
    })
}

/// What was known in a plan is the same in the one made at apply.
fn assert_refines(first: &Dyn, second: &Dyn, path: &Path) {
    match (first, second) {
        (Dyn::Unknown(_), _) => {}
        (Dyn::Object(first), Dyn::Object(second)) => {
            for (name, first) in first {
                assert_refines(first, &second[name], &path.attr(name));
            }
        }
        (Dyn::Map(first), Dyn::Map(second)) => {
            assert!(first.keys().eq(second.keys()), "{path}: other keys at apply than planned");
            for (key, first) in first {
                assert_refines(first, &second[key], &path.key(key));
            }
        }
        (Dyn::List(first), Dyn::List(second)) => {
            assert_eq!(first.len(), second.len(), "{path}: another length at apply than planned");
            first.iter().zip(second).enumerate().for_each(|(i, (a, b))| assert_refines(a, b, &path.index(i)));
        }
        (Dyn::Set(first), Dyn::Set(second)) if !first.iter().all(Dyn::is_wholly_known) => {
            assert!(second.len() <= first.len(), "{path}: more elements at apply than planned");
        }
        (first, second) => assert_eq!(first, second, "{path}: another value at apply than planned"),
    }
}
