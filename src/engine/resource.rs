//! What the author of a resource implements, and the values that it gets and returns.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::context::Ctx;
use super::rpc::ListResourceEvent;
use super::timeouts::Timeouts;
use crate::diag::{Diagnostic, Diagnostics, Severity};
use crate::schema::Model;
use crate::value::Path;

/// A kind of thing that Terraform manages: a stateless struct, one per kind.
///
/// Required are `apply`, `read` and `delete`; everything else has a default. The engine sees to the rest: defaults,
/// unknown values, replacement, private data, timeouts, identity, write-only attributes, panics, and the rules of the
/// protocol.
pub trait Resource: Send + Sync + 'static {
    /// The provider's client; what [`Provider::Client`](super::Provider::Client) is.
    type Client: Send + Sync + 'static;
    /// Attributes. `timeouts` is added by the engine: do not declare it.
    type Model: Model;
    /// What tells one object from all others, for import and `terraform query`; `()` for none. Only strings, bools,
    /// numbers and lists of them, each `required` or `optional` (for import).
    type Identity: Model;
    /// Kept beside the state, unencrypted, invisible to the user; `()` for none. Must read what earlier versions wrote.
    type Private: Serialize + DeserializeOwned + Default + Clone + PartialEq + Send + 'static;

    /// The name without the provider's prefix: `primary` for `mesh_primary`.
    const NAME: &'static str;
    /// Counts up with each change that an older state must be rewritten for; see [`Resource::upgrade`].
    const VERSION: i64 = 0;
    const IDENTITY_VERSION: i64 = 0;
    /// How long each call may take when the user's `timeouts` does not say.
    const TIMEOUTS: Timeouts = Timeouts::DEFAULT;
    /// The attributes (bools) by which a create takes over what was there before. If such a create fails, the core
    /// marks the resource as tainted, and the next apply would delete what was taken over: the engine then says how to
    /// keep it.
    const TAKES_OVER_BY: &'static [&'static str] = &["adopt"];

    /// Rules over several attributes. Runs often, offline, with unknown values in it: never complain of unknown.
    fn validate(&self, config: &Self::Model, diagnostics: &mut Diagnostics) {
        let _ = (config, diagnostics);
    }

    /// The last step of a plan to create or update. Defaults and attribute rules have been applied to
    /// [`Plan::planned`]: computed attributes that must be decided by this plan stand there as unknown. Make known what
    /// is known, mark unknown what will change, ask for replacement. Must be deterministic: Terraform plans again at
    /// apply and compares.
    fn plan(
        &self,
        cx: &mut Ctx<Self::Client, Self::Private>,
        plan: &mut Plan<Self::Model>,
    ) -> impl Future<Output = Result<(), Diagnostics>> + Send {
        let _ = (cx, plan);
        async { Ok(()) }
    }

    /// A plan to destroy: the place for warnings and refusals.
    fn plan_destroy(
        &self,
        cx: &mut Ctx<Self::Client, Self::Private>,
        prior: &Self::Model,
    ) -> impl Future<Output = Result<(), Diagnostics>> + Send {
        let _ = (cx, prior);
        async { Ok(()) }
    }

    /// Creates (no prior) or updates, and returns the new state: the planned one with every unknown made known. On
    /// failure say what exists, by [`Failed::keeping`] or [`Change::reached`], so that the next apply goes on from
    /// there.
    fn apply(
        &self,
        cx: &mut Ctx<Self::Client, Self::Private>,
        change: Change<Self::Model>,
    ) -> impl Future<Output = Result<Self::Model, Failed<Self::Model>>> + Send;

    /// The state as it is now; `None` only when the object itself is truly gone. Unreachable, forbidden or unclear is
    /// an error, never `None`.
    fn read(
        &self,
        cx: &mut Ctx<Self::Client, Self::Private>,
        state: Self::Model,
    ) -> impl Future<Output = Result<Option<Self::Model>, Diagnostics>> + Send;

    /// Destroys. What is gone already is no error. On failure [`Failed::keeping`] can say what is left.
    fn delete(
        &self,
        cx: &mut Ctx<Self::Client, Self::Private>,
        state: Self::Model,
    ) -> impl Future<Output = Result<(), Failed<Self::Model>>> + Send;

    /// Finds an existing object and returns what [`Resource::read`] needs to fill in the rest.
    fn import(
        &self,
        cx: &mut Ctx<Self::Client, Self::Private>,
        from: Import<Self::Identity>,
    ) -> impl Future<Output = Result<Self::Model, Diagnostics>> + Send {
        let _ = (cx, from);
        async {
            Err(Diagnostic::error("Import not supported").detail("Resources of this type cannot be imported.").into())
        }
    }

    /// The identity of the object that a state or plan describes. Called on every path; unknown parts are allowed only
    /// while a new object is planned.
    fn identity(&self, model: &Self::Model) -> Self::Identity {
        let _ = model;
        Self::Identity::default()
    }

    /// Rewrites the stored JSON of version `from` as that of version `from + 1`. Called in steps up to
    /// [`Resource::VERSION`]; attributes that were only added or dropped need no rewriting and no new version.
    fn upgrade(&self, from: i64, state: serde_json::Value) -> Result<serde_json::Value, Diagnostics> {
        let _ = state;
        Err(Diagnostic::bug(format!("There is no upgrade of state version {from}.")).into())
    }

    /// Takes over the state of another type of resource (`moved` blocks); `None` when it is not one this type knows.
    ///
    /// A core asks a provider that is not configured yet, so that no cluster can be read. What is returned says which
    /// object is meant, as far as the other state tells; the refresh that follows completes it by [`Resource::find`],
    /// imports it and reads it.
    fn adopt(&self, source: Moved) -> Result<Option<Self::Model>, Diagnostics> {
        let _ = source;
        Ok(None)
    }

    /// Which object a state is about that [`Resource::adopt`] made.
    fn find(
        &self,
        cx: &mut Ctx<Self::Client>,
        moved: Self::Model,
    ) -> impl Future<Output = Result<Self::Identity, Diagnostics>> + Send {
        let _ = cx;
        let identity = self.identity(&moved);
        async { Ok(identity) }
    }

    /// Tidies generated configuration. Computed-only, write-only and deprecated attributes, and values that equal their
    /// default, are already null.
    fn generate_config(&self, state: &Self::Model, config: &mut Self::Model) {
        let _ = (state, config);
    }
}

