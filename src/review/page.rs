//! A review in the forms that people and programs read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Review;
use super::fit::{Part, cut, fit};
use super::picture::{self, Picture, picture};
use super::risk::{Level, Risk, RiskKind};
use super::section::Section;
use super::text::{self, Prose, count, list};
use super::topology::Mesh;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Markdown,
    Json,
    Mermaid,
    Text,
}

impl Format {
    pub const ALL: [(&'static str, Self); 4] =
        [("markdown", Self::Markdown), ("json", Self::Json), ("mermaid", Self::Mermaid), ("text", Self::Text)];

    /// Bytes, where nobody says: GitHub takes 65,536 characters, and a job may add some of its own.
    pub fn usual_most(self) -> usize {
        match self {
            Self::Markdown | Self::Text => 60_000,
            Self::Json => 4 << 20,
            Self::Mermaid => 45_000,
        }
    }
}

/// By this line a job finds the comment that it updates.
const MARK: &str = "<!-- terraform-provider-mesh review -->\n";
const GUIDE: &str =
    "https://registry.terraform.io/providers/terraform-provider-mesh/mesh/latest/docs/guides/plan-risks";

/// Where the guide tells of a risk.
pub fn anchor(kind: &RiskKind) -> String {
    format!("{}-{}", kind.number.to_lowercase(), kind.name)
}

pub fn written(review: &Review, format: Format, most: usize) -> String {
    match format {
        Format::Markdown => markdown(review, most),
        Format::Text => lines(review, most),
        Format::Mermaid => mermaid(review, most),
        Format::Json => bounded_json(review, most),
    }
}

fn mermaid(review: &Review, most: usize) -> String {
    let graph = picture::graph(&review.topology);
    match graph.len() <= most {
        true => graph,
        false => "flowchart LR\n  n0[\"too large to draw\"]\n".to_owned(),
    }
}

fn markdown(review: &Review, most: usize) -> String {
    let head = format!("{MARK}### Mesh review\n\n**{}**\n\n", review.verdict.markdown());
    let mut parts = vec![part("verdict", 10, vec![head])];
    if !review.concerns_mesh && review.risks.is_empty() {
        return fit(parts, most, notice);
    }
    parts.push(part("risks", 9, risk_forms(review)));
    parts.push(part("why and what to check", 6, vec![reasons(review), String::new()]));
    parts.push(part("who sees whom", 5, pictures(review)));
    for section in &review.sections {
        parts.push(part(section.title, section.importance, section_forms(section)));
    }
    parts.push(part("where it is from", 2, vec![source(review), String::new()]));
    fit(parts, most, notice)
}

fn part(name: &'static str, importance: u8, forms: Vec<String>) -> Part {
    Part { name, importance, forms }
}

fn notice(left: &[&'static str]) -> String {
    let mut names = left.join(", ");
    names.truncate(200);
    format!(
        "\nShortened or left out to stay within the size that was asked for: {names}. `--format json` has all of it.\n"
    )
}

fn source(review: &Review) -> String {
    let mut words = Vec::new();
    if !review.made_at.is_empty() {
        words.push(format!("Planned {}", Prose::name(&review.made_at).markdown()));
    }
    if !review.made_by.is_empty() {
        words.push(format!("by Terraform or OpenTofu {}", Prose::name(&review.made_by).markdown()));
    }
    if words.is_empty() { String::new() } else { format!("\n{}.\n", words.join(", ")) }
}

const RISK_HEAD: &str =
    "| level | risk | cluster | resource | what | before | after |\n| --- | --- | --- | --- | --- | --- | --- |\n";

/// Those that matter in the open, the others behind a click; in ever fewer lines.
fn risk_forms(review: &Review) -> Vec<String> {
    let tables = [usize::MAX, 60, 20, 5].into_iter().map(|most| risk_tables(&review.risks, most));
    tables.chain([risk_numbers(&review.risks)]).collect()
}

/// Where there is no room for a table.
fn risk_numbers(risks: &[Risk]) -> String {
    let mut levels: BTreeMap<std::cmp::Reverse<Level>, BTreeSet<&str>> = BTreeMap::new();
    for risk in risks.iter().filter(|risk| risk.counts()) {
        levels.entry(std::cmp::Reverse(risk.level)).or_default().insert(risk.kind.number);
    }
    let words = |(level, numbers): (&std::cmp::Reverse<Level>, &BTreeSet<&str>)| {
        format!("{} {}", level.0.word(), numbers.iter().copied().collect::<Vec<_>>().join(", "))
    };
    let words: Vec<String> = levels.iter().map(words).collect();
    if words.is_empty() { String::new() } else { format!("Risks: {}.\n", words.join("; ")) }
}

fn risk_tables(risks: &[Risk], most: usize) -> String {
    let (open, folded): (Vec<&Risk>, Vec<&Risk>) =
        risks.iter().partition(|risk| risk.counts() && risk.level > Level::Note);
    let mut written = String::new();
    if !open.is_empty() {
        written.push_str(&risk_table(&open, most));
        written.push('\n');
    }
    let accepted = folded.iter().filter(|risk| !risk.counts()).count();
    let notes = folded.len() - accepted;
    let words = [(notes, count(notes, "note")), (accepted, format!("{accepted} accepted"))];
    let words: Vec<String> = words.into_iter().filter(|(number, _)| *number > 0).map(|(_, words)| words).collect();
    if !folded.is_empty() {
        written.push_str(&folding(&words.join(", "), &risk_table(&folded, most)));
    }
    written
}

fn risk_table(risks: &[&Risk], most: usize) -> String {
    let groups = grouped(risks);
    let mut table = RISK_HEAD.to_owned();
    for Group { risk, clusters, addresses } in groups.iter().take(most) {
        let level = match risk.level {
            Level::Danger | Level::Forbidden => format!("**{}**", risk.level.word()),
            level => level.word().to_owned(),
        };
        let mut what = risk.what.markdown();
        if let Some(policy) = &risk.policy {
            let _ = write!(what, " ({})", policy.markdown());
        }
        if let Some(reason) = &risk.accepted {
            let _ = write!(what, " Accepted: {}.", reason.markdown());
        }
        let _ = writeln!(
            table,
            "| {level} | {} {} | {} | {} | {what} | {} | {} |",
            risk.kind.number,
            risk.kind.title,
            list(clusters).markdown(),
            text::addresses(addresses).markdown(),
            risk.before.markdown(),
            risk.after.markdown(),
        );
    }
    if groups.len() > most {
        let _ = writeln!(table, "| | and {} more | | | | | |", groups.len() - most);
    }
    table
}

/// A risk, and all places that it has alike.
struct Group<'a> {
    risk: &'a Risk,
    clusters: BTreeSet<Prose>,
    addresses: BTreeSet<Prose>,
}

fn grouped<'a>(risks: &[&'a Risk]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut known = HashMap::new();
    for risk in risks {
        let key = (risk.kind.number, risk.level, &risk.what, &risk.before, &risk.after, &risk.accepted, &risk.policy);
        let at = *known.entry(key).or_insert_with(|| {
            groups.push(Group { risk, clusters: BTreeSet::new(), addresses: BTreeSet::new() });
            groups.len() - 1
        });
        let group = &mut groups[at];
        group.clusters.extend(risk.clusters.iter().map(|name| Prose::name(name)));
        group.addresses.extend(Some(Prose::name(&risk.address)).filter(|_| !risk.address.is_empty()));
    }
    groups
}

