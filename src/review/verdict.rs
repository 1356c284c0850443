//! The whole plan in one line.

use super::find::{Restarts, Trust};
use super::read::{Action, Instance, Plan, Type};
use super::risk::{Level, Risk};
use super::text::{Name, Prose, count, names};
use super::topology::{Mesh, Topology};

pub struct Input<'a> {
    pub plan: &'a Plan,
    pub topology: &'a Topology,
    pub risks: &'a [Risk],
    pub restarts: &'a Restarts,
    pub trust: &'a Trust,
    pub drift: usize,
    pub renewals: usize,
}

pub fn verdict(input: &Input<'_>) -> Prose {
    let Input { plan, .. } = input;
    if !plan.concerns_mesh() {
        let others = others(plan);
        let others = if others.is_empty() { others } else { format!(": {others}") };
        return match plan.is_partial {
            true => format!("Nothing that can be read in this plan is of the mesh{others}; something cannot be told."),
            false => format!("Nothing in this plan is of the mesh{others}."),
        }
        .into();
    }
    let clauses = [
        mesh(input),
        networks(plan),
        versions(plan),
        restarts(input.restarts),
        touched(input),
        input.trust.words.to_string(),
        invoked(plan),
        drift(input),
        others(plan),
        risks(input.risks),
    ];
    let clauses: Vec<String> = clauses.into_iter().filter(|clause| !clause.is_empty()).collect();
    format!("{}.", clauses.join("; ")).into()
}

fn mesh(input: &Input<'_>) -> String {
    let topology = input.topology;
    let (joining, leaving) = (topology.joining(), topology.leaving());
    let (before, after) = (topology.before.clusters.len(), topology.after.clusters.len());
    let imports = input.plan.instances.iter().filter(|instance| instance.importing).count();
    if imports > 0 && joining.is_empty() && leaving.is_empty() {
        return format!("{} of a mesh of {} imported", count(imports, "resource"), count(after, "cluster"));
    }
    match (before, after) {
        (0, 0) => String::new(),
        (0, _) if !joining.is_empty() && topology.after.is_whole() => {
            format!("a new mesh of {}", count(after, "cluster"))
        }
        (_, 0) if !leaving.is_empty() && topology.before.is_whole() => {
            format!("the mesh of {} is removed", count(before, "cluster"))
        }
        _ => {
            // Those included that another state keeps, as far as links name them.
            let stay = |mesh: &Mesh, moving: &[&str]| match mesh
                .clusters_named()
                .into_iter()
                .filter(|name| !moving.contains(name))
                .count()
            {
                0 => "the mesh".to_owned(),
                some => count(some, "cluster"),
            };
            let mut parts = Vec::new();
            if !joining.is_empty() {
                let verb = if joining.len() == 1 { "joins" } else { "join" };
                parts.push(format!("{} {verb} {}", names(joining.iter().copied()), stay(&topology.after, &joining)));
            }
            if !leaving.is_empty() {
                let verb = if leaving.len() == 1 { "leaves" } else { "leave" };
                let left = if after == 0 { &topology.before } else { &topology.after };
                parts.push(format!("{} {verb} {}", names(leaving.iter().copied()), stay(left, &leaving)));
            }
            parts.extend(links(topology, &joining, &leaving));
            parts.join("; ")
        }
    }
}