/// A resource whose objects can be found without knowing them: `terraform query`.
pub trait Listable: Resource {
    /// The configuration of the `list` block.
    type Query: Model;

    /// Hands each object found to `found`, until it says that it has enough.
    fn list(
        &self,
        cx: &mut Ctx<Self::Client>,
        query: Query<Self::Query>,
        found: &mut Found<Self>,
    ) -> impl Future<Output = Result<(), Diagnostics>> + Send
    where
        Self: Sized;
}

/// A plan to create (no prior) or to update.
pub struct Plan<'a, M> {
    pub config: &'a M,
    pub prior: Option<&'a M>,
    pub planned: M,
    /// The second plan of a replacement: the first one was of the object that is there.
    pub replaces: bool,
    pub(super) replace: BTreeSet<Path>,
}

impl<M: PartialEq> Plan<'_, M> {
    /// The change at this path needs a new object. Has an effect only where prior and planned value differ.
    pub fn replace(&mut self, path: impl Into<Path>) {
        self.replace.insert(path.into());
    }

    /// True when, as planned so far, something would be updated.
    pub fn is_update(&self) -> bool {
        self.prior.is_some_and(|prior| *prior != self.planned)
    }
}

/// A change to make: create (no prior) or update.
pub struct Change<M> {
    /// Write-only attributes are only here.
    pub config: M,
    pub prior: Option<M>,
    /// What the new state must be, but for what is unknown in it.
    pub planned: M,
    /// Tell it what exists by now, after each step that makes something.
    pub reached: Reached<M>,
}

