//! What there is to say of a plan: a file for each subject, which fills its table and names the risks it sees.

mod attributes;
mod balancers;
mod changes;
mod checks;
mod control;
mod door;
mod doors;
mod drift;
mod identities;
mod links;
mod places;
mod restarts;
mod rights;
mod rules;
mod tokens;
mod trust;
mod unknown;
mod values;
mod versions;

use std::collections::BTreeSet;

use super::objects::{self, Objects};
use super::read::{Action, InCluster, Instance, Plan, Schemas, Type};
use super::risk::{self, Level, Risk};
use super::section::Section;
use super::text::Prose;
use super::topology::{Topology, UNKNOWN};

pub use attributes::paths as judged_attributes;
pub use restarts::Restarts;
pub use trust::Trust;

pub struct Facts {
    pub risks: Vec<Risk>,
    pub sections: Vec<Section>,
    pub restarts: Restarts,
    pub trust: Trust,
    /// Differences that a refresh found and nobody planned.
    pub drift: usize,
    /// Certificates and tokens that are renewed as planned.
    pub renewals: usize,
}

/// What every subject looks at, and where it puts risks.
struct Cx<'a> {
    plan: &'a Plan,
    topology: &'a Topology,
    schemas: &'a Schemas,
    /// Of each instance, in the plan's order.
    objects: Vec<Vec<Objects>>,
    risks: Vec<Risk>,
    drift: usize,
    renewals: usize,
}

pub fn facts(plan: &Plan, topology: &Topology, schemas: &Schemas) -> Facts {
    let objects = plan.instances.iter().map(objects::of).collect();
    let mut cx = Cx { plan, topology, schemas, objects, risks: Vec::new(), drift: 0, renewals: 0 };
    let trust = trust::of_plan(&mut cx);
    let restarts = restarts::of_plan(&mut cx);
    control::of_plan(&mut cx);
    identities::of_plan(&mut cx);
    let versions = versions::of_plan(&mut cx);
    links::of_plan(&mut cx);
    places::of_plan(&mut cx);
    attributes::of_plan(&mut cx);
    let sections = vec![
        trust.section.clone(),
        restarts.section.clone(),
        doors::of_plan(&mut cx),
        rights::of_plan(&mut cx),
        tokens::of_plan(&mut cx),
        drift::of_plan(&mut cx),
        versions,
        checks::of_plan(&mut cx),
        unknown::of_plan(&mut cx),
        changes::settings(&cx),
        changes::objects(&mut cx),
    ];
    let sections = sections.into_iter().filter(|section| !section.rows.is_empty()).collect();
    Facts { risks: cx.risks, sections, restarts, trust, drift: cx.drift, renewals: cx.renewals }
}

impl<'a> Cx<'a> {
    /// Of a kind; those left over from earlier replacements are not among them.
    fn of(&self, kind: Type) -> impl Iterator<Item = &'a Instance> + use<'a> {
        self.plan.instances.iter().filter(move |instance| instance.kind == kind && !instance.deposed)
    }

    fn objects_of(&self) -> impl Iterator<Item = (&'a Instance, &Vec<Objects>)> {
        self.plan.instances.iter().zip(&self.objects)
    }

    fn risk(&mut self, kind: &'static risk::RiskKind, instance: &Instance, what: impl Into<Prose>) -> &mut Risk {
        let risk = self.risk_at(kind, &instance.address, what).of_all(clusters(instance));
        risk.formerly.clone_from(&instance.previous_address);
        risk
    }

    /// Of no resource.
    fn risk_at(&mut self, kind: &'static risk::RiskKind, address: &str, what: impl Into<Prose>) -> &mut Risk {
        self.risks.push(Risk {
            kind,
            level: kind.level,
            clusters: BTreeSet::new(),
            address: address.to_owned(),
            formerly: None,
            what: what.into(),
            before: Prose::default(),
            after: Prose::default(),
            accepted: None,
            policy: None,
        });
        let last = self.risks.len() - 1;
        &mut self.risks[last]
    }

    /// Nothing of the mesh is left, and no other state keeps clusters of it.
    fn all_goes(&self) -> bool {
        let Topology { before, after } = self.topology;
        !before.clusters.is_empty() && after.clusters.is_empty() && before.is_whole()
    }
}

/// Whether two ids can be those of one mesh: an id that is not known can be any.
fn are_one(one: Option<&str>, other: Option<&str>) -> bool {
    one.zip(other).is_none_or(|(one, other)| one == other)
}

impl Risk {
    fn of(&mut self, cluster: &str) -> &mut Self {
        self.of_all([cluster])
    }

    fn of_all<'a>(&mut self, clusters: impl IntoIterator<Item = &'a str>) -> &mut Self {
        self.clusters = clusters.into_iter().filter(|name| !name.is_empty()).map(str::to_owned).collect();
        self
    }

    fn at(&mut self, level: Level) -> &mut Self {
        self.level = level;
        self
    }

    fn sides(&mut self, before: impl Into<Prose>, after: impl Into<Prose>) -> &mut Self {
        (self.before, self.after) = (before.into(), after.into());
        self
    }
}

/// The cluster that a resource is of, and was of; all those that an authority signs for.
fn clusters(instance: &Instance) -> BTreeSet<&str> {
    let mut clusters: BTreeSet<&str> = instance.cluster().into_iter().chain(instance.left_cluster()).collect();
    // Where it goes may be known after the apply only, or be hidden.
    if instance.left_cluster().is_some() && instance.cluster().is_none() {
        clusters.insert(UNKNOWN);
    }
    if instance.kind == Type::Ca {
        if instance.after().get("clusters").is_unknown() {
            clusters.insert(UNKNOWN);
        }
        clusters.extend(
            [instance.before(), instance.after()]
                .into_iter()
                .flat_map(|side| side.get("clusters").entries().into_keys()),
        );
    }
    clusters
}

impl Instance {
    fn changes(&self) -> bool {
        self.action != Action::None || self.importing
    }

    /// A flag that the plan raises. What is created beside its predecessor, or in another cluster, raises its own.
    fn raises(&self, flag: &str) -> bool {
        let raised = |one: InCluster<'_>| one.after.get(flag).flag() && !one.before.get(flag).flag();
        self.action != Action::None && self.in_clusters().into_iter().any(raised)
    }
}
