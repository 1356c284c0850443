//! What a plan can tell beforehand that would keep Pods from running: Pod security standards of namespaces, and a node
//! agent that nobody installs.

use super::spec::Spec;
use super::values;
use crate::cluster::{Cluster, Kind, Object, ObjectRef, Query};
use crate::diag::Diagnostic;
use crate::kept::objects::Wanted;
use crate::mesh::{ENFORCE_LABEL, Level, Revision, violations};
use crate::value::Path;

/// Namespaces named in one warning.
const NAMED: usize = 5;

/// Everything that is told before a change; what a cluster does not tell is left out, but for what follows from the
/// configuration alone.
pub async fn look(cluster: &Cluster, spec: &Spec, tags: &[String], wanted: &Wanted) -> Vec<Diagnostic> {
    let (refusing, injected, agent) =
        tokio::join!(refusing(cluster, wanted), injected(cluster, spec, tags), no_agent(cluster, spec));
    refusing.into_iter().chain(injected).chain(agent).chain(said_to_all(spec)).collect()
}

/// Namespaces whose standard refuses what this control plane runs in them.
async fn refusing(cluster: &Cluster, wanted: &Wanted) -> Vec<Diagnostic> {
    let workloads: Vec<&Object> = wanted
        .iter()
        .filter(|(_, entry)| matches!(&*entry.reference.kind.kind, "Deployment" | "DaemonSet"))
        .map(|(_, entry)| &entry.object)
        .collect();
    let namespaces: std::collections::BTreeSet<&str> =
        workloads.iter().filter_map(|workload| workload.namespace()).collect();
    if let Ok(live) = cluster.list(&with_a_standard()).await {
        let live = live.iter().filter(|namespace| namespaces.contains(namespace.name()));
        return live.filter_map(|namespace| refused_in(cluster.name(), namespace, &workloads)).collect();
    }
    // Who may not list namespaces may still look at one.
    let looks = namespaces.into_iter().map(|name| async move {
        let reference = ObjectRef::cluster(Kind::NAMESPACE, name);
        cluster.get_metadata(&reference).await.ok().flatten()
    });
    let live = futures::future::join_all(looks).await;
    live.iter().flatten().filter_map(|namespace| refused_in(cluster.name(), namespace, &workloads)).collect()
}

/// The namespaces whose standard may refuse something; one list for all that is looked for in them.
fn with_a_standard() -> Query {
    Query::of(Kind::NAMESPACE).selector(ENFORCE_LABEL).selector(&format!("{ENFORCE_LABEL}!=privileged")).metadata_only()
}

fn refused_in(cluster: &str, namespace: &Object, workloads: &[&Object]) -> Option<Diagnostic> {
    let level = Level::parse(namespace.label(ENFORCE_LABEL)?);
    let mut lines = Vec::new();
    for workload in workloads.iter().filter(|workload| workload.namespace() == Some(namespace.name())) {
        let template = workload.get("spec.template").cloned().unwrap_or_default();
        let why = violations(&template, level);
        if !why.is_empty() {
            lines.push(format!("- {workload}: {}", why.join("; ")));
        }
    }
    (!lines.is_empty()).then(|| {
        let level = level.as_str();
        let name = namespace.name();
        Diagnostic::warning("A namespace refuses what is to run in it").detail(format!(
            "In cluster {cluster} the namespace {name} enforces the Pod security standard {level} (label {ENFORCE_LABEL}). It refuses the Pods of:\n\n{}\n\n\
             Give the namespace a standard that lets them in, or have `values` or `chart_values` say what is missing: istiod passes `restricted` with \
             `seccompProfile: {{type: RuntimeDefault}}`. Node agents need `privileged`: `agents_namespace` gives them a namespace of their own.",
            lines.join("\n")
        ))
    })
}

/// Namespaces whose Pods this istiod injects with what their standard refuses.
async fn injected(cluster: &Cluster, spec: &Spec, tags: &[String]) -> Option<Diagnostic> {
    if spec.control_plane.is_external
        || spec.control_plane.ambient
        || values::leaves_network_to_cni(&spec.istiod_values)
    {
        return None;
    }
    let namespaces = cluster.list(&with_a_standard()).await.ok()?;
    let mut named: Vec<String> = namespaces
        .iter()
        .filter(|namespace| is_injected(namespace, spec, tags))
        .map(|namespace| format!("{} ({})", namespace.name(), namespace.label(ENFORCE_LABEL).unwrap_or_default()))
        .collect();
    named.sort();
    let more = named.len().saturating_sub(NAMED);
    named.truncate(NAMED);
    (!named.is_empty()).then(|| {
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Diagnostic::warning("Namespaces refuse injected Pods")
            .detail(format!(
                "In cluster {} these namespaces enforce a Pod security standard: {}{more}. It refuses the init container istio-init, which needs the capabilities NET_ADMIN and NET_RAW, \
                 so that no Pod that istiod injects there can be made. Set `cni = true`: Istio's node agent then does its work.",
                cluster.name(),
                named.join(", ")
            ))
            .at(Path::root("cni"))
    })
}

/// Whether a namespace asks for this istiod's injection.
fn is_injected(namespace: &Object, spec: &Spec, tags: &[String]) -> bool {
    let revision = spec.control_plane.revision.as_ref();
    let is_default = revision.is_none() || tags.iter().any(|tag| tag == "default");
    match (namespace.label("istio-injection"), namespace.label("istio.io/rev")) {
        (Some(injection), _) => injection == "enabled" && is_default,
        (None, Some(asked)) => asked == Revision::label(revision) || tags.iter().any(|tag| tag == asked),
        (None, None) => false,
    }
}

/// An istiod that by its values leaves the network of Pods to a node agent, where nobody installs one.
async fn no_agent(cluster: &Cluster, spec: &Spec) -> Option<Diagnostic> {
    let control_plane = &spec.control_plane;
    let is_ours = control_plane.cni || control_plane.ambient || control_plane.is_external;
    if is_ours || !values::leaves_network_to_cni(&spec.istiod_values) {
        return None;
    }
    let query = Query::of(Kind::DAEMON_SET).label("k8s-app", "istio-cni-node").metadata_only();
    let seen = match cluster.list(&query).await {
        Ok(agents) if !agents.is_empty() => return None,
        Ok(_) => "there is none in the cluster",
        Err(_) => "whether there is one cannot be told now",
    };
    let detail = format!(
        "By these values istiod injects Pods that leave the set-up of their network to Istio's node agent `cni`. This control plane does not install it, and {seen} ({}). Without it \
         every injected Pod hangs in its init container. Set `cni = true` (with `platform = \"openshift\"` that is the default), or install the agent before.",
        cluster.name()
    );
    Some(Diagnostic::warning("Injected Pods would wait for a node agent").detail(detail).at(Path::root("cni")))
}

/// Values that are meant for istiod mostly, and reach every node.
fn said_to_all(spec: &Spec) -> Option<Diagnostic> {
    let agents = spec.agents.as_ref().filter(|_| spec.install_base && !spec.said_to_all.is_empty())?;
    let others = if agents.ztunnel.is_some() { "cni and ztunnel" } else { "cni" };
    let members: Vec<String> = spec.said_to_all.iter().map(|member| format!("`{member}`")).collect();
    let detail = format!(
        "`values` go to every chart: {} at their top level count for istiod and for {others}, which run on every node. Put what is meant for istiod alone into \
         `chart_values.istiod` or under `pilot`, what is meant for an agent into `chart_values`.",
        members.join(", ")
    );
    Some(Diagnostic::warning("Values for istiod reach the node agents").detail(detail).at(Path::root("values")))
}
