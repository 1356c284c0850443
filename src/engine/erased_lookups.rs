//! Data sources and ephemeral resources without their types, as the registry holds them.

use std::time::SystemTime;

use async_trait::async_trait;

use super::context::{Call, Ctx};
use super::erased::{Outcome, close, flatten, open};
use super::provider::{DataSource, Ephemeral, Opened};
use crate::diag::Diagnostics;
use crate::schema::{Model, Schema};
use crate::value::Dyn;

#[async_trait]
pub(super) trait ErasedDataSource: Send + Sync {
    fn schema(&self) -> Schema;
    fn validate(&self, config: &Dyn) -> Diagnostics;
    async fn read(&self, call: &Call, config: Dyn) -> Outcome;
}

#[async_trait]
pub(super) trait ErasedEphemeral: Send + Sync {
    fn schema(&self) -> Schema;
    fn validate(&self, config: &Dyn) -> Diagnostics;
    async fn open(&self, call: &Call, config: Dyn) -> (Outcome, Option<SystemTime>);
    async fn renew(&self, call: &Call, private: &[u8]) -> (Outcome, Option<SystemTime>);
    async fn close(&self, call: &Call, private: &[u8]) -> Diagnostics;
}

/// Wraps the typed traits.
pub(super) struct TypedLookup<T>(pub T);

#[async_trait]
impl<D: DataSource> ErasedDataSource for TypedLookup<D> {
    fn schema(&self) -> Schema {
        Schema::of::<D::Model>(0)
    }

    fn validate(&self, config: &Dyn) -> Diagnostics {
        validated::<D::Model>(config, |config, diagnostics| self.0.validate(config, diagnostics))
    }

    async fn read(&self, call: &Call, config: Dyn) -> Outcome {
        let mut cx = Ctx::<D::Client>::new(call, ());
        let config = match D::Model::decode(&config) {
            Ok(config) => config,
            Err(error) => return Outcome::failed(error),
        };
        match flatten(call.guard("reading", Box::pin(self.0.read(&mut cx, config))).await) {
            Ok(model) => Outcome { value: Some(model.encode()), ..close(cx, Ok(())) },
            Err(diagnostics) => close(cx, Err(diagnostics)),
        }
    }
}

#[async_trait]
impl<E: Ephemeral> ErasedEphemeral for TypedLookup<E> {
    fn schema(&self) -> Schema {
        Schema::of::<E::Model>(0)
    }

    fn validate(&self, config: &Dyn) -> Diagnostics {
        validated::<E::Model>(config, |config, diagnostics| self.0.validate(config, diagnostics))
    }

    async fn open(&self, call: &Call, config: Dyn) -> (Outcome, Option<SystemTime>) {
        let opened = open(call, &[]).and_then(|cx: Ctx<E::Client, E::Private>| Ok((cx, E::Model::decode(&config)?)));
        let (mut cx, config) = match opened {
            Ok(opened) => opened,
            Err(diagnostic) => return (Outcome::failed(diagnostic), None),
        };
        match flatten(call.guard("opening", Box::pin(self.0.open(&mut cx, config))).await) {
            Ok(Opened { result, renew_at }) => {
                (Outcome { value: Some(result.encode()), ..close(cx, Ok(())) }, renew_at)
            }
            Err(diagnostics) => (close(cx, Err(diagnostics)), None),
        }
    }

    async fn renew(&self, call: &Call, private: &[u8]) -> (Outcome, Option<SystemTime>) {
        let mut cx = match open::<E::Client, E::Private>(call, private) {
            Ok(cx) => cx,
            Err(diagnostic) => return (Outcome::failed(diagnostic), None),
        };
        match flatten(call.guard("renewing", Box::pin(self.0.renew(&mut cx))).await) {
            Ok(renew_at) => (close(cx, Ok(())), renew_at),
            Err(diagnostics) => (close(cx, Err(diagnostics)), None),
        }
    }

    async fn close(&self, call: &Call, private: &[u8]) -> Diagnostics {
        let mut cx = match open::<E::Client, E::Private>(call, private) {
            Ok(cx) => cx,
            Err(diagnostic) => return diagnostic.into(),
        };
        let result = flatten(call.guard("closing", Box::pin(self.0.close(&mut cx))).await);
        close(cx, result).diagnostics
    }
}

fn validated<M: Model>(config: &Dyn, rules: impl FnOnce(&M, &mut Diagnostics)) -> Diagnostics {
    let mut diagnostics = Diagnostics::new();
    match M::decode(config) {
        Ok(config) => rules(&config, &mut diagnostics),
        Err(error) => diagnostics.push(error),
    }
    diagnostics
}
