//! Two names of the provider's for one cluster.

use std::collections::BTreeMap;

use super::{DeclaredCa, Finding, Severity, WatchedCluster};

/// What tells clusters apart, by the provider's names for them, as far as that is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Aliases(BTreeMap<String, String>);

impl Aliases {
    pub(super) fn note(&mut self, name: &str, uid: &str) {
        self.0.insert(name.to_owned(), uid.to_owned());
    }

    /// Whether both names are of one cluster. Of one that is not known nothing is guessed.
    pub(super) fn is_one(&self, name: &str, other: &str) -> bool {
        let uid = self.0.get(name);
        name == other || uid.is_some() && uid == self.0.get(other)
    }

    /// A cluster by its name, and by the other one that it has elsewhere in the configuration.
    pub(super) fn shown(&self, name: &str, other: &str) -> String {
        match name == other {
            true => name.to_owned(),
            false => format!("{name} (the same cluster as {other}, by the uid of its namespace kube-system)"),
        }
    }

    /// Two names, each with the namespace that a CA writes to, that are of one Secret.
    pub(super) fn within(&self, declared: &DeclaredCa) -> Option<Finding> {
        let named: Vec<(&String, &String)> = declared.clusters.iter().collect();
        let (name, other) = self.two_of_one(&named)?;
        Some(two_names_of_one(
            "clusters",
            &format!(
                "The entries {name} and {other} of `clusters` are the same cluster, and each would write its own intermediate into the same Secret. Remove either entry from this resource."
            ),
        ))
    }

    /// The same of watchers, or of a cluster and one of its watchers.
    pub(super) fn of_link(&self, declared: &WatchedCluster) -> Option<Finding> {
        let (cluster, watchers) = (&declared.cluster, &declared.watchers);
        if let Some(own) = watchers.iter().find(|watcher| *watcher != cluster && self.is_one(watcher, cluster)) {
            return Some(two_names_of_one(
                "watchers",
                &format!(
                    "The watcher {own} and the watched cluster {cluster} are one cluster: its istiod would read it twice. Remove {own} from `watchers`."
                ),
            ));
        }
        let named: Vec<(&String, &String)> = watchers.iter().map(|watcher| (watcher, cluster)).collect();
        let (name, other) = self.two_of_one(&named)?;
        Some(two_names_of_one(
            "watchers",
            &format!(
                "The watchers {name} and {other} are the same cluster, so that both links use one remote secret, and each overwrites the other's token. Remove either name from `watchers`; the remote secret stays."
            ),
        ))
    }

    /// The first two that are one cluster, and have the same beside it.
    fn two_of_one<'a>(&self, named: &[(&'a String, &'a String)]) -> Option<(&'a String, &'a String)> {
        let pairs = named.iter().enumerate().flat_map(|(n, one)| named[n + 1..].iter().map(move |other| (one, other)));
        let mut same = pairs.filter(|(one, other)| one.1 == other.1 && self.is_one(one.0, other.0));
        same.next().map(|(one, other)| (one.0, other.0))
    }
}

/// A warning: clusters that were cloned from one have its uid.
fn two_names_of_one(attribute: &'static str, why: &str) -> Finding {
    Finding {
        severity: Severity::Warning,
        attribute,
        summary: "One cluster under two names",
        detail: format!(
            "{why} Both names lead to the same uid of the namespace kube-system. If you meant two clusters, correct the kubeconfig or `config_context` of one entry in `clusters` of the provider \
             block. Two different clusters have the same uid only if both were cloned from one snapshot; then ignore this warning."
        ),
    }
}
