//! The RPCs of managed resources.

use std::time::Duration;

use tokio::sync::mpsc;

use super::context::caught;
use super::erased::{Asked, Outcome, Values};
use super::lookups::unknown_type;
use super::plan::{Inputs, only_timeouts_differ, prepare, replacements, restore_refinements};
use super::resource::{Import, Query};
use super::rpc::*;
use super::server::{Engine, Offered};
use super::{conform, moved, timeouts, wire};
use crate::diag::{Diagnostic, Diagnostics};
use crate::schema::{Attribute, Nested, Shape};
use crate::value::{Dyn, Type, json};

/// How many objects a `list` block gets when it does not say.
const DEFAULT_LIMIT: usize = 100;

/// How long a search may go on: it reads many objects whole, each in the time that its type has for a read.
const SEARCH: Duration = Duration::from_secs(3600);

impl Engine {
    pub async fn validate_resource_config(&self, request: ValidateConfig) -> Diagnostics {
        let Some(entry) = self.resources.get(&request.type_name).cloned() else {
            return unknown_type("resource", &request.type_name);
        };
        let ValidateConfig { config, capabilities, .. } = request;
        let resource = entry.resource;
        self.validate_against(&entry.schema, config, capabilities, move |config| resource.validate(config)).await
    }

    /// Called for every stored object on every run, whatever its version.
    pub async fn upgrade_resource_state(&self, request: UpgradeResourceState) -> UpgradedState {
        let mut response = UpgradedState::default();
        match self.upgraded(request).await {
            Ok((state, ty)) => response.state = wire::encode(&state, &ty, &mut response.diagnostics),
            Err(diagnostics) => response.diagnostics = diagnostics,
        }
        response
    }

    async fn upgraded(&self, request: UpgradeResourceState) -> Result<(Dyn, Type), Diagnostics> {
        let UpgradeResourceState { type_name, version, mut json } = request;
        let entry = self.entry(&type_name)?;
        let current = entry.schema.version;
        if version > current {
            return Err(Diagnostic::error("State is newer than the provider")
                .detail(format!(
                    "The state has version {version}, this provider knows up to {current}. Use a newer provider."
                ))
                .into());
        }
        if version < 0 {
            return Err(Diagnostic::error("Not a state of this provider")
                .detail(format!("The state has version {version}: versions begin at 0."))
                .into());
        }
        if version < current {
            let resource = entry.resource.clone();
            json = super::erased::flatten(
                caught("upgrading a state", async move {
                    let mut state = wire::parsed(&json)?;
                    for from in version..current {
                        state = resource.upgrade(from, state)?;
                    }
                    Ok(state.to_string().into_bytes())
                })
                .await,
            )?;
        }
        let ty = entry.schema.ty();
        let state = json::decode_state(&json, &ty)?;
        Ok((wire::without_write_only(state, &entry.schema.attributes), ty))
    }

    pub async fn upgrade_resource_identity(&self, request: UpgradeResourceIdentity) -> UpgradedIdentity {
        let mut response = UpgradedIdentity::default();
        let Some(schema) = self.resources.get(&request.type_name).and_then(|entry| entry.identity.clone()) else {
            response.diagnostics = unknown_type("resource with an identity", &request.type_name);
            return response;
        };
        match json::decode_state(&request.json, &schema.ty()) {
            Ok(identity) => response.identity = wire::encode(&identity, &schema.ty(), &mut response.diagnostics),
            Err(error) => response.diagnostics.push(error),
        }
        response
    }

