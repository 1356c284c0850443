//! docs/guides/objects.md: what each resource writes in each mode, from the functions that an apply sends it by. This
//! test owns the page; `make docs` rewrites it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use lab::tools::{self, Istio};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::kept::objects::state_key;
use terraform_provider_mesh::kept::render;
use terraform_provider_mesh::pki::{Certificate, PrivateKey};
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::charts::{ProviderCharts, Store};
use terraform_provider_mesh::resources::written::{Placed, Written};
use terraform_provider_mesh::resources::{
    self, ca, ca_request, eastwest_gateway, primary, remote_cluster, service_entry,
};
use terraform_provider_mesh::schema::Model;
use terraform_provider_mesh::value::{Dyn, Path};

use crate::support::core::Core;
use crate::support::written_modes::{Mode, modes};

#[tokio::test]
async fn the_page_is_what_the_code_writes() {
    let page = page().await;
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/guides/objects.md");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let differs = committed.lines().zip(page.lines()).find(|(committed, made)| committed != made);
    assert!(
        committed == page,
        "docs/guides/objects.md is not what the code writes, first in {differs:#?}. Run `make docs` and commit the result."
    );
}

/// Argo CD before version 3 takes what carries the label with the name of an Application for that Application's. The
/// guide says on which objects the charts set it, and that nothing carries the marks of other tools.
#[test]
fn the_guide_names_what_another_tool_may_take_for_its_own() {
    let read = |path: &str| fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let (page, guide) = (read("docs/guides/objects.md"), read("docs/guides/beside-gitops.md"));
    for mark in ["argocd.argoproj.io", "fluxcd.io", "meta.helm.sh"] {
        assert!(!page.contains(mark), "something carries the mark of another tool: {mark}");
    }
    let label = "app.kubernetes.io/instance";
    let of_argo = guide.split("\n- ").find(|entry| entry.starts_with("**Argo CD**")).expect("Argo CD is named");
    assert!(of_argo.contains(label) && of_argo.contains("resourceTrackingMethod: annotation"), "{of_argo}");
    let labelled = page.split("\n## ").skip(1).filter(|section| section.contains(label));
    let labelled: Vec<&str> = labelled.filter_map(|section| section.lines().next()).collect();
    assert!(!labelled.is_empty());
    for resource in labelled {
        assert!(of_argo.contains(resource), "objects of {resource} carry {label}");
    }
}

async fn page() -> String {
    let charts = tools::charts(Istio::Current).expect("the charts can be unpacked");
    let gateway_api = tools::gateway_api().expect("the Gateway API").display().to_string();
    let folder = charts.dir().display().to_string();
    let silent = json!({"host": "https://127.0.0.1:9", "token": "t"});
    let provider = json!({
        "clusters": {"east": silent, "west": silent},
        "charts": {"directory": folder, "gateway_api": gateway_api},
    });
    let core = Core::new(Mesh, resources::registry(), provider).await.expect("the provider can be configured");
    let defaults =
        ProviderCharts { directory: folder.into(), gateway_api: gateway_api.into(), ..ProviderCharts::default() };
    let store = Store::new(terraform_provider_mesh::value::Value::Known(defaults));
    let sample = sample();
    let template = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("templates/guides/objects.md");
    let mut text = fs::read_to_string(template).expect("the template");
    let mut first: Option<(String, Shown)> = None;
    for mode in modes() {
        core.walk_anew().await;
        let planned = core.plan(&mode.resource, Some(mode.config.clone()), None).await;
        let planned = planned.unwrap_or_else(|refused| panic!("{}: {refused}", mode.title)).planned;
        let written = written(&mode.resource, &planned, &store, &sample).await;
        assert_planned(&mode, &planned, &written);
        let shown = Shown::of(&written);
        match &first {
            Some((resource, first)) if *resource == mode.resource => shown.difference(&mut text, &mode, first),
            _ => {
                let _ = write!(text, "\n## {}\n", mode.resource);
                shown.whole(&mut text, &mode);
                first = Some((mode.resource, shown));
            }
        }
    }
    text
}