impl<M: Clone> Change<M> {
    /// The same change, for an attempt that may be followed by another.
    pub fn again(&self) -> Change<M> {
        let Change { config, prior, planned, reached } = self;
        Change { config: config.clone(), prior: prior.clone(), planned: planned.clone(), reached: reached.share() }
    }
}

/// The state reached so far. It survives an error, a panic and a deadline.
pub struct Reached<M>(Arc<Mutex<Option<M>>>);

impl<M> Reached<M> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    pub(super) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    pub(super) fn take(&self) -> Option<M> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub fn set(&self, state: M) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
    }
}

/// A failed change: what to tell the user, and what exists all the same.
#[derive(Debug)]
pub struct Failed<M> {
    pub diagnostics: Diagnostics,
    pub partial: Option<M>,
}

impl<M> Failed<M> {
    /// Keeps this state. What is still unknown in it is stored as null.
    pub fn keeping(self, state: M) -> Self {
        Self { partial: Some(state), ..self }
    }
}

/// Makes `?` work on diagnostics.
impl<M, D: Into<Diagnostics>> From<D> for Failed<M> {
    fn from(diagnostics: D) -> Self {
        Self { diagnostics: diagnostics.into(), partial: None }
    }
}

/// What to import.
#[derive(Clone, Debug)]
pub enum Import<I> {
    /// The text after `terraform import ADDRESS`, or `id` in an import block.
    Id(String),
    /// `identity` in an import block.
    Identity(I),
}

/// The state of another resource, to be taken over.
pub struct Moved {
    /// Such as `registry.terraform.io/hashicorp/kubernetes`.
    pub provider: String,
    pub type_name: String,
    pub version: i64,
    /// The stored state.
    pub state: serde_json::Value,
}

/// What a `list` block asks for.
pub struct Query<Q> {
    pub config: Q,
    /// How many objects are wanted at most.
    pub limit: usize,
}

/// Where [`Listable::list`] puts what it finds. Whole states, where they are asked for, are those that an import of the
/// identity gives.
pub struct Found<R: Resource> {
    pub(super) sender: mpsc::Sender<ListResourceEvent>,
    pub(super) whole: Option<Whole<R>>,
    pub(super) encode: Encode<R>,
    pub(super) wanted: usize,
}

/// What makes an answer of an object and, where it is asked for and could be had, its whole state.
pub(super) type Encode<R> =
    Box<dyn Fn(FoundObject<R>, Option<<R as Resource>::Model>) -> ListResourceEvent + Send + Sync>;

/// What tells the whole state of an object from its identity: `None` where it is gone by now.
pub(super) type Whole<R> = Box<
    dyn Fn(<R as Resource>::Identity) -> BoxFuture<'static, (Diagnostics, Option<<R as Resource>::Model>)>
        + Send
        + Sync,
>;

/// One object found.
pub struct FoundObject<R: Resource> {
    /// What to call it, for people.
    pub name: String,
    pub identity: R::Identity,
    pub warnings: Diagnostics,
}

impl<R: Resource> Found<R> {
    /// Hands over one object. `false`: enough, stop looking.
    ///
    /// An object that cannot be read whole is handed over all the same, with a warning: an error would end the search.
    pub async fn push(&mut self, mut object: FoundObject<R>) -> bool {
        if self.wanted == 0 {
            return false;
        }
        let mut state = None;
        if let Some(whole) = &self.whole {
            let (said, found) = whole(object.identity.clone()).await;
            state = found;
            object.warnings.extend(said.into_iter().map(|one| Diagnostic { severity: Severity::Warning, ..one }));
        }
        self.wanted -= 1;
        self.sender.send((self.encode)(object, state)).await.is_ok() && self.wanted > 0
    }
}
