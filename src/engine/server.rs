//! The engine's front: answers what is asked about schemas and configurations. The life of a resource is in
//! [`lifecycle`](super::lifecycle).

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::action::ErasedAction;
use super::calls::Calls;
use super::context::{Call, caught};
use super::erased::{ErasedListable, ErasedResource, flatten};
use super::erased_lookups::{ErasedDataSource, ErasedEphemeral};
use super::function::Function;
use super::provider::{Configure, Provider};
use super::registry::Registry;
use super::rpc::*;
use super::{Timeouts, plan, wire};
use crate::diag::{Diagnostic, Diagnostics};
use crate::schema::text::unfit_text;
use crate::schema::validate::null_elements;
use crate::schema::{Attribute, Model, Nested, Nesting, Schema, Shape};
use crate::value::{Dyn, Path};

/// The provider as the plugin layer sees it: one method per RPC. Every handler runs in a task of its own, so that a
/// panic becomes a diagnostic and a dropped connection cuts nothing short.
pub struct Engine {
    schema: ProviderSchema,
    provider: Arc<dyn ErasedProvider>,
    pub(super) resources: BTreeMap<String, Offered>,
    pub(super) listables: BTreeMap<String, (Arc<Schema>, Arc<dyn ErasedListable>)>,
    pub(super) data_sources: BTreeMap<String, (Arc<Schema>, Arc<dyn ErasedDataSource>)>,
    pub(super) ephemerals: BTreeMap<String, (Arc<Schema>, Arc<dyn ErasedEphemeral>)>,
    pub(super) actions: BTreeMap<String, (Arc<Schema>, Arc<dyn ErasedAction>)>,
    pub(super) functions: BTreeMap<String, Arc<dyn Function>>,
    client: Mutex<Option<Client>>,
    /// Under way since Configure.
    calls: Mutex<Arc<Calls>>,
    stop: Mutex<CancellationToken>,
}

/// A resource type with its schemas.
#[derive(Clone)]
pub(super) struct Offered {
    pub schema: Arc<Schema>,
    pub identity: Option<Arc<Schema>>,
    pub resource: Arc<dyn ErasedResource>,
}

type Client = Arc<dyn Any + Send + Sync>;

impl Engine {
    pub fn new<P: Provider>(provider: P, registry: Registry<P::Client>) -> Arc<Self> {
        let named = |name: &str| format!("{}_{name}", P::NAME);
        let entry = |resource: Arc<dyn ErasedResource>| Offered {
            schema: Arc::new(resource.schema()),
            identity: resource.identity_schema().map(Arc::new),
            resource,
        };
        let Registry { resources, listables, data_sources, ephemerals, actions, functions, .. } = registry;
        let resources: BTreeMap<_, _> =
            resources.into_iter().map(|(name, resource)| (named(name), entry(resource))).collect();
        let listables: BTreeMap<_, _> =
            listables.into_iter().map(|(name, l)| (named(name), (Arc::new(l.schema()), l))).collect();
        let data_sources: BTreeMap<_, _> =
            data_sources.into_iter().map(|(name, d)| (named(name), (Arc::new(d.schema()), d))).collect();
        let ephemerals: BTreeMap<_, _> =
            ephemerals.into_iter().map(|(name, e)| (named(name), (Arc::new(e.schema()), e))).collect();
        let actions: BTreeMap<_, _> =
            actions.into_iter().map(|(name, a)| (named(name), (Arc::new(a.schema()), a))).collect();
        let functions: BTreeMap<_, _> = functions.into_iter().map(|(name, f)| (name.to_owned(), f)).collect();
        let provider: Arc<dyn ErasedProvider> = Arc::new(TypedProvider(provider));
        let schema = ProviderSchema {
            provider: provider.schema(),
            resources: resources.iter().map(|(name, entry)| (name.clone(), (*entry.schema).clone())).collect(),
            data_sources: data_sources.iter().map(|(name, (schema, _))| (name.clone(), (**schema).clone())).collect(),
            ephemeral_resources: ephemerals
                .iter()
                .map(|(name, (schema, _))| (name.clone(), (**schema).clone()))
                .collect(),
            list_resources: listables.iter().map(|(name, (schema, _))| (name.clone(), (**schema).clone())).collect(),
            actions: actions.iter().map(|(name, (schema, _))| (name.clone(), (**schema).clone())).collect(),
            functions: functions.iter().map(|(name, function)| (name.clone(), function.signature())).collect(),
            identities: resources
                .iter()
                .filter_map(|(name, entry)| Some((name.clone(), (**entry.identity.as_ref()?).clone())))
                .collect(),
        };
        Arc::new(Self {
            schema,
            provider,
            resources,
            listables,
            data_sources,
            ephemerals,
            actions,
            functions,
            client: Mutex::new(None),
            calls: Mutex::default(),
            stop: Mutex::new(CancellationToken::new()),
        })
    }