fn folding(summary: &str, inside: &str) -> String {
    format!("<details><summary>{summary}</summary>\n\n{inside}\n</details>\n\n")
}

fn reasons(review: &Review) -> String {
    let kinds = kinds(review);
    let mut written = String::new();
    for kind in &kinds {
        let _ = writeln!(
            written,
            "- **[{}]({GUIDE}#{}) {}.** {} *To check:* {}",
            kind.number,
            anchor(kind),
            kind.title,
            kind.why,
            kind.check
        );
    }
    if kinds.is_empty() { String::new() } else { folding("Why, and what to check", &written) }
}

/// Of the risks that somebody must look at.
fn kinds(review: &Review) -> Vec<&'static RiskKind> {
    let mut kinds: Vec<&'static RiskKind> = Vec::new();
    for risk in review.risks.iter().filter(|risk| risk.counts() && risk.level > Level::Note) {
        if !kinds.contains(&risk.kind) {
            kinds.push(risk.kind);
        }
    }
    kinds
}

fn pictures(review: &Review) -> Vec<String> {
    let topology = &review.topology;
    let drawn = match picture(topology) {
        None => return vec![String::new()],
        Some(Picture::Graph(graph)) => format!("```mermaid\n{graph}```\n"),
        Some(Picture::Table(table) | Picture::Words(table)) => table,
    };
    let whole = match topology.before == topology.after {
        true => folding("Who sees whom: unchanged", &drawn),
        false => format!("#### Who sees whom\n\n{drawn}\n"),
    };
    let lines: String =
        picture::words(topology).iter().take(30).map(|line| format!("- {}\n", line.markdown())).collect();
    let short = if lines.is_empty() { String::new() } else { format!("#### Who sees whom\n\n{lines}\n") };
    vec![whole, short, String::new()]
}

