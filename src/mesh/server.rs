//! The API server's URL as a watching istiod will dial it: what works from a laptop often does not from there.

use std::fmt;
use std::net::IpAddr;

/// A URL of an API server that another cluster's Pods can at least try to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    text: String,
    host: String,
    port: u16,
}

/// Why a watching istiod could not use the URL. `Display` reads as a sentence for users.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerUrlError {
    /// No scheme at all.
    #[error("{0:?} has no scheme: write https://{0}")]
    NoScheme(String),
    /// Another scheme.
    #[error("{0:?} is not an https URL; an API server is reached by https")]
    Scheme(String),
    /// Not readable as a URL.
    #[error("{text:?} is not a URL: {reason}")]
    Unreadable {
        /// The refused text.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Names the machine itself.
    #[error(
        "{0:?} is a loopback address: in the watching cluster it names the istiod Pod itself, not this cluster's API server"
    )]
    Loopback(String),
    /// Only valid on one link.
    #[error("{0:?} is a link-local address: it is not reachable from another cluster")]
    LinkLocal(String),
    /// Not an address to dial.
    #[error("{0:?} is the unspecified address: it is one to listen on, not one to dial")]
    Unspecified(String),
}

impl ServerUrl {
    /// Reads a URL, whatever its host.
    pub fn parse(text: &str) -> Result<Self, ServerUrlError> {
        // What may be a password is not shown.
        let shown = || text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, rest)| format!("…@{rest}"));
        let unreadable = |reason| ServerUrlError::Unreadable { text: shown(), reason };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(ServerUrlError::NoScheme(shown()));
        };
        if !scheme.eq_ignore_ascii_case("https") {
            return Err(ServerUrlError::Scheme(shown()));
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(unreadable("it holds user information, which does not belong into a URL"));
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(unreadable("it holds white space"));
        }
        let (host, port) =
            split_port(authority).ok_or_else(|| unreadable("its port is not a number from 1 to 65535"))?;
        if host.is_empty() {
            return Err(unreadable("it has no host"));
        }
        Ok(Self { text: text.trim_end_matches('/').to_owned(), host: host.to_lowercase(), port })
    }

    /// Refuses hosts that mean something else, or nothing, in another cluster.
    pub fn reachable_from_elsewhere(self) -> Result<Self, ServerUrlError> {
        let name = self.host.trim_end_matches('.');
        if name == "localhost" || name.ends_with(".localhost") {
            return Err(ServerUrlError::Loopback(self.text));
        }
        match self.host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            Ok(ip) if ip.is_loopback() => Err(ServerUrlError::Loopback(self.text)),
            Ok(ip) if ip.is_unspecified() => Err(ServerUrlError::Unspecified(self.text)),
            Ok(IpAddr::V4(ip)) if ip.is_link_local() => Err(ServerUrlError::LinkLocal(self.text)),
            Ok(IpAddr::V6(ip)) if ip.is_unicast_link_local() => Err(ServerUrlError::LinkLocal(self.text)),
            _ => Ok(self),
        }
    }

    /// The URL without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its host; IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port, 443 if it names none.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Host and port of an authority; `None` if the port is no port.
fn split_port(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    match port {
        None => Some((host, 443)),
        Some(text) => text.parse().ok().filter(|port| *port != 0).map(|port| (host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<ServerUrl, ServerUrlError> {
        ServerUrl::parse(text)?.reachable_from_elsewhere()
    }

    #[test]
    fn takes_what_another_cluster_can_dial() {
        for (text, host, port) in [
            ("https://api.example.com", "api.example.com", 443),
            ("https://10.0.0.1:6443", "10.0.0.1", 6443),
            ("https://[fd00::1]:6443/k8s/clusters/c-1", "fd00::1", 6443),
            ("HTTPS://Api.Example.com/", "api.example.com", 443),
        ] {
            let url = check(text).unwrap();
            assert_eq!((url.host(), url.port()), (host, port), "{text}");
        }
        assert_eq!(check("https://a.b:6443/").unwrap().as_str(), "https://a.b:6443");
    }

    #[test]
    fn refuses_hosts_that_mean_something_else_elsewhere() {
        for text in [
            "https://127.0.0.1:6443",
            "https://localhost:6443",
            "https://LOCALHOST",
            "https://[::1]:6443",
            "https://127.1.2.3",
            "https://kind.localhost",
            "https://[::ffff:127.0.0.1]",
        ] {
            assert!(matches!(check(text), Err(ServerUrlError::Loopback(_))), "{text}");
        }
        for text in ["https://169.254.169.254", "https://[fe80::1]"] {
            assert!(matches!(check(text), Err(ServerUrlError::LinkLocal(_))), "{text}");
        }
        for text in ["https://0.0.0.0:6443", "https://[::]:6443"] {
            assert!(matches!(check(text), Err(ServerUrlError::Unspecified(_))), "{text}");
        }
        assert!(ServerUrl::parse("https://127.0.0.1:6443").is_ok());
    }

    #[test]
    fn refuses_what_is_no_https_url() {
        assert_eq!(check("api.example.com:6443"), Err(ServerUrlError::NoScheme("api.example.com:6443".into())));
        assert!(matches!(check("http://a"), Err(ServerUrlError::Scheme(_))));
        for text in ["https://", "https://a:0", "https://a:x", "https://u:p@a", "https://a b", "https://[fd00::1"] {
            assert!(matches!(check(text), Err(ServerUrlError::Unreadable { .. })), "{text}");
        }
        for text in ["https://me:hunter2@a", "https:///me:hunter2@a", "http://me:hunter2@a", "me:hunter2@a"] {
            let said = check(text).unwrap_err().to_string();
            assert!(said.contains("…@a") && !said.contains("hunter2"), "{said}");
        }
    }
}
