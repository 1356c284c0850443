//! What the protocol knows and this provider does not offer: state stores. A core asks only for what the schema lists,
//! so these answers are for one that asks all the same.

use super::wire::{self, Answer};
use crate::diag::Diagnostic;
use crate::engine::Engine;
use crate::plugin::proto::tfplugin6 as pb;

macro_rules! not_offered {
    ($($rpc:ident)*) => {
        $(
            pub(super) async fn $rpc(_: &Engine, _: pb::$rpc::Request) -> pb::$rpc::Response {
                pb::$rpc::Response::failed(refusal())
            }
        )*
    };
}

not_offered! {
    validate_state_store_config configure_state_store lock_state unlock_state get_states delete_state
}

pub(super) fn read_state_bytes() -> pb::read_state_bytes::ResponseChunk {
    pb::read_state_bytes::ResponseChunk { diagnostics: vec![refusal()], ..Default::default() }
}

pub(super) fn write_state_bytes() -> pb::write_state_bytes::Response {
    pb::write_state_bytes::Response::failed(refusal())
}

fn refusal() -> pb::Diagnostic {
    wire::diagnostic(Diagnostic::error("Not offered").detail("This provider offers no state stores."))
}
