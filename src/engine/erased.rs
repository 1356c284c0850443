//! Resources and their siblings without their types, as the dispatcher holds them: values in, values out, and every
//! handler guarded.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::context::{Call, Ctx};
use super::resource::{
    Change, Failed, Found, FoundObject, Import, Listable, Moved, Plan, Query, Reached, Resource, Whole,
};
use super::rpc::{DeferredReason, ListResourceEvent};
use super::timeouts::{self, Timeouts};
use super::wire;
use crate::diag::{Diagnostic, Diagnostics};
use crate::schema::{Model, Schema};
use crate::value::{Dyn, Error, Path};

/// What a handler leaves behind: a value, private data, and what it had to say.
#[derive(Default)]
pub(super) struct Outcome {
    /// Absent when there is none, or the handler failed.
    pub value: Option<Dyn>,
    pub private: Vec<u8>,
    pub diagnostics: Diagnostics,
    pub deferred: Option<DeferredReason>,
    /// Of a plan.
    pub replace: Vec<Path>,
}

impl Outcome {
    pub fn failed(diagnostics: impl Into<Diagnostics>) -> Self {
        Self { diagnostics: diagnostics.into(), ..Self::default() }
    }
}

/// A plan's or change's values. Objects, never null.
pub(super) struct Values {
    pub config: Dyn,
    pub prior: Option<Dyn>,
    pub planned: Dyn,
    pub private: Vec<u8>,
    /// A plan of what comes in place of an object that is there.
    pub replaces: bool,
}

#[async_trait]
pub(super) trait ErasedResource: Send + Sync {
    fn schema(&self) -> Schema;
    fn identity_schema(&self) -> Option<Schema>;
    fn timeouts(&self) -> Timeouts;
    fn validate(&self, config: &Dyn) -> Diagnostics;
    async fn plan(&self, call: &Call, values: Values) -> Outcome;
    async fn plan_destroy(&self, call: &Call, prior: Dyn, private: Vec<u8>) -> Outcome;
    async fn apply(&self, call: &Call, values: Values) -> Outcome;
    async fn read(&self, call: &Call, state: Dyn, private: Vec<u8>) -> Outcome;
    async fn delete(&self, call: &Call, state: Dyn, private: Vec<u8>) -> Outcome;
    async fn import(&self, call: &Call, from: Import<Dyn>) -> Outcome;
    /// The identity of what was moved here, and warnings.
    async fn find(&self, call: &Call, moved: Dyn) -> Result<(Dyn, Diagnostics), Diagnostics>;
    fn identity(&self, state: &Dyn) -> Result<Dyn, Error>;
    fn upgrade(&self, from: i64, state: serde_json::Value) -> Result<serde_json::Value, Diagnostics>;
    fn adopt(&self, source: Moved) -> Result<Option<Dyn>, Diagnostics>;
    fn generate_config(&self, state: &Dyn, config: &Dyn) -> Result<Dyn, Error>;
}

/// Wraps the typed trait: an own type, because a blanket implementation would make every method name ambiguous.
pub(super) struct Typed<R>(pub R);

#[async_trait]
impl<R: Resource> ErasedResource for Typed<R> {
    fn schema(&self) -> Schema {
        let mut schema = Schema::of::<R::Model>(R::VERSION);
        schema.attributes.push(R::TIMEOUTS.attribute());
        schema
    }

    fn identity_schema(&self) -> Option<Schema> {
        let schema = Schema::of::<R::Identity>(R::IDENTITY_VERSION);
        (!schema.attributes.is_empty()).then_some(schema)
    }

    fn timeouts(&self) -> Timeouts {
        R::TIMEOUTS
    }

    fn validate(&self, config: &Dyn) -> Diagnostics {
        let mut diagnostics = Diagnostics::new();
        match R::Model::decode(config) {
            Ok(config) => self.0.validate(&config, &mut diagnostics),
            Err(error) => diagnostics.push(error),
        }
        diagnostics
    }

