//! Names as types that cannot be invalid: each constructor refuses what Kubernetes or Istio would, and says why.

use std::fmt;

/// Why a text is not the name it was meant to be. `Display` reads as a sentence for users.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a valid {kind}: {reason}")]
pub struct NameError {
    /// What the text was meant to be, such as `cluster name`.
    pub kind: &'static str,
    /// The refused text.
    pub value: String,
    /// Which rule it breaks.
    pub reason: String,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the text if it is valid.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                let check: fn(&str) -> Result<(), String> = $check;
                match check(&text) {
                    Ok(()) => Ok(Self(text)),
                    Err(reason) => Err(NameError { kind: $kind, value: text, reason }),
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The id under which istiod knows a cluster: `global.multiCluster.clusterName`, CLUSTER_ID, and the data key of a
    /// remote secret.
    ///
    /// istiod takes more than DNS names here (GKE's generated ids, its own default `Kubernetes`); the bound is what a
    /// Secret's data key and the Pod label `topology.istio.io/cluster` both accept.
    ClusterName,
    "cluster name",
    |text| label_value(text)
);
name!(
    /// `global.meshID`: equal in every cluster of one mesh.
    MeshId,
    "mesh id",
    |text| label_value(text)
);
name!(
    /// A network: endpoints of one network reach each other's Pod IPs. Written as a label value.
    Network,
    "network name",
    |text| label_value(text)
);
name!(
    /// A control plane revision. No revision is the absence of this type; Istio then writes `default` where a label is
    /// needed.
    Revision,
    "revision",
    |text| {
        if text == "default" {
            return Err("`default` stands for an installation without a revision; leave the revision unset".to_owned());
        }
        dns_label(text)?;
        // istiod's Service is named `istiod-<revision>`, and Service names end at 63 characters.
        let longest = 63 - "istiod-".len();
        if text.len() > longest {
            return Err(format!("the Service istiod-{text} would have a name longer than 63 characters; use at most {longest}"));
        }
        Ok(())
    }
);
name!(
    /// The trust domain of SPIFFE identities, such as `cluster.local`.
    TrustDomain,
    "trust domain",
    |text| {
        if text.starts_with("spiffe://") {
            return Err("give the trust domain alone, without `spiffe://`".to_owned());
        }
        dotted(text)
    }
);
name!(
    /// A Kubernetes namespace.
    Namespace,
    "namespace",
    |text| dns_label(text)
);
name!(
    /// A Kubernetes Service.
    ServiceName,
    "Service name",
    |text| dns_label(text)
);
name!(
    /// A Kubernetes ServiceAccount.
    ServiceAccountName,
    "ServiceAccount name",
    |text| dotted(text)
);
name!(
    /// What the names of images begin with: a registry, and a path there. `global.hub` of the charts.
    ImageHub,
    "place of images",
    |text| image_hub(text)
);
name!(
    /// A subset of a DestinationRule.
    SubsetName,
    "subset name",
    |text| dns_label(text)
);
name!(
    /// A host name without wildcard, as a ServiceEntry that other meshes dial must have it.
    Host,
    "host",
    |text| {
        if text.contains('*') {
            return Err("a wildcard cannot be dialled through a gateway of another mesh: the SNI must name one host; \
                        list the hosts one by one"
                .to_owned());
        }
        if text.contains("://") {
            return Err("give the host alone, without a scheme".to_owned());
        }
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Err("an IP address has no SNI; give a DNS name".to_owned());
        }
        if text.contains(':') {
            return Err("give the host alone; ports have an attribute of their own".to_owned());
        }
        dotted(text)
    }
);

impl ClusterName {
    /// The name of the Secret that describes this cluster to a watching istiod, as istioctl names it; characters that
    /// Secret names do not allow are replaced, since the name means nothing to istiod (the data key is the cluster's
    /// id).
    pub fn remote_secret_name(&self) -> String {
        format!("istio-remote-secret-{}", self.0.to_lowercase().replace('_', "-"))
    }
}

impl Revision {
    /// The value of the label `istio.io/rev` for an optional revision.
    pub fn label(revision: Option<&Revision>) -> &str {
        revision.map_or("default", Revision::as_str)
    }
}

/// A Kubernetes label value that is not empty.
fn label_value(text: &str) -> Result<(), String> {
    bounded(text, 63)?;
    characters(
        text,
        |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'),
        "letters, digits, `-`, `_` and `.`",
    )?;
    ends(text, |c| c.is_ascii_alphanumeric(), "a letter or digit")
}