async fn written(resource: &str, planned: &Dyn, store: &Store, sample: &ca::Sample) -> Written {
    let written = match resource {
        "mesh_ca" => ca::written(&decoded(planned), sample).await,
        "mesh_ca_request" => ca_request::written(&decoded(planned)).await,
        "mesh_primary" => primary::written(&decoded(planned), store).await,
        "mesh_eastwest_gateway" => eastwest_gateway::written(&decoded(planned), store).await,
        "mesh_remote_cluster" => remote_cluster::written(&decoded(planned), store).await,
        "mesh_service_entry" => service_entry::written(&decoded(planned)),
        other => panic!("say what {other} writes"),
    };
    written.unwrap_or_else(|refused| panic!("{resource}: {refused}"))
}

fn decoded<M: Model>(planned: &Dyn) -> M {
    M::decode(planned).expect("what was planned")
}

/// What a plan says of objects is what is listed.
fn assert_planned(mode: &Mode, planned: &Dyn, written: &Written) {
    let mut named: BTreeSet<(String, String)> = BTreeSet::new();
    let cluster = planned.at(&Path::root("cluster")).and_then(Dyn::as_str).unwrap_or_default();
    match planned.at(&Path::root("objects")) {
        Some(Dyn::Map(objects)) => named.extend(objects.keys().map(|key| (cluster.to_owned(), key.clone()))),
        // A CA records no objects; others wait for what only a cluster can say.
        _ => return,
    }
    if let Some(Dyn::Map(exported)) = planned.at(&Path::root("exported")) {
        for (cluster, exported) in exported {
            let Some(Dyn::Map(objects)) = exported.at(&Path::root("objects")) else { continue };
            named.extend(objects.keys().map(|key| (cluster.clone(), key.clone())));
        }
    }
    let recorded = written.objects.iter().filter(|placed| placed.recorded);
    let listed: BTreeSet<(String, String)> = recorded.map(|placed| (placed.cluster.clone(), key(placed))).collect();
    assert_eq!(listed, named, "{}: other objects than its plan has", mode.title);
}

fn key(placed: &Placed) -> String {
    state_key(&render::reference(&placed.object).expect("a known kind"))
}

/// What the page says of the objects and values of one mode.
struct Shown {
    objects: BTreeMap<Named, Details>,
    /// By chart and release.
    values: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Named {
    cluster: String,
    level: u8,
    kind: String,
    name: String,
}

/// By what it is: each label, annotation, port and key.
type Details = BTreeSet<String>;

impl Shown {
    fn of(written: &Written) -> Shown {
        let objects = written.objects.iter().map(|placed| {
            let object = &placed.object;
            let name = match object.namespace() {
                Some(namespace) => format!("{namespace}/{}", object.name()),
                None => object.name().to_owned(),
            };
            let kind = object.kind().to_owned();
            let level = placed.level;
            (Named { cluster: placed.cluster.clone(), level, kind, name }, details(object.value()))
        });
        let values = written.charts.iter().map(|given| {
            let mut flat = BTreeMap::new();
            flatten("", &given.values, &mut flat);
            (format!("Chart `{}`, release `{}`", given.chart, given.release), flat)
        });
        Shown { objects: objects.collect(), values: values.collect() }
    }

    fn whole(&self, text: &mut String, mode: &Mode) {
        let _ = write!(text, "\n### {}\n\n{}\n", mode.title, mode.about);
        let common = self.common();
        let _ = write!(text, "\nObjects with a mark have these too: {}.\n", codes(&common));
        let rows = self.objects.iter().map(|(named, details)| {
            let own = if common.is_subset(details) {
                details.difference(&common).cloned().collect()
            } else {
                details.clone()
            };
            (named.clone(), own)
        });
        table(text, rows.collect());
        for (chart, values) in &self.values {
            given(text, chart, values.iter().map(|(path, value)| format!("{path} = {value}")).collect());
        }
    }

