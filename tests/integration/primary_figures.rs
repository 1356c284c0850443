//! What rendering and keeping a control plane costs, beside helm doing the same in the same run. Prints figures,
//! asserts none: `MESH_TEST_BINARY=target/release/terraform-provider-mesh cargo test --release --test integration --
//! --ignored --nocapture primary_figures`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lab::tools::{self, Istio, Tool};
use lab::{Cluster, Lab, Options};
use terraform_provider_mesh::chart::{Capabilities, Chart, Release, merge_values, render};

use crate::support::cli::clis;
use crate::support::one_primary::OnePrimary;

const ROUNDS: usize = 3;

#[test]
#[ignore = "measures"]
fn rendering_beside_helm_template() {
    let helm = tools::path(Tool::Helm).expect("helm");
    let charts = tools::charts(Istio::Current).expect("the charts");
    let values = "global: {meshID: mesh1, network: net-east, multiCluster: {clusterName: east}}\n";
    println!("chart      load ms   render ms   objects   helm template ms (median; load and start included)");
    for name in ["base", "istiod", "gateway", "cni", "ztunnel"] {
        let folder = charts.folder(name);
        let load = median(11, || drop(Chart::from_dir(&folder).expect("the chart")));
        let chart = Chart::from_dir(&folder).expect("the chart");
        let release = Release { name: "x".into(), namespace: "istio-system".into(), is_upgrade: true };
        let values = merge_values([if name == "istiod" { values } else { "" }]).expect("values");
        let mut objects = 0;
        let ours = median(51, || {
            let rendered = render(&chart, &release, &values, &Capabilities::default()).expect("it renders");
            objects = rendered.len();
        });
        let theirs = median(5, || {
            let done = Command::new(&helm).args(["template", "x"]).arg(&folder).args(["-n", "istio-system"]).output();
            assert!(done.expect("helm").status.success());
        });
        println!("{name:<9} {:>8.2} {:>11.2} {objects:>9} {:>18.0}", ms(load), ms(ours), ms(theirs));
    }
}

#[test]
#[ignore = "measures"]
fn a_control_plane_beside_helm() {
    let provider = std::path::absolute(OnePrimary::provider()).expect("a path");
    let cli = clis().into_iter().next().expect("a command line");
    let lab = Lab::start(&["east"], Options::default()).expect("a cluster");
    let east = lab.cluster("east");
    println!("{} and {}", cli.name, provider.display());
    println!("round  step                                   s   requests   peak MiB");
    for round in 1..=ROUNDS {
        let say = |step: &str, cost: Cost| println!("{round:>5}  {step:<32} {cost}");
        let run = OnePrimary::new(&cli, &provider, east);
        run.configure("");
        let core = |arguments: &[&str], code: i32| {
            let mut command = run.workspace.command(arguments);
            cost(east, &mut command, "terraform-provider-mesh", &provider, code)
        };
        say("apply", core(&["apply", "-auto-approve", "-input=false"], 0));
        say("plan that changes nothing", core(&["plan", "-detailed-exitcode", "-input=false"], 0));
        say("apply that changes nothing", core(&["apply", "-auto-approve", "-input=false"], 0));
        run.configure("autoscaleMin: 2\n");
        say("apply that changes one value", core(&["apply", "-auto-approve", "-input=false"], 0));
        say("destroy", core(&["destroy", "-auto-approve", "-input=false"], 0));
        run.namespace_goes();
        helm(&run, &say);
    }
}