    async fn plan(&self, call: &Call, values: Values) -> Outcome {
        // The values go as soon as they are decoded: they are large, and several plans wait for clusters or charts at
        // once.
        let replaces = values.replaces;
        let opened = {
            let Values { config, prior, planned, private, .. } = values;
            open(call, &private).and_then(|cx: Ctx<R::Client, R::Private>| {
                let prior = prior.as_ref().map(R::Model::decode).transpose()?;
                Ok((cx, R::Model::decode(&config)?, prior, R::Model::decode(&planned)?))
            })
        };
        let (mut cx, config, prior, planned) = match opened {
            Ok(opened) => opened,
            Err(diagnostic) => return Outcome::failed(diagnostic),
        };
        let mut plan = Plan { config: &config, prior: prior.as_ref(), planned, replaces, replace: Default::default() };
        let result = call.guard("planning", Box::pin(self.0.plan(&mut cx, &mut plan))).await;
        let mut outcome = close(cx, flatten(result));
        outcome.replace = plan.replace.into_iter().collect();
        outcome.value = Some(plan.planned.encode());
        outcome
    }

    async fn plan_destroy(&self, call: &Call, prior: Dyn, private: Vec<u8>) -> Outcome {
        let (mut cx, prior) =
            match open(call, &private).and_then(|cx: Ctx<R::Client, R::Private>| Ok((cx, R::Model::decode(&prior)?))) {
                Ok(opened) => opened,
                Err(diagnostic) => return Outcome::failed(diagnostic),
            };
        let result = call.guard("planning to destroy", Box::pin(self.0.plan_destroy(&mut cx, &prior))).await;
        close(cx, flatten(result))
    }

    async fn apply(&self, call: &Call, values: Values) -> Outcome {
        let Values { config, prior, planned, private, .. } = values;
        let timeouts = planned.attr(timeouts::ATTRIBUTE).cloned().unwrap_or(Dyn::Null);
        let is_asked_for = |attribute: &&str| matches!(planned.attr(attribute), Some(Dyn::Bool(true)));
        let takes_over = prior.is_none() && R::TAKES_OVER_BY.iter().any(is_asked_for);
        let opened = open(call, &private).and_then(|cx: Ctx<R::Client, R::Private>| {
            let reached = Reached::new();
            let prior = prior.as_ref().map(R::Model::decode).transpose()?;
            let (config, planned) = (R::Model::decode(&config)?, R::Model::decode(&planned)?);
            Ok((cx, reached.share(), Change { config, prior, planned, reached }))
        });
        let (mut cx, reached, change) = match opened {
            Ok(opened) => opened,
            Err(diagnostic) => return Outcome { value: prior, private, ..Outcome::failed(diagnostic) },
        };
        let what = if change.prior.is_some() { "updating" } else { "creating" };
        let result =
            call.guard_change(what, Box::pin(self.0.apply(&mut cx, change))).await.unwrap_or_else(|d| Err(d.into()));
        let with_timeouts = |state: R::Model| {
            let mut state = state.encode();
            state.set_attr(timeouts::ATTRIBUTE, timeouts);
            state
        };
        match result {
            Ok(state) => Outcome { value: Some(with_timeouts(state)), ..close(cx, Ok(())) },
            Err(Failed { mut diagnostics, partial }) => {
                let partial = partial.or_else(|| reached.take());
                diagnostics.extend((takes_over && partial.is_some()).then(tainted));
                let mut outcome = close(cx, Err(diagnostics));
                outcome.value = partial.map(with_timeouts).map(wire::without_unknowns).or(prior);
                outcome
            }
        }
    }

    async fn read(&self, call: &Call, state: Dyn, private: Vec<u8>) -> Outcome {
        let timeouts = state.attr(timeouts::ATTRIBUTE).cloned().unwrap_or(Dyn::Null);
        let opened =
            open(call, &private).and_then(|cx: Ctx<R::Client, R::Private>| Ok((cx, R::Model::decode(&state)?)));
        // As with a plan; who asked keeps the state that a failed reading leaves as it was.
        drop(state);
        let (mut cx, model) = match opened {
            Ok(opened) => opened,
            Err(diagnostic) => return Outcome { private, ..Outcome::failed(diagnostic) },
        };
        match flatten(call.guard("reading", Box::pin(self.0.read(&mut cx, model))).await) {
            Ok(found) => {
                let value = found.map(|model| {
                    let mut state = model.encode();
                    state.set_attr(timeouts::ATTRIBUTE, timeouts);
                    state
                });
                Outcome { value, ..close(cx, Ok(())) }
            }
            Err(diagnostics) => close(cx, Err(diagnostics)),
        }
    }

