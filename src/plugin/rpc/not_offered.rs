//! What the protocol knows and this provider does not offer: actions and state stores. A core asks only for what the
//! schema lists, so these answers are for one that asks all the same.

use super::wire::{self, Answer};
use crate::diag::Diagnostic;
use crate::engine::Engine;
use crate::plugin::proto::tfplugin6 as pb;

macro_rules! not_offered {
    ($($rpc:ident: $what:literal;)*) => {
        $(
            pub(super) async fn $rpc(_: &Engine, _: pb::$rpc::Request) -> pb::$rpc::Response {
                pb::$rpc::Response::failed(refusal($what))
            }
        )*
    };
}

not_offered! {
    validate_action_config: "actions";
    plan_action: "actions";
    validate_state_store_config: "state stores";
    configure_state_store: "state stores";
    lock_state: "state stores";
    unlock_state: "state stores";
    get_states: "state stores";
    delete_state: "state stores";
}

pub(super) fn invoke_action(_: &pb::invoke_action::Request) -> pb::invoke_action::Event {
    use pb::invoke_action::event::{Completed, Type};

    let completed = Completed { diagnostics: vec![refusal("actions")] };
    pb::invoke_action::Event { r#type: Some(Type::Completed(completed)) }
}

pub(super) fn read_state_bytes(_: &pb::read_state_bytes::Request) -> pb::read_state_bytes::ResponseChunk {
    pb::read_state_bytes::ResponseChunk { diagnostics: vec![refusal("state stores")], ..Default::default() }
}

pub(super) fn write_state_bytes() -> pb::write_state_bytes::Response {
    pb::write_state_bytes::Response::failed(refusal("state stores"))
}

fn refusal(what: &str) -> pb::Diagnostic {
    wire::diagnostic(Diagnostic::error("Not offered").detail(format!("This provider offers no {what}.")))
}
