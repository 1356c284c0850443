//! The renewal of a link's token inside the watcher: a CronJob that asks the watched API server for the next token by
//! the one there is, and writes it into the remote secret. It has no other rights, and its objects hold no secret.

mod schedule;
#[cfg(test)]
mod script_tests;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub use schedule::Schedule;

use super::name::{ClusterName, Namespace, ServiceAccountName};

/// The name of the job's one container.
pub const RENEWAL_CONTAINER: &str = "renew";
/// What the job runs.
const SCRIPT: &str = include_str!("renew.sh");
const SCRIPT_KEY: &str = "renew.sh";
/// Where it finds the script, its own token, and room for the watched API server's authority.
const SCRIPT_DIR: &str = "/etc/mesh-renewal";
const ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const WORK_DIR: &str = "/var/run/mesh-renewal";
/// The longest name of a CronJob: its Jobs have eleven characters more.
const LONGEST_NAME: usize = 52;

/// The renewal of one link's token.
#[derive(Debug, Clone)]
pub struct Renewal<'a> {
    /// The watched cluster.
    pub cluster: &'a ClusterName,
    /// Of Istio, in both clusters.
    pub namespace: &'a Namespace,
    /// The remote secret in the watcher.
    pub secret_name: &'a str,
    /// The reader in the watched cluster.
    pub reader: &'a ServiceAccountName,
    /// What tokens are asked for, in seconds.
    pub lifetime: u64,
    pub schedule: Schedule,
    pub pod: RenewalPod,
}

/// What a job's Pod has in common with the watcher's istiod: where its image comes from and where it may run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RenewalPod {
    pub image: String,
    /// `imagePullSecrets`, `nodeSelector` and `tolerations`, as far as there are any.
    pub placed: serde_json::Map<String, Value>,
}

const PULL_SECRETS: &str = "imagePullSecrets";
const PLACED: [&str; 3] = [PULL_SECRETS, "nodeSelector", "tolerations"];

impl RenewalPod {
    /// As a Pod's template says it, of istiod's Deployment or of the job itself.
    pub fn of(spec: &Value) -> Option<Self> {
        let containers = spec.get("containers")?.as_array()?;
        let is_istiod = |container: &&Value| container["name"] == "discovery";
        let container = containers.iter().find(is_istiod).or(containers.first())?;
        let image = container.get("image")?.as_str()?.to_owned();
        let there = |name: &str| Some((name.to_owned(), spec.get(name).filter(|value| !is_empty(value))?.clone()));
        Some(Self { image, placed: PLACED.into_iter().filter_map(there).collect() })
    }

    /// Whether the Pod itself says by which Secrets its image is pulled.
    pub fn has_pull_secrets(&self) -> bool {
        self.placed.contains_key(PULL_SECRETS)
    }

    /// Pulls the image by these Secrets: those of istiod's ServiceAccount, which a Pod that says none is given. The job
    /// has another account.
    pub fn pull_by(&mut self, secrets: Option<&Value>) {
        if let Some(secrets) = secrets.filter(|secrets| !is_empty(secrets)) {
            self.placed.insert(PULL_SECRETS.to_owned(), secrets.clone());
        }
    }