    /// GetProviderSchema, GetMetadata, GetFunctions, GetResourceIdentitySchemas.
    pub fn schema(&self) -> &ProviderSchema {
        &self.schema
    }

    /// StopProvider: cancels what runs; what comes later runs uncancelled.
    pub fn stop(&self) {
        std::mem::take(&mut *held(&self.stop)).cancel();
    }

    pub async fn validate_provider_config(&self, request: ValidateProviderConfig) -> Diagnostics {
        let provider = Arc::clone(&self.provider);
        let rules = move |config: &Dyn| provider.validate(config);
        self.validate_against(&self.schema.provider, request.config, ClientCapabilities::default(), rules).await
    }

    pub async fn configure_provider(&self, request: ConfigureProvider) -> Diagnostics {
        let schema = &self.schema.provider;
        let config = match wire::decode(&request.config, &schema.ty()) {
            Ok(config) => config,
            Err(diagnostic) => return diagnostic.into(),
        };
        let mut configured = config.clone();
        plan::defaults(&mut configured, &config, &schema.attributes);
        let call = self.call(request.capabilities).taking(Timeouts::DEFAULT.read);
        let (provider, version) = (Arc::clone(&self.provider), request.terraform_version);
        let made = caught("configuring", async move { provider.configure(&call, configured, version).await }).await;
        match flatten(made) {
            Ok(client) => {
                *held(&self.client) = Some(client);
                *held(&self.calls) = Arc::default();
                Diagnostics::new()
            }
            Err(diagnostics) => diagnostics,
        }
    }

    /// What every handler of this moment shares.
    pub(super) fn call(&self, capabilities: ClientCapabilities) -> Call {
        Call {
            client: held(&self.client).clone(),
            cancel: held(&self.stop).clone(),
            time: Timeouts::DEFAULT.read,
            capabilities,
            calls: Arc::clone(&held(&self.calls)),
        }
    }

