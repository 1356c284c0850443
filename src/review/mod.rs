//! The plan review: one page that says what a plan does to the mesh, what can break, and who must look.
//!
//! Pure but for the command that reads the plan: no cluster, no credential, no clock. It knows the resources by their
//! schemas alone, and believes nothing of what it reads: a plan may have been made by whoever opened the pull request.

mod blank;
mod command;
mod doubts;
mod find;
mod fit;
mod instance;
mod objects;
mod page;
mod picture;
mod policy;
mod read;
mod reading;
pub mod risk;
mod secrets;
mod section;
mod text;
mod topology;
mod verdict;
mod whose;

use serde_json::Value;

pub use command::{USAGE, run};
pub use find::judged_attributes;
pub use page::{Format, anchor};
pub use policy::Policy;
pub use read::Schemas;

use risk::{Level, Risk};
use secrets::Hider;
use section::Section;
use text::Prose;
use topology::Topology;

/// Why a plan cannot be reviewed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the plan is empty: did `show -json` fail?")]
    Empty,
    #[error(
        "this is a saved plan itself: give what `terraform show -json FILE` or `tofu show -json FILE` prints of it"
    )]
    Binary,
    #[error("this is the log of `plan -json`: save the plan with `-out=FILE`, and give what `show -json FILE` prints")]
    Stream,
    #[error("this is a state: give what `show -json FILE` prints of a saved plan")]
    State,
    #[error("this is not a plan in JSON: give what `show -json FILE` prints of a saved plan")]
    NotAPlan,
    #[error("the plan is not JSON (line {line}, column {column}): give what `show -json FILE` prints of a saved plan")]
    NotJson { line: usize, column: usize },
    #[error("the plan is of the format {0}, which this version does not know")]
    Format(String),
    #[error(
        "the plan marks more than {0} MiB of text as sensitive: so much cannot be looked for, and what is not looked for could appear on the page"
    )]
    TooManySecrets(usize),
    #[error("the policy cannot be read: {0}")]
    Policy(String),
}

/// What a plan does to the mesh.
#[derive(Debug)]
pub struct Review {
    /// One line.
    pub verdict: Prose,
    /// The plan has resources of the mesh.
    pub concerns_mesh: bool,
    pub risks: Vec<Risk>,
    pub topology: Topology,
    pub sections: Vec<Section>,
    /// What a refresh found changed by others, and did not expect.
    pub drift: usize,
    /// What was planned to be renewed, and is.
    pub renewals: usize,
    /// Version of the program that made the plan, and when.
    pub made_by: String,
    pub made_at: String,
}

impl Review {
    /// Reviews what `show -json` printed of a saved plan.
    pub fn of(plan: &[u8], policy: &Policy, schemas: &Schemas) -> Result<Self, Error> {
        let (mut plan, secrets) = read::read(plan, schemas)?;
        let topology = Topology::of(&plan);
        let hider = secrets.hider();
        if topology.names().into_iter().any(|name| hider.hides(name)) {
            plan.doubts.push(
                "it marks names of clusters or networks as sensitive in another place, so the page shows numbers for them"
                    .into(),
            );
        }
        let facts = find::facts(&plan, &topology, schemas);
        let mut risks = facts.risks;
        policy.apply(&mut risks, plan.timestamp.as_deref());
        risks.sort_by(|a, b| {
            (b.counts(), b.level, a.kind.number, &a.clusters).cmp(&(a.counts(), a.level, b.kind.number, &b.clusters))
        });
        let verdict = verdict::verdict(&verdict::Input {
            plan: &plan,
            topology: &topology,
            risks: &risks,
            restarts: &facts.restarts,
            trust: &facts.trust,
            drift: facts.drift,
            renewals: facts.renewals,
        });
        let whole = Self {
            verdict,
            concerns_mesh: plan.concerns_mesh(),
            risks,
            topology,
            sections: facts.sections,
            drift: facts.drift,
            renewals: facts.renewals,
            made_by: plan.version,
            made_at: plan.timestamp.unwrap_or_default(),
        };
        Ok(whole.hidden(&hider))
    }

    /// Without what the plan marks as sensitive: the one way out. A new member does not compile before it is here.
    fn hidden(self, hider: &Hider<'_>) -> Self {
        let Self { verdict, concerns_mesh, risks, topology, sections, drift, renewals, made_by, made_at } = self;
        let text = |text: &str| hider.hidden(text);
        let prose = |prose: Prose| prose.renamed(&text);
        let section = |section: Section| {
            let rows = section.rows.into_iter().map(|row| row.into_iter().map(prose).collect()).collect();
            Section { rows, ..section }
        };
        Self {
            verdict: prose(verdict),
            concerns_mesh,
            risks: risks.into_iter().map(|risk| risk.renamed(&text)).collect(),
            topology: topology.renamed(&text),
            sections: sections.into_iter().map(section).collect(),
            drift,
            renewals,
            made_by: text::clean(&text(&made_by)),
            made_at: text::clean(&text(&made_at)),
        }
    }

    /// The highest level of those that nobody has accepted.
    pub fn level(&self) -> Option<Level> {
        self.risks.iter().filter(|risk| risk.counts()).map(|risk| risk.level).max()
    }

    /// In a format, in no more than so many bytes.
    pub fn written(&self, format: Format, most: usize) -> String {
        page::written(self, format, most)
    }

    pub fn json(&self) -> Value {
        page::json(self)
    }
}

impl Risk {
    /// With other names.
    fn renamed(self, text: &dyn Fn(&str) -> String) -> Self {
        let Self { kind, level, clusters, address, formerly, what, before, after, accepted, policy } = self;
        Self {
            kind,
            level,
            clusters: clusters.iter().map(|name| text(name)).collect(),
            address: text(&address),
            formerly: formerly.map(|address| text(&address)),
            what: what.renamed(text),
            before: before.renamed(text),
            after: after.renamed(text),
            accepted: accepted.map(|reason| reason.renamed(text)),
            policy: policy.map(|words| words.renamed(text)),
        }
    }

    /// Nobody has accepted it.
    pub fn counts(&self) -> bool {
        self.accepted.is_none()
    }
}
