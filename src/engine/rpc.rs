//! What the plugin layer asks of the engine and what it gets: one request and one response per RPC, in the protocol's
//! own words but without its wire types. Values stay encoded here; the engine knows their types.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use super::function::{FunctionError, Signature};
use crate::diag::Diagnostics;
use crate::schema::Schema;
use crate::value::Path;

/// A value as it came over the wire: msgpack, or JSON where msgpack is empty; both empty is null. Answers are msgpack.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    pub msgpack: Vec<u8>,
    pub json: Vec<u8>,
}

/// Only sizes: a value may be a secret.
impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({} bytes of msgpack, {} of JSON)", self.msgpack.len(), self.json.len())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCapabilities {
    pub deferral_allowed: bool,
    pub write_only_attributes_allowed: bool,
    pub store_planned_private: bool,
}

/// Why a resource is put off to a later round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeferredReason {
    ResourceConfigUnknown,
    ProviderConfigUnknown,
    AbsentPrerequisite,
}

/// GetProviderSchema, GetFunctions and GetResourceIdentitySchemas. Names carry the provider's prefix, but for
/// functions.
#[derive(Clone, Debug, Default)]
pub struct ProviderSchema {
    pub provider: Schema,
    pub resources: BTreeMap<String, Schema>,
    pub data_sources: BTreeMap<String, Schema>,
    pub ephemeral_resources: BTreeMap<String, Schema>,
    pub list_resources: BTreeMap<String, Schema>,
    pub actions: BTreeMap<String, Schema>,
    pub functions: BTreeMap<String, Signature>,
    /// By resource type. `required` means required for import, `optional` optional for import.
    pub identities: BTreeMap<String, Schema>,
}

/// ValidateProviderConfig.
#[derive(Clone, Debug, Default)]
pub struct ValidateProviderConfig {
    pub config: Encoded,
}

/// ConfigureProvider.
#[derive(Clone, Debug, Default)]
pub struct ConfigureProvider {
    pub terraform_version: String,
    pub config: Encoded,
    pub capabilities: ClientCapabilities,
}

/// ValidateResourceConfig, ValidateDataResourceConfig, ValidateEphemeralResourceConfig, ValidateListResourceConfig and
/// ValidateActionConfig.
#[derive(Clone, Debug, Default)]
pub struct ValidateConfig {
    pub type_name: String,
    pub config: Encoded,
    pub capabilities: ClientCapabilities,
}

