//! Laws that hold for every example, whatever is in it: an apply that fails at one step after the other loses nothing,
//! an outage changes nothing, and what was made can be imported as it is.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD as STANDARD, BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD, Engine as _};
use lab::tools::Tool;
use lab::{Cluster, Fault, Lab};
use serde_json::Value;
use terraform_provider_mesh::cluster::OWNER_LABEL;

use crate::examples::no_secret_in;
use crate::queries::finds_the_whole;
use crate::rbac::IDENTITIES;
use crate::support::cli::{APPLIER, PLANNER, Workspace};

/// Applies that are refused after so many writes in each cluster, one after the other. What they made is in state, or
/// the apply that follows, the second plan and the destroy would tell.
pub fn fails_after(writes: &[usize], workspace: &Workspace, lab: &Lab) {
    for passing in writes.iter().copied() {
        for cluster in lab.clusters() {
            let refused = Fault::status(403).for_agent("terraform-provider-mesh").for_request("PATCH ").after(passing);
            cluster.fault(refused).unwrap();
        }
        let said = workspace.run(&["apply", "-auto-approve"]);
        lab.clusters().iter().for_each(|cluster| cluster.clear_faults().unwrap());
        assert_eq!(said.code, Some(1), "{passing} writes are not enough: {}", said.stdout);
        assert!(said.stderr.contains("the lab answers 403"), "{}", said.stderr);
    }
}

/// Whoever steals a watcher's token tries every Secret of every cluster with it. In the layout of the guides no key of
/// the root and none of an intermediate comes back. Where state says that watchers may read the Secrets of a cluster,
/// its intermediate does, and the root where its store there is said to be readable: just what is said, and nothing of
/// any other cluster. Whether anything may be read at all, the configuration says.
pub fn tokens_read_what_is_accepted(workspace: &Workspace, lab: &Lab, watch_each_other: bool) {
    let tokens: Vec<(String, String)> = lab.clusters().iter().flat_map(tokens_kept_in).collect();
    assert_eq!(!tokens.is_empty(), watch_each_other, "there are other tokens to try than those of watchers");
    let accepts = fs::read_to_string(workspace.path("main.tf")).unwrap().contains("readable_by_watchers");
    let state = workspace.state();
    let all = instances(&state);
    let of = |kind: &'static str| {
        all.iter().filter(move |(address, _)| address.starts_with(kind)).map(|(_, instance)| &instance["attributes"])
    };
    let links = of("mesh_remote_cluster.").filter(|link| link["read_secrets"] == true);
    let readable: BTreeSet<&str> = links.filter_map(|link| link["cluster"].as_str()).collect();
    let mut accepted = BTreeSet::new();
    for ca in of("mesh_ca.") {
        let signed =
            ca["clusters"].as_object().into_iter().flatten().map(|(cluster, _)| (cluster.as_str(), "an intermediate"));
        accepted.extend(
            signed.filter(|(cluster, _)| readable.contains(cluster)).map(|(cluster, what)| (cluster.to_owned(), what)),
        );
        let store = &ca["root"]["store"];
        if let Some(cluster) = store["cluster"].as_str().filter(|cluster| readable.contains(cluster)) {
            assert_eq!(store["readable_by_watchers"], true, "nobody has accepted it: {store}");
            accepted.insert((cluster.to_owned(), "the root"));
        }
    }
    if !accepts {
        accepted.clear();
    }
    let mut read = BTreeSet::new();
    for (held_by, token) in &tokens {
        for cluster in lab.clusters() {
            let place = format!("the token that {held_by} holds, in {}", cluster.name());
            for args in [
                &["get", "-o", "json", "secrets", "--all-namespaces"][..],
                &["get", "-o", "json", "secret", "mesh-root-ca", "-n", "mesh-root-ca"],
                &["get", "-o", "json", "secret", "cacerts", "-n", "istio-system"],
            ] {
                let found = as_thief(cluster, token, args);
                for (key, what) in [("ca-key", "an intermediate"), ("root-1.key", "the root")] {
                    if found.contains(key) {
                        read.insert((cluster.name().to_owned(), what));
                    }
                }
            }
            if is_of_a_reader(token) {
                for may in [
                    ["auth", "can-i", "update", "configmaps/coredns", "-n", "kube-system"],
                    ["auth", "can-i", "patch", "mutatingwebhookconfigurations/of-others", "-n", "default"],
                ] {
                    let answer = as_thief(cluster, token, &may);
                    assert_ne!(answer.trim(), "yes", "{place}: {may:?}");
                }
            }
        }
    }
    assert_eq!(read, accepted, "what the tokens of watchers read, and what is accepted");
}