fn section_forms(section: &Section) -> Vec<String> {
    let mut forms: Vec<String> = if section.key == "objects" {
        [usize::MAX, 40, 10].into_iter().map(|most| by_cluster(section, most)).collect()
    } else {
        [usize::MAX, 60, 15].into_iter().map(|most| whole(section, most)).collect()
    };
    forms.push(format!("{}: {}.\n\n", section.title, count(section.rows.len(), "line")));
    forms.push(String::new());
    forms
}

fn whole(section: &Section, most: usize) -> String {
    let mut inside = table(section.columns, &section.grouped(), most);
    if !section.note.is_empty() {
        let _ = writeln!(inside, "\n{}", section.note);
    }
    match section.open {
        true => format!("#### {}\n\n{inside}\n", section.title),
        false => folding(&format!("{} ({})", section.title, section.rows.len()), &inside),
    }
}

fn table(columns: &[(&str, &str)], rows: &[Vec<Prose>], most: usize) -> String {
    let shown: Vec<usize> = (0..columns.len()).filter(|at| !columns[*at].1.is_empty()).collect();
    let titles: Vec<&str> = shown.iter().map(|at| columns[*at].1).collect();
    let mut table = format!("| {} |\n|{}\n", titles.join(" | "), " --- |".repeat(titles.len()));
    for row in rows.iter().take(most) {
        let cells: Vec<String> = shown.iter().map(|at| row.get(*at).map(Prose::markdown).unwrap_or_default()).collect();
        let _ = writeln!(table, "| {} |", cells.join(" | "));
    }
    if rows.len() > most {
        let _ = writeln!(table, "| and {} more |{}", rows.len() - most, " |".repeat(titles.len() - 1));
    }
    table
}

/// A fold for each cluster; those in which the very same happens share one.
fn by_cluster(section: &Section, most: usize) -> String {
    let mut clusters: BTreeMap<&Prose, Vec<Vec<Prose>>> = BTreeMap::new();
    for row in &section.rows {
        if let Some((cluster, rest)) = row.split_first() {
            clusters.entry(cluster).or_default().push(rest.to_vec());
        }
    }
    let without_address =
        |rows: &[Vec<Prose>]| rows.iter().map(|row| row.get(1..).unwrap_or_default().to_vec()).collect::<Vec<_>>();
    let mut groups: Vec<(Vec<String>, Vec<Vec<Prose>>)> = Vec::new();
    let mut known: HashMap<Vec<Vec<Prose>>, usize> = HashMap::new();
    for (cluster, rows) in clusters {
        let rows = without_address(&rows);
        let at = *known.entry(rows.clone()).or_insert_with(|| {
            groups.push((Vec::new(), rows));
            groups.len() - 1
        });
        groups[at].0.push(cluster.html());
    }
    let columns = section.columns.get(2..).unwrap_or_default();
    let fold = |(names, rows): (Vec<String>, Vec<Vec<Prose>>)| {
        let each = if names.len() > 1 { " in each" } else { "" };
        let summary = format!("Objects and fields in {} ({}{each})", names.join(", "), count(rows.len(), "line"));
        folding(&summary, &table(columns, &rows, most))
    };
    groups.into_iter().map(fold).collect()
}

fn lines(review: &Review, most: usize) -> String {
    let mut parts = vec![part("verdict", 10, vec![format!("{}\n", review.verdict.plain())])];
    let risks = |most: usize| {
        let mut written = String::new();
        let groups = grouped(&review.risks.iter().collect::<Vec<_>>());
        for Group { risk, clusters, addresses } in groups.iter().take(most) {
            let at = [list(clusters).plain(), text::addresses(addresses).plain()];
            let at = at.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ");
            let _ = writeln!(written, "\n{:9} {} {} ({at})", risk.level.word(), risk.kind.number, risk.kind.title);
            let _ = writeln!(written, "          {}", risk.what.plain());
            if !risk.before.is_empty() || !risk.after.is_empty() {
                let _ = writeln!(written, "          {} -> {}", risk.before.plain(), risk.after.plain());
            }
            for words in [&risk.policy, &risk.accepted].into_iter().flatten() {
                let _ = writeln!(written, "          policy: {}", words.plain());
            }
        }
        if groups.len() > most {
            let _ = writeln!(written, "\nand {} more", groups.len() - most);
        }
        written
    };
    parts.push(part("risks", 9, [usize::MAX, 60, 20, 5].into_iter().map(risks).collect()));
    let links: String = picture::words(&review.topology).iter().map(|line| format!("  {}\n", line.plain())).collect();
    if !links.is_empty() {
        parts.push(part("who sees whom", 5, vec![format!("\nWho sees whom\n{links}"), String::new()]));
    }
    for section in &review.sections {
        let shortened = |most: usize| {
            let mut written = format!("\n{}\n", section.title);
            let rows = section.grouped();
            for row in rows.iter().take(most) {
                let cells: Vec<String> = row.iter().filter(|cell| !cell.is_empty()).map(Prose::plain).collect();
                let _ = writeln!(written, "  {}", cells.join(" | "));
            }
            if rows.len() > most {
                let _ = writeln!(written, "  and {} more", rows.len() - most);
            }
            written
        };
        let mut forms: Vec<String> = [usize::MAX, 60, 15].into_iter().map(shortened).collect();
        forms.push(String::new());
        parts.push(part(section.title, section.importance, forms));
    }
    fit(parts, most, notice)
}

