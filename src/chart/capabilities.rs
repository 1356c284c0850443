//! What a cluster is and serves, as templates ask for it: `.Capabilities`.

use serde::{Deserialize, Serialize};

use super::{Error, Values};

/// What a template sees as `.Capabilities`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    pub kube_version: KubeVersion,
    /// `group/version` and `group/version/Kind`.
    pub api_versions: Vec<String>,
}

/// The version of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubeVersion {
    /// In full, such as `v1.33.4-gke.1245000`.
    pub version: String,
    /// Without what a vendor adds; empty where a cluster told the version.
    pub(super) normalized: String,
    pub(super) major: String,
    /// Some vendors write `33+`.
    pub(super) minor: String,
}

/// What a chart may ask about the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    pub version: bool,
    pub api_versions: bool,
}

impl Default for Capabilities {
    /// What Helm assumes when it cannot ask a cluster.
    fn default() -> Self {
        let version = "v1.37.0".to_owned();
        let kube_version = KubeVersion { normalized: version.clone(), version, major: "1".into(), minor: "37".into() };
        Self { kube_version, api_versions: API_VERSIONS.iter().map(|version| (*version).to_owned()).collect() }
    }
}

impl Capabilities {
    /// Adds what is served beside the rest.
    pub fn add(&mut self, api_versions: impl IntoIterator<Item = String>) {
        for api_version in api_versions {
            if !self.api_versions.contains(&api_version) {
                self.api_versions.push(api_version);
            }
        }
    }
}

impl KubeVersion {
    /// Reads a version that somebody gives, as `helm template --kube-version` does.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let invalid = || Error::Values(format!("invalid kube version '{text}': not a version such as v1.33.4"));
        let core = text.trim().strip_prefix('v').unwrap_or(text.trim());
        let end = core.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(core.len());
        let mut numbers = Vec::new();
        for part in core[..end].trim_end_matches('.').split('.') {
            numbers.push(part.parse::<u32>().map_err(|_| invalid())?);
        }
        if numbers.len() < 2 {
            return Err(invalid());
        }
        numbers.truncate(3);
        numbers.resize(3, 0);
        Ok(Self {
            version: if text.starts_with('v') { text.to_owned() } else { format!("v{text}") },
            normalized: format!("v{}.{}.{}", numbers[0], numbers[1], numbers[2]),
            major: numbers[0].to_string(),
            minor: numbers[1].to_string(),
        })
    }

    /// The version as a cluster tells it. Helm takes this as it is.
    pub fn told(version: String, major: String, minor: String) -> Self {
        Self { normalized: String::new(), version, major, minor }
    }

    /// As it is printed, and compared with what a chart demands.
    pub(super) fn shown(&self) -> &str {
        if self.normalized.is_empty() { &self.version } else { &self.normalized }
    }
}

impl Asks {
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }

    /// Both together.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { version: self.version || other.version, api_versions: self.api_versions || other.api_versions }
    }

    /// What a text would ask if it were a template. Who takes hold of all capabilities may ask for any of them.
    pub(super) fn of(text: &str) -> Self {
        let mut asks = Self::default();
        for (at, word) in text.match_indices("Capabilities") {
            if !text[..at].ends_with(['.', '"', '`']) {
                continue;
            }
            let member = &text[at + word.len()..];
            if member.starts_with(".KubeVersion") {
                asks.version = true;
            } else if !member.starts_with(".HelmVersion") {
                return Self { version: true, api_versions: true };
            }
        }
        asks
    }

    /// The same for values, which charts may render as templates (`tpl`).
    pub(super) fn of_values(values: &Values) -> Self {
        Self::of(&serde_json::to_string(values.as_map()).unwrap_or_default())
    }
}

/// What Helm 4.3 takes any cluster to have when it cannot ask one.
const API_VERSIONS: &[&str] = &[
    "v1",
    "admissionregistration.k8s.io/v1",
    "admissionregistration.k8s.io/v1alpha1",
    "admissionregistration.k8s.io/v1beta1",
    "internal.apiserver.k8s.io/v1alpha1",
    "apps/v1",
    "apps/v1beta1",
    "apps/v1beta2",
    "authentication.k8s.io/v1",
    "authentication.k8s.io/v1alpha1",
    "authentication.k8s.io/v1beta1",
    "authorization.k8s.io/v1",
    "authorization.k8s.io/v1beta1",
    "autoscaling/v1",
    "autoscaling/v2",
    "batch/v1",
    "batch/v1beta1",
    "certificates.k8s.io/v1",
    "certificates.k8s.io/v1beta1",
    "certificates.k8s.io/v1alpha1",
    "coordination.k8s.io/v1alpha2",
    "coordination.k8s.io/v1beta1",
    "coordination.k8s.io/v1",
    "discovery.k8s.io/v1",
    "discovery.k8s.io/v1beta1",
    "events.k8s.io/v1",
    "events.k8s.io/v1beta1",
    "extensions/v1beta1",
    "flowcontrol.apiserver.k8s.io/v1",
    "flowcontrol.apiserver.k8s.io/v1beta1",
    "flowcontrol.apiserver.k8s.io/v1beta2",
    "flowcontrol.apiserver.k8s.io/v1beta3",
    "lifecycle.k8s.io/v1alpha1",
    "networking.k8s.io/v1",
    "networking.k8s.io/v1beta1",
    "node.k8s.io/v1",
    "node.k8s.io/v1alpha1",
    "node.k8s.io/v1beta1",
    "policy/v1",
    "policy/v1beta1",
    "rbac.authorization.k8s.io/v1",
    "rbac.authorization.k8s.io/v1beta1",
    "rbac.authorization.k8s.io/v1alpha1",
    "resource.k8s.io/v1",
    "resource.k8s.io/v1beta2",
    "resource.k8s.io/v1beta1",
    "resource.k8s.io/v1alpha3",
    "scheduling.k8s.io/v1alpha3",
    "scheduling.k8s.io/v1beta1",
    "scheduling.k8s.io/v1",
    "storage.k8s.io/v1beta1",
    "storage.k8s.io/v1",
    "storage.k8s.io/v1alpha1",
    "storagemigration.k8s.io/v1",
    "storagemigration.k8s.io/v1beta1",
    "apiextensions.k8s.io/v1beta1",
    "apiextensions.k8s.io/v1",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_template_asks_is_known_by_its_text() {
        let (version, api_versions) =
            (Asks { version: true, api_versions: false }, Asks { version: true, api_versions: true });
        for (text, asks) in [
            (r#"{{ .Capabilities.KubeVersion.GitVersion | contains "-gke" }}"#, version),
            (r#"{{ $.Capabilities.APIVersions.Has "policy/v1" }}"#, api_versions),
            ("{{ $all := .Capabilities }}", api_versions),
            (r#"{{ (index . "Capabilities").APIVersions }}"#, api_versions),
            ("{{ .Capabilities.HelmVersion.Version }}", Asks::default()),
            ("capabilities: {drop: [ALL]} # Capabilities of the container", Asks::default()),
        ] {
            assert_eq!(Asks::of(text), asks, "{text}");
        }
        let values = Values::from_yaml("note: '{{ .Capabilities.KubeVersion }}'").unwrap();
        assert_eq!(Asks::of_values(&values), version);
        assert_eq!(Asks::of_values(&Values::from_yaml("a: b").unwrap()), Asks::default());
    }
}