/// Whether the token is of the account that this provider makes for watchers, and not of an istiod of another cluster,
/// which serves this one as its own.
fn is_of_a_reader(token: &str) -> bool {
    let claims = token
        .split('.')
        .nth(1)
        .and_then(|claims| STANDARD_NO_PAD.decode(claims.replace('-', "+").replace('_', "/")).ok());
    claims.is_some_and(|claims| String::from_utf8_lossy(&claims).contains("istio-mesh-reader"))
}

/// What an API server gives to whoever has the token; nothing where it refuses.
fn as_thief(cluster: &Arc<Cluster>, token: &str, args: &[&str]) -> String {
    let server = cluster.server();
    let all = ["--kubeconfig", "/dev/null", "--insecure-skip-tls-verify", "--server", &server, "--token", token];
    let all: Vec<&str> = all.into_iter().chain(args.iter().copied()).collect();
    cluster.run(Tool::Kubectl, &all, None).unwrap_or_default()
}

/// The tokens by which the istiods of a cluster watch others.
fn tokens_kept_in(cluster: &Arc<Cluster>) -> Vec<(String, String)> {
    let list = cluster.get(&["secrets", "--all-namespaces"]).unwrap().unwrap();
    let mut tokens = Vec::new();
    for secret in list["items"].as_array().unwrap() {
        let name = secret["metadata"]["name"].as_str().unwrap();
        if secret["metadata"]["labels"]["istio/multiCluster"] != "true" && name != "istio-kubeconfig" {
            continue;
        }
        for (key, value) in secret["data"].as_object().into_iter().flatten() {
            let text = String::from_utf8(STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap();
            let told = text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("token:"));
            let json = serde_json::from_str::<Value>(&text).ok();
            let of_json = json.as_ref().and_then(|config| config["users"][0]["user"]["token"].as_str());
            let bare = Some(text.trim()).filter(|text| text.starts_with("ey"));
            let found = told.map(|token| token.trim().trim_matches('"')).chain(of_json).chain(bare);
            tokens.extend(found.map(|token| (format!("{}/{name} {key}", cluster.name()), token.to_owned())));
        }
    }
    tokens
}

/// With one of the clusters out of reach a refresh forgets nothing, and the apply afterwards has nothing to do.
pub fn outlives_an_outage(workspace: &Workspace, cluster: &Arc<Cluster>) {
    let before = kept(&workspace.state());
    cluster.fault(Fault::unreachable()).unwrap();
    let refreshed = workspace.run(&["apply", "-refresh-only", "-auto-approve"]);
    cluster.clear_faults().unwrap();
    let said = format!("{}{}", refreshed.stdout, refreshed.stderr);
    assert_eq!(kept(&workspace.state()), before, "{said}");
    assert!(said.contains(&format!("Warning: Cluster {} cannot be read", cluster.name())), "{said}");
    // What could not be known meanwhile, an istiod's word on a cluster, is an output of some examples.
    let again = workspace.run(&["apply", "-auto-approve"]).ok();
    assert!(again.stdout.contains("Resources: 0 added, 0 changed, 0 destroyed"), "{}", again.stdout);
}

/// A mesh that was made as the example has it after a change, and then became the example: what it was made of.
pub struct Made {
    changed: String,
    example: String,
    objects: Vec<(String, Value)>,
}

/// Makes the changed mesh from empty clusters, and changes it back. What an apply from empty clusters must outlive,
/// `makes` sees to.
pub fn is_made_changed(workspace: &Workspace, makes: impl FnOnce()) -> Made {
    let example = fs::read_to_string(workspace.path("main.tf")).unwrap();
    let changed = changed(&example);
    assert_ne!(example, changed);
    fs::write(workspace.path("main.tf"), &changed).unwrap();
    makes();
    workspace.is_settled();
    let objects = kept(&workspace.state());
    fs::write(workspace.path("main.tf"), &example).unwrap();
    changes_something(workspace);
    Made { changed, example, objects }
}