    async fn delete(&self, call: &Call, state: Dyn, private: Vec<u8>) -> Outcome {
        let (mut cx, model) =
            match open(call, &private).and_then(|cx: Ctx<R::Client, R::Private>| Ok((cx, R::Model::decode(&state)?))) {
                Ok(opened) => opened,
                Err(diagnostic) => return Outcome { value: Some(state), private, ..Outcome::failed(diagnostic) },
            };
        match call
            .guard_change("destroying", Box::pin(self.0.delete(&mut cx, model)))
            .await
            .unwrap_or_else(|d| Err(d.into()))
        {
            Ok(()) => close(cx, Ok(())),
            Err(Failed { diagnostics, partial }) => {
                let left = partial.map_or(state.clone(), |partial| {
                    let mut left = wire::without_unknowns(partial.encode());
                    left.set_attr(timeouts::ATTRIBUTE, state.attr(timeouts::ATTRIBUTE).cloned().unwrap_or(Dyn::Null));
                    left
                });
                Outcome { value: Some(left), ..close(cx, Err(diagnostics)) }
            }
        }
    }

    async fn import(&self, call: &Call, from: Import<Dyn>) -> Outcome {
        let opened = open(call, &[]).and_then(|cx: Ctx<R::Client, R::Private>| {
            let from = match from {
                Import::Id(id) => Import::Id(id),
                Import::Identity(identity) => Import::Identity(R::Identity::decode(&identity)?),
            };
            Ok((cx, from))
        });
        let (mut cx, from) = match opened {
            Ok(opened) => opened,
            Err(diagnostic) => return Outcome::failed(diagnostic),
        };
        match flatten(call.guard("importing", Box::pin(self.0.import(&mut cx, from))).await) {
            Ok(model) => Outcome { value: Some(model.encode()), ..close(cx, Ok(())) },
            Err(diagnostics) => close(cx, Err(diagnostics)),
        }
    }

    async fn find(&self, call: &Call, moved: Dyn) -> Result<(Dyn, Diagnostics), Diagnostics> {
        let moved = R::Model::decode(&moved).map_err(Diagnostic::from)?;
        let mut cx = Ctx::new(call, ());
        let found = flatten(call.guard("finding", Box::pin(self.0.find(&mut cx, moved))).await);
        let mut said = close(cx, Ok(())).diagnostics;
        match found {
            Ok(identity) => Ok((identity.encode(), said)),
            Err(errors) => {
                said.append(errors);
                Err(said)
            }
        }
    }

    fn identity(&self, state: &Dyn) -> Result<Dyn, Error> {
        Ok(self.0.identity(&R::Model::decode(state)?).encode())
    }

    fn upgrade(&self, from: i64, state: serde_json::Value) -> Result<serde_json::Value, Diagnostics> {
        self.0.upgrade(from, state)
    }

    fn adopt(&self, source: Moved) -> Result<Option<Dyn>, Diagnostics> {
        Ok(self.0.adopt(source)?.map(|model| model.encode()))
    }

    fn generate_config(&self, state: &Dyn, config: &Dyn) -> Result<Dyn, Error> {
        // Of an object that could not be read whole a core asks all the same.
        if state.is_null() {
            return Ok(Dyn::Null);
        }
        let mut generated = R::Model::decode(config)?;
        self.0.generate_config(&R::Model::decode(state)?, &mut generated);
        Ok(generated.encode())
    }
}

/// What `terraform query` needs of a type.
#[async_trait]
pub(super) trait ErasedListable: Send + Sync {
    fn schema(&self) -> Schema;
    async fn list(&self, call: &Call, query: Asked, sender: mpsc::Sender<ListResourceEvent>) -> Diagnostics;
}

/// What a `list` block asks for.
pub(super) struct Asked {
    pub query: Query<Dyn>,
    /// Whether whole states are wanted, or identities suffice.
    pub with_state: bool,
}

/// Wraps the typed trait, as [`Typed`] does, shared with the searches that go on.
pub(super) struct TypedListable<L>(pub Arc<L>);

#[async_trait]
impl<L: Listable> ErasedListable for TypedListable<L> {
    fn schema(&self) -> Schema {
        Schema::of::<L::Query>(0)
    }