    /// The rules of a schema, then those of its owner.
    pub(super) async fn validate_against(
        &self,
        schema: &Schema,
        config: Encoded,
        capabilities: ClientCapabilities,
        rules: impl FnOnce(&Dyn) -> Diagnostics + Send + 'static,
    ) -> Diagnostics {
        let config = match wire::decode(&config, &schema.ty()) {
            Ok(Dyn::Null) => return Diagnostics::new(),
            Ok(config) => config,
            Err(diagnostic) => return diagnostic.into(),
        };
        let mut diagnostics = Diagnostics::new();
        null_elements(&config, &Path::empty(), &mut diagnostics);
        validate_attributes(&schema.attributes, &config, capabilities, &Path::empty(), &mut diagnostics);
        // The owner judges what a plan would see: rules over several attributes need the defaults as well.
        let written = config;
        let mut config = written.clone();
        super::plan::defaults(&mut config, &written, &schema.attributes);
        diagnostics.append(caught("validating", async move { rules(&config) }).await.unwrap_or_else(Diagnostics::from));
        diagnostics
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn validate_attributes(
    attributes: &[Attribute],
    config: &Dyn,
    capabilities: ClientCapabilities,
    at: &Path,
    diagnostics: &mut Diagnostics,
) {
    for attribute in attributes {
        let Some(value) = config.attr(&attribute.name).filter(|value| !value.is_null()) else { continue };
        let path = at.attr(&attribute.name);
        if attribute.write_only && !capabilities.write_only_attributes_allowed {
            diagnostics.push(
                Diagnostic::error("Write-only attribute not supported")
                    .detail("Write-only attributes need Terraform 1.11 or OpenTofu 1.11, or later. Nothing was stored.")
                    .at(path.clone()),
            );
        }
        if unfit_text(attribute, value, &path, diagnostics) {
            continue;
        }
        check_value(attribute, value, &path, diagnostics);
        let Shape::Nested(Nested { nesting, attributes }) = &attribute.shape else { continue };
        let mut inner =
            |value: &Dyn, path: &Path| validate_attributes(attributes, value, capabilities, path, diagnostics);
        match (nesting, value) {
            (Nesting::Single, value) => inner(value, &path),
            (_, Dyn::List(elements)) => elements.iter().enumerate().for_each(|(i, e)| inner(e, &path.index(i))),
            (_, Dyn::Map(elements)) => elements.iter().for_each(|(key, e)| inner(e, &path.key(key))),
            (_, Dyn::Set(elements)) => {
                elements.iter().for_each(|e| inner_of_set(attributes, e, capabilities, &path, diagnostics))
            }
            _ => {}
        }
    }
}

/// Elements of a set have no address: what is wrong inside is reported at the set.
fn inner_of_set(
    attributes: &[Attribute],
    element: &Dyn,
    capabilities: ClientCapabilities,
    set: &Path,
    diagnostics: &mut Diagnostics,
) {
    let mut found = Diagnostics::new();
    validate_attributes(attributes, element, capabilities, &Path::empty(), &mut found);
    for diagnostic in found {
        let within = diagnostic.path.as_ref().map(|path| format!("In `{path}` of an element: ")).unwrap_or_default();
        let detail = format!("{within}{}", diagnostic.detail);
        diagnostics.push(diagnostic.detail(detail).at(set.clone()));
    }
}

/// Applies an attribute's validators. Their words may quote the value, which must not happen to a secret.
fn check_value(attribute: &Attribute, value: &Dyn, path: &Path, diagnostics: &mut Diagnostics) {
    for validator in &attribute.validators {
        if !(attribute.sensitive || attribute.write_only) {
            validator.check(value, path, diagnostics);
            continue;
        }
        let mut found = Diagnostics::new();
        validator.check(value, path, &mut found);
        for diagnostic in found {
            diagnostics.push(diagnostic.detail(format!("The value must be {}.", validator.description)));
        }
    }
}

#[async_trait]
trait ErasedProvider: Send + Sync {
    fn schema(&self) -> Schema;
    fn validate(&self, config: &Dyn) -> Diagnostics;
    async fn configure(&self, call: &Call, config: Dyn, terraform_version: String) -> Result<Client, Diagnostics>;
}

struct TypedProvider<P>(P);

#[async_trait]
impl<P: Provider> ErasedProvider for TypedProvider<P> {
    fn schema(&self) -> Schema {
        Schema::of::<P::Config>(0)
    }

    fn validate(&self, config: &Dyn) -> Diagnostics {
        let mut diagnostics = Diagnostics::new();
        match P::Config::decode(config) {
            Ok(config) => self.0.validate(&config, &mut diagnostics),
            Err(error) => diagnostics.push(error),
        }
        diagnostics
    }

    async fn configure(&self, call: &Call, config: Dyn, terraform_version: String) -> Result<Client, Diagnostics> {
        let config = P::Config::decode(&config)?;
        let configure = Configure { config, terraform_version, capabilities: call.capabilities };
        Ok(Arc::new(flatten(call.guard("configuring", Box::pin(self.0.configure(configure))).await)?))
    }
}
