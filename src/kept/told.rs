//! What charts are told about the cluster they are rendered for. It is asked for once and remembered beside the state:
//! a plan must come to the same with and without the cluster.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::kinds::Kinds;
use super::packed;
use super::renderer::Renderer;
use crate::chart::{Asks, Capabilities, Ends, KubeVersion};
use crate::cluster::{Cluster, Error, Kind};

/// The version of Kubernetes that is assumed for charts that do not ask.
const ASSUMED: (&str, &str, &str) = ("v1.33.0", "1", "33");
/// API versions that a message names.
const NAMED: usize = 4;

/// As far as charts ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<KubeVersion>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "packed")]
    api_versions: Option<Vec<String>>,
    /// What the charts bring and the table lacks.
    #[serde(default, skip_serializing_if = "Kinds::is_empty")]
    kinds: Kinds,
}

/// What a rendering is told about its cluster, and what renders it.
#[derive(Clone, Debug)]
pub struct Answers {
    pub capabilities: Capabilities,
    /// What kinds are that the table lacks.
    pub kinds: Kinds,
    /// And when nobody waits for it any more.
    pub ends: Ends,
    /// One of its own until that of the provider block takes its place.
    pub renderer: Renderer,
}

impl Told {
    /// Asks the cluster: one request for its version, two for what it serves, once for all resources of a walk. The
    /// kinds stay.
    pub async fn ask(self, cluster: &Cluster, asks: Asks) -> Result<Told, Error> {
        let version = async {
            let version = if asks.version { Some(cluster.version().await?) } else { None };
            Ok(version.map(|version| KubeVersion::told(version.git_version, version.spelled.0, version.spelled.1)))
        };
        let api_versions = async {
            let api_versions = if asks.api_versions { Some(cluster.api_versions().await?) } else { None };
            Ok(api_versions.map(|api_versions| api_versions.to_vec()))
        };
        let (version, api_versions) = tokio::try_join!(version, api_versions)?;
        Ok(Told { version, api_versions, kinds: self.kinds })
    }

    /// Asks anew for all that it answers.
    pub async fn ask_again(self, cluster: &Cluster) -> Result<Told, Error> {
        let asks = self.asks();
        let kinds = self.kinds.ask(cluster).await?;
        Told { kinds, ..self }.ask(cluster, asks).await
    }

    /// Adds what a kind is.
    pub fn learn(&mut self, kind: &Kind) {
        self.kinds.add(kind);
    }

    /// What it answers.
    pub fn asks(&self) -> Asks {
        Asks { version: self.version.is_some(), api_versions: self.api_versions.is_some() }
    }

    /// Whether it answers all of this.
    pub fn answers(&self, asks: Asks) -> bool {
        self.asks().or(asks) == self.asks()
    }

    /// No more of it than this, and the kinds.
    #[must_use]
    pub fn only(self, asks: Asks) -> Told {
        Told {
            version: self.version.filter(|_| asks.version),
            api_versions: self.api_versions.filter(|_| asks.api_versions),
            kinds: self.kinds,
        }
    }

    /// What charts are told: what nobody asks for is assumed.
    pub fn answers_to_charts(&self) -> Answers {
        let (version, major, minor) = ASSUMED;
        let assumed = || KubeVersion::told(version.to_owned(), major.to_owned(), minor.to_owned());
        let capabilities = Capabilities {
            kube_version: self.version.clone().unwrap_or_else(assumed),
            api_versions: self.api_versions.clone().unwrap_or_else(|| Capabilities::default().api_versions),
        };
        Answers { capabilities, kinds: self.kinds.clone(), ends: Ends::default(), renderer: Renderer::default() }
    }

    /// How the cluster differs now, in words; `None` where it does not, or nobody was told anything.
    pub fn since(&self, now: &Told) -> Option<String> {
        let mut words = Vec::new();
        if let (Some(before), Some(now)) = (&self.version, &now.version)
            && before != now
        {
            words.push(format!("It was of Kubernetes {} and is of {} now", before.version, now.version));
        }
        if let (Some(before), Some(now)) = (&self.api_versions, &now.api_versions) {
            let (before, now): (BTreeSet<&String>, BTreeSet<&String>) = (before.iter().collect(), now.iter().collect());
            for (served, what) in [(&now - &before, "It serves now"), (&before - &now, "It no longer serves")] {
                if !served.is_empty() {
                    words.push(format!("{what} {}", listed(&served)));
                }
            }
        }
        (!words.is_empty()).then(|| words.join(". "))
    }
}

fn listed(served: &BTreeSet<&String>) -> String {
    let named: Vec<&str> = served.iter().take(NAMED).map(|version| version.as_str()).collect();
    match served.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Asks = Asks { version: true, api_versions: true };
    const VERSION: Asks = Asks { version: true, api_versions: false };

    fn told(version: &str, served: &[&str]) -> Told {
        let version = KubeVersion::told(version.to_owned(), "1".to_owned(), "33+".to_owned());
        let api_versions = served.iter().map(|version| (*version).to_owned()).collect();
        Told { version: Some(version), api_versions: Some(api_versions), kinds: Kinds::default() }
    }

    #[test]
    fn what_was_told_comes_back_and_answers_no_more_than_it_can() {
        let told = told("v1.33.4-gke.1", &["v1", "policy/v1/PodDisruptionBudget"]);
        let text = serde_json::to_string(&told).unwrap();
        assert_eq!(serde_json::from_str::<Told>(&text).unwrap(), told);
        assert!(told.answers(BOTH) && told.answers(Asks::default()));
        let less = told.clone().only(VERSION);
        assert!(less.answers(VERSION) && !less.answers(BOTH));
        assert_eq!(
            less.answers_to_charts().capabilities.kube_version,
            told.answers_to_charts().capabilities.kube_version
        );
        assert_eq!(less.answers_to_charts().capabilities.api_versions, Capabilities::default().api_versions);
        let torn: Told = serde_json::from_str(r#"{"api_versions": "H4sIAAAA"}"#).unwrap();
        assert_eq!(torn, Told::default(), "what cannot be read is asked for again");
    }

    #[test]
    fn a_change_of_the_cluster_is_put_in_words() {
        let before = told("v1.33.0", &["a/v1", "b/v1"]);
        assert_eq!(before.since(&before), None);
        assert_eq!(Told::default().since(&before), None);
        let words = before.since(&told("v1.34.0", &["b/v1", "c/v1", "d/v1", "e/v1", "f/v1", "g/v1"])).unwrap();
        assert_eq!(
            words,
            "It was of Kubernetes v1.33.0 and is of v1.34.0 now. It serves now c/v1, d/v1, e/v1, f/v1 and 1 more. It no longer serves a/v1"
        );
    }
}
