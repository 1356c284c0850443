//! Between the protocol's messages and the engine's vocabulary.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::task::JoinError;

use crate::diag::{Diagnostic, Diagnostics, Severity};
use crate::engine::DeferredReason;
use crate::engine::rpc::{ClientCapabilities, Encoded};
use crate::plugin::mask;
use crate::plugin::proto::google::protobuf::Timestamp;
use crate::plugin::proto::tfplugin6 as pb;
use crate::value::{Path, Step};

/// The message that every RPC must be able to answer with: what went wrong.
pub(super) trait Answer {
    fn failed(diagnostic: pb::Diagnostic) -> Self;

    fn diagnostics(&self) -> &[pb::Diagnostic];
}

macro_rules! answers {
    ($($rpc:ident)*) => {
        $(
            impl Answer for pb::$rpc::Response {
                #[allow(clippy::needless_update, reason = "some of the messages have no other field")]
                fn failed(diagnostic: pb::Diagnostic) -> Self {
                    Self { diagnostics: vec![diagnostic], ..Self::default() }
                }

                fn diagnostics(&self) -> &[pb::Diagnostic] {
                    &self.diagnostics
                }
            }
        )*
    };
}

answers! {
    get_metadata get_provider_schema get_resource_identity_schemas get_functions
    validate_provider_config configure_provider
    validate_resource_config upgrade_resource_state upgrade_resource_identity read_resource plan_resource_change
    apply_resource_change import_resource_state move_resource_state generate_resource_config
    validate_data_resource_config read_data_source
    validate_ephemeral_resource_config open_ephemeral_resource renew_ephemeral_resource close_ephemeral_resource
    validate_list_resource_config validate_action_config plan_action
    validate_state_store_config configure_state_store lock_state unlock_state get_states delete_state write_state_bytes
}

impl Answer for pb::call_function::Response {
    fn failed(diagnostic: pb::Diagnostic) -> Self {
        let text = format!("{}: {}", diagnostic.summary, diagnostic.detail);
        Self { result: None, error: Some(pb::FunctionError { text, function_argument: None }) }
    }

    fn diagnostics(&self) -> &[pb::Diagnostic] {
        &[]
    }
}

impl Answer for pb::stop_provider::Response {
    fn failed(diagnostic: pb::Diagnostic) -> Self {
        Self { error: diagnostic.summary }
    }

    fn diagnostics(&self) -> &[pb::Diagnostic] {
        &[]
    }
}

pub(super) fn panicked(rpc: &str, error: &JoinError) -> pb::Diagnostic {
    let what = if error.is_panic() { "panicked" } else { "was given up" };
    diagnostic(Diagnostic::bug(format!("The provider {what} while it answered {rpc}. Its log says where.")))
}

/// Only what the user will read anyway, and not the detail, which may quote much.
pub(super) fn log_diagnostics(diagnostics: &[pb::Diagnostic]) {
    for diagnostic in diagnostics {
        if diagnostic.severity == pb::diagnostic::Severity::Error as i32 {
            tracing::error!(diagnostic_summary = diagnostic.summary, "the answer is an error");
        } else {
            tracing::debug!(diagnostic_summary = diagnostic.summary, "the answer has a warning");
        }
    }
}

pub(super) fn diagnostics(diagnostics: Diagnostics) -> Vec<pb::Diagnostic> {
    diagnostics.into_iter().map(diagnostic).collect()
}

pub(super) fn diagnostic(diagnostic: Diagnostic) -> pb::Diagnostic {
    let severity = match diagnostic.severity {
        Severity::Error => pb::diagnostic::Severity::Error,
        Severity::Warning => pb::diagnostic::Severity::Warning,
    };
    // An empty path is not the same as none: only none stands for the whole body.
    let path = diagnostic.path.filter(|path| !path.is_empty());
    let detail = match &path {
        Some(path) => placed(diagnostic.detail, path),
        None => diagnostic.detail,
    };
    pb::Diagnostic {
        severity: severity.into(),
        summary: mask::secrets(&diagnostic.summary).into_owned(),
        detail: mask::secrets(&detail).into_owned(),
        attribute: path.as_ref().map(self::path),
    }
}

/// Both cores point at an attribute of the body, but no deeper: of `clusters["east"].host` the user sees the block
/// only. So the text says where.
fn placed(detail: String, path: &Path) -> String {
    let place = path.to_string();
    if path.steps().len() < 2 || detail.contains(&place) {
        return detail;
    }
    let gap = if detail.is_empty() { "" } else { "\n\n" };
    format!("{detail}{gap}Attribute: {place}")
}