    /// Whether the image is one of Istio's that have no shell.
    pub fn has_no_shell(&self) -> bool {
        let name = self.image.split('@').next().unwrap_or_default();
        name.ends_with("-distroless")
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null()
        || value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(|map| map.is_empty())
}

/// The name of everything that renews the token for a cluster. Names that do not fit into an object's are told apart by
/// their digest.
pub fn renewal_name(cluster: &ClusterName) -> String {
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let fitting: String = cluster.as_str().to_lowercase().chars().map(plain).collect();
    let name = format!("istio-mesh-renewal-{fitting}");
    if fitting == cluster.as_str() && name.len() <= LONGEST_NAME {
        return name;
    }
    let digest: String = Sha256::digest(cluster.as_str()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let kept: String = name.chars().take(LONGEST_NAME - digest.len() - 1).collect();
    format!("{}-{digest}", kept.trim_end_matches('-'))
}

impl Renewal<'_> {
    /// The objects in the watcher, in the order to apply.
    pub fn objects(&self) -> Vec<Value> {
        let name = renewal_name(self.cluster);
        let metadata = json!({ "name": name, "namespace": self.namespace });
        let rbac = "rbac.authorization.k8s.io";
        vec![
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": false }),
            json!({ "apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": metadata, "rules": [{
                "apiGroups": [""], "resources": ["secrets"], "resourceNames": [self.secret_name], "verbs": ["get", "patch"] }] }),
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { SCRIPT_KEY: SCRIPT } }),
            json!({ "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": metadata,
                "roleRef": { "apiGroup": rbac, "kind": "Role", "name": name },
                "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": self.namespace }] }),
            json!({ "apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": {
                "schedule": self.schedule.cron, "concurrencyPolicy": "Forbid", "suspend": false,
                "startingDeadlineSeconds": self.schedule.every().min(3_600),
                "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1,
                "jobTemplate": { "spec": { "backoffLimit": 2, "activeDeadlineSeconds": 150, "template": {
                    "metadata": { "labels": { "app": name, "sidecar.istio.io/inject": "false", "istio.io/dataplane-mode": "none" } },
                    "spec": self.pod_spec(&name) } } } } }),
        ]
    }

    fn pod_spec(&self, name: &str) -> Value {
        let mut spec = json!({
            "serviceAccountName": name, "automountServiceAccountToken": false, "enableServiceLinks": false,
            "restartPolicy": "Never",
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [self.container()],
            "volumes": [
                { "name": "script", "configMap": { "name": name } },
                { "name": "account", "projected": { "sources": [
                    { "serviceAccountToken": { "path": "token", "expirationSeconds": 600 } },
                    { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } } ] } },
                { "name": "work", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } },
            ],
        });
        if let Some(members) = spec.as_object_mut() {
            members.extend(self.pod.placed.clone());
        }
        spec
    }

    fn container(&self) -> Value {
        let env = [
            ("CLUSTER", self.cluster.to_string()),
            ("NAMESPACE", self.namespace.to_string()),
            ("SECRET", self.secret_name.to_owned()),
            ("READER", self.reader.to_string()),
            ("LIFETIME", self.lifetime.to_string()),
            ("EVERY", self.schedule.every().to_string()),
            ("ACCOUNT", ACCOUNT_DIR.to_owned()),
            ("WORK", WORK_DIR.to_owned()),
        ];
        json!({
            "name": RENEWAL_CONTAINER, "image": self.pod.image, "command": ["/bin/bash", format!("{SCRIPT_DIR}/{SCRIPT_KEY}")],
            "env": env.map(|(name, value)| json!({ "name": name, "value": value })),
            "resources": { "requests": { "cpu": "10m", "memory": "32Mi" }, "limits": { "memory": "64Mi" } },
            "securityContext": { "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "runAsNonRoot": true, "capabilities": { "drop": ["ALL"] } },
            "volumeMounts": [
                { "name": "script", "mountPath": SCRIPT_DIR, "readOnly": true },
                { "name": "account", "mountPath": ACCOUNT_DIR, "readOnly": true },
                { "name": "work", "mountPath": WORK_DIR },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::pod_security::{Level, violations};
    use super::*;

    fn objects(pod: RenewalPod) -> Vec<Value> {
        let cluster = ClusterName::new("east").unwrap();
        let namespace = Namespace::new("istio-system").unwrap();
        let reader = ServiceAccountName::new("istio-mesh-reader").unwrap();
        let schedule = Schedule::within(86_400, "west/east");
        let secret_name = "istio-remote-secret-east";
        Renewal {
            cluster: &cluster,
            namespace: &namespace,
            secret_name,
            reader: &reader,
            lifetime: 86_400,
            schedule,
            pod,
        }
        .objects()
    }

    fn pod(image: &str) -> RenewalPod {
        RenewalPod { image: image.to_owned(), ..RenewalPod::default() }
    }

    #[test]
    fn the_job_may_read_and_change_one_secret() {
        let objects = objects(pod("docker.io/istio/pilot:1.31.0"));
        let rules: Vec<&Value> =
            objects.iter().flat_map(|object| object["rules"].as_array().into_iter().flatten()).collect();
        let rule = json!({ "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["istio-remote-secret-east"], "verbs": ["get", "patch"] });
        assert_eq!(rules, [&rule]);
        assert!(objects.iter().all(|object| object["kind"] != "ClusterRole" && object["kind"] != "Secret"));
    }

    #[test]
    fn its_pod_fits_into_the_strictest_namespace() {
        let objects = objects(pod("docker.io/istio/pilot:1.31.0"));
        let spec = &objects[4]["spec"]["jobTemplate"]["spec"]["template"]["spec"];
        assert_eq!(violations(spec, Level::Restricted), Vec::<String>::new());
        assert_eq!(RenewalPod::of(spec), Some(pod("docker.io/istio/pilot:1.31.0")), "and it is read back");
    }

    #[test]
    fn it_runs_where_istiod_may() {
        let istiod = json!({
            "containers": [{ "name": "other", "image": "a" }, { "name": "discovery", "image": "registry.example/pilot:1.31.0@sha256:00" }],
            "imagePullSecrets": [{ "name": "pull" }], "tolerations": [], "nodeSelector": { "kubernetes.io/arch": "arm64" } });
        let pod = RenewalPod::of(&istiod).unwrap();
        assert_eq!(pod.image, "registry.example/pilot:1.31.0@sha256:00");
        let objects = objects(pod.clone());
        let spec = &objects[4]["spec"]["jobTemplate"]["spec"]["template"]["spec"];
        assert_eq!((&spec["imagePullSecrets"], spec.get("tolerations")), (&json!([{ "name": "pull" }]), None));
        assert_eq!(RenewalPod::of(spec), Some(pod.clone()));
        assert!(pod.has_pull_secrets());
    }

    #[test]
    fn the_image_is_pulled_as_that_of_istiod_is_by_its_account() {
        let istiod = json!({ "containers": [{ "name": "discovery", "image": "registry.example/pilot:1.31.0" }] });
        let mut pod = RenewalPod::of(&istiod).unwrap();
        assert!(!pod.has_pull_secrets());
        pod.pull_by(Some(&json!([])));
        assert!(!pod.has_pull_secrets());
        pod.pull_by(Some(&json!([{ "name": "pull" }])));
        assert_eq!(pod.placed["imagePullSecrets"], json!([{ "name": "pull" }]));
    }

    #[test]
    fn images_without_a_shell_are_known() {
        for (image, bare) in [
            ("a/pilot:1.31.0-distroless", true),
            ("a/pilot:1.31.0-distroless@sha256:00", true),
            ("a/pilot:1.31.0", false),
        ] {
            assert_eq!(pod(image).has_no_shell(), bare, "{image}");
        }
    }

    #[test]
    fn every_cluster_has_a_name_of_its_own_that_fits() {
        let of = |text: &str| renewal_name(&ClusterName::new(text).unwrap());
        assert_eq!(of("east"), "istio-mesh-renewal-east");
        let long = "a".repeat(63);
        let names = [of("Gke_Eu.1"), of("gke-eu-1"), of("gke_eu.1"), of(&long), of(&long[1..])];
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len(), "{names:?}");
        let fits = |name: &&String| {
            name.len() <= 52 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        assert_eq!(names.iter().filter(fits).count(), names.len(), "{names:?}");
    }
}