/// The whole review for programs. What stands here is documented in the guide, and changes only with `format`.
pub fn json(review: &Review) -> Value {
    let sections: serde_json::Map<String, Value> =
        review.sections.iter().map(|section| (section.key.to_owned(), rows(section))).collect();
    json!({
        "format": 1,
        "verdict": review.verdict.plain(),
        "level": review.level(),
        "concerns_mesh": review.concerns_mesh,
        "drift": review.drift,
        "renewals": review.renewals,
        "terraform_version": review.made_by,
        "planned_at": review.made_at,
        "risks": review.risks.iter().map(risk).collect::<Vec<_>>(),
        "topology": { "before": mesh(&review.topology.before), "after": mesh(&review.topology.after) },
        "sections": sections,
        "left_out": [],
    })
}

fn risk(risk: &Risk) -> Value {
    json!({
        "number": risk.kind.number,
        "name": risk.kind.name,
        "title": risk.kind.title,
        "level": risk.level,
        "cluster": risk.clusters.first().filter(|_| risk.clusters.len() == 1).map(|name| text::clean(name)).unwrap_or_default(),
        "clusters": risk.clusters.iter().map(|name| text::clean(name)).collect::<Vec<_>>(),
        "address": text::clean(&risk.address),
        "what": risk.what.plain(),
        "before": risk.before.plain(),
        "after": risk.after.plain(),
        "why": risk.kind.why,
        "check": risk.kind.check,
        "accepted": risk.accepted.as_ref().map(Prose::plain),
        "policy": risk.policy.as_ref().map(Prose::plain),
        "guide": format!("{GUIDE}#{}", anchor(risk.kind)),
    })
}

fn rows(section: &Section) -> Value {
    let row = |row: &Vec<Prose>| {
        let cells = section.columns.iter().zip(row).map(|((key, _), cell)| ((*key).to_owned(), cell.plain().into()));
        Value::Object(cells.collect())
    };
    section.rows.iter().map(row).collect()
}

fn mesh(mesh: &Mesh) -> Value {
    let clean = text::clean;
    let list = |names: &std::collections::BTreeSet<String>| names.iter().map(|name| clean(name)).collect::<Vec<_>>();
    let clusters: Vec<Value> = mesh
        .clusters
        .iter()
        .map(|(name, cluster)| {
            json!({
                "name": clean(name),
                "networks": list(&cluster.networks),
                "control_planes": list(&cluster.control_planes),
                "remote": cluster.remote,
            })
        })
        .collect();
    let links =
        mesh.links.iter().map(|link| json!({ "watcher": clean(&link.watcher), "watched": clean(&link.watched) }));
    let gateways = mesh
        .gateways
        .iter()
        .map(|(network, clusters)| json!({ "network": clean(network), "clusters": list(clusters) }));
    json!({ "clusters": clusters, "links": links.collect::<Vec<_>>(), "gateways": gateways.collect::<Vec<_>>() })
}

/// JSON is not cut but made smaller: sections go, the least important first, then risks from the end.
fn bounded_json(review: &Review, most: usize) -> String {
    let mut value = json(review);
    let print = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
    let mut printed = print(&value);
    let mut sections: Vec<&Section> = review.sections.iter().collect();
    sections.sort_by_key(|section| section.importance);
    let mut left = sections.iter().map(|section| section.key).chain(["topology"]);
    while printed.len() > most {
        let Some(key) = left.next() else { break };
        match key {
            "topology" => value["topology"] = Value::Null,
            key => drop(value["sections"].as_object_mut().and_then(|sections| sections.remove(key))),
        }
        if let Some(left_out) = value["left_out"].as_array_mut() {
            left_out.push(key.into());
        }
        printed = print(&value);
    }
    while printed.len() > most {
        let Some(risks) = value["risks"].as_array_mut().filter(|risks| !risks.is_empty()) else { break };
        risks.truncate(risks.len() / 2);
        if let Some(left_out) = value["left_out"].as_array_mut()
            && left_out.last() != Some(&"risks".into())
        {
            left_out.push("risks".into());
        }
        printed = print(&value);
    }
    match printed.len() <= most {
        true => printed,
        false => {
            cut(json!({ "format": 1, "level": review.level(), "left_out": ["everything"] }).to_string() + "\n", most)
        }
    }
}