/// Changing a mesh into another ends where making that one did: the same objects with the same fields.
pub fn becomes_as_if_made(workspace: &Workspace, made: &Made) {
    assert_ne!(kept(&workspace.state()), made.objects, "the change changes nothing: {}", made.example);
    fs::write(workspace.path("main.tf"), &made.changed).unwrap();
    changes_something(workspace);
    workspace.is_settled();
    assert_eq!(kept(&workspace.state()), made.objects);
}

fn changes_something(workspace: &Workspace) {
    let updated = workspace.run(&["apply", "-auto-approve"]).ok();
    assert!(!updated.stdout.contains("Resources: 0 added, 0 changed, 0 destroyed"), "{}", updated.stdout);
}

/// The same configuration with something changed in every control plane, gateway and reader.
fn changed(main: &str) -> String {
    let blocks = main.split_inclusive("\n}\n").map(|block| {
        let Some((head, body)) = block.split_once(" {\n").filter(|_| block.contains("\nresource \"mesh_")) else {
            return block.to_owned();
        };
        let kind = head.rsplit("resource \"").next().and_then(|rest| rest.split('"').next()).unwrap_or_default();
        let attribute = match kind {
            "mesh_primary" => "custom_hosts = [\"istiod.example.com\"]",
            "mesh_eastwest_gateway" if !body.contains("ambient") => "service = { annotations = { changed = \"yes\" } }",
            "mesh_remote_cluster" if !body.contains("\"config\"") => "export_services = true",
            _ => return block.to_owned(),
        };
        format!("{head} {{\n  {attribute}\n{body}")
    });
    blocks.collect()
}

/// The whole mesh at a look: healthy for a handful of requests, and still told of when one of its clusters is out of
/// reach. `other` is a workspace of the example that has applied nothing.
pub fn is_told_at_a_look(other: &Workspace, lab: &Lab, namespace: &str) {
    fs::remove_file(other.path("main.tf")).unwrap();
    // Who only looks needs to read, and no more.
    fs::copy(other.path(PLANNER), other.path(APPLIER)).unwrap();
    // The namespace by cluster, where it is not the usual one.
    let others: Vec<String> = match namespace {
        "istio-system" => Vec::new(),
        _ => lab.clusters().iter().map(|cluster| format!("{} = \"{namespace}\"", cluster.name())).collect(),
    };
    let look = format!(
        "data \"mesh_status\" \"this\" {{\n  namespaces = {{ {} }}\n}}\noutput \"mesh\" {{\n  value = data.mesh_status.this\n}}\n",
        others.join(", ")
    );
    fs::write(other.path("look.tf"), look).unwrap();
    let look = || -> Value {
        other.run(&["apply", "-auto-approve"]).ok();
        other.state()["outputs"]["mesh"]["value"].clone()
    };
    lab.clusters().iter().for_each(|cluster| cluster.reset_requests());
    let whole = look();
    assert_eq!((&whole["healthy"], &whole["findings"]), (&Value::Bool(true), &Value::Array(Vec::new())));
    for cluster in lab.clusters() {
        let asked = cluster.requests().by_agent("terraform-provider-mesh");
        assert!(!asked.is_empty() && asked.len() <= 16, "{}", asked.listing());
    }
    let (down, others) = lab.clusters().split_last().unwrap();
    down.fault(Fault::unreachable()).unwrap();
    let part = look();
    down.clear_faults().unwrap();
    assert_eq!(
        (&part["healthy"], &part["status"][down.name()]["reachable"]),
        (&Value::Bool(false), &Value::Bool(false))
    );
    for map in ["control_planes", "watches", "gateways"] {
        let empty = Value::Object(serde_json::Map::new());
        assert_eq!(part["status"][down.name()][map], empty, "{map} of a cluster that cannot be read");
    }
    let told =
        part["findings"][0].as_str().unwrap_or_default().to_owned() + part["findings"][1].as_str().unwrap_or_default();
    assert!(told.contains(down.name()), "{told}");
    for cluster in others {
        let (before, now) = (&whole["status"][cluster.name()], &part["status"][cluster.name()]);
        assert_eq!((&now["reachable"], &now["control_planes"]), (&Value::Bool(true), &before["control_planes"]));
    }
}