    async fn list(&self, call: &Call, asked: Asked, sender: mpsc::Sender<ListResourceEvent>) -> Diagnostics {
        let Query { config, limit } = asked.query;
        let config = match L::Query::decode(&config) {
            Ok(config) => config,
            Err(error) => return Diagnostics::from(error),
        };
        let mut schema = Schema::of::<L::Model>(L::VERSION);
        schema.attributes.push(L::TIMEOUTS.attribute());
        let (state_ty, identity_ty) = (schema.ty(), Schema::of::<L::Identity>(L::IDENTITY_VERSION).ty());
        let encode = move |found: FoundObject<L>, state: Option<L::Model>| {
            let mut event = ListResourceEvent { display_name: found.name, ..Default::default() };
            event.diagnostics = found.warnings;
            event.identity = wire::encode(&found.identity.encode(), &identity_ty, &mut event.diagnostics);
            let state = state.map(|state| {
                let mut state = state.encode();
                state.set_attr(timeouts::ATTRIBUTE, Dyn::Null);
                wire::without_unknowns(wire::without_write_only(state, &schema.attributes))
            });
            event.resource_object = state.and_then(|state| wire::encode(&state, &state_ty, &mut event.diagnostics));
            event
        };
        let whole = asked.with_state.then(|| whole(&self.0, call));
        let mut found = Found { sender, whole, encode: Box::new(encode), wanted: limit };
        let mut cx = Ctx::new(call, ());
        let result = call.guard("listing", Box::pin(self.0.list(&mut cx, Query { config, limit }, &mut found))).await;
        close(cx, flatten(result)).diagnostics
    }
}

/// A create failed that had taken something over.
fn tainted() -> Diagnostic {
    Diagnostic::warning("What was adopted is tainted").detail(
        "This resource was created with something that was there before, and the create failed. The next apply deletes all of it, and creates it again. To keep it, run `terraform untaint` (or `tofu untaint`) with the address of the resource first. The next apply then continues where this one ended.",
    )
}

/// Reads an object as a core does that is told to import it: import, then refresh.
fn whole<L: Listable>(resource: &Arc<L>, call: &Call) -> Whole<L> {
    let (resource, call) = (resource.clone(), call.clone().taking(L::TIMEOUTS.read));
    Box::new(move |identity| {
        let (resource, call) = (resource.clone(), call.clone());
        Box::pin(async move {
            let mut cx: Ctx<L::Client, L::Private> = Ctx::new(&call, L::Private::default());
            let read = async {
                let imported = flatten(
                    call.guard("importing", Box::pin(resource.import(&mut cx, Import::Identity(identity)))).await,
                )?;
                flatten(call.guard("reading", Box::pin(resource.read(&mut cx, imported))).await)
            };
            let read = read.await;
            let (state, result) = match read {
                Ok(state) => (state, Ok(())),
                Err(errors) => (None, Err(errors)),
            };
            (close(cx, result).diagnostics, state)
        })
    })
}

pub(super) fn open<C: Send + Sync + 'static, P>(call: &Call, private: &[u8]) -> Result<Ctx<C, P>, Diagnostic>
where
    P: DeserializeOwned + Default,
{
    let private = match private {
        [] => P::default(),
        bytes => serde_json::from_slice(bytes).map_err(|_| {
            Diagnostic::error("Unreadable private data").detail(
                "What this provider stored beside the state cannot be read: a newer version of the provider may have \
                 written it. Use that version.",
            )
        })?,
    };
    Ok(Ctx::new(call, private))
}

/// Ends a call: private data, the warnings, then the errors if it failed.
pub(super) fn close<C, P: Serialize>(cx: Ctx<C, P>, result: Result<(), Diagnostics>) -> Outcome {
    let (private, mut diagnostics, deferred) = cx.into_parts();
    let private = match serde_json::to_vec(&private) {
        Ok(null) if null == b"null" => Vec::new(),
        Ok(bytes) => bytes,
        Err(_) => {
            diagnostics.push(Diagnostic::bug("The private data of the resource cannot be written as JSON."));
            Vec::new()
        }
    };
    if let Err(errors) = result {
        diagnostics.append(errors);
        if !diagnostics.has_errors() {
            diagnostics.push(Diagnostic::bug("A call failed without saying why."));
        }
    }
    Outcome { private, diagnostics, deferred, ..Outcome::default() }
}

pub(super) fn flatten<T>(result: Result<Result<T, Diagnostics>, Diagnostic>) -> Result<T, Diagnostics> {
    result.unwrap_or_else(|diagnostic| Err(diagnostic.into()))
}
