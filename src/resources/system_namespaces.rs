//! Istio's namespace in each cluster, for what reads a whole mesh.

use std::collections::BTreeMap;

use crate::cluster::Clusters;
use crate::diag::Diagnostic;
use crate::value::{Map, Path, Value};

/// One namespace for all clusters, and the clusters where it is another.
pub struct SystemNamespaces {
    usual: String,
    others: BTreeMap<String, String>,
}

impl SystemNamespaces {
    /// From the attributes `namespace` and `namespaces`. A name that is none of the provider's clusters is an error:
    /// the cluster that was meant would be read in the wrong namespace.
    pub fn new(
        clusters: &Clusters,
        namespace: &Value<String>,
        namespaces: &Value<Map<String>>,
    ) -> Result<SystemNamespaces, Diagnostic> {
        let mut others = BTreeMap::new();
        for (name, other) in namespaces.entries() {
            clusters.cluster(name).map_err(|error| Diagnostic::from(error).at(Path::root("namespaces").key(name)))?;
            others.insert(name.to_owned(), other.clone());
        }
        Ok(SystemNamespaces { usual: namespace.text().to_owned(), others })
    }

    /// Istio's namespace in the cluster of this name.
    pub fn of(&self, cluster: &str) -> &str {
        self.others.get(cluster).unwrap_or(&self.usual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterConfig;

    #[test]
    fn each_cluster_has_its_own_and_a_name_of_none_is_refused() {
        let clusters = ["east", "west"].map(|name| (name.to_owned(), ClusterConfig::default()));
        let clusters = Clusters::new(clusters.into(), "test");
        let of = |name: &str| {
            let others = Map::from([(name.to_owned(), Value::from("istio-west"))]);
            SystemNamespaces::new(&clusters, &"istio-system".into(), &Value::Known(others))
        };
        let of_west = of("west").unwrap();
        assert_eq!(["east", "west"].map(|name| of_west.of(name)), ["istio-system", "istio-west"]);
        let error = of("wset").err().unwrap();
        assert_eq!(error.path, Some(Path::root("namespaces").key("wset")));
        assert!(error.to_string().contains("east, west") || error.detail.contains("east"), "{error:?}");
    }
}