    pub async fn read_resource(&self, request: ReadResource) -> ReadResourceResponse {
        let mut response = ReadResourceResponse {
            new_state: request.current_state.clone(),
            private: request.private.clone(),
            new_identity: request.current_identity.clone(),
            ..Default::default()
        };
        let decoded = self.entry(&request.type_name).and_then(|entry| {
            let state = wire::decode(&request.current_state, &entry.schema.ty())?;
            Ok((entry, state))
        });
        let (entry, state) = match decoded {
            Ok(decoded) => decoded,
            Err(diagnostics) => return ReadResourceResponse { diagnostics, ..response },
        };
        if state.is_null() {
            return response;
        }
        let attributes = &entry.schema.attributes;
        let call = self.call(request.capabilities).taking(entry.resource.timeouts().overridden(&state).read);
        let (resource, current, private) = (entry.resource.clone(), state.clone(), request.private);
        let read = caught("reading", async move {
            match moved::is_unread(&private) {
                true => moved::read(&*resource, &call, current).await,
                false => resource.read(&call, current, private).await,
            }
        });
        let read = read.await;
        let outcome = read.unwrap_or_else(Outcome::failed);
        response.deferred = outcome.deferred;
        let failed = outcome.diagnostics.has_errors();
        response.diagnostics.append(outcome.diagnostics);
        if failed || response.deferred.is_some() {
            return response;
        }
        response.private = outcome.private;
        let Some(found) = outcome.value else {
            return ReadResourceResponse { new_state: Encoded::default(), new_identity: None, ..response };
        };
        let mut found = wire::without_write_only(found, attributes);
        super::plan::keep_spelling(&mut found, &state, attributes);
        if conform::ENABLED {
            response.diagnostics.append(conform::state(&found, attributes));
        }
        let found = wire::without_unknowns(found);
        if let Some(new_state) = wire::encode(&found, &entry.schema.ty(), &mut response.diagnostics) {
            response.new_state = new_state;
            response.new_identity = entry.identity_of(&found, Known::Wholly, &mut response.diagnostics);
        }
        response
    }

    pub async fn plan_resource_change(&self, request: PlanResourceChange) -> PlanResourceChangeResponse {
        let mut response = PlanResourceChangeResponse {
            planned_state: request.proposed_new_state.clone(),
            planned_private: request.prior_private.clone(),
            planned_identity: request.prior_identity.clone(),
            ..Default::default()
        };
        let planned = match self.entry(&request.type_name) {
            Ok(entry) => self.plan(entry, request, &mut response).await,
            Err(diagnostics) => Err(diagnostics),
        };
        if let Err(diagnostics) = planned {
            response.diagnostics.append(diagnostics);
        }
        response
    }

    async fn plan(
        &self,
        entry: Offered,
        request: PlanResourceChange,
        response: &mut PlanResourceChangeResponse,
    ) -> Result<(), Diagnostics> {
        let Offered { schema, resource, .. } = &entry;
        if moved::is_unread(&request.prior_private) {
            return Err(moved::unread().into());
        }
        let ty = schema.ty();
        let prior = Some(wire::decode(&request.prior_state, &ty)?).filter(|prior| !prior.is_null());
        let proposed = wire::decode(&request.proposed_new_state, &ty)?;
        let config = wire::decode(&request.config, &ty)?;

        if proposed.is_null() {
            let Some(prior) = prior else { return Ok(()) };
            let call = self.call(request.capabilities).taking(resource.timeouts().overridden(&prior).read);
            let (resource, private) = (resource.clone(), request.prior_private);
            let hook = caught("planning", async move { resource.plan_destroy(&call, prior, private).await }).await;
            let outcome = hook.unwrap_or_else(Outcome::failed);
            response.planned_private = outcome.private;
            response.deferred = outcome.deferred;
            response.diagnostics.append(outcome.diagnostics);
            return Ok(());
        }

        let inputs = Inputs { schema, config: &config, prior: prior.as_ref(), proposed: &proposed };
        let prepared = prepare(inputs);

        let call = self.call(request.capabilities).taking(resource.timeouts().overridden(&prepared).read);
        // A core plans a replacement once more, without the object that is there and with what was private in the plan
        // before. A new block has nothing private.
        let replaces = prior.is_none() && !request.prior_private.is_empty();
        // What was private to an object that is being replaced is no business of its successor.
        let private = match (&prior, request.planned_private.is_empty()) {
            (_, false) => request.planned_private,
            (Some(_), true) => request.prior_private,
            (None, true) => Vec::new(),
        };
        let (config_of, prior_of) = (config.clone(), prior.clone());
        let values = Values { config: config_of, prior: prior_of, planned: prepared.clone(), private, replaces };
        let handler = resource.clone();
        let step = caught("planning", async move { handler.plan(&call, values).await }).await;
        let outcome = step.unwrap_or_else(Outcome::failed);
        let failed = outcome.diagnostics.has_errors();
        response.diagnostics.append(outcome.diagnostics);
        response.deferred = outcome.deferred;
        let Some(mut planned) = outcome.value.filter(|_| !failed) else { return Ok(()) };
        response.planned_private = outcome.private;

        planned.set_attr(timeouts::ATTRIBUTE, prepared.attr(timeouts::ATTRIBUTE).cloned().unwrap_or(Dyn::Null));
        planned = restore_refinements(wire::without_write_only(planned, &schema.attributes), &prepared);
        response.requires_replace = replacements(inputs, &planned, outcome.replace);
        let checked = conform::Planned {
            attributes: &schema.attributes,
            prior: prior.as_ref(),
            config: &config,
            planned: &planned,
        };
        if conform::ENABLED {
            response.diagnostics.append(conform::plan(checked));
        }
        if let Some(encoded) = wire::encode(&planned, &ty, &mut response.diagnostics) {
            response.planned_state = encoded;
        }
        let keeps = prior.is_some() && response.requires_replace.is_empty();
        let known = if keeps { Known::Wholly } else { Known::Partly };
        response.planned_identity = entry.identity_of(&planned, known, &mut response.diagnostics);
        if let (true, Some(before)) = (keeps, &request.prior_identity) {
            entry.check_identity_kept(before, response);
        }
        Ok(())
    }

