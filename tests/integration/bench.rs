//! `make bench`: meshes of several sizes, applied, planned again and destroyed by the real terraform on real clusters
//! with the release build; writes docs/guides/benchmarks.md. Figures only: nothing is asserted but that every step
//! succeeds.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lab::{Lab, Options};

use crate::links_topologies::Run;
use crate::support::cli::clis;
use crate::support::watched::Watched;

const EXAMPLE: &str = "multi-primary-two-networks";
const AGENT: &str = "terraform-provider-mesh";
/// About so much is needed by a cluster and its istiod.
const MEMORY_OF_A_CLUSTER: u64 = 700 << 20;

/// One command: how long, how many requests, and the most memory that its provider processes held at once.
struct Step {
    seconds: f64,
    requests: usize,
    peak_mib: f64,
}

struct Row {
    clusters: usize,
    apply: Step,
    plan: Step,
    destroy: Step,
    secrets_in_state: usize,
}

#[test]
#[ignore = "measures the build that MESH_TEST_BINARY names: make bench"]
fn figures_of_meshes() {
    let binary = std::env::var_os("MESH_TEST_BINARY").expect("MESH_TEST_BINARY names the release build");
    let binary = fs::canonicalize(binary).expect("the build");
    let sizes = std::env::var("MESH_BENCH_CLUSTERS").unwrap_or_else(|_| "2 6 12 24".to_owned());
    let mut rows = Vec::new();
    for size in sizes.split_whitespace().map(|size| size.parse::<usize>().expect("numbers of clusters")) {
        if size as u64 * MEMORY_OF_A_CLUSTER > available_memory() {
            println!("{size} clusters: skipped, they would need more memory than is free");
            continue;
        }
        let row = measure(size, &binary);
        println!("{}", row.line());
        rows.push(row);
    }
    if std::env::var_os("MESH_BENCH_PAGE").is_some() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides/benchmarks.md");
        fs::write(page, self::page(&rows)).expect("the page");
    }
}

fn measure(size: usize, binary: &Path) -> Row {
    let names: Vec<String> = (1..=size).map(|number| format!("c{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let lab = Lab::start(&names, Options { limited: false, ..Options::default() }).expect("clusters");
    let cli = clis().into_iter().next().expect("terraform");
    let run = Run::of_build(&cli, &lab, &format!("examples/{EXAMPLE}"), binary);
    let apply = step(&run, binary, &["apply", "-auto-approve", "-input=false"]);
    let plan = step(&run, binary, &["plan", "-detailed-exitcode", "-input=false"]);
    let state = fs::read_to_string(run.workspace.path("terraform.tfstate")).expect("state");
    let secrets_in_state = state.matches("PRIVATE KEY").count() + state.matches("eyJhbGci").count();
    let destroy = step(&run, binary, &["destroy", "-auto-approve", "-input=false"]);
    Row { clusters: size, apply, plan, destroy, secrets_in_state }
}

fn step(run: &Run<'_>, binary: &Path, arguments: &[&str]) -> Step {
    run.lab.clusters().iter().for_each(|cluster| cluster.reset_requests());
    let watched = Watched::start(binary);
    let begun = Instant::now();
    run.workspace.run(arguments).ok();
    let seconds = begun.elapsed().as_secs_f64();
    let peak_mib = watched.end().peak_mib;
    // The audit log is written a little later.
    std::thread::sleep(Duration::from_secs(1));
    let requests = run.lab.clusters().iter().map(|cluster| cluster.requests().by_agent(AGENT).len()).sum();
    Step { seconds, requests, peak_mib }
}

fn available_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() * 1024
}

impl Row {
    fn line(&self) -> String {
        let Row { clusters, apply, plan, destroy, secrets_in_state } = self;
        format!(
            "| {clusters} | {:.1} s | {} | {:.0} MiB | {:.2} s | {} | {:.0} MiB | {:.1} s | {} | {secrets_in_state} |",
            apply.seconds,
            apply.requests,
            apply.peak_mib,
            plan.seconds,
            plan.requests,
            plan.peak_mib,
            destroy.seconds,
            destroy.requests
        )
    }
}

fn page(rows: &[Row]) -> String {
    let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples").join(EXAMPLE).join("main.tf");
    let example = fs::read_to_string(example).expect("the example");
    let lines = example.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).count();
    let mut page = format!(
        "---\npage_title: \"Benchmarks: what a mesh costs\"\nsubcategory: \"\"\ndescription: |-\n  Time, API requests and memory for meshes of several sizes, measured by `make bench`.\n---\n\n\
         # Benchmarks\n\nWritten by `make bench` on {}. Fully linked multi-primary meshes, every cluster a network of its own (`examples/{EXAMPLE}`, {lines} lines of \
         HCL beside the provider block, whatever the number of clusters), each made by one `terraform apply` from empty clusters, planned again, and destroyed. All API servers and all \
         istiods run on this same machine, so most of the time of an apply is theirs. Requests are those of the provider, counted from the API servers' audit logs; memory is the \
         most that its processes held at once.\n\n\
         | clusters | apply | its requests | its memory | plan that changes nothing | its requests | its memory | destroy | its requests | keys and tokens in state |\n\
         | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n",
        machine()
    );
    rows.iter().for_each(|row| writeln!(page, "{}", row.line()).expect("a string"));
    let sizes: Vec<String> = rows.iter().map(|row| row.clusters.to_string()).collect();
    type Figure = fn(&Row) -> f64;
    let plots: [(&str, Figure); 3] = [
        ("API requests of an apply", |row| row.apply.requests as f64),
        ("API requests of a plan that changes nothing", |row| row.plan.requests as f64),
        ("Most memory of the provider while applying, MiB", |row| row.apply.peak_mib),
    ];
    for (title, figure) in plots {
        let values: Vec<String> = rows.iter().map(|row| format!("{:.0}", figure(row))).collect();
        write!(
            page,
            "\n```mermaid\nxychart-beta\n    title \"{title}\"\n    x-axis \"clusters\" [{}]\n    bar [{}]\n```\n",
            sizes.join(", "),
            values.join(", ")
        )
        .expect("a string");
    }
    for section in [crate::simulation::section(), crate::growth::section()].into_iter().flatten() {
        write!(page, "\n{section}").expect("a string");
    }
    page
}

/// Cores, processor and memory of this machine.
pub fn machine() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let model = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(':').nth(1));
    let memory = read("/proc/meminfo");
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let gib = memory.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / (1 << 20) as f64;
    format!("a machine with {cores} cores ({}) and {gib:.0} GiB of memory", model.unwrap_or("unknown").trim())
}
