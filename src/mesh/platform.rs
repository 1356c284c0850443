//! What a cluster runs on, so far as Istio has to know it.

use super::name::Namespace;

/// Where node agents of a platform run that lets Pods with rights on the node run in `kube-system` alone.
const KUBE_SYSTEM: &str = "kube-system";

/// A kind of Kubernetes cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    OpenShift,
    Gke,
    Eks,
    Aks,
    K3s,
    K3d,
    MicroK8s,
    Minikube,
}

impl Platform {
    /// Every platform by the name that users write.
    pub const ALL: &'static [(&'static str, Platform)] = &[
        ("aks", Platform::Aks),
        ("eks", Platform::Eks),
        ("gke", Platform::Gke),
        ("k3d", Platform::K3d),
        ("k3s", Platform::K3s),
        ("microk8s", Platform::MicroK8s),
        ("minikube", Platform::Minikube),
        ("openshift", Platform::OpenShift),
    ];

    /// The names.
    pub const NAMES: &'static [&'static str] =
        &["aks", "eks", "gke", "k3d", "k3s", "microk8s", "minikube", "openshift"];

    pub fn parse(text: &str) -> Option<Platform> {
        Platform::ALL.iter().find(|(name, _)| *name == text).map(|(_, platform)| *platform)
    }

    pub fn as_str(self) -> &'static str {
        Platform::ALL.iter().find(|(_, platform)| *platform == self).map_or("", |(name, _)| name)
    }

    /// The value `global.platform` of Istio's charts: a profile of theirs. EKS and AKS need none, and the charts refuse
    /// what they have no profile for.
    pub fn profile(self) -> Option<&'static str> {
        match self {
            Platform::Eks | Platform::Aks => None,
            _ => Some(self.as_str()),
        }
    }

    /// Whether injected Pods may not set up their network themselves, so that Istio's node agent `cni` has to.
    pub fn needs_cni(self) -> bool {
        self == Platform::OpenShift
    }

    /// Where Istio's node agents belong; without an answer they run beside istiod.
    pub fn namespace_of_agents(self) -> Option<Namespace> {
        match self {
            // The profile has istiod trust the ztunnels there.
            Platform::OpenShift => Namespace::new(KUBE_SYSTEM.to_owned()).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        assert!(Platform::ALL.iter().map(|(name, _)| name).eq(Platform::NAMES));
        for (name, platform) in Platform::ALL {
            assert_eq!((Platform::parse(name), platform.as_str()), (Some(*platform), *name));
        }
        assert_eq!(Platform::parse("OpenShift"), None);
    }

    #[test]
    fn charts_are_given_profiles_that_they_have() {
        assert_eq!(Platform::Gke.profile(), Some("gke"));
        assert_eq!((Platform::Eks.profile(), Platform::Aks.profile()), (None, None));
    }
}