    pub async fn apply_resource_change(&self, request: ApplyResourceChange) -> ApplyResourceChangeResponse {
        let mut response = ApplyResourceChangeResponse {
            new_state: request.prior_state.clone(),
            private: request.planned_private.clone(),
            ..Default::default()
        };
        let applied = match self.entry(&request.type_name) {
            Ok(entry) => self.apply(entry, request, &mut response).await,
            Err(diagnostics) => Err(diagnostics),
        };
        if let Err(diagnostics) = applied {
            response.diagnostics.append(diagnostics);
        }
        response
    }

    async fn apply(
        &self,
        entry: Offered,
        request: ApplyResourceChange,
        response: &mut ApplyResourceChangeResponse,
    ) -> Result<(), Diagnostics> {
        let Offered { schema, resource, .. } = &entry;
        let ty = schema.ty();
        let prior = Some(wire::decode(&request.prior_state, &ty)?).filter(|prior| !prior.is_null());
        let planned = wire::decode(&request.planned_state, &ty)?;
        let config = wire::decode(&request.config, &ty)?;
        let private = request.planned_private;

        let (outcome, destroys) = if planned.is_null() {
            let Some(prior) = prior else { return Ok(()) };
            let call = self.call(request.capabilities).taking(resource.timeouts().overridden(&prior).delete);
            let handler = resource.clone();
            let delete = caught("destroying", async move { handler.delete(&call, prior, private).await }).await;
            (delete, true)
        } else if prior.as_ref().is_some_and(|prior| only_timeouts_differ(prior, &planned)) {
            (Ok(Outcome { value: Some(planned.clone()), private, ..Outcome::default() }), false)
        } else {
            let times = resource.timeouts().overridden(&planned);
            let time = if prior.is_some() { times.update } else { times.create };
            let call = self.call(request.capabilities).taking(time);
            let values = Values { config, prior, planned: planned.clone(), private, replaces: false };
            let handler = resource.clone();
            (caught("applying", async move { handler.apply(&call, values).await }).await, false)
        };
        // A handler that did not come back leaves the prior state, which the response holds already.
        let outcome = outcome.map_err(Diagnostics::from)?;

        let failed = outcome.diagnostics.has_errors();
        response.private = outcome.private;
        response.diagnostics.append(outcome.diagnostics);
        let Some(state) = outcome.value else {
            response.new_state = Encoded::default();
            return Ok(());
        };
        let state = wire::without_write_only(state, &schema.attributes);
        if conform::ENABLED && !failed && !destroys {
            response.diagnostics.append(conform::result(&planned, &state));
        }
        if !failed && !state.is_wholly_known() {
            response.diagnostics.push(Diagnostic::bug("It left values unknown after apply; they are stored as null."));
        }
        let state = wire::without_unknowns(state);
        if let Some(encoded) = wire::encode(&state, &ty, &mut response.diagnostics) {
            response.new_state = encoded;
        }
        let known = if failed { Known::Partly } else { Known::Wholly };
        response.new_identity = entry.identity_of(&state, known, &mut response.diagnostics);
        Ok(())
    }

