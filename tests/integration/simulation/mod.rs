//! Fleets that no machine here could run: API servers and istiods stood in by this process, so that only the provider
//! and the core are measured. `make bench` writes the figures into docs/guides/benchmarks.md.

mod cluster;
mod server;
mod store;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use lab::tools::{self, Istio};
use serde_json::json;

use self::server::Fleet;
use crate::support::cli::{Cli, Workspace, clis};
use crate::support::watched::{Used, Watched};

const PROVIDER: &str = "terraform-provider-mesh/mesh";
const HEADING: &str = "## Simulated fleets";

/// How the clusters of a fleet are linked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    /// Each with each.
    Full,
    /// Each with one in the middle.
    Hub,
}

impl Links {
    fn of(self, clusters: usize) -> usize {
        match self {
            Links::Full => clusters * (clusters - 1),
            Links::Hub => 2 * (clusters - 1),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Links::Full => "full mesh",
            Links::Hub => "hub and spokes",
        }
    }
}

struct Step {
    seconds: f64,
    requests: usize,
    provider: Used,
    core: Used,
}

struct Row {
    links: Links,
    clusters: usize,
    apply: Step,
    plan: Step,
    destroy: Step,
}

/// Small enough for every run of the suite: the stand-in is taken for a cluster, from the create to the end.
#[test]
fn a_fleet_of_three_is_made_planned_and_destroyed() {
    let Some(cli) = clis().into_iter().next() else { return };
    for links in [Links::Full, Links::Hub] {
        let row = measure(links, 3, &cli, Path::new(env!("CARGO_BIN_EXE_terraform-provider-mesh")));
        println!("{}", row.line());
        assert!(row.plan.requests <= 3 * 23, "an empty plan asks what it asks of true clusters: {}", row.plan.requests);
    }
}

#[test]
#[ignore = "measures the build that MESH_TEST_BINARY names: make bench"]
fn figures_of_fleets() {
    let binary = std::env::var_os("MESH_TEST_BINARY").expect("MESH_TEST_BINARY names the release build");
    let binary = fs::canonicalize(binary).expect("the build");
    let cli = clis().into_iter().next().expect("terraform");
    let sizes =
        std::env::var("MESH_BENCH_FLEETS").unwrap_or_else(|_| "full:6 full:24 full:50 hub:50 hub:200".to_owned());
    let mut rows = Vec::new();
    for fleet in sizes.split_whitespace() {
        let (links, size) = fleet.split_once(':').expect("links:size");
        let links = if links == "full" { Links::Full } else { Links::Hub };
        let row = measure(links, size.parse().expect("a number of clusters"), &cli, &binary);
        println!("{}", row.line());
        rows.push(row);
    }
    if std::env::var_os("MESH_BENCH_PAGE").is_some() {
        let path = page();
        let text = fs::read_to_string(&path).expect("the page");
        let above = text.split(HEADING).next().unwrap_or_default();
        let above = above.split(crate::growth::HEADING).next().unwrap_or_default().trim_end();
        let below = crate::growth::section().map(|section| format!("\n{section}")).unwrap_or_default();
        fs::write(&path, format!("{above}\n\n{}{below}", written(&rows))).expect("the page");
    }
}

/// The section that an earlier run has written, which a run of the other figures keeps.
pub fn section() -> Option<String> {
    let text = fs::read_to_string(page()).ok()?;
    let from = text.find(HEADING)?;
    let to = text[from + HEADING.len()..].find("\n## ").map_or(text.len(), |next| from + HEADING.len() + next);
    Some(text[from..to].trim_end().to_owned() + "\n")
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides/benchmarks.md")
}