pub(super) fn path(path: &Path) -> pb::AttributePath {
    use pb::attribute_path::step::Selector;

    let step = |step: &Step| {
        let selector = match step {
            Step::Attr(name) => Selector::AttributeName(name.clone()),
            Step::Key(key) => Selector::ElementKeyString(key.clone()),
            Step::Index(index) => Selector::ElementKeyInt(i64::try_from(*index).unwrap_or(i64::MAX)),
        };
        pb::attribute_path::Step { selector: Some(selector) }
    };
    pb::AttributePath { steps: path.steps().iter().map(step).collect() }
}

pub(super) fn decoded(value: Option<pb::DynamicValue>) -> Encoded {
    let pb::DynamicValue { msgpack, json } = value.unwrap_or_default();
    Encoded { msgpack, json }
}

pub(super) fn encoded(value: Encoded) -> Option<pb::DynamicValue> {
    /// msgpack's nil: null, said in as many words as the cores' own servers use.
    const NIL: u8 = 0xc0;

    let Encoded { mut msgpack, json } = value;
    if msgpack.is_empty() && json.is_empty() {
        msgpack.push(NIL);
    }
    Some(pb::DynamicValue { msgpack, json })
}

pub(super) fn decoded_identity(identity: Option<pb::ResourceIdentityData>) -> Option<Encoded> {
    identity.and_then(|identity| identity.identity_data).map(|value| decoded(Some(value)))
}

pub(super) fn encoded_identity(identity: Option<Encoded>) -> Option<pb::ResourceIdentityData> {
    identity.map(|value| pb::ResourceIdentityData { identity_data: encoded(value) })
}

/// The JSON of a stored state. The flat form that Terraform wrote before 0.12 is none of this provider's.
pub(super) fn raw(state: Option<pb::RawState>) -> Result<Vec<u8>, Diagnostic> {
    let pb::RawState { json, flatmap } = state.unwrap_or_default();
    if json.is_empty() && !flatmap.is_empty() {
        return Err(Diagnostic::error("State of an unknown form").detail(
            "The stored state has the form that Terraform wrote before version 0.12, which this provider never used. \
             The state file was changed by something else; restore it from a backup.",
        ));
    }
    Ok(json)
}

pub(super) fn capabilities(capabilities: Option<pb::ClientCapabilities>) -> ClientCapabilities {
    let capabilities = capabilities.unwrap_or_default();
    ClientCapabilities {
        deferral_allowed: capabilities.deferral_allowed,
        write_only_attributes_allowed: capabilities.write_only_attributes_allowed,
        ..ClientCapabilities::default()
    }
}

pub(super) fn deferred(reason: Option<DeferredReason>) -> Option<pb::Deferred> {
    let reason = match reason? {
        DeferredReason::ResourceConfigUnknown => pb::deferred::Reason::ResourceConfigUnknown,
        DeferredReason::ProviderConfigUnknown => pb::deferred::Reason::ProviderConfigUnknown,
        DeferredReason::AbsentPrerequisite => pb::deferred::Reason::AbsentPrereq,
    };
    Some(pb::Deferred { reason: reason.into() })
}

pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagnostic_carries_its_path_and_no_key() {
        let path = Path::root("clusters").key("east").attr("hosts").index(2);
        let sent = diagnostic(Diagnostic::error("bad").detail("-----BEGIN PRIVATE KEY-----\nMHc").at(path));
        assert_eq!(sent.detail, "(hidden)");
        let deep = diagnostic(Diagnostic::error("bad").detail("So it is.").at(Path::root("clusters").key("east")));
        assert_eq!(deep.detail, "So it is.\n\nAttribute: clusters[\"east\"]");
        let steps = sent.attribute.unwrap().steps;
        assert_eq!(steps.len(), 4);
        assert_eq!(diagnostic(Diagnostic::error("bad")).attribute, None);
    }

    #[test]
    fn null_is_sent_as_nil() {
        assert_eq!(encoded(Encoded::default()).unwrap().msgpack, [0xc0]);
    }

    #[test]
    fn flat_state_is_refused() {
        let flatmap = [("id".to_owned(), "x".to_owned())].into();
        assert!(raw(Some(pb::RawState { json: Vec::new(), flatmap })).is_err());
        assert_eq!(raw(Some(pb::RawState { json: b"{}".to_vec(), flatmap: Default::default() })).unwrap(), b"{}");
    }
}
