//! What the control planes of one mesh must have alike, and have not: mesh configurations, which are read anyhow, and
//! rules for Services.

use std::collections::BTreeMap;

use super::judge::{Configured, Sight};
use crate::cluster::Cluster;
use crate::mesh::differences;
use crate::resources::equality::{Compared, Primary, compare};

/// Findings of one kind; the next look shows the others.
const SHOWN: usize = 20;

/// Where the mesh configurations of these clusters differ, and whose could not be read.
pub(super) fn mesh_configurations(seen: &BTreeMap<String, Sight>, members: &[&str]) -> Vec<String> {
    let planes = |name: &str| seen.get(name).map(|sight| sight.configured.as_slice()).unwrap_or_default();
    let read = |name: &&str| planes(name).iter().filter_map(|plane| plane.as_ref().ok()).collect::<Vec<&Configured>>();
    let mut found = Vec::new();
    for name in members {
        let unread = planes(name).iter().filter_map(|plane| plane.as_ref().err());
        found.extend(unread.map(|why| {
            format!("{name}: whether its mesh configuration agrees with the others of the mesh is unknown: {why}")
        }));
    }
    // Ambient mode brings a mesh configuration of its own.
    for is_ambient in [false, true] {
        let all = members.iter().flat_map(|name| read(name).into_iter().map(|plane| (*name, plane)));
        let of_mode: Vec<_> = all.filter(|(_, plane)| plane.is_ambient == is_ambient).collect();
        let differences = differences(of_mode.iter().map(|(name, plane)| (*name, &plane.policy)));
        let mut names: Vec<&str> = of_mode.into_iter().map(|(name, _)| name).collect();
        names.dedup();
        found.extend(differences.into_iter().map(|difference| {
            format!(
                "{}: control planes of one mesh are configured differently: {difference}. Give every mesh_primary the same `values`",
                names.join(", ")
            )
        }));
    }
    for (at, name) in members.iter().enumerate() {
        let earlier = &members[..at];
        let refused = |one: &Configured, other: &Configured| {
            let domain = &other.trust_domain;
            !one.any_trust_domain && one.trust_domain != *domain && !one.aliases.contains(domain)
        };
        let own = read(name);
        let others = |apart: &dyn Fn(&Configured, &Configured) -> bool| -> Option<String> {
            let is_apart = |other: &&&str| {
                let theirs = read(other);
                let mut pairs = own.iter().flat_map(|own| theirs.iter().map(move |other| (*own, *other)));
                !theirs.is_empty() && pairs.all(|(own, other)| apart(own, other))
            };
            let apart: Vec<&str> = earlier.iter().filter(is_apart).copied().collect();
            (!own.is_empty() && !apart.is_empty()).then(|| apart.join(", "))
        };
        found.extend(others(&|own, other| refused(own, other) || refused(other, own)).map(|others| {
            format!(
                "{name}: its trust domain is another than that of {others}, and not each accepts the other\'s: calls between them are refused. Give all the same `trust_domain`, or each the others\' in `trust_domain_aliases`"
            )
        }));
        // ztunnel knows no aliases.
        let by_ztunnel = |own: &Configured, other: &Configured| {
            own.is_ambient && other.is_ambient && own.trust_domain != other.trust_domain
        };
        found.extend(others(&by_ztunnel).map(|others| {
            format!(
                "{name}: its trust domain is another than that of {others}, and ambient mode takes no other than its own, whatever `trust_domain_aliases` say: calls between them fail. Give all the same `trust_domain`"
            )
        }));
    }
    found
}

