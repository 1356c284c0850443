//! The path of istiod's webhook, by which a remote tells the injector what its Pods are: `/inject/cluster/west/net/n2`.

use super::name::{ClusterName, Network};

/// What Pods are told of the place they are in. As found, a name may be anybody's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InjectedAs {
    /// The id of their cluster.
    pub cluster: Option<String>,
    pub network: Option<String>,
}

/// The path for a cluster and its network.
pub(super) fn injection_path(cluster: &ClusterName, network: Option<&Network>) -> String {
    let network = network.map(|network| format!("/net/{network}")).unwrap_or_default();
    format!("/inject/cluster/{cluster}{network}")
}

impl InjectedAs {
    /// Of a path, or of a URL that ends with one; names with a slash have it as `--slash--`.
    pub fn parse(text: &str) -> InjectedAs {
        let Some((_, rest)) = text.split_once("/inject/") else { return InjectedAs::default() };
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        let steps: Vec<&str> = path.split('/').collect();
        let said = |key: &str| {
            let value = steps.chunks_exact(2).find(|pair| pair[0] == key)?[1];
            (!value.is_empty()).then(|| value.replace("--slash--", "/"))
        };
        InjectedAs { cluster: said("cluster"), network: said("net") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_path_says_is_read_as_it_was_written() {
        let (cluster, network) = (ClusterName::new("west").unwrap(), Network::new("n2").unwrap());
        let of = |cluster: Option<&str>, network: Option<&str>| InjectedAs {
            cluster: cluster.map(str::to_owned),
            network: network.map(str::to_owned),
        };
        assert_eq!(InjectedAs::parse(&injection_path(&cluster, Some(&network))), of(Some("west"), Some("n2")));
        assert_eq!(InjectedAs::parse(&injection_path(&cluster, None)), of(Some("west"), None));
        assert_eq!(
            InjectedAs::parse("https://lb.example.com:15017/inject/cluster/a--slash--b/net/n?timeout=10s"),
            of(Some("a/b"), Some("n"))
        );
        for nothing in ["/inject", "/inject/", "", "/validate", "/inject/cluster/"] {
            assert_eq!(InjectedAs::parse(nothing), InjectedAs::default(), "{nothing}");
        }
        assert_eq!(InjectedAs::parse("/inject/net/n2/cluster/west"), of(Some("west"), Some("n2")));
    }
}
