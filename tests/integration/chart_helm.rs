//! Rendering held against helm itself: Istio's charts with sets of values, and with values drawn at random.
//!
//! Each file in `tests/fixtures/chart` is a set of values; its first line names the charts it is for.

mod random;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use lab::tools::{self, Istio, Tool};
use terraform_provider_mesh::chart::{
    Capabilities, Chart, Error, KubeVersion, Release, Values, merge_values, render, template,
};
use terraform_provider_mesh::mesh::{
    ClusterName, ControlPlane, ImageHub, Images, MeshId, MeshNetworks, Namespace, Platform,
};

use self::random::{Random, random_values};

const NAMESPACE: &str = "istio-system";

#[test]
fn value_sets_render_as_helm_renders_them() {
    let Some(helm) = helm() else { return };
    let sets = value_sets();
    let mut work = Vec::new();
    for istio in [Istio::Current, Istio::Old] {
        let charts = tools::charts(istio).unwrap();
        for set in &sets {
            for chart in &set.charts {
                work.push((set, charts.folder(chart)));
            }
        }
    }
    let tally = in_parallel(&work, |(set, folder)| compare(&helm, folder, &set.text, set.kube_version.as_deref()));
    println!("{} of {} alike, {} documents", tally.alike, work.len(), tally.documents);
    assert!(tally.differences.is_empty(), "{}", tally.differences.join("\n\n"));
}

