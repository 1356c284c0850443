//! Names by which rules mean Services of the mesh, in one form: whatever domain a cluster has.

/// The host of a Service, or a pattern for Services, as a rule in this namespace says it: `web.shop.svc`. `None` where
/// it is no Service of the mesh. Istio completes a name without a dot, and takes any other for a full one.
pub fn service_host(host: &str, namespace: &str) -> Option<String> {
    let host = host.to_ascii_lowercase();
    match host.as_str() {
        "*" | "*.local" | "*.cluster.local" => Some(host),
        name if !name.contains('.') => Some(format!("{name}.{namespace}.svc")),
        name if name.contains(".svc.") => Some(without_domain(name).to_owned()),
        _ => None,
    }
}

/// A host without the domain of its cluster.
pub(super) fn without_domain(host: &str) -> &str {
    const SERVICES: &str = ".svc";
    host.find(".svc.").and_then(|at| host.get(..at + SERVICES.len())).unwrap_or(host)
}

/// Whether a pattern means a host. Both are without the domain, lower case.
pub(super) fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some("" | ".local" | ".cluster.local") => true,
        Some(end) => host.ends_with(end),
        None => host == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_one_name_whatever_their_domain() {
        for (host, wanted) in [
            ("web", Some("web.shop.svc")),
            ("Web.Shop.svc.cluster.local", Some("web.shop.svc")),
            ("web.shop.svc.mesh.example", Some("web.shop.svc")),
            ("*.shop.svc.cluster.local", Some("*.shop.svc")),
            ("*.svc.cluster.local", Some("*.svc")),
            ("*", Some("*")),
            ("*.local", Some("*.local")),
            // To Istio each of these is a full name, and of no Service.
            ("web.shop.svc", None),
            ("web.shop", None),
            ("mssql.corp.local", None),
            ("api.example.com", None),
        ] {
            assert_eq!(service_host(host, "shop").as_deref(), wanted, "{host}");
        }
    }
}
