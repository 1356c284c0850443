//! Kinds that the table lacks, which charts may bring. What each is, says the cluster that serves it, or a definition
//! that comes along.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::objects::{Named, Recorded};
use crate::cluster::{Cluster, Error, Kind, ObjectRef};

/// What a cluster said of kinds that the table lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kinds(BTreeMap<String, BTreeMap<String, Served>>);

/// By `apiVersion` and kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Served {
    plural: String,
    namespaced: bool,
}

impl Kinds {
    /// Asks anew. What is not served any more is left out.
    pub async fn ask(&self, cluster: &Cluster) -> Result<Kinds, Error> {
        let mut kinds = Kinds::default();
        for (api_version, served) in &self.0 {
            for kind in served.keys() {
                match cluster.kind(api_version, kind).await {
                    Ok(kind) => kinds.add(&kind),
                    Err(error) if error.is_unknown_kind() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(kinds)
    }

    pub fn add(&mut self, kind: &Kind) {
        let served = Served { plural: kind.plural.to_string(), namespaced: kind.namespaced };
        self.0.entry(kind.api_version()).or_default().insert(kind.kind.to_string(), served);
    }

    /// The kind behind `apiVersion` and `kind` of a manifest, from the table or what was said.
    pub fn find(&self, api_version: &str, kind: &str) -> Option<Kind> {
        Kind::known(api_version, kind).or_else(|| {
            let Served { plural, namespaced } = self.0.get(api_version)?.get(kind)?;
            Some(Kind::discovered(api_version, kind, plural, *namespaced))
        })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The objects that state names. A kind that the table lacks is asked of the cluster; where that has truly no
/// definition of it, its objects are gone, and are left out.
pub async fn references<'a>(cluster: &Cluster, recorded: &'a Recorded) -> Result<BTreeMap<&'a str, ObjectRef>, Error> {
    let mut references = BTreeMap::new();
    let mut asked: BTreeMap<(&str, &str), Option<Kind>> = BTreeMap::new();
    for key in recorded.objects.keys() {
        let Some(named) = Named::parse(key) else { continue };
        let kind = match (named.known(), named.group.unwrap_or_default()) {
            (Some(known), _) => Some(known),
            (None, group) => match asked.get(&(group, named.kind)) {
                Some(asked) => asked.clone(),
                None => {
                    let kind = cluster.kind_in(group, named.kind).await?;
                    asked.entry((group, named.kind)).or_insert(kind).clone()
                }
            },
        };
        if let Some(kind) = kind {
            references.insert(key.as_str(), named.reference(kind));
        }
    }
    Ok(references)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cluster_said_comes_back() {
        let mut kinds = Kinds::default();
        let monitor = Kind::discovered("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors", true);
        kinds.add(&monitor);
        let kinds: Kinds = serde_json::from_str(&serde_json::to_string(&kinds).unwrap()).unwrap();
        let found = kinds.find("monitoring.coreos.com/v1", "ServiceMonitor").unwrap();
        assert_eq!(found.path(Some("a")), monitor.path(Some("a")));
        assert_eq!(kinds.find("monitoring.coreos.com/v1", "PodMonitor"), None);
        assert_eq!(kinds.find("v1", "Secret"), Some(Kind::SECRET), "the table goes first");
    }
}
