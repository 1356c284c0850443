use super::provider::{DataSource, Ephemeral, Function};
use super::resource::{Listable, Resource};

/// Everything the provider offers. One line per thing:
/// `Registry::new().resource(Primary).listable(Primary).data_source(Status)`.
pub struct Registry<C> {
    _client: std::marker::PhantomData<C>,
}

impl<C: Send + Sync + 'static> Registry<C> {
    #[expect(clippy::new_without_default)]
    pub fn new() -> Self {
        Self { _client: std::marker::PhantomData }
    }

    pub fn resource<R: Resource<Client = C>>(self, _: R) -> Self {
        self
    }

    /// The same type again, for `terraform query`.
    pub fn listable<R: Listable<Client = C>>(self, _: R) -> Self {
        self
    }

    pub fn data_source<D: DataSource<Client = C>>(self, _: D) -> Self {
        self
    }

    pub fn ephemeral<E: Ephemeral<Client = C>>(self, _: E) -> Self {
        self
    }

    pub fn function<F: Function>(self, _: F) -> Self {
        self
    }
}