/// `other` is a workspace with the same configuration and no state, as a copied folder has it. Its apply is refused for
/// every resource before anything is written, its destroy has nothing to remove, and the first state goes on as if
/// nothing had been.
pub fn is_nobody_elses(made: &Workspace, other: &Workspace, lab: &Lab) {
    all_is_complete(lab);
    let before = written(lab);
    let refused = other.run(&["apply", "-auto-approve"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    let independent = instances(&made.state()).iter().any(|(address, _)| address.starts_with("mesh_ca."));
    assert!(refused.stderr.contains("exists already"), "{}", refused.stderr);
    assert!(!independent || refused.stderr.contains("mesh_ca"), "{}", refused.stderr);
    assert!(refused.stderr.contains("import {"), "the way to manage it: {}", refused.stderr);
    assert_eq!(written(lab), before, "what the first state keeps is untouched");
    other.run(&["destroy", "-auto-approve"]).ok();
    assert_eq!(written(lab), before, "a destroy without anything in state");
    made.is_settled();
}

/// After an apply that was not disturbed: the core has asked the provider to leave, and no instance that it or a
/// disturbed one before it made waits for its state any more.
pub fn all_is_complete(lab: &Lab) {
    for cluster in lab.clusters() {
        let leases = cluster.get(&["leases", "-A", "-l", "terraform-provider-mesh/owner"]).unwrap().unwrap();
        for lease in leases["items"].as_array().unwrap() {
            let metadata = &lease["metadata"];
            let said = &metadata["annotations"]["terraform-provider-mesh/complete"];
            assert_eq!(said, "true", "{}: {}", cluster.name(), metadata["name"]);
        }
    }
}

/// Create before destroy, as a resource that refers to another spreads it: two instances of one id cannot stand side by
/// side, so the create is refused before it writes, and what is there stays. For one resource of each type.
pub fn is_not_replaced_by_itself(made: &Workspace, lab: &Lab) {
    all_is_complete(lab);
    let before = written(lab);
    let state = made.state();
    let mut seen = BTreeSet::new();
    for (address, instance) in instances(&state) {
        let kind = address.split('.').next().unwrap_or_default().to_owned();
        if !kind.starts_with("mesh_") || !seen.insert(kind) {
            continue;
        }
        let uses = format!(
            "resource \"terraform_data\" \"uses\" {{\n  input = {address}.id\n  lifecycle {{\n    create_before_destroy = true\n  }}\n}}\n"
        );
        fs::write(made.path("uses.tf"), uses).unwrap();
        let replace = format!("-replace={address}");
        let refused = made.run(&["apply", "-auto-approve", &replace]);
        assert_eq!(refused.code, Some(1), "{address}: {}", refused.stdout);
        assert!(refused.stderr.contains("create_before_destroy"), "{address}: {}", refused.stderr);
        assert_eq!(written(lab), before, "{address} {}", instance["attributes"]["id"]);
    }
    fs::remove_file(made.path("uses.tf")).unwrap();
    made.run(&["apply", "-auto-approve"]).ok();
    made.is_settled();
}

/// Every object with a label of ours, by its uid and generation: Leases left out, which are renewed while a run is at
/// work.
fn written(lab: &Lab) -> Vec<String> {
    const KINDS: &str = "secrets,configmaps,serviceaccounts,services,deployments,clusterroles,clusterrolebindings,roles,rolebindings,\
                         mutatingwebhookconfigurations,validatingwebhookconfigurations,customresourcedefinitions,namespaces";
    let line = "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.uid} {.metadata.generation} {.metadata.annotations.terraform-provider-mesh/instance}{\"\\n\"}{end}";
    let of_cluster = |cluster: &Arc<Cluster>| {
        let said = cluster.kubectl(&["get", KINDS, "-A", "-l", "terraform-provider-mesh/owner", "-o", line]).unwrap();
        let mut lines: Vec<String> = said.lines().map(|line| format!("{} {line}", cluster.name())).collect();
        lines.sort();
        lines
    };
    lab.clusters().iter().flat_map(of_cluster).collect()
}

/// Everything that is in the state of `made` is imported into `other`, a workspace with the same configuration and no
/// state.
pub fn is_imported_whole(made: &Workspace, other: &Workspace) {
    let state = made.state();
    let mut blocks = String::new();
    for (address, instance) in instances(&state) {
        let id = &instance["attributes"]["id"];
        writeln!(blocks, "import {{\n  to = {address}\n  id = {id}\n}}\n").unwrap();
    }
    fs::write(other.path("imports.tf"), blocks).unwrap();
    let said = other.run(&["apply", "-auto-approve"]).ok();
    let summary = format!("{} imported, 0 added, 0 changed, 0 destroyed", instances(&state).len());
    assert!(said.stdout.contains(&summary), "{}", said.stdout);
    fs::remove_file(other.path("imports.tf")).unwrap();
    other.is_settled();
}

/// The same where a CLI writes the configuration: what it writes is valid, changes nothing of what is imported, and
/// holds no secret. `other` is a workspace of the example that has applied nothing.
pub fn is_written_whole(made: &Workspace, other: &Workspace, lab: &Lab) {
    let state = made.state();
    let mut blocks = String::new();
    let mut resources = 0;
    // Nobody writes configuration for a resource with an index: each gets a name of its own.
    for (address, instance) in instances(&state).into_iter().filter(|(address, _)| address.starts_with("mesh_")) {
        resources += 1;
        let (kind, id) = (address.split('.').next().unwrap_or_default(), &instance["attributes"]["id"]);
        writeln!(blocks, "import {{\n  to = {kind}.written_{resources}\n  id = {id}\n}}\n").unwrap();
    }
    fs::write(other.path("imports.tf"), blocks).unwrap();
    fs::rename(other.path("main.tf"), other.path("main.tf.aside")).unwrap();
    let summary = format!("Plan: {resources} to import, 0 to add, 0 to change, 0 to destroy.");
    let first = other.run(&["plan", "-input=false", "-generate-config-out=written.tf"]);
    let written = fs::read_to_string(other.path("written.tf")).unwrap_or_default();
    let said = format!("{}{}\n{written}", first.stdout, first.stderr);
    assert!(first.code == Some(0) && first.stdout.contains(&summary), "{said}");
    // As it is in the file, and not only as it was planned with.
    let again = other.run(&["plan", "-input=false"]).ok();
    assert!(again.stdout.contains(&summary), "{}\n{written}", again.stdout);
    no_secret_in(&other.path("written.tf"), lab);
}

/// The same by a search of a Terraform of today, which writes the configuration itself: nothing of it changes anything,
/// and no secret is in it.
pub fn is_found_whole(made: &[&Workspace], other: &Workspace, lab: &Lab) {
    let resources = made.iter().map(|workspace| instances(&workspace.state()).len()).sum();
    let said = finds_the_whole(other, resources);
    fs::write(other.path("said"), said.stdout).unwrap();
    no_secret_in(&other.path("said"), lab);
    no_secret_in(&other.path("found.tf"), lab);
}

/// What of the mesh is still in a cluster, by kind, namespace and name: what is called so, and whatever has our label.
pub fn leftovers(cluster: &Arc<Cluster>) -> Vec<String> {
    let kinds = "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,mutatingwebhookconfigurations,\
                 validatingwebhookconfigurations,deployments,services,secrets,serviceaccounts,configmaps,roles,rolebindings,\
                 poddisruptionbudgets,horizontalpodautoscalers,leases";
    let list = cluster.get(&[kinds, "--all-namespaces"]).unwrap().unwrap();
    let mesh = |object: &&Value| {
        let name = called(object);
        let is_named_so = ["istio", "mesh", "cacerts"].iter().any(|word| name.contains(word));
        let is_marked = object["metadata"]["labels"][OWNER_LABEL].is_string();
        (is_named_so || is_marked) && !IDENTITIES.contains(&name.as_str())
    };
    list["items"].as_array().unwrap().iter().filter(mesh).map(called).collect()
}

/// Kind, namespace and name of an object.
pub fn called(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    format!("{} {} {}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
}

/// Resources of a state by address.
fn instances(state: &Value) -> Vec<(String, &Value)> {
    let resources =
        state["resources"].as_array().into_iter().flatten().filter(|resource| resource["mode"] == "managed");
    let named = resources.flat_map(|resource| {
        let name = format!("{}.{}", resource["type"].as_str().unwrap(), resource["name"].as_str().unwrap());
        resource["instances"].as_array().unwrap().iter().map(move |instance| {
            let key = instance.get("index_key").map(|key| format!("[{key}]")).unwrap_or_default();
            (format!("{name}{key}"), instance)
        })
    });
    named.collect()
}

/// What an outage may not change of the resources of a state: which there are, and the objects they are made of.
fn kept(state: &Value) -> Vec<(String, Value)> {
    instances(state)
        .into_iter()
        .map(|(address, instance)| (address, instance["attributes"]["objects"].clone()))
        .collect()
}