#[test]
fn random_values_render_as_helm_renders_them() {
    let Some(helm) = helm() else { return };
    let rounds: u64 = std::env::var("CHART_RANDOM_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let seed: u64 = std::env::var("CHART_RANDOM_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let charts = [tools::charts(Istio::Current).unwrap(), tools::charts(Istio::Old).unwrap()];
    let work: Vec<_> = (0..rounds)
        .map(|round| {
            let mut random = Random(seed.wrapping_mul(1_000_003).wrapping_add(round));
            let chart = ["istiod", "istiod", "istiod", "gateway", "cni", "ztunnel"][random.below(6)];
            let folder = charts[random.below(2)].folder(chart);
            (folder, random_values(&mut random, chart))
        })
        .collect();
    let tally = in_parallel(&work, |(folder, text)| compare(&helm, folder, text, None));
    println!("{} of {} alike, {} documents", tally.alike, work.len(), tally.documents);
    assert!(tally.differences.is_empty(), "{}", tally.differences.join("\n\n"));
}

/// What a control plane gives the charts on each platform and on none, in both modes, by both versions of Istio, with
/// images of its own and without.
#[test]
fn platforms_and_images_render_as_helm_renders_them() {
    let Some(helm) = helm() else { return };
    let platforms = [None].into_iter().chain(Platform::ALL.iter().map(|(_, platform)| Some(*platform)));
    let planes = platforms.flat_map(|platform| [(platform, false), (platform, true)]);
    // What is told of images does not depend on the platform: the one that changes most of the rest, and none, will do.
    let with_images =
        [None, Some(Platform::OpenShift)].map(|platform| [(platform, false, true), (platform, true, true)]);
    let planes = planes.map(|(platform, ambient)| (platform, ambient, false)).chain(with_images.concat());
    let planes: Vec<_> = planes.collect();
    let mut work = Vec::new();
    for istio in [Istio::Current, Istio::Old] {
        let charts = tools::charts(istio).unwrap();
        for (platform, ambient, images) in planes.iter().copied() {
            let plane = control_plane(platform, ambient, if images { mirrored() } else { Images::default() });
            let mut values = vec![("istiod", plane.istiod_values()), ("cni", plane.cni_values())];
            if ambient {
                values.push(("ztunnel", plane.ztunnel_values()));
            } else if !images {
                // Neither mode nor images are anything to it, and it is large.
                values.push(("base", plane.base_values()));
            }
            work.extend(values.into_iter().map(|(chart, values)| (charts.folder(chart), values.to_string(), images)));
        }
    }
    let tally = in_parallel(&work, |(folder, text, images)| {
        let documents = compare(&helm, folder, text, Some("v1.34.1-gke.1"))?;
        let rendered = ours(folder, text, None).map_err(|error| error.to_string())?;
        let told = [HUB, PULL_SECRET].iter().all(|word| rendered.contains(word));
        if told == *images { Ok(documents) } else { Err(format!("images of {}: {text}", folder.display())) }
    });
    println!("{} of {} alike, {} documents", tally.alike, work.len(), tally.documents);
    assert!(tally.differences.is_empty(), "{}", tally.differences.join("\n\n"));
    assert!(tally.documents > 2 * work.len(), "they render something");
}

const HUB: &str = "registry.example:5000/istio";
const PULL_SECRET: &str = "registry-login";

fn mirrored() -> Images {
    Images { hub: ImageHub::new(HUB).ok(), pull_secrets: [PULL_SECRET.to_owned(), "other".to_owned()].into() }
}

fn control_plane(platform: Option<Platform>, ambient: bool, images: Images) -> ControlPlane {
    ControlPlane {
        cluster: ClusterName::new("east".to_owned()).unwrap(),
        mesh_id: MeshId::new("mesh1".to_owned()).unwrap(),
        network: None,
        namespace: Namespace::new("istio-system".to_owned()).unwrap(),
        revision: None,
        trust_domain: None,
        trust_domain_aliases: Vec::new(),
        mesh_networks: MeshNetworks::default(),
        external_istiod: false,
        is_external: false,
        ambient,
        platform,
        // As the resource has it: where the platform asks for the agent, and for sidecars on others as well.
        cni: true,
        images,
        agents_namespace: platform.and_then(Platform::namespace_of_agents),
        mtls: Default::default(),
        custom_hosts: Vec::new(),
        multi_root: true,
        remote_credentials: true,
        env: Default::default(),
        proxy_metadata: Default::default(),
    }
}

#[test]
fn an_archive_renders_as_its_folder() {
    if helm().is_none() {
        return;
    }
    let charts = tools::charts(Istio::Current).unwrap();
    for name in ["base", "istiod", "gateway", "cni", "ztunnel"] {
        let folder = Chart::from_dir(&charts.folder(name)).unwrap();
        let archive = Chart::from_archive(&std::fs::read(charts.archive(name).unwrap()).unwrap()).unwrap();
        let text = |chart| template(chart, &release(), &Values::default(), &Capabilities::default()).unwrap();
        assert_eq!(text(&folder), text(&archive), "{name}");
    }
}

#[test]
fn objects_are_what_helms_yaml_reader_reads() {
    let Some(helm) = helm() else { return };
    for name in ["istiod", "gateway", "cni", "ztunnel", "base"] {
        let chart = Chart::from_dir(&tools::charts(Istio::Current).unwrap().folder(name)).unwrap();
        let manifests = render(&chart, &release(), &Values::default(), &Capabilities::default()).unwrap();
        let texts: Vec<&str> = manifests.iter().map(|m| m.text.as_str()).collect();
        let read = read_by_helm(&helm, &texts);
        assert_eq!(read.len(), manifests.len());
        for (manifest, theirs) in manifests.iter().zip(read) {
            assert_eq!(with_floats(manifest.object.clone()), with_floats(theirs), "{}", manifest.template);
        }
    }
}

#[test]
fn subcharts_are_turned_off_as_helm_turns_them_off() {
    let Some(helm) = helm() else { return };
    const LISTED: [&str; 2] = [
        "- {name: sub, version: 1.x, condition: 'sub.on,sub.enabled'}\n- {name: other, version: 1.0.0, tags: [front, back]}\n",
        "- {name: sub, version: 1.x}\n- {name: gone, version: 1.x}\n",
    ];
    const VALUES: [&str; 10] = [
        "",
        "sub: {enabled: false}",
        "sub: {on: 'no', enabled: false}",
        "sub: {on: true, enabled: false}",
        "sub: {deep: {enabled: false}}",
        "deep: {enabled: false}",
        "tags: {front: false}",
        "tags: {front: false, back: true}",
        "tags: {front: 'no'}\nsub: {enabled: false}",
        "tags: {inner: false}",
    ];
    let charts: Vec<_> = LISTED
        .into_iter()
        .flat_map(|listed| [parent(listed, "v2", "Chart.yaml"), parent(listed, "v1", "requirements.yaml")])
        .collect();
    let work: Vec<_> = charts.iter().flat_map(|chart| VALUES.map(|values| (chart.path(), values))).collect();
    let tally = in_parallel(&work, |(chart, values)| compare(&helm, chart, values, None));
    assert!(tally.differences.is_empty(), "{}", tally.differences.join("\n\n"));
}

/// A chart that lists these dependencies in one of its files, and has three subcharts.
fn parent(listed: &str, form: &str, list: &str) -> tempfile::TempDir {
    let chart = tempfile::tempdir().unwrap();
    let head = |name: &str, form: &str| format!("apiVersion: {form}\nname: {name}\nversion: 1.0.0\n");
    let template = |name: &str| {
        format!(
            "kind: {name}\nvalues: {{{{ .Values | toJson | quote }}}}\nlisted: [{{{{ range .Chart.Dependencies }}}}{{{{ .Name }}}} {{{{ .Enabled }}}},{{{{ end }}}}]\n"
        )
    };
    let inner = "dependencies:\n- {name: deep, version: '>=1', condition: deep.enabled, tags: [inner]}\n";
    let dependencies = format!("dependencies:\n{listed}");
    let mut files = vec![
        ("templates/a.yaml", template("Parent")),
        ("values.yaml", "own: 1\nsub: {fromParent: true}\n".to_owned()),
        ("charts/sub/Chart.yaml", head("sub", "v2") + inner),
        ("charts/sub/values.yaml", "enabled: true\ndeep: {a: 1}\n".to_owned()),
        ("charts/sub/templates/a.yaml", template("Sub")),
        ("charts/sub/charts/deep/Chart.yaml", head("deep", "v2")),
        ("charts/sub/charts/deep/templates/a.yaml", template("Deep")),
        ("charts/other/Chart.yaml", head("other", "v2")),
        ("charts/other/templates/a.yaml", template("Other")),
    ];
    match list {
        "Chart.yaml" => files.push(("Chart.yaml", head("parent", form) + &dependencies)),
        list => files.extend([("Chart.yaml", head("parent", form)), (list, dependencies)]),
    }
    for (name, text) in files {
        let file = chart.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    chart
}

#[test]
fn odd_yaml_is_read_and_written_as_helm_does_it() {
    let Some(helm) = helm() else { return };
    let documents: Vec<&str> = include_str!("../fixtures/yaml.txt").split("\n=====\n").collect();
    let chart = reader(&documents);
    let out = Command::new(helm).args(["template", "x", "-n", NAMESPACE]).arg(chart.path()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let ours = ours(chart.path(), "", None).unwrap();
    let theirs = String::from_utf8(out.stdout).unwrap();
    assert!(ours == theirs, "{}", first_difference(&ours, &theirs));
}

/// Helm as a reader of YAML.
fn read_by_helm(helm: &Path, documents: &[&str]) -> Vec<serde_json::Value> {
    let chart = reader(documents);
    let out = Command::new(helm).args(["template", "x"]).arg(chart.path()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("# json "))
        .map(|json| serde_json::from_str(json).unwrap())
        .collect()
}

/// A chart that prints each of its files as JSON and as YAML, in comments.
fn reader(documents: &[&str]) -> tempfile::TempDir {
    let chart = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(chart.path().join(name), text).unwrap();
    write("Chart.yaml", "apiVersion: v2\nname: reader\nversion: 1.0.0\n");
    std::fs::create_dir_all(chart.path().join("templates")).unwrap();
    std::fs::create_dir_all(chart.path().join("in")).unwrap();
    for (i, document) in documents.iter().enumerate() {
        write(&format!("in/{i:04}"), document);
    }
    write(
        "templates/out.yaml",
        "{{ range $name, $_ := .Files.Glob \"in/*\" }}{{ $read := $.Files.Get $name | fromYaml }}\n\
         # json {{ toJson $read }}\n# {{ toYaml $read | replace \"\\n\" \"\\n# \" }}\n{{ end }}",
    );
    chart
}

/// Every number as a float64, which is how helm's templates see it.
fn with_floats(json: serde_json::Value) -> serde_json::Value {
    match json {
        serde_json::Value::Number(n) => n.as_f64().into(),
        serde_json::Value::Array(items) => items.into_iter().map(with_floats).collect(),
        serde_json::Value::Object(fields) => fields.into_iter().map(|(k, v)| (k, with_floats(v))).collect(),
        other => other,
    }
}

struct ValueSet {
    charts: Vec<String>,
    kube_version: Option<String>,
    text: String,
}

fn value_sets() -> Vec<ValueSet> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chart");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .iter()
        .map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            let comment = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix)).map(str::to_owned);
            let charts = comment("# charts: ").unwrap_or_else(|| panic!("{} names no charts", file.display()));
            ValueSet {
                charts: charts.split(' ').map(str::to_owned).collect(),
                kube_version: comment("# kube-version: "),
                text,
            }
        })
        .collect()
}

