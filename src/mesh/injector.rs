//! What istiod's injection is called in a cluster, as Istio's charts name it.

use super::Revision;

/// What all names of the injection begin with.
pub const INJECTION: &str = "istio-sidecar-injector";

/// The ConfigMap of a revision that holds templates and values of the injection.
pub fn injection_config_map(revision: Option<&Revision>) -> String {
    let suffix = revision.map(|revision| format!("-{revision}")).unwrap_or_default();
    format!("{INJECTION}{suffix}")
}

/// Whether a ConfigMap of this name is that of some revision.
pub fn is_injection_config_map(name: &str) -> bool {
    name.strip_prefix(INJECTION).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The webhooks of a revision, which are of the whole cluster: from another namespace than Istio's usual one they carry
/// its name.
pub fn injection_webhooks(revision: Option<&Revision>, namespace: &str) -> String {
    let name = injection_config_map(revision);
    match namespace {
        "istio-system" => name,
        other => format!("{name}-{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_charts() {
        let canary = Revision::new("canary").unwrap();
        for (revision, namespace, map, webhooks) in [
            (None, "istio-system", "istio-sidecar-injector", "istio-sidecar-injector"),
            (None, "mesh", "istio-sidecar-injector", "istio-sidecar-injector-mesh"),
            (Some(&canary), "istio-system", "istio-sidecar-injector-canary", "istio-sidecar-injector-canary"),
            (Some(&canary), "mesh", "istio-sidecar-injector-canary", "istio-sidecar-injector-canary-mesh"),
        ] {
            assert_eq!(injection_config_map(revision), map);
            assert_eq!(injection_webhooks(revision, namespace), webhooks);
            assert!(is_injection_config_map(map));
        }
        assert!(!is_injection_config_map("istio-sidecar-injectors") && !is_injection_config_map("istio"));
    }
}