    fn difference(&self, text: &mut String, mode: &Mode, first: &Shown) {
        let _ = write!(text, "\n### {}\n\n{}\n", mode.title, mode.about);
        let length = text.len();
        let new = self.objects.iter().filter(|(named, _)| !first.objects.contains_key(*named));
        let new: Vec<(Named, Details)> = new.map(|(named, details)| (named.clone(), details.clone())).collect();
        if !new.is_empty() {
            text.push_str("\nMore objects:\n");
            table(text, new);
        }
        let gone: Vec<String> = first
            .objects
            .keys()
            .filter(|named| !self.objects.contains_key(*named))
            .map(|named| format!("{} {}", named.kind, named.name))
            .collect();
        if !gone.is_empty() {
            let _ = write!(text, "\nNot there: {}.\n", codes(&gone));
        }
        let changed: Vec<(Named, Details)> = self
            .objects
            .iter()
            .filter_map(|(named, details)| {
                let before = first.objects.get(named).filter(|before| *before != details)?;
                let more = details.difference(before).cloned();
                let less = before.difference(details).map(|detail| format!("without {detail}"));
                Some((named.clone(), more.chain(less).collect()))
            })
            .collect();
        if !changed.is_empty() {
            text.push_str("\nOther labels, annotations, ports or keys:\n");
            table(text, changed);
        }
        for (chart, values) in &self.values {
            // A release of another name is compared with the same chart's.
            let is_of = |name: &&String| name.split(',').next() == chart.split(',').next();
            let before = first.values.keys().find(is_of).and_then(|name| first.values.get(name));
            let before = before.cloned().unwrap_or_default();
            let set = values.iter().filter(|(path, value)| before.get(*path) != Some(value));
            let mut lines: Vec<String> = set.map(|(path, value)| format!("{path} = {value}")).collect();
            let unset = before.keys().filter(|path| !values.contains_key(*path));
            lines.extend(unset.map(|path| format!("{path} is not set")));
            if !lines.is_empty() {
                given(text, chart, lines);
            }
        }
        if text.len() == length {
            text.push_str("\nObjects and values are those of the first mode.\n");
        }
    }

    /// What every marked object has.
    fn common(&self) -> Details {
        let is_marked = |details: &&Details| details.iter().any(|detail| detail.ends_with("/instance: MARK"));
        let mut marked = self.objects.values().filter(is_marked);
        let first = marked.next().cloned().unwrap_or_default();
        marked.fold(first, |common, details| common.intersection(details).cloned().collect())
    }
}

fn given(text: &mut String, chart: &str, lines: Vec<String>) {
    let lines = if lines.is_empty() { "(nothing)".to_owned() } else { lines.join("\n") };
    let _ = write!(text, "\n{chart}:\n\n```text\n{lines}\n```\n");
}

/// Objects that differ in nothing but their names share a row.
fn table(text: &mut String, rows: Vec<(Named, Details)>) {
    text.push_str(
        "\n| cluster | level | kind | name | labels, annotations, ports, keys |\n| --- | --- | --- | --- | --- |\n",
    );
    let mut grouped: Vec<(Named, Vec<String>, Details)> = Vec::new();
    for (named, details) in rows {
        let like = |(row, _, known): &&mut (Named, Vec<String>, Details)| {
            (&row.cluster, row.level, &row.kind) == (&named.cluster, named.level, &named.kind) && *known == details
        };
        match grouped.iter_mut().find(like) {
            Some((_, names, _)) => names.push(named.name),
            None => grouped.push((named.clone(), vec![named.name], details)),
        }
    }
    for (named, names, details) in grouped {
        let details: Vec<String> = details.into_iter().collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            named.cluster,
            named.level,
            named.kind,
            names.join("<br>"),
            cell(&details)
        );
    }
}

fn cell(items: &[String]) -> String {
    items.iter().map(|item| format!("`{}`", item.replace('|', "\\|"))).collect::<Vec<_>>().join("<br>")
}

fn codes<'a>(items: impl IntoIterator<Item = &'a String>) -> String {
    items.into_iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ")
}

