//! What charts are told about the cluster they are for: asked for by a refresh, remembered beside the state, and told
//! alike by every plan and the apply that follows.

use super::memory::Memory;
use super::told::Told;
use crate::chart::{Asks, Capabilities};
use crate::cluster::{Cluster, Error};
use crate::diag::Diagnostic;

/// What is known when a plan asks what to tell.
#[derive(Clone, Debug)]
pub struct Planning {
    /// `None` where it is not known which one.
    pub cluster: Option<Cluster>,
    pub is_new: bool,
    /// By the charts.
    pub asks: Asks,
}

/// What a plan tells the charts; `None` where only the apply can know.
///
/// What nobody remembers, as before the first apply, is asked for now: a version does not change between a plan and its
/// apply. What a cluster serves may, since the apply itself may bring definitions.
pub async fn planned(memory: &mut Memory, planning: Planning) -> Option<Capabilities> {
    let Planning { cluster, is_new, asks } = planning;
    let remembered = memory.tells().clone();
    if asks.is_nothing() || !is_new && remembered.answers(asks) {
        return Some(tell(memory, remembered, asks));
    }
    // What was remembered is no answer, and the apply is to ask.
    memory.tell(Told::default());
    if asks.api_versions {
        return None;
    }
    let told = Told::ask(&cluster?, asks).await.ok()?;
    Some(tell(memory, told, asks))
}

/// What an apply tells them: what its plan did, where that was known.
pub async fn to_apply(memory: &mut Memory, cluster: &Cluster, asks: Asks) -> Result<Capabilities, Error> {
    let told = match memory.tells() {
        told if told.answers(asks) => told.clone(),
        _ => Told::ask(cluster, asks).await?,
    };
    let capabilities = tell(memory, told, asks);
    memory.note_told();
    Ok(capabilities)
}

/// Asks anew what the charts were told. A cluster that does not answer is taken for what it was.
pub async fn refresh(memory: &mut Memory, cluster: &Cluster) {
    let asks = memory.tells().asks();
    if !asks.is_nothing()
        && let Ok(told) = Told::ask(cluster, asks).await
    {
        memory.tell(told);
    }
}

/// Says that the cluster, and not the configuration, may be why objects change.
pub fn explained(memory: &Memory, cluster: &str) -> Option<Diagnostic> {
    let since = memory.told_since()?;
    Some(Diagnostic::warning(format!("The charts ask about cluster {cluster}, which has changed")).detail(format!(
        "{since}. Some of what this plan changes may come from that and not from the configuration; `changes` has the fields."
    )))
}

fn tell(memory: &mut Memory, told: Told, asks: Asks) -> Capabilities {
    let told = told.only(asks);
    let capabilities = told.capabilities();
    memory.tell(told);
    capabilities
}