    pub async fn import_resource_state(&self, request: ImportResourceState) -> ImportResourceStateResponse {
        let mut response = ImportResourceStateResponse::default();
        if let Err(diagnostics) = self.import(request, &mut response).await {
            response.diagnostics.append(diagnostics);
        }
        response
    }

    async fn import(
        &self,
        request: ImportResourceState,
        response: &mut ImportResourceStateResponse,
    ) -> Result<(), Diagnostics> {
        let entry = self.entry(&request.type_name)?;
        let from = match (&request.identity, &entry.identity) {
            (Some(identity), Some(schema)) => Import::Identity(wire::decode(identity, &schema.ty())?),
            (Some(_), None) => return Err(unknown_type("resource with an identity", &request.type_name)),
            (None, _) => Import::Id(request.id),
        };
        let call = self.call(request.capabilities).taking(entry.resource.timeouts().read);
        let resource = entry.resource.clone();
        let outcome = caught("importing", async move { resource.import(&call, from).await }).await?;
        response.diagnostics.append(outcome.diagnostics);
        response.deferred = outcome.deferred;
        let Some(mut state) = outcome.value else { return Ok(()) };
        state.set_attr(timeouts::ATTRIBUTE, Dyn::Null);
        if conform::ENABLED {
            response.diagnostics.append(conform::state(&state, &entry.schema.attributes));
        }
        let state = wire::without_unknowns(state);
        let identity = match request.identity {
            Some(identity) => Some(identity),
            None => entry.identity_of(&state, Known::Partly, &mut response.diagnostics),
        };
        if let Some(state) = wire::encode(&state, &entry.schema.ty(), &mut response.diagnostics) {
            let type_name = request.type_name;
            response.imported.push(ImportedResource { type_name, state, private: outcome.private, identity });
        }
        Ok(())
    }

    pub async fn generate_resource_config(&self, request: GenerateResourceConfig) -> GenerateResourceConfigResponse {
        let mut response = GenerateResourceConfigResponse::default();
        let generated = self.entry(&request.type_name).and_then(|entry| {
            let ty = entry.schema.ty();
            let state = wire::decode(&request.state, &ty)?;
            let config = configurable(state.clone(), &entry.schema.attributes);
            let mut config = entry.resource.generate_config(&state, &config)?;
            config.set_attr(timeouts::ATTRIBUTE, Dyn::Null);
            Ok((config, ty))
        });
        match generated {
            Ok((config, ty)) => {
                response.config = wire::encode(&config, &ty, &mut response.diagnostics).unwrap_or_default();
            }
            Err(diagnostics) => response.diagnostics = diagnostics,
        }
        response
    }

    pub async fn validate_list_resource_config(&self, request: ValidateConfig) -> Diagnostics {
        let Some((schema, _)) = self.listables.get(&request.type_name) else {
            return unknown_type("list resource", &request.type_name);
        };
        self.validate_against(schema, request.config, request.capabilities, |_| Diagnostics::new()).await
    }