fn details(object: &Json) -> Details {
    let mut found = Details::new();
    let mut texts = |what: &str, members: &Json| {
        for (key, value) in members.as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            found.insert(without_version(&format!("{what} {key}: {}", short(&value))));
        }
    };
    texts("label", &object["metadata"]["labels"]);
    texts("annotation", &object["metadata"]["annotations"]);
    let pod = match object["kind"].as_str() {
        Some("Deployment" | "DaemonSet") => &object["spec"]["template"],
        _ => &Json::Null,
    };
    texts("Pod label", &pod["metadata"]["labels"]);
    texts("Pod annotation", &pod["metadata"]["annotations"]);
    if ["Secret", "ConfigMap"].contains(&object["kind"].as_str().unwrap_or_default()) {
        for key in object["data"].as_object().into_iter().flatten().map(|(key, _)| key) {
            found.insert(format!("key {key}"));
        }
    }
    found.extend(ports(object));
    found
}

fn ports(object: &Json) -> Vec<String> {
    let list = |at: &Json| at.as_array().cloned().unwrap_or_default();
    let spec = &object["spec"];
    let said = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let named = |port: &Json, number: &str| {
        let name = port["name"].as_str().map(|name| format!(" {name}")).unwrap_or_default();
        let protocol = port["protocol"].as_str().map(|protocol| format!(" {protocol}")).unwrap_or_default();
        let target = port.get("targetPort").map(|target| format!(" to {}", said(target))).unwrap_or_default();
        format!("port {}{name}{protocol}{target}", said(&port[number]))
    };
    match object["kind"].as_str().unwrap_or_default() {
        "Service" => list(&spec["ports"]).iter().map(|port| named(port, "port")).collect(),
        "EndpointSlice" => list(&object["ports"]).iter().map(|port| named(port, "port")).collect(),
        "ServiceEntry" => list(&spec["ports"]).iter().map(|port| named(port, "number")).collect(),
        "Gateway" => {
            let servers = list(&spec["servers"]);
            let listeners = list(&spec["listeners"]);
            let servers = servers.iter().map(|server| named(&server["port"], "number"));
            servers.chain(listeners.iter().map(|listener| named(listener, "port"))).collect()
        }
        "Deployment" | "DaemonSet" => list(&spec["template"]["spec"]["containers"])
            .iter()
            .flat_map(|container| list(&container["ports"]))
            .map(|port| named(&port, "containerPort"))
            .collect(),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => list(&object["webhooks"])
            .iter()
            .filter_map(|webhook| {
                let service = webhook["clientConfig"].get("service")?;
                let (name, namespace) = (said(&service["name"]), said(&service["namespace"]));
                let port = service.get("port").map_or_else(|| "443".to_owned(), said);
                Some(format!("calls {namespace}/{name} port {port}"))
            })
            .collect(),
        "NetworkPolicy" => list(&spec["ingress"])
            .iter()
            .flat_map(|rule| list(&rule["ports"]))
            .map(|port| format!("allows port {}", said(&port["port"])))
            .collect(),
        _ => Vec::new(),
    }
}

fn flatten(path: &str, value: &Json, into: &mut BTreeMap<String, String>) {
    match value {
        Json::Object(members) if !members.is_empty() || path.is_empty() => {
            for (key, value) in members {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, into);
            }
        }
        other => drop(into.insert(path.to_owned(), without_version(&other.to_string()))),
    }
}

/// What a chart writes of its own version says nothing here.
fn without_version(text: &str) -> String {
    text.replace(Istio::Current.version(), "VERSION")
}

/// The Gateway API's own annotations are whole sentences.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(80) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line,
    }
}

/// A root for the Secrets of which only the keys are shown.
fn sample() -> ca::Sample {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a root").pem();
    ca::Sample {
        certificate: Certificate::from_pem(&certificate).expect("a certificate"),
        key: PrivateKey::from_pem(&key.serialize_pem()).expect("a key"),
    }
}
