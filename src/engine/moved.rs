//! `moved` blocks from another type: of this provider or another. The core asks for the new state before the provider
//! is configured, so that the state only says which object is meant. Private data say so, and the refresh that follows
//! reads the object as an import does.

use super::context::{Call, caught};
use super::erased::{ErasedResource, Outcome, flatten};
use super::resource::{Import, Moved};
use super::rpc::{MoveResourceState, MoveResourceStateResponse};
use super::server::Engine;
use super::{timeouts, wire};
use crate::diag::{Diagnostic, Diagnostics};
use crate::value::Dyn;

/// The private data of what was moved and has not been read. No resource writes such.
const UNREAD: &[u8] = b"{\"moved\":\"unread\"}";

/// Whether a state is of a `moved` block, and nothing of the object has been read.
pub(super) fn is_unread(private: &[u8]) -> bool {
    private == UNREAD
}

/// A plan without a refresh knows nothing of the object, and would call all of it a change.
pub(super) fn unread() -> Diagnostic {
    Diagnostic::error("A moved resource has not been read").detail(
        "A `moved` block has brought this resource from another type, and only a refresh can say what there is of it. Plan without `-refresh=false`.",
    )
}

/// Reads what was moved: finds the object, imports it, and reads it as after an import.
pub(super) async fn read(resource: &dyn ErasedResource, call: &Call, state: Dyn) -> Outcome {
    let (identity, mut said) = match resource.find(call, state).await {
        Ok(found) => found,
        Err(diagnostics) => return Outcome::failed(diagnostics),
    };
    let mut imported = resource.import(call, Import::Identity(identity)).await;
    said.append(std::mem::take(&mut imported.diagnostics));
    let Some(mut state) = imported.value.take().filter(|_| !said.has_errors()) else {
        return Outcome { diagnostics: said, ..imported };
    };
    state.set_attr(timeouts::ATTRIBUTE, Dyn::Null);
    let mut read = resource.read(call, wire::without_unknowns(state), imported.private).await;
    said.append(std::mem::take(&mut read.diagnostics));
    read.diagnostics = said;
    if read.value.is_none() && !read.diagnostics.has_errors() {
        read.diagnostics.push(Diagnostic::error("What was moved is gone").detail(
            "The object that the `moved` block is about was there a moment ago, and is not there now. Plan again.",
        ));
    }
    read
}

impl Engine {
    pub async fn move_resource_state(&self, request: MoveResourceState) -> MoveResourceStateResponse {
        let mut response = MoveResourceStateResponse::default();
        if let Err(diagnostics) = self.moved(request, &mut response).await {
            response.diagnostics.append(diagnostics);
        }
        response
    }

    async fn moved(
        &self,
        request: MoveResourceState,
        response: &mut MoveResourceStateResponse,
    ) -> Result<(), Diagnostics> {
        let entry = self.entry(&request.target_type_name)?;
        let MoveResourceState { source_provider_address: provider, source_type_name: type_name, .. } = request;
        let source = format!("{type_name} of {provider}");
        let moved = Moved {
            provider,
            type_name,
            version: request.source_schema_version,
            state: wire::parsed(&request.source_state)?,
        };
        let resource = entry.resource.clone();
        let adopted = flatten(caught("moving", async move { resource.adopt(moved) }).await)?;
        let Some(mut state) = adopted else {
            return Err(Diagnostic::error("Move not supported")
                .detail(format!(
                    "{0} cannot take over the state of {source}. Replace the `moved` block by a `removed` block for the other resource, with `lifecycle {{ destroy = false }}`, and an `import` block for this \
                     one; the page of {0} says what its id is.",
                    request.target_type_name
                ))
                .into());
        };
        state.set_attr(timeouts::ATTRIBUTE, Dyn::Null);
        let state = wire::without_unknowns(wire::without_write_only(state, &entry.schema.attributes));
        response.target_state = wire::encode(&state, &entry.schema.ty(), &mut response.diagnostics);
        response.target_private = UNREAD.to_vec();
        Ok(())
    }
}