    /// Events arrive as they are found; dropping the receiver ends the search.
    pub fn list_resource(&self, request: ListResource) -> mpsc::Receiver<ListResourceEvent> {
        let (sender, receiver) = mpsc::channel(16);
        let prepared =
            self.listables.get(&request.type_name).ok_or_else(|| unknown_type("list resource", &request.type_name));
        let prepared = prepared.and_then(|(schema, listable)| {
            let config = wire::decode(&request.config, &schema.ty())?;
            let mut asked = config.clone();
            super::plan::defaults(&mut asked, &config, &schema.attributes);
            let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(DEFAULT_LIMIT);
            let query = Query { config: asked, limit };
            Ok((listable.clone(), Asked { query, with_state: request.include_resource_object }))
        });
        let call = self.call(ClientCapabilities::default()).taking(SEARCH);
        tokio::spawn(async move {
            let diagnostics = match prepared {
                Ok((listable, query)) => listable.list(&call, query, sender.clone()).await,
                Err(diagnostics) => diagnostics,
            };
            if !diagnostics.is_empty() {
                // A receiver that is gone wants to hear nothing more.
                let _ = sender.send(ListResourceEvent { diagnostics, ..Default::default() }).await;
            }
        });
        receiver
    }

    pub(super) fn entry(&self, type_name: &str) -> Result<Offered, Diagnostics> {
        self.resources.get(type_name).cloned().ok_or_else(|| unknown_type("resource", type_name))
    }
}

/// Whether an identity may hold unknown parts.
#[derive(Clone, Copy, PartialEq)]
enum Known {
    Wholly,
    Partly,
}

impl Offered {
    /// The encoded identity of the object that a state or plan describes, if the type has one.
    fn identity_of(&self, state: &Dyn, known: Known, diagnostics: &mut Diagnostics) -> Option<Encoded> {
        let schema = self.identity.as_ref()?;
        let identity = match self.resource.identity(state) {
            Ok(identity) => identity,
            Err(error) => {
                diagnostics.push(error);
                return None;
            }
        };
        if known == Known::Wholly && !identity.is_wholly_known() {
            diagnostics.push(Diagnostic::bug("The identity of an existing object is not known."));
            return None;
        }
        // OpenTofu cannot store a planned identity with unknown parts; both cores take it from the apply.
        if !identity.is_wholly_known() {
            return None;
        }
        wire::encode(&identity, &schema.ty(), diagnostics)
    }

    /// An object's identity never changes while the object lives.
    fn check_identity_kept(&self, before: &Encoded, response: &mut PlanResourceChangeResponse) {
        let (Some(schema), Some(after)) = (&self.identity, &response.planned_identity) else { return };
        let (before, after) = (wire::decode(before, &schema.ty()), wire::decode(after, &schema.ty()));
        if let (Ok(before), Ok(after)) = (before, after)
            && !before.is_null()
            && before != after
        {
            response.diagnostics.push(Diagnostic::bug("A plan to update changes the identity of the object."));
        }
    }
}

/// What of a state a user would write as configuration.
fn configurable(mut state: Dyn, attributes: &[Attribute]) -> Dyn {
    if let Dyn::Object(values) = &mut state {
        for attribute in attributes {
            let Some(value) = values.get_mut(&attribute.name) else { continue };
            let is_default = attribute.default.as_ref() == Some(&*value);
            if attribute.is_computed_only() || attribute.write_only || attribute.deprecated.is_some() || is_default {
                *value = Dyn::Null;
            } else if let Shape::Nested(Nested { attributes, .. }) = &attribute.shape {
                *value = match std::mem::replace(value, Dyn::Null) {
                    Dyn::List(elements) => {
                        Dyn::List(elements.into_iter().map(|e| configurable(e, attributes)).collect())
                    }
                    Dyn::Set(elements) => Dyn::set(elements.iter().map(|e| configurable(e.clone(), attributes))),
                    Dyn::Map(elements) => {
                        Dyn::Map(elements.into_iter().map(|(k, e)| (k, configurable(e, attributes))).collect())
                    }
                    single => configurable(single, attributes),
                };
            }
        }
    }
    state
}