fn release() -> Release {
    Release { name: "x".to_owned(), namespace: NAMESPACE.to_owned(), is_upgrade: false }
}

/// How many documents both print, or how they differ.
fn compare(helm: &Path, folder: &Path, values: &str, kube_version: Option<&str>) -> Result<usize, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), values).unwrap();
    let mut command = Command::new(helm);
    command.args(["template", "x"]).arg(folder).args(["-n", NAMESPACE, "-f"]).arg(file.path());
    command.args(kube_version.map(|version| format!("--kube-version={version}")));
    let out = command.output().unwrap();
    let ours = ours(folder, values, kube_version);
    let context = || format!("{} with\n{values}\n", folder.display());
    if out.status.success() {
        let theirs = String::from_utf8(out.stdout).unwrap();
        return match ours {
            Ok(ours) if ours == theirs => Ok(theirs.matches("\n# Source: ").count()),
            Ok(ours) => Err(format!("{}{}", context(), first_difference(&ours, &theirs))),
            Err(error) => Err(format!("{}only we fail: {error}", context())),
        };
    }
    let theirs = helm_message(&String::from_utf8_lossy(&out.stderr), file.path());
    match ours {
        Ok(_) => Err(format!("{}only helm fails: {theirs}", context())),
        Err(error) if alike(&error, &theirs) => Ok(0),
        Err(error) => Err(format!("{}helm: {theirs}\nours: {error}", context())),
    }
}

