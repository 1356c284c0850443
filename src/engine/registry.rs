//! What a provider offers, by name. The author fills it; the engine and the generator of pages read it.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use super::action::{Action, ErasedAction, TypedAction};
use super::erased::{ErasedListable, ErasedResource, Typed, TypedListable};
use super::erased_lookups::{ErasedDataSource, ErasedEphemeral, TypedLookup};
use super::function::Function;
use super::provider::{DataSource, Ephemeral};
use super::resource::{Listable, Resource};

/// Everything the provider offers, by name without the provider's prefix. One line per thing:
/// `Registry::new().resource(Primary).listable(Primary).data_source(Status)`.
pub struct Registry<C> {
    pub(super) resources: BTreeMap<&'static str, Arc<dyn ErasedResource>>,
    pub(super) listables: BTreeMap<&'static str, Arc<dyn ErasedListable>>,
    pub(super) data_sources: BTreeMap<&'static str, Arc<dyn ErasedDataSource>>,
    pub(super) ephemerals: BTreeMap<&'static str, Arc<dyn ErasedEphemeral>>,
    pub(super) actions: BTreeMap<&'static str, Arc<dyn ErasedAction>>,
    pub(super) functions: BTreeMap<&'static str, Arc<dyn Function>>,
    client: PhantomData<fn() -> C>,
}

impl<C> Default for Registry<C> {
    fn default() -> Self {
        Self {
            resources: BTreeMap::new(),
            listables: BTreeMap::new(),
            data_sources: BTreeMap::new(),
            ephemerals: BTreeMap::new(),
            actions: BTreeMap::new(),
            functions: BTreeMap::new(),
            client: PhantomData,
        }
    }
}

impl<C: Send + Sync + 'static> Registry<C> {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn resource<R: Resource<Client = C>>(mut self, resource: R) -> Self {
        self.resources.insert(R::NAME, Arc::new(Typed(resource)));
        self
    }

    /// The same type again, for `terraform query`.
    pub fn listable<R: Listable<Client = C>>(mut self, resource: R) -> Self {
        self.listables.insert(R::NAME, Arc::new(TypedListable(Arc::new(resource))));
        self
    }

    pub fn data_source<D: DataSource<Client = C>>(mut self, data_source: D) -> Self {
        self.data_sources.insert(D::NAME, Arc::new(TypedLookup(data_source)));
        self
    }

    pub fn ephemeral<E: Ephemeral<Client = C>>(mut self, ephemeral: E) -> Self {
        self.ephemerals.insert(E::NAME, Arc::new(TypedLookup(ephemeral)));
        self
    }

    pub fn action<A: Action<Client = C>>(mut self, action: A) -> Self {
        self.actions.insert(A::NAME, Arc::new(TypedAction(action)));
        self
    }

    pub fn function<F: Function>(mut self, function: F) -> Self {
        self.functions.insert(function.name(), Arc::new(function));
        self
    }
}
