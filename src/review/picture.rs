//! Who sees whom, drawn: a Mermaid graph that GitHub and GitLab render, or a matrix where a graph would be a ball of
//! wool.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::text::{Name, Prose, count, label, names};
use super::topology::{Link, Mesh, Topology};

/// Clusters that a graph shows well.
const GRAPH: usize = 8;
/// Clusters that a matrix shows.
const MATRIX: usize = 40;

/// For a page.
pub enum Picture {
    /// Mermaid.
    Graph(String),
    /// Markdown.
    Table(String),
    /// Too large for either.
    Words(String),
}

pub fn picture(topology: &Topology) -> Option<Picture> {
    let clusters = clusters(topology);
    match clusters.len() {
        0 => None,
        few if few <= GRAPH => Some(Picture::Graph(graph(topology))),
        some if some <= MATRIX => Some(Picture::Table(matrix(topology))),
        many => Some(Picture::Words(format!(
            "{}, {} before and {} after: too many to draw. The JSON lists them.",
            count(many, "cluster"),
            count(topology.before.links.len(), "link"),
            topology.after.links.len()
        ))),
    }
}

fn clusters(topology: &Topology) -> BTreeSet<&str> {
    fn ends(mesh: &Mesh) -> impl Iterator<Item = &str> {
        let links = mesh.links.iter().flat_map(|link| [&link.watcher, &link.watched]);
        mesh.clusters.keys().chain(links).map(String::as_str)
    }
    ends(&topology.before).chain(ends(&topology.after)).collect()
}

/// The whole graph, whatever its size up to a bound.
pub fn graph(topology: &Topology) -> String {
    let all = clusters(topology);
    let left = all.len().saturating_sub(MATRIX);
    let clusters: Vec<&str> = all.into_iter().take(MATRIX).collect();
    let ids: BTreeMap<&str, usize> = clusters.iter().enumerate().map(|(at, name)| (*name, at)).collect();
    let mut graph = "flowchart LR\n".to_owned();
    if left > 0 {
        let _ = writeln!(graph, "  more[\"{} are not drawn\"]", count(left, "cluster"));
    }
    for (at, (network, members)) in by_network(topology, &clusters).into_iter().enumerate() {
        let nodes = members
            .iter()
            .map(|name| format!("n{}[\"{}\"]{}\n", ids[name], node(topology, name), class(topology, name)));
        match network {
            Some(network) => {
                let door = if topology.after.gateways.contains_key(network) { "" } else { ", no gateway" };
                let _ = writeln!(graph, "  subgraph s{at}[\"network {}{door}\"]", label(network));
                nodes.for_each(|node| graph.push_str(&format!("    {node}")));
                graph.push_str("  end\n");
            }
            None => nodes.for_each(|node| graph.push_str(&format!("  {node}"))),
        }
    }
    arrows(topology, &ids, &mut graph);
    graph.push_str(
        "  classDef new stroke-width:3px,stroke:#1a7f37\n  classDef gone stroke-dasharray:4,stroke:#cf222e\n",
    );
    graph
}

fn by_network<'a>(topology: &'a Topology, clusters: &[&'a str]) -> BTreeMap<Option<&'a str>, Vec<&'a str>> {
    let mut networks: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
    for name in clusters {
        let known = |mesh: &'a Mesh| mesh.clusters.get(*name).and_then(|cluster| cluster.networks.first());
        let network = known(&topology.after).or_else(|| known(&topology.before));
        networks.entry(network.map(String::as_str)).or_default().push(name);
    }
    networks
}

fn node(topology: &Topology, name: &str) -> String {
    let after = topology.after.clusters.get(name);
    let was = topology.before.clusters.get(name).and_then(|cluster| cluster.networks.first());
    let will = after.and_then(|cluster| cluster.networks.first());
    let mut text = label(name);
    let revisions: Vec<&str> = after.iter().flat_map(|cluster| &cluster.control_planes).map(String::as_str).collect();
    if revisions.len() > 1 || revisions.first().is_some_and(|revision| *revision != "default") {
        let _ = write!(text, " {}", label(&revisions.join(", ")));
    }
    if after.is_some_and(|cluster| cluster.remote && cluster.control_planes.is_empty()) {
        text.push_str(", remote");
    }
    match (was, will) {
        (Some(was), Some(will)) if was != will => {
            let _ = write!(text, ", was in {}", label(was));
        }
        _ => {}
    }
    text
}

fn class(topology: &Topology, name: &str) -> &'static str {
    match () {
        () if topology.joins(name) => ":::new",
        () if topology.leaves(name) => ":::gone",
        () => "",
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Stays,
    New,
    Gone,
}

fn fate(topology: &Topology, link: &Link) -> Option<Fate> {
    match (topology.before.links.contains(link), topology.after.links.contains(link)) {
        (true, true) => Some(Fate::Stays),
        (false, true) => Some(Fate::New),
        (true, false) => Some(Fate::Gone),
        (false, false) => None,
    }
}

/// An arrow points from who sees to whom it sees.
fn arrows(topology: &Topology, ids: &BTreeMap<&str, usize>, graph: &mut String) {
    let links: BTreeSet<&Link> = topology.before.links.union(&topology.after.links).collect();
    for link in links {
        let (Some(from), Some(to)) = (ids.get(link.watcher.as_str()), ids.get(link.watched.as_str())) else { continue };
        let back = Link { watcher: link.watched.clone(), watched: link.watcher.clone() };
        let fate_of = |link| fate(topology, link);
        let Some(fate) = fate_of(link) else { continue };
        let both = fate_of(&back) == Some(fate) && from != to;
        if both && from > to {
            continue;
        }
        let arrow = match (fate, both) {
            (Fate::Stays, false) => "-->",
            (Fate::Stays, true) => "<-->",
            (Fate::New, false) => "==>|new|",
            (Fate::New, true) => "<==>|new|",
            (Fate::Gone, false) => "-.->|gone|",
            (Fate::Gone, true) => "<-.->|gone|",
        };
        let _ = writeln!(graph, "  n{from} {arrow} n{to}");
    }
}

/// Rows see columns.
fn matrix(topology: &Topology) -> String {
    let clusters: Vec<&str> = clusters(topology).into_iter().collect();
    let mut table = "Rows see columns: `x` as before, `+` from now on, `-` no more.\n\n| |".to_owned();
    for at in 1..=clusters.len() {
        let _ = write!(table, " {at} |");
    }
    let _ = write!(table, "\n| --- |{}\n", " --- |".repeat(clusters.len()));
    for (at, watcher) in clusters.iter().enumerate() {
        let _ = write!(table, "| {} {} |", at + 1, Prose::name(watcher).markdown());
        for watched in &clusters {
            let link = Link { watcher: (*watcher).to_owned(), watched: (*watched).to_owned() };
            table.push_str(match fate(topology, &link) {
                Some(Fate::Stays) => " x |",
                Some(Fate::New) => " + |",
                Some(Fate::Gone) => " - |",
                None if watcher == watched => " . |",
                None => "  |",
            });
        }
        table.push('\n');
    }
    table
}

/// For those who read no pictures.
pub fn words(topology: &Topology) -> Vec<Prose> {
    let mut lines = Vec::new();
    for (mark, links) in [("new", topology.new_links()), ("gone", topology.lost_links())] {
        let mut by_watcher: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        links.iter().for_each(|link| by_watcher.entry(&link.watcher).or_default().push(&link.watched));
        for (watcher, watched) in by_watcher {
            lines.push(format!("{mark}: {} sees {}", Name(watcher), names(watched)).into());
        }
    }
    lines
}