fn ours(folder: &Path, values: &str, kube_version: Option<&str>) -> Result<String, Error> {
    let chart = Chart::from_dir(folder)?;
    let mut capabilities = Capabilities::default();
    if let Some(version) = kube_version {
        capabilities.kube_version = KubeVersion::parse(version)?;
    }
    template(&chart, &release(), &merge_values([values])?, &capabilities)
}

/// Helm's message without what its command line adds.
fn helm_message(stderr: &str, file: &Path) -> String {
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("level=")).collect();
    let text = lines.join("\n");
    let text = text.split("\n\nUse --debug").next().unwrap_or_default();
    let text = text.trim().trim_start_matches("Error: ");
    // Ahead of what is missing, helm says which of its commands would fetch it.
    let text = text.split_once("to fetch missing dependencies: ").map_or(text, |(_, missing)| missing);
    text.strip_prefix(&format!("failed to parse {}: ", file.display())).unwrap_or(text).to_owned()
}

/// The same message; the order of a schema's complaints is random in helm.
fn alike(error: &Error, theirs: &str) -> bool {
    let ours = error.to_string();
    if matches!(error, Error::Schema(_)) {
        let sorted = |text: &str| {
            let mut words: Vec<_> = text.trim().split([' ', '\n', ',']).map(str::to_owned).collect();
            words.sort();
            words
        };
        return sorted(&ours) == sorted(theirs);
    }
    ours.trim() == theirs
}

fn first_difference(ours: &str, theirs: &str) -> String {
    let at = ours.lines().zip(theirs.lines()).position(|(a, b)| a != b);
    let mut out = String::new();
    for (name, text) in [("ours", ours), ("helm", theirs)] {
        let from = at.unwrap_or_else(|| text.lines().count().saturating_sub(3)).saturating_sub(2);
        let lines: Vec<&str> = text.lines().skip(from).take(6).collect();
        let _ = writeln!(out, "{name} from line {}:\n{}", from + 1, lines.join("\n"));
    }
    out
}

#[derive(Default)]
struct Tally {
    alike: usize,
    documents: usize,
    differences: Vec<String>,
}

fn in_parallel<T: Sync>(work: &[T], compare: impl Fn(&T) -> Result<usize, String> + Sync) -> Tally {
    let (next, tally) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(item) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = compare(item);
                    let mut tally = tally.lock().unwrap();
                    match result {
                        Ok(documents) => {
                            tally.alike += 1;
                            tally.documents += documents;
                        }
                        Err(difference) => tally.differences.push(difference),
                    }
                }
            });
        }
    });
    tally.into_inner().unwrap()
}

fn helm() -> Option<PathBuf> {
    match tools::path(Tool::Helm) {
        Ok(helm) => Some(helm),
        Err(error) if std::env::var_os("CI").is_some() => panic!("helm is needed: {error}"),
        Err(error) => {
            println!("skipped, for want of helm: {error}");
            None
        }
    }
}
