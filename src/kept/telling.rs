//! What charts are told about the cluster they are for: asked for by a refresh, remembered beside the state, and told
//! alike by every plan and the apply that follows.

use super::memory::Memory;
use super::render;
use super::told::{Answers, Told};
use crate::chart::Asks;
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

/// Why charts could not be rendered.
#[derive(Debug)]
pub enum Unrendered {
    Refused(render::Error),
    /// The cluster was to say what a kind is, and gave no answer.
    Unanswered(Error),
}

impl Unrendered {
    /// What it means to the user.
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            Unrendered::Refused(error) => render::diagnostic(error),
            Unrendered::Unanswered(error) => Diagnostic::from(error),
        }
    }
}

/// What a plan tells the charts; `None` where only the apply can know.
///
/// What nobody remembers, as before the first apply, is asked for now: a version does not change between a plan and its
/// apply. What a cluster serves may, since the apply itself may bring definitions.
pub async fn planned(memory: &mut Memory, planning: Planning) -> Option<Answers> {
    let Planning { cluster, is_new, asks } = planning;
    let remembered = memory.tells().clone();
    if asks.is_nothing() || !is_new && remembered.answers(asks) {
        return Some(tell(memory, remembered, asks));
    }
    // What was remembered is no answer, and the apply is to ask.
    memory.tell(remembered.clone().only(Asks::default()));
    if asks.api_versions {
        return None;
    }
    let told = remembered.ask(&cluster?, asks).await.ok()?;
    Some(tell(memory, told, asks))
}

/// What an apply tells them: what its plan did, where that was known.
pub async fn to_apply(memory: &mut Memory, cluster: &Cluster, asks: Asks) -> Result<Answers, Error> {
    let told = match memory.tells().clone() {
        told if told.answers(asks) => told,
        told => told.ask(cluster, asks).await?,
    };
    let answers = tell(memory, told, asks);
    memory.note_told();
    Ok(answers)
}

/// Renders, and asks what each kind is that neither the table nor a definition among what is rendered knows. Nobody
/// changes what a kind is, so it is remembered, and a plan and its apply come to the same.
pub async fn rendered<T>(
    memory: &mut Memory,
    cluster: &Cluster,
    mut answers: Answers,
    mut render: impl FnMut(&Answers) -> Result<T, render::Error>,
) -> Result<T, Unrendered> {
    loop {
        let unknown = match render(&answers) {
            Err(render::Error::Kind(unknown)) => unknown,
            rendered => return rendered.map_err(Unrendered::Refused),
        };
        match cluster.kind(&unknown.api_version, &unknown.kind).await {
            Ok(kind) => {
                answers.kinds.add(&kind);
                memory.learn(&kind);
            }
            Err(error) if error.is_unknown_kind() => {
                let cluster = cluster.name().to_owned();
                return Err(Unrendered::Refused(render::Error::NotServed { unknown, cluster }));
            }
            Err(error) => return Err(Unrendered::Unanswered(error)),
        }
    }
}

/// Asks anew what the charts were told. A cluster that does not answer is taken for what it was.
pub async fn refresh(memory: &mut Memory, cluster: &Cluster) {
    let tells = memory.tells().clone();
    if tells != Told::default()
        && let Ok(told) = tells.ask_again(cluster).await
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

fn tell(memory: &mut Memory, told: Told, asks: Asks) -> Answers {
    let told = told.only(asks);
    let answers = told.answers_to_charts();
    memory.tell(told);
    answers
}