/// Where the rules in these clusters differ, and whose could not be read.
pub(super) async fn rules(
    seen: &BTreeMap<String, Sight>,
    clusters: &BTreeMap<String, Cluster>,
    members: &[&str],
) -> Vec<String> {
    let primaries = members.iter().filter_map(|name| {
        let policies = seen.get(*name)?.configured.iter().filter_map(|plane| Some(plane.as_ref().ok()?.policy.clone()));
        Some(Primary { name: (*name).to_owned(), cluster: clusters.get(*name)?.clone(), policies: policies.collect() })
    });
    let primaries: Vec<Primary> = primaries.collect();
    let Compared { unlike, unknown } = compare(&primaries).await;
    let more = unlike.len().saturating_sub(SHOWN);
    let more = (more > 0).then(|| format!("{}: {more} more rules differ by cluster", members.join(", ")));
    let unlike = unlike.into_iter().take(SHOWN).map(|what| {
        format!(
            "{}: {what}. Calls are treated by the rules of the cluster they come from: apply the same to each",
            members.join(", ")
        )
    });
    let unknown = unknown.into_iter().map(|(name, why)| {
        format!("{name}: whether it has the DestinationRules and VirtualServices of the other clusters of the mesh is unknown: {why}")
    });
    unlike.chain(more).chain(unknown).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mesh::MeshPolicy;

    fn plane(domain: &str, aliases: &[&str], mode: &str) -> Configured {
        let mesh = json!({"outboundTrafficPolicy": {"mode": mode}});
        Configured {
            policy: MeshPolicy::of(mesh.as_object().expect("an object")),
            trust_domain: domain.to_owned(),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            any_trust_domain: false,
            is_ambient: false,
        }
    }

    fn told(planes: &[(&str, Result<Configured, &str>)]) -> Vec<String> {
        let mut seen: BTreeMap<String, Sight> = BTreeMap::new();
        for (name, plane) in planes {
            let plane = plane.clone().map_err(str::to_owned);
            seen.entry((*name).to_owned()).or_default().configured.push(plane);
        }
        let members: Vec<&str> = seen.keys().map(String::as_str).collect();
        mesh_configurations(&seen, &members)
    }

    #[test]
    fn mesh_configurations_that_differ_are_told_with_the_clusters() {
        let (any, only) = (plane("a", &[], "ALLOW_ANY"), plane("a", &[], "REGISTRY_ONLY"));
        let found = told(&[("east", Ok(any.clone())), ("west", Ok(only.clone()))]);
        assert_eq!(
            found,
            [
                "east, west: control planes of one mesh are configured differently: `outboundTrafficPolicy.mode` is ALLOW_ANY in east; REGISTRY_ONLY in west. Give every mesh_primary the same `values`"
            ]
        );
        assert_eq!(told(&[("east", Ok(only.clone())), ("west", Ok(only.clone()))]), [""; 0]);
        let found = told(&[("east", Ok(any)), ("west", Err("its ConfigMap istio is missing"))]);
        assert!(found.len() == 1 && found[0].contains("is unknown: its ConfigMap istio is missing"), "{found:?}");
    }

    #[test]
    fn ambient_mode_brings_a_configuration_of_its_own() {
        let ambient = Configured { is_ambient: true, ..plane("a", &[], "REGISTRY_ONLY") };
        let sidecars = plane("a", &[], "ALLOW_ANY");
        assert_eq!(told(&[("east", Ok(ambient.clone())), ("west", Ok(sidecars.clone()))]), [""; 0]);
        // Those of one mode are still compared.
        let found = told(&[
            ("east", Ok(ambient.clone())),
            ("north", Ok(plane("a", &[], "REGISTRY_ONLY"))),
            ("west", Ok(sidecars)),
        ]);
        assert!(found.len() == 1 && found[0].starts_with("north, west: "), "{found:?}");
        let other = Configured { is_ambient: true, ..plane("a", &[], "ALLOW_ANY") };
        assert_eq!(told(&[("east", Ok(ambient)), ("west", Ok(other))]).len(), 1);
    }

    #[test]
    fn trust_domains_may_differ_where_each_accepts_the_other() {
        let with = |aliases: &[&str]| plane("a", aliases, "ALLOW_ANY");
        let other = |aliases: &[&str]| plane("b", aliases, "ALLOW_ANY");
        let found = told(&[("east", Ok(with(&["b"]))), ("west", Ok(other(&[])))]);
        assert!(
            found.len() == 1 && found[0].starts_with("west: its trust domain is another than that of east"),
            "{found:?}"
        );
        assert_eq!(told(&[("east", Ok(with(&["b"]))), ("west", Ok(other(&["a"])))]), [""; 0]);
        // Sidecars go by aliases, ztunnels do not.
        let ambient = |of: Configured| Ok(Configured { is_ambient: true, ..of });
        let found = told(&[("east", ambient(with(&["b"]))), ("west", ambient(other(&["a"])))]);
        assert!(found.len() == 1 && found[0].contains("ambient mode takes no other than its own"), "{found:?}");
        assert_eq!(told(&[("east", ambient(with(&["b"]))), ("west", Ok(other(&["a"])))]), [""; 0]);
        assert_eq!(told(&[("east", ambient(with(&[]))), ("west", ambient(with(&[])))]), [""; 0]);
        let any = Configured { any_trust_domain: true, ..other(&[]) };
        assert_eq!(told(&[("east", Ok(with(&["b"]))), ("west", Ok(any))]), [""; 0]);
    }
}