fn measure(links: Links, size: usize, cli: &Cli, binary: &Path) -> Row {
    let fleet = Fleet::start(size);
    let workspace = Workspace::overriding(cli, PROVIDER, binary.parent().expect("a folder"));
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/multi-primary-two-networks");
    for file in fs::read_dir(example).expect("the example") {
        let file = file.expect("an entry");
        let mut text = fs::read_to_string(file.path()).expect("a file");
        if links == Links::Hub {
            let hub = &fleet.clusters[0].name;
            let each = "[for name in local.clusters : mesh_primary.this[name].cluster if name != each.key]";
            let spokes = format!(
                "[for name in local.clusters : mesh_primary.this[name].cluster if name != each.key && (name == \"{hub}\" || each.key == \"{hub}\")]"
            );
            assert!(text.contains(each) || !text.contains("watchers"), "the links of the example");
            text = text.replace(each, &spokes);
        }
        fs::write(workspace.path(&file.file_name().to_string_lossy()), text).expect("a copy");
    }
    let paths: serde_json::Map<String, serde_json::Value> =
        fleet.clusters.iter().map(|cluster| (cluster.name.clone(), json!(fleet.kubeconfig(cluster)))).collect();
    let charts = tools::charts(Istio::Current).expect("the charts").dir().to_path_buf();
    let variables = json!({ "kubeconfigs": paths, "charts": { "directory": charts }, "one_machine": true });
    fs::write(workspace.path("fleet.auto.tfvars.json"), variables.to_string()).expect("the variables");
    let step = |arguments: &[&str]| {
        fleet.take_requests();
        let (provider, core) = (Watched::start(binary), Watched::start(workspace.program()));
        let begun = Instant::now();
        workspace.run(arguments).ok();
        let seconds = begun.elapsed().as_secs_f64();
        Step { seconds, requests: fleet.take_requests(), provider: provider.end(), core: core.end() }
    };
    let apply = step(&["apply", "-auto-approve", "-input=false"]);
    let plan = step(&["plan", "-detailed-exitcode", "-input=false"]);
    let destroy = step(&["destroy", "-auto-approve", "-input=false"]);
    Row { links, clusters: size, apply, plan, destroy }
}

impl Row {
    fn line(&self) -> String {
        let mut line = format!("| {} | {} | {} |", self.links.name(), self.clusters, self.links.of(self.clusters));
        for step in [&self.apply, &self.plan, &self.destroy] {
            let Step { seconds, requests, provider, core } = step;
            write!(
                line,
                " {seconds:.1} s | {requests} | {:.1} s | {:.1} s | {:.0} MiB |",
                provider.cpu_seconds, core.cpu_seconds, provider.peak_mib
            )
            .expect("a string");
        }
        line
    }
}

fn written(rows: &[Row]) -> String {
    let mut text = format!(
        "{HEADING}\n\nWritten by `make bench` on {}. The API servers and istiods of these fleets are stood in by one process, which keeps the objects in memory and answers as they do, so that the provider and the core alone are measured; \
         nothing waits for a Pod. The configuration is the same as above; with hub and spokes each cluster is linked with the first one alone. A full mesh of 200 has 39,800 links; no figure of it was taken. \
         CPU is what the processes of the provider and of the core used in seconds, and memory is the most that those of the provider held.\n\n\
         | fleet | clusters | links | apply | its requests | CPU of the provider | CPU of the core | memory | plan that changes nothing | its requests | CPU of the provider | CPU of the core | memory | destroy | its requests | CPU of the provider | CPU of the core | memory |\n\
         | --- |{}\n",
        crate::bench::machine(),
        " --: |".repeat(17)
    );
    rows.iter().for_each(|row| writeln!(text, "{}", row.line()).expect("a string"));
    let full: Vec<&Row> = rows.iter().filter(|row| row.links == Links::Full).collect();
    let sizes: Vec<String> = full.iter().map(|row| row.clusters.to_string()).collect();
    type Figure = fn(&Row) -> f64;
    let plots: [(&str, Figure); 2] = [
        ("Full mesh: most memory of the provider while applying, MiB", |row| row.apply.provider.peak_mib),
        ("Full mesh: CPU seconds of the provider in an empty plan", |row| row.plan.provider.cpu_seconds),
    ];
    for (title, figure) in plots {
        let values: Vec<String> = full.iter().map(|row| format!("{:.1}", figure(row))).collect();
        write!(
            text,
            "\n```mermaid\nxychart-beta\n    title \"{title}\"\n    x-axis \"clusters\" [{}]\n    bar [{}]\n```\n",
            sizes.join(", "),
            values.join(", ")
        )
        .expect("a string");
    }
    text
}
