//! Kubernetes' Pod security standards: what a namespace that enforces one would refuse of a Pod. Pure, so that a plan
//! can tell before a cluster does.

use serde_json::Value as Json;

/// The label by which a namespace refuses Pods.
pub const ENFORCE_LABEL: &str = "pod-security.kubernetes.io/enforce";

/// A standard; each refuses all that the one before it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// Capabilities that a container may add under `baseline`.
const BASELINE_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The one that it may add under `restricted`.
const RESTRICTED_CAPABILITIES: &[&str] = &["NET_BIND_SERVICE"];

/// Kinds of volumes under `restricted`.
const RESTRICTED_VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Kernel parameters that a Pod may set under `baseline`.
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

const SELINUX_TYPES: &[&str] = &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

impl Level {
    /// The value of the label. What Kubernetes does not know it takes for `restricted`.
    pub fn parse(text: &str) -> Level {
        match text {
            "privileged" => Level::Privileged,
            "baseline" => Level::Baseline,
            _ => Level::Restricted,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }
}

/// What the level refuses of a Pod, or of a Pod template: nothing where it is allowed.
pub fn violations(pod: &Json, level: Level) -> Vec<String> {
    let mut found = Vec::new();
    if level == Level::Privileged {
        return found;
    }
    let Some(spec) = pod.get("spec") else { return found };
    baseline_of_pod(pod, spec, &mut found);
    for container in containers(spec) {
        baseline_of_container(container, &mut found);
    }
    if level == Level::Restricted {
        restricted(spec, &mut found);
    }
    found
}

fn containers(spec: &Json) -> impl Iterator<Item = &Json> {
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|list| items(spec, list))
}

fn baseline_of_pod(pod: &Json, spec: &Json, found: &mut Vec<String>) {
    for namespace in ["hostNetwork", "hostPID", "hostIPC"] {
        if is_true(spec.get(namespace)) {
            found.push(format!("it has `{namespace}`"));
        }
    }
    let host_paths: Vec<&str> = items(spec, "volumes")
        .filter(|volume| volume.get("hostPath").is_some())
        .map(|volume| text(volume, "name"))
        .collect();
    if !host_paths.is_empty() {
        found.push(format!("it mounts paths of the node (volumes {})", host_paths.join(", ")));
    }
    let annotations = pod.pointer("/metadata/annotations").and_then(Json::as_object).into_iter().flatten();
    for (name, profile) in annotations {
        let profile = profile.as_str().unwrap_or_default();
        let container = name.strip_prefix("container.apparmor.security.beta.kubernetes.io/");
        if let Some(container) =
            container.filter(|_| !matches!(profile, "" | "runtime/default") && !profile.starts_with("localhost/"))
        {
            found.push(format!("container {container} runs without AppArmor"));
        }
    }
    let sysctls = spec.get("securityContext").into_iter().flat_map(|context| items(context, "sysctls"));
    for sysctl in sysctls.map(|sysctl| text(sysctl, "name")).filter(|name| !SAFE_SYSCTLS.contains(name)) {
        found.push(format!("it sets the kernel parameter {sysctl}"));
    }
    of_context("the Pod", spec.get("securityContext"), found);
}

fn baseline_of_container(container: &Json, found: &mut Vec<String>) {
    let name = format!("container {}", text(container, "name"));
    let context = container.get("securityContext");
    if is_true(context.and_then(|context| context.get("privileged"))) {
        found.push(format!("{name} is privileged"));
    }
    let more = added(context, BASELINE_CAPABILITIES);
    if !more.is_empty() {
        found.push(format!("{name} adds the capabilities {}", more.join(", ")));
    }
    if items(container, "ports").any(|port| port.get("hostPort").and_then(Json::as_i64).is_some_and(|port| port != 0)) {
        found.push(format!("{name} takes ports of the node"));
    }
    if context.and_then(|context| context.get("procMount")).is_some_and(|mount| mount != "Default") {
        found.push(format!("{name} has a `procMount` of its own"));
    }
    of_context(&name, context, found);
}

/// What both a Pod and a container say.
fn of_context(who: &str, context: Option<&Json>, found: &mut Vec<String>) {
    let Some(context) = context else { return };
    for (profile, called) in [("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")] {
        if context.pointer(&format!("/{profile}/type")).is_some_and(|kind| kind == "Unconfined") {
            found.push(format!("{who} runs without {called}"));
        }
    }
    if let Some(options) = context.get("seLinuxOptions") {
        let given = !text(options, "user").is_empty() || !text(options, "role").is_empty();
        if given || !SELINUX_TYPES.contains(&text(options, "type")) {
            found.push(format!("{who} has SELinux options of its own"));
        }
    }
    if is_true(context.pointer("/windowsOptions/hostProcess")) {
        found.push(format!("{who} is a process of the node"));
    }
}