/// Links between clusters that neither come nor go.
fn links(topology: &Topology, joining: &[&str], leaving: &[&str]) -> Option<String> {
    let stays = |name: &String| !joining.contains(&name.as_str()) && !leaving.contains(&name.as_str());
    let among = |links: Vec<&super::topology::Link>| {
        links.into_iter().filter(|link| stays(&link.watcher) && stays(&link.watched)).cloned().collect::<Vec<_>>()
    };
    let (new, lost) = (among(topology.new_links()), among(topology.lost_links()));
    let mut parts = Vec::new();
    if let [only] = &lost[..] {
        parts.push(format!("{} no longer sees {}", Name(&only.watcher), Name(&only.watched)));
    } else if !lost.is_empty() {
        parts.push(format!("{} between clusters end", count(lost.len(), "link")));
    }
    if let [only] = &new[..] {
        parts.push(format!("{} sees {} from now on", Name(&only.watcher), Name(&only.watched)));
    } else if !new.is_empty() {
        parts.push(format!("{} between clusters are new", count(new.len(), "link")));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn networks(plan: &Plan) -> String {
    let mut moves = Vec::new();
    let members = plan.instances.iter().filter(|instance| matches!(instance.kind, Type::Primary | Type::Remote));
    // What is recreated in another cluster moves no cluster.
    for one in members.flat_map(Instance::in_clusters).filter(|one| one.before.is_there() && one.after.is_there()) {
        let (before, after) = (one.before.get("network"), one.after.get("network"));
        if !before.is_same(after) {
            moves.push(format!("{} moves from network {} to {}", Name(one.cluster), before.shown(), after.shown()));
        }
    }
    moves.iter().take(2).cloned().collect::<Vec<_>>().join(", ")
}

fn versions(plan: &Plan) -> String {
    let mut steps = std::collections::BTreeMap::<(String, String), usize>::new();
    for primary in plan.instances.iter().filter(|instance| instance.kind == Type::Primary) {
        let Some((before, after)) = primary.sides("istio_version") else { continue };
        if let Some((was, will)) = before.text().zip(after.text()).filter(|(was, will)| was != will) {
            *steps.entry((was.to_owned(), will.to_owned())).or_default() += 1;
        }
    }
    let word = |((was, will), number): (&(String, String), &usize)| {
        format!("Istio {} → {} in {}", Name(was), Name(will), count(*number, "control plane"))
    };
    steps.iter().take(2).map(word).collect::<Vec<_>>().join(", ")
}

fn restarts(restarts: &Restarts) -> String {
    let mut parts = Vec::new();
    let number = |number: usize, verbs: (&str, &str)| {
        format!("{} {}", count(number, "control plane"), if number == 1 { verbs.0 } else { verbs.1 })
    };
    if !restarts.sure.is_empty() {
        parts.push(number(restarts.sure.len(), ("restarts", "restart")));
    }
    let perhaps = restarts.perhaps.difference(&restarts.sure).count();
    if perhaps > 0 {
        parts.push(number(perhaps, ("may restart", "may restart")));
    }
    parts.join("; ")
}

/// Where nothing else tells that something happens.
fn touched(input: &Input<'_>) -> String {
    let changed: Vec<&Instance> =
        input.plan.instances.iter().filter(|instance| instance.action != Action::None && !instance.importing).collect();
    let drawn = !input.topology.joining().is_empty() || !input.topology.leaving().is_empty();
    if changed.is_empty() {
        let told = input.plan.instances.iter().any(|instance| instance.importing) || !input.plan.invocations.is_empty();
        return match () {
            () if told => String::new(),
            () if input.plan.is_partial => "no change that can be read".to_owned(),
            () if input.plan.others > 0 => "nothing changes in the mesh".to_owned(),
            () => "nothing changes".to_owned(),
        };
    }
    if drawn {
        return String::new();
    }
    let of = |action: Action| {
        let number = changed.iter().filter(|instance| instance.action == action).count();
        (number > 0).then(|| format!("{} {}", count(number, "resource"), action.word()))
    };
    let actions = [Action::Create, Action::Update, Action::Replace, Action::Delete, Action::Forget];
    actions.into_iter().filter_map(of).collect::<Vec<_>>().join(", ")
}

fn invoked(plan: &Plan) -> String {
    match plan.invocations.len() {
        0 => String::new(),
        1 => "1 action is invoked".to_owned(),
        more => format!("{more} actions are invoked"),
    }
}

fn others(plan: &Plan) -> String {
    if plan.others > 0 { format!("{} of other providers", count(plan.others, "change")) } else { String::new() }
}

fn drift(input: &Input<'_>) -> String {
    let mut parts = Vec::new();
    if input.drift > 0 {
        parts.push(format!("{} made outside", count(input.drift, "change")));
    }
    if input.renewals > 0 {
        parts.push(format!("{} as planned", count(input.renewals, "renewal")));
    }
    parts.join("; ")
}

fn risks(risks: &[Risk]) -> String {
    let of = |level: Level| {
        let kinds: std::collections::BTreeSet<&str> =
            risks.iter().filter(|risk| risk.counts() && risk.level == level).map(|risk| risk.kind.number).collect();
        kinds.len()
    };
    let (forbidden, danger, warning) = (of(Level::Forbidden), of(Level::Danger), of(Level::Warning));
    let accepted = risks
        .iter()
        .filter(|risk| !risk.counts())
        .map(|risk| risk.kind.number)
        .collect::<std::collections::BTreeSet<_>>()
        .len();
    let mut parts = Vec::new();
    let verb = |number: usize, one: &'static str, more: &'static str| if number == 1 { one } else { more };
    if forbidden > 0 {
        // What was not looked at is forbidden without a policy too.
        let by_policy = risks.iter().filter(|risk| risk.level == Level::Forbidden).all(|risk| risk.policy.is_some());
        let by = if by_policy { " by the policy" } else { "" };
        let words = format!("{} {} forbidden{by}", count(forbidden, "risk"), verb(forbidden, "is", "are"));
        parts.push(format!("{words} ({})", titles(risks, Level::Forbidden)));
    }
    if danger > 0 {
        let words = format!("{} {} a decision", count(danger, "risk"), verb(danger, "needs", "need"));
        parts.push(format!("{words} ({})", titles(risks, Level::Danger)));
    }
    if warning > 0 {
        parts.push(count(warning, "warning"));
    }
    if accepted > 0 {
        parts.push(format!("{} accepted", count(accepted, "risk")));
    }
    match parts.is_empty() {
        true => "no risk found".to_owned(),
        false => parts.join(", "),
    }
}

/// What the first of them are called.
fn titles(risks: &[Risk], level: Level) -> String {
    let mut titles: Vec<&str> = Vec::new();
    for risk in risks.iter().filter(|risk| risk.counts() && risk.level == level) {
        if !titles.contains(&risk.kind.title) {
            titles.push(risk.kind.title);
        }
    }
    let lower = |title: &&str| {
        title.chars().take(1).flat_map(char::to_lowercase).chain(title.chars().skip(1)).collect::<String>()
    };
    let more = if titles.len() > 2 { ", …" } else { "" };
    format!("{}{more}", titles.iter().take(2).map(lower).collect::<Vec<_>>().join(", "))
}