/// The beginning of an image's name, without the image.
fn image_hub(text: &str) -> Result<(), String> {
    bounded(text, 253)?;
    if text.contains("://") {
        return Err(
            "it has a scheme: give the registry's host and the path alone, as in `registry.example/istio`".to_owned()
        );
    }
    let (first, rest) = text.split_once('/').map_or((text, None), |(first, rest)| (first, Some(rest)));
    let host = match first.rsplit_once(':').filter(|_| !first.ends_with(']')) {
        Some((host, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => host,
        Some(_) => {
            return Err("what follows its `:` is no port; the version of the images is `istio_version`".to_owned());
        }
        None => first,
    };
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => {}
        Some(_) => return Err("what is in its brackets is no IPv6 address".to_owned()),
        None => dotted(host)?,
    }
    for part in rest.into_iter().flat_map(|rest| rest.split('/')) {
        if part.is_empty() {
            return Err("it has an empty part between slashes, or ends with a slash".to_owned());
        }
        characters(
            part,
            |c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.'),
            "lower-case letters, digits, `-`, `_` and `.`",
        )?;
        ends(part, |c| matches!(c, 'a'..='z' | '0'..='9'), "a lower-case letter or digit")?;
    }
    Ok(())
}

/// A DNS label after RFC 1123.
fn dns_label(text: &str) -> Result<(), String> {
    bounded(text, 63)?;
    lower_label(text)
}

/// DNS labels joined by dots.
fn dotted(text: &str) -> Result<(), String> {
    bounded(text, 253)?;
    for part in text.split('.') {
        if part.is_empty() {
            return Err("it has an empty part between dots, or begins or ends with a dot".to_owned());
        }
        bounded(part, 63).map_err(|reason| format!("its part {part:?}: {reason}"))?;
        lower_label(part)?;
    }
    Ok(())
}

fn lower_label(text: &str) -> Result<(), String> {
    if text.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(format!("only lower-case letters are allowed; {:?} would be valid", text.to_lowercase()));
    }
    characters(
        text,
        |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-',
        "lower-case letters, digits and `-`",
    )?;
    ends(text, |c| c.is_ascii_alphanumeric(), "a lower-case letter or digit")
}

fn bounded(text: &str, longest: usize) -> Result<(), String> {
    match text.len() {
        0 => Err("it is empty".to_owned()),
        length if length > longest => Err(format!("it has {length} characters; at most {longest} are allowed")),
        _ => Ok(()),
    }
}

fn characters(text: &str, allowed: fn(char) -> bool, words: &str) -> Result<(), String> {
    match text.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(format!("the character {c:?} is not allowed; only {words} are")),
        None => Ok(()),
    }
}

fn ends(text: &str, allowed: fn(char) -> bool, words: &str) -> Result<(), String> {
    let (first, last) = (text.chars().next(), text.chars().next_back());
    if first.is_some_and(allowed) && last.is_some_and(allowed) {
        Ok(())
    } else {
        Err(format!("it must begin and end with {words}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_names_take_what_istiod_and_a_secret_key_take() {
        for good in ["east", "c1", "Kubernetes", "cn-project-europe-west1-a_b.c", &"a".repeat(63)] {
            assert!(ClusterName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a/b", "a b", "ä", &"a".repeat(64)] {
            assert!(ClusterName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn places_of_images_are_a_registry_and_a_path() {
        for good in [
            "istio",
            "docker.io/istio",
            "registry.example:5000",
            "10.0.0.1:5000/a_b/c-d.e",
            "[fd00::1]:5000/a",
            "[::1]/a",
        ] {
            assert!(ImageHub::new(good).is_ok(), "{good}: {:?}", ImageHub::new(good));
        }
        for bad in ["", "/a", "a/", "a:0/b", "a:70000/b", "[::g]/a", "[::1/a", "a/-b", "a/b.", "a/B", "a b/c", "ä/b"] {
            assert!(ImageHub::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn secret_name_is_istioctl_s_and_always_a_valid_object_name() {
        assert_eq!(ClusterName::new("east").unwrap().remote_secret_name(), "istio-remote-secret-east");
        assert_eq!(ClusterName::new("Gke_Eu.1").unwrap().remote_secret_name(), "istio-remote-secret-gke-eu.1");
    }

    #[test]
    fn refusals_say_which_rule_is_broken() {
        let cases = [
            (Namespace::new("").unwrap_err(), r#""" is not a valid namespace: it is empty"#),
            (
                Namespace::new("Istio").unwrap_err(),
                r#""Istio" is not a valid namespace: only lower-case letters are allowed; "istio" would be valid"#,
            ),
            (
                Revision::new("default").unwrap_err(),
                r#""default" is not a valid revision: `default` stands for an installation without a revision; leave the revision unset"#,
            ),
            (
                Revision::new("1.2").unwrap_err(),
                r#""1.2" is not a valid revision: the character '.' is not allowed; only lower-case letters, digits and `-` are"#,
            ),
            (
                TrustDomain::new("spiffe://a").unwrap_err(),
                r#""spiffe://a" is not a valid trust domain: give the trust domain alone, without `spiffe://`"#,
            ),
            (
                TrustDomain::new("a..b").unwrap_err(),
                r#""a..b" is not a valid trust domain: it has an empty part between dots, or begins or ends with a dot"#,
            ),
            (
                Network::new("n/1").unwrap_err(),
                r#""n/1" is not a valid network name: the character '/' is not allowed; only letters, digits, `-`, `_` and `.` are"#,
            ),
            (
                Host::new("https://a.b").unwrap_err(),
                r#""https://a.b" is not a valid host: give the host alone, without a scheme"#,
            ),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
        assert!(Host::new("*.svc.cluster.local").unwrap_err().reason.contains("wildcard"));
        assert!(Host::new("10.0.0.1").unwrap_err().reason.contains("IP address"));
        assert!(Host::new("a.b:80").unwrap_err().reason.contains("ports"));
    }

    #[test]
    fn revision_fits_the_service_name() {
        assert!(Revision::new("a".repeat(56)).is_ok());
        assert!(Revision::new("a".repeat(57)).unwrap_err().reason.contains("at most 56"));
        assert_eq!(Revision::label(None), "default");
    }
}