fn restricted(spec: &Json, found: &mut Vec<String>) {
    let of_pod = spec.get("securityContext");
    let kinds: Vec<String> = items(spec, "volumes")
        .filter_map(|volume| volume.as_object()?.keys().find(|key| *key != "name").cloned())
        .filter(|kind| kind != "hostPath" && !RESTRICTED_VOLUMES.contains(&kind.as_str()))
        .collect();
    if !kinds.is_empty() {
        found.push(format!("it has volumes of the kinds {}", kinds.join(", ")));
    }
    for container in containers(spec) {
        let name = format!("container {}", text(container, "name"));
        let own = container.get("securityContext");
        let either = |path: &str| {
            let at = |context: Option<&Json>| {
                context.and_then(|context| context.pointer(path)).filter(|value| !value.is_null()).cloned()
            };
            at(own).or_else(|| at(of_pod)).unwrap_or_default()
        };
        let mut missing = Vec::new();
        if own.and_then(|own| own.get("allowPrivilegeEscalation")) != Some(&Json::Bool(false)) {
            missing.push("allowPrivilegeEscalation: false");
        }
        if either("/runAsNonRoot") != Json::Bool(true) {
            missing.push("runAsNonRoot: true");
        }
        if !matches!(either("/seccompProfile/type").as_str(), Some("RuntimeDefault" | "Localhost")) {
            missing.push("seccompProfile: {type: RuntimeDefault}");
        }
        let drops_all = own.and_then(|own| own.pointer("/capabilities/drop")).and_then(Json::as_array);
        if !drops_all.is_some_and(|dropped| dropped.iter().any(|name| name == "ALL")) {
            missing.push("capabilities: {drop: [ALL]}");
        }
        if !missing.is_empty() {
            found.push(format!("{name} lacks {}", missing.join(", ")));
        }
        if either("/runAsUser").as_i64() == Some(0) {
            found.push(format!("{name} runs as root"));
        }
        // Those beyond the baseline are told already.
        let more: Vec<&str> = added(own, RESTRICTED_CAPABILITIES);
        let more: Vec<&str> = more.into_iter().filter(|name| BASELINE_CAPABILITIES.contains(name)).collect();
        if !more.is_empty() {
            found.push(format!("{name} adds the capabilities {}", more.join(", ")));
        }
    }
}

/// The capabilities added beyond those allowed.
fn added<'a>(context: Option<&'a Json>, allowed: &[&str]) -> Vec<&'a str> {
    let added = context.and_then(|context| context.pointer("/capabilities/add")).and_then(Json::as_array);
    added.into_iter().flatten().filter_map(Json::as_str).filter(|name| !allowed.contains(name)).collect()
}

fn items<'a>(value: &'a Json, list: &str) -> impl Iterator<Item = &'a Json> {
    value.get(list).and_then(Json::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Json, key: &str) -> &'a str {
    value.get(key).and_then(Json::as_str).unwrap_or_default()
}

fn is_true(value: Option<&Json>) -> bool {
    value == Some(&Json::Bool(true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(container: Json) -> Json {
        json!({"spec": {"containers": [container]}})
    }

    #[test]
    fn a_careful_pod_passes_and_a_careless_one_is_restricted_only() {
        let careful = json!({"allowPrivilegeEscalation": false, "runAsNonRoot": true,
            "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}});
        assert_eq!(
            violations(&pod(json!({"name": "c", "securityContext": careful})), Level::Restricted),
            [] as [&str; 0]
        );
        let careless = pod(json!({"name": "c"}));
        assert_eq!(violations(&careless, Level::Baseline), [] as [&str; 0]);
        assert_eq!(
            violations(&careless, Level::Restricted),
            [
                "container c lacks allowPrivilegeEscalation: false, runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}, capabilities: {drop: [ALL]}"
            ]
        );
    }

    #[test]
    fn what_the_pod_says_holds_for_its_containers_unless_they_say_otherwise() {
        let mut pod = pod(
            json!({"name": "c", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}),
        );
        pod["spec"]["securityContext"] = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
        assert_eq!(violations(&pod, Level::Restricted), [] as [&str; 0]);
        pod["spec"]["containers"][0]["securityContext"]["runAsUser"] = json!(0);
        assert_eq!(violations(&pod, Level::Restricted), ["container c runs as root"]);
    }

    #[test]
    fn what_reaches_the_node_breaks_the_baseline() {
        let mut agent = pod(json!({"name": "agent", "ports": [{"hostPort": 1}],
            "securityContext": {"privileged": true, "capabilities": {"add": ["NET_ADMIN", "CHOWN"]}, "seLinuxOptions": {"type": "spc_t"}}}));
        agent["spec"]["hostNetwork"] = json!(true);
        agent["spec"]["volumes"] = json!([{"name": "bin", "hostPath": {"path": "/opt"}}]);
        agent["metadata"] =
            json!({"annotations": {"container.apparmor.security.beta.kubernetes.io/agent": "unconfined"}});
        assert_eq!(
            violations(&agent, Level::Baseline),
            [
                "it has `hostNetwork`",
                "it mounts paths of the node (volumes bin)",
                "container agent runs without AppArmor",
                "container agent is privileged",
                "container agent adds the capabilities NET_ADMIN",
                "container agent takes ports of the node",
                "container agent has SELinux options of its own",
            ]
        );
        assert_eq!(violations(&agent, Level::Privileged), [] as [&str; 0]);
        let init = json!({"spec": {"initContainers": [{"name": "istio-init", "securityContext": {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}}}]}});
        assert_eq!(
            violations(&init, Level::Baseline),
            ["container istio-init adds the capabilities NET_ADMIN, NET_RAW"]
        );
    }

    #[test]
    fn a_level_that_nobody_knows_is_the_strictest() {
        assert_eq!(Level::parse("restrictd"), Level::Restricted);
        assert_eq!(Level::parse("baseline").as_str(), "baseline");
    }
}