#[derive(Clone, Debug, Default)]
pub struct UpgradeResourceState {
    pub type_name: String,
    pub version: i64,
    /// The stored JSON. The old flatmap form has not been written since Terraform 0.11: refuse it.
    pub json: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
pub struct UpgradedState {
    pub state: Option<Encoded>,
    pub diagnostics: Diagnostics,
}

#[derive(Clone, Debug, Default)]
pub struct UpgradeResourceIdentity {
    pub type_name: String,
    pub version: i64,
    pub json: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
pub struct UpgradedIdentity {
    pub identity: Option<Encoded>,
    pub diagnostics: Diagnostics,
}

#[derive(Clone, Debug, Default)]
pub struct ReadResource {
    pub type_name: String,
    pub current_state: Encoded,
    pub private: Vec<u8>,
    pub current_identity: Option<Encoded>,
    pub capabilities: ClientCapabilities,
}

#[derive(Clone, Debug, Default)]
pub struct ReadResourceResponse {
    pub new_state: Encoded,
    pub diagnostics: Diagnostics,
    pub private: Vec<u8>,
    pub deferred: Option<DeferredReason>,
    pub new_identity: Option<Encoded>,
}

#[derive(Clone, Debug, Default)]
pub struct PlanResourceChange {
    pub type_name: String,
    pub prior_state: Encoded,
    pub proposed_new_state: Encoded,
    pub config: Encoded,
    pub prior_private: Vec<u8>,
    /// From a plan made before (Terraform 1.16), empty otherwise.
    pub planned_private: Vec<u8>,
    pub prior_identity: Option<Encoded>,
    pub capabilities: ClientCapabilities,
}

#[derive(Clone, Debug, Default)]
pub struct PlanResourceChangeResponse {
    pub planned_state: Encoded,
    pub requires_replace: Vec<Path>,
    pub planned_private: Vec<u8>,
    pub diagnostics: Diagnostics,
    pub deferred: Option<DeferredReason>,
    pub planned_identity: Option<Encoded>,
}

#[derive(Clone, Debug, Default)]
pub struct ApplyResourceChange {
    pub type_name: String,
    pub prior_state: Encoded,
    pub planned_state: Encoded,
    pub config: Encoded,
    pub planned_private: Vec<u8>,
    pub planned_identity: Option<Encoded>,
    pub capabilities: ClientCapabilities,
}

#[derive(Clone, Debug, Default)]
pub struct ApplyResourceChangeResponse {
    pub new_state: Encoded,
    pub private: Vec<u8>,
    pub diagnostics: Diagnostics,
    pub new_identity: Option<Encoded>,
}

#[derive(Clone, Debug, Default)]
pub struct ImportResourceState {
    pub type_name: String,
    /// Empty when `identity` is given.
    pub id: String,
    pub identity: Option<Encoded>,
    pub capabilities: ClientCapabilities,
}

#[derive(Clone, Debug, Default)]
pub struct ImportResourceStateResponse {
    pub imported: Vec<ImportedResource>,
    pub diagnostics: Diagnostics,
    pub deferred: Option<DeferredReason>,
}

#[derive(Clone, Debug, Default)]
pub struct ImportedResource {
    pub type_name: String,
    pub state: Encoded,
    pub private: Vec<u8>,
    pub identity: Option<Encoded>,
}

#[derive(Clone, Debug, Default)]
pub struct MoveResourceState {
    pub source_provider_address: String,
    pub source_type_name: String,
    pub source_schema_version: i64,
    /// The stored JSON.
    pub source_state: Vec<u8>,
    pub target_type_name: String,
}

#[derive(Clone, Debug, Default)]
pub struct MoveResourceStateResponse {
    pub target_state: Option<Encoded>,
    pub target_private: Vec<u8>,
    pub target_identity: Option<Encoded>,
    pub diagnostics: Diagnostics,
}

#[derive(Clone, Debug, Default)]
pub struct ReadDataSource {
    pub type_name: String,
    pub config: Encoded,
    pub capabilities: ClientCapabilities,
}

#[derive(Clone, Debug, Default)]
pub struct ReadDataSourceResponse {
    pub state: Encoded,
    pub diagnostics: Diagnostics,
    pub deferred: Option<DeferredReason>,
}

#[derive(Clone, Debug, Default)]
pub struct CallFunction {
    pub name: String,
    pub arguments: Vec<Encoded>,
}

#[derive(Clone, Debug)]
pub struct CallFunctionResponse {
    pub result: Result<Encoded, FunctionError>,
}

#[derive(Clone, Debug, Default)]
pub struct OpenEphemeralResource {
    pub type_name: String,
    pub config: Encoded,
    pub capabilities: ClientCapabilities,
}

#[derive(Clone, Debug, Default)]
pub struct OpenEphemeralResourceResponse {
    pub result: Encoded,
    pub private: Vec<u8>,
    pub renew_at: Option<SystemTime>,
    pub diagnostics: Diagnostics,
    pub deferred: Option<DeferredReason>,
}

/// RenewEphemeralResource and CloseEphemeralResource.
#[derive(Clone, Debug, Default)]
pub struct EphemeralResource {
    pub type_name: String,
    pub private: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
pub struct RenewEphemeralResourceResponse {
    pub private: Vec<u8>,
    pub renew_at: Option<SystemTime>,
    pub diagnostics: Diagnostics,
}

#[derive(Clone, Debug, Default)]
pub struct ListResource {
    pub type_name: String,
    pub config: Encoded,
    pub include_resource_object: bool,
    /// At most this many; 0 or less for the default.
    pub limit: i64,
}

/// One event of the stream that ListResource answers with. One without identity carries only diagnostics.
#[derive(Clone, Debug, Default)]
pub struct ListResourceEvent {
    pub identity: Option<Encoded>,
    pub display_name: String,
    pub resource_object: Option<Encoded>,
    pub diagnostics: Diagnostics,
}

#[derive(Clone, Debug, Default)]
pub struct GenerateResourceConfig {
    pub type_name: String,
    pub state: Encoded,
}

#[derive(Clone, Debug, Default)]
pub struct GenerateResourceConfigResponse {
    pub config: Encoded,
    pub diagnostics: Diagnostics,
}

/// PlanAction and InvokeAction.
#[derive(Clone, Debug, Default)]
pub struct Action {
    pub type_name: String,
    pub config: Encoded,
    pub capabilities: ClientCapabilities,
}

#[derive(Clone, Debug, Default)]
pub struct PlanActionResponse {
    pub diagnostics: Diagnostics,
    pub deferred: Option<DeferredReason>,
}

/// One event of the stream that InvokeAction answers with. The last one is that it is completed.
#[derive(Clone, Debug)]
pub enum InvokeActionEvent {
    Progress(String),
    Completed(Diagnostics),
}