/// The same with helm, base and istiod one after the other, as Istio's documentation has it.
fn helm(run: &OnePrimary<'_>, say: &impl Fn(&str, Cost)) {
    let east = run.cluster;
    let program = tools::path(Tool::Helm).expect("helm");
    let charts = tools::charts(Istio::Current).expect("the charts");
    let step = |arguments: &[String]| {
        let mut command = Command::new(&program);
        command.args(arguments).env("KUBECONFIG", east.kubeconfig_path()).stdin(Stdio::null());
        cost(east, &mut command, "", &program, 0)
    };
    let charted = |verb: &str, release: &str, chart: &str, more: &[&str]| -> Vec<String> {
        let folder = charts.folder(chart).display().to_string();
        [verb, release, &folder, "-n", "istio-system"].iter().chain(more).map(ToString::to_string).collect()
    };
    let tag = format!("global.tag={}", Istio::Current.version());
    let settings = ["global.meshID=mesh1", "global.network=net-east", "global.multiCluster.clusterName=east"];
    let set: Vec<&str> =
        settings.iter().flat_map(|set| ["--set", set]).chain(["--set-string", &tag, "--wait"]).collect();
    let changed: Vec<&str> = set.iter().copied().chain(["--set", "autoscaleMin=2"]).collect();
    let both = |verb: &str, set: &[&str], base: &[&str]| {
        step(&charted(verb, "istio-base", "base", base)) + step(&charted(verb, "istiod", "istiod", set))
    };
    say("helm install", both("install", &set, &["--create-namespace", "--wait"]));
    say("helm upgrade that changes nothing", both("upgrade", &set, &["--wait"]));
    say("helm upgrade of one value", both("upgrade", &changed, &["--wait"]));
    let removed = |release: &str| ["uninstall", release, "-n", "istio-system", "--wait"].map(str::to_owned);
    say("helm uninstall", step(&removed("istiod")) + step(&removed("istio-base")));
    // Helm leaves both behind.
    let definitions = east.kubectl(&["get", "crd", "-o", "name"]).expect("kubectl");
    let istios: Vec<&str> = definitions.lines().filter(|name| name.ends_with(".istio.io")).collect();
    let delete: Vec<&str> = ["delete"].into_iter().chain(istios).collect();
    east.kubectl(&delete).expect("kubectl");
    east.kubectl(&["delete", "namespace", "istio-system"]).expect("kubectl");
    run.namespace_goes();
}

#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    requests: usize,
    /// Of all processes of the program together, KiB.
    peak: u64,
}

impl std::ops::Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost { wall: self.wall + other.wall, requests: self.requests + other.requests, peak: self.peak.max(other.peak) }
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>7.2} {:>10} {:>10.1}", self.wall.as_secs_f64(), self.requests, self.peak as f64 / 1024.0)
    }
}

/// Runs a command; counts the requests of agents of this name (all but the cluster's own where it is empty) and the
/// memory of what runs `program`.
fn cost(cluster: &Cluster, command: &mut Command, agent: &str, program: &Path, code: i32) -> Cost {
    cluster.reset_requests();
    let watch = Watch::of(program);
    let begun = Instant::now();
    let Output { status, stdout, stderr } = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|child| child.wait_with_output())
        .expect("it runs");
    let wall = begun.elapsed();
    let peak = watch.end();
    let said = || format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(code), "{}", said());
    // The audit log is written a moment after the answer.
    std::thread::sleep(Duration::from_millis(500));
    let requests = cluster.requests();
    let requests = match agent {
        "" => requests.only(|request| !request.agent.starts_with("pilot") && !request.agent.starts_with("terraform")),
        agent => requests.by_agent(agent),
    };
    Cost { wall, requests: requests.len(), peak }
}

/// Looks at the memory high-water mark of every process of a program until told to stop.
struct Watch {
    ending: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

impl Watch {
    fn of(program: &Path) -> Watch {
        let ending = Arc::new(AtomicBool::new(false));
        let (program, told) = (program.canonicalize().expect("the program"), ending.clone());
        let thread = std::thread::spawn(move || {
            let mut peak = 0;
            while !told.load(Ordering::Relaxed) {
                peak = peak.max(processes(&program).iter().map(|process| high_water(process)).sum());
                std::thread::sleep(Duration::from_millis(5));
            }
            peak
        });
        Watch { ending, thread }
    }

    fn end(self) -> u64 {
        self.ending.store(true, Ordering::Relaxed);
        self.thread.join().expect("it ends")
    }
}

fn processes(program: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir("/proc").expect("the processes").filter_map(Result::ok).map(|entry| entry.path());
    all.filter(|process| std::fs::read_link(process.join("exe")).is_ok_and(|exe| exe == program)).collect()
}

fn high_water(process: &Path) -> u64 {
    let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn median(times: usize, mut work: impl FnMut()) -> Duration {
    let mut taken: Vec<Duration> = (0..times)
        .map(|_| {
            let begun = Instant::now();
            work();
            begun.elapsed()
        })
        .collect();
    taken.sort();
    taken[times / 2]
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
