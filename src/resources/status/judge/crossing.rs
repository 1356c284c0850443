//! What keeps calls from crossing between networks, and where the objects of Istio's own kinds are read that count.

use std::collections::BTreeSet;

use super::super::crossing::{Crossing, shut};
use super::{Mesh, Sight};
use crate::mesh::DiscoverySelectors;
use crate::resources::address::HBONE_PORT;
use crate::resources::passthrough::Opening;
use crate::resources::policies::{self, Policies};

impl<'a> Mesh<'a> {
    /// What keeps calls from other networks out, or from leaving, though there is a gateway.
    pub(super) fn not_crossing(&self, name: &str, sight: &Sight) -> Vec<String> {
        let Crossing { no_pod, doors, by_mtls, policies, .. } = &sight.crossing;
        let mut found = Vec::new();
        let is_own = |gateway: &str| !self.is_of_others(name, sight, gateway);
        for (gateway, unread) in no_pod.iter().filter(|(gateway, _)| is_own(gateway)) {
            found.push(match unread {
                Ok(()) => format!("gateway {gateway} has no Pod that is ready, so calls to its address fail. What its Pods wait for: `kubectl describe pods`, and see that its Deployment is not scaled to none"),
                Err(why) => format!("whether gateway {gateway} has a Pod that is ready is unknown: {why}"),
            });
        }
        // Calls leave through the gateways of others.
        let linked = || self.linked(name).into_iter().filter_map(|member| self.seen.get(member));
        if !self.has_several_networks(name) || !linked().any(|member| member.crossing.by_mtls) {
            return found;
        }
        match self.openings(name, sight) {
            Some(Ok(openings)) => {
                let doors = doors.iter().filter(|(gateway, _)| is_own(gateway));
                found.extend(doors.filter_map(|(gateway, door)| shut(gateway, door, &openings)))
            }
            Some(Err(why)) if *by_mtls => {
                found.push(format!("whether its gateway lets anything through is unknown: {why}"))
            }
            _ => {}
        }
        match policies.as_ref().filter(|_| self.is_read(name, sight)) {
            Some(Ok(policies)) if !policies.off.is_empty() => {
                let off: Vec<&str> = policies.off.iter().map(|off| off.what.as_str()).collect();
                found.push(format!(
                    "policies turn mTLS off, and without mTLS no call crosses between networks: {}. Remove them, or call these workloads from their own network only",
                    off.join("; ")
                ));
            }
            Some(Err(why)) => found.push(format!("whether policies turn mTLS off is unknown: {why}")),
            _ => {}
        }
        if sight.no_auto_mtls && !speaks_by_rules(sight) {
            found.push("`enableAutoMtls` is false in its mesh configuration: its clients speak plain text, and gateways pass on nothing but mTLS. Set `mtls` of its mesh_primary to \"permissive\" or \"strict\"".to_owned());
        }
        found
    }

    /// Its namespace says another network than the one that its Pods are put into, which counts for istiods.
    pub(super) fn labelled_otherwise(&self, name: &str, sight: &Sight) -> Option<String> {
        let (label, pods) = (sight.shown.network.known()?, sight.pods_network.as_ref()?);
        (label != pods && self.linked(name).len() > 1).then(|| {
            format!(
                "its namespace {} is labelled with the network {label}, and injection puts Pods into {pods}: istiods go by the Pods' word, and gateways of {label} do not lead there. Set `network` of its mesh_primary or mesh_remote_cluster, and restart the workloads",
                sight.system_namespace
            )
        })
    }

    /// Gateways that say they lead into the network of another cluster.
    pub(super) fn labelled_for_others(&self, name: &str, sight: &Sight) -> Vec<String> {
        let own = sight.network();
        let is_own = |network: &str| own.is_empty() || network == own || network == sight.shown.network.text();
        let members = || self.linked(name).into_iter().filter(|member| *member != name);
        let owner =
            |network: &str| members().find(|member| self.seen.get(*member).is_some_and(|one| one.network() == network));
        // A Service without Pods of its own may stand for a gateway that is elsewhere.
        let has_pods =
            |gateway: &str| sight.crossing.doors.contains_key(gateway) || sight.crossing.no_pod.contains_key(gateway);
        let gateways = sight.shown.gateways.entries();
        let gateways = gateways.filter(|(gateway, one)| {
            has_pods(gateway) && !is_own(one.network.text()) && !self.is_of_others(name, sight, gateway)
        });
        let told = gateways.filter_map(|(gateway, one)| {
            let network = one.network.text();
            owner(network).map(|owner| {
                format!(
                    "gateway {gateway} is labelled with the network {network}, which is that of {owner}, and is itself in {own}: calls for {network} go to a gateway that is not in it. Set `network` of its mesh_eastwest_gateway to {own}"
                )
            })
        });
        told.collect()
    }

    /// A network that only gateways of ambient mode lead to, while sidecars of other networks call it.
    pub(super) fn by_tunnels_alone(&self, name: &str, network: &str, linked: &BTreeSet<&str>) -> Option<String> {
        let members = || linked.iter().filter_map(|member| Some((*member, self.seen.get(*member)?)));
        let gateways = |member: &Sight| -> Vec<i64> {
            let of_network = member.shown.gateways.entries().filter(|(_, gateway)| gateway.network.text() == network);
            of_network.map(|(_, gateway)| gateway.port.get().unwrap_or_default()).collect()
        };
        let takes_calls = |(_, member): (&str, &Sight)| {
            let ports = gateways(member);
            let is_mixed = member.crossing.by_mtls && !ports.is_empty();
            is_mixed || member.led_to.contains(network) || ports.iter().any(|port| *port != i64::from(HBONE_PORT))
        };
        if members().any(takes_calls) {
            return None;
        }
        let has_sidecars = |caller: &Sight| {
            let mut planes = caller.configured.iter();
            !caller.configured.is_empty() && planes.all(|plane| plane.as_ref().is_ok_and(|plane| !plane.is_ambient))
        };
        let calls = |(member, caller): &(&str, &Sight)| {
            let is_elsewhere = !caller.network().is_empty() && caller.network() != network;
            caller.is_primary()
                && is_elsewhere
                && has_sidecars(caller)
                && self.watches_cluster(caller, name)
                && *member != name
        };
        let callers: Vec<&str> = members().filter(calls).map(|(member, _)| member).collect();
        (!callers.is_empty()).then(|| {
            format!(
                "only gateways of ambient mode lead to its network {network} (port {HBONE_PORT}), and sidecars of {} do not use them: calls from there find no way in. Run all control planes of the mesh in ambient mode, or none; workloads with sidecars in {network} are reached through a mesh_eastwest_gateway without `ambient`",
                callers.join(", ")
            )
        })
    }

    /// Clients here that speak plain text within their network with clusters that take mTLS alone.
    pub(super) fn plain_against_strict(&self, name: &str, sight: &Sight) -> Vec<String> {
        if !sight.is_primary() {
            return Vec::new();
        }
        let network = sight.network();
        let is_near = |other: &Sight| {
            let theirs = other.network();
            network.is_empty() || theirs.is_empty() || network == theirs
        };
        let others =
            self.read().filter(|(other, one)| *other != name && self.watches_cluster(sight, other) && is_near(one));
        let mut found = Vec::new();
        for (other, one) in others {
            // Policies of a remote are those of its control plane, this one's own perhaps.
            let ruling = self.configured_in(other, one).into_iter().filter(|place| !std::ptr::eq(*place, sight));
            for place in ruling {
                found.extend(self.clash(sight, other, place));
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// What the policies of both ends make of calls from here.
    fn clash(&self, sight: &Sight, other: &str, place: &Sight) -> Vec<String> {
        let (Some(own), Some(theirs)) = (&sight.crossing.policies, &place.crossing.policies) else {
            return Vec::new();
        };
        let (own, theirs) = match (own, theirs) {
            (Ok(own), Ok(theirs)) => (own, theirs),
            (Err(_), Ok(theirs)) if *theirs == Policies::default() => return Vec::new(),
            (Err(why), _) | (_, Err(why)) => {
                return vec![format!(
                    "whether its clients speak plain text with {other}, and whether that takes it, is unknown: {why}"
                )];
            }
        };
        let is_plain = sight.no_auto_mtls && !own.is_mutual();
        let plain = is_plain.then(|| theirs.strict.first()).flatten();
        let plain =
            plain.map(|strict| format!("`enableAutoMtls` is false in its mesh configuration, against {}", strict.what));
        let clashes: Vec<String> = plain.into_iter().chain(policies::clashes(&own.off, theirs)).collect();
        let doubts = policies::doubts(&own.off, theirs);
        let unheard = if is_plain || !has_sidecars(place) { Vec::new() } else { policies::unheard(own, theirs) };
        let clashes = (!clashes.is_empty()).then(|| {
            format!(
                "its clients do not speak the mesh's mTLS with workloads of {other}, which take nothing else: {}. Calls between them are refused. Remove what turns mTLS off here, or use the mode PERMISSIVE there",
                clashes.join("; ")
            )
        });
        let doubts = (!doubts.is_empty()).then(|| {
            format!(
                "whether workloads of {other} take the plain text of its clients is unknown: it depends on which workloads are behind these Services: {}. Remove what turns mTLS off here, or use one mode for the whole namespace there",
                doubts.join("; ")
            )
        });
        let unheard = (!unheard.is_empty()).then(|| {
            format!(
                "its clients speak mTLS with workloads of {other}, which take plain text alone by {}: its istiod does not read that policy, since it reads those of its own cluster alone. Calls between them are refused. Apply the same PeerAuthentication to both clusters, or remove it",
                unheard.join("; ")
            )
        });
        clashes.into_iter().chain(doubts).chain(unheard).collect()
    }

    /// What the Gateways let through that count for this cluster's gateways. `None` where that was not looked at.
    pub(super) fn openings(&self, name: &str, sight: &Sight) -> Option<Result<Vec<Opening>, String>> {
        let places = self.configured_in(name, sight);
        if places.is_empty() {
            return None;
        }
        // What another mesh has in a namespace of its own opens nothing of this one.
        let selectors = self.selectors_for(name, sight);
        let is_seen = |place: &Sight, opening: &Opening| {
            let labels = place.namespaces.get(&opening.namespace);
            labels.is_none_or(|labels| !DiscoverySelectors::all_leave_out(&selectors, &opening.namespace, labels))
        };
        let seen = |place: &Sight| -> Option<Result<Vec<Opening>, String>> {
            let open = place.crossing.open.clone()?;
            Some(open.map(|open| open.into_iter().filter(|opening| is_seen(place, opening)).collect()))
        };
        let all: Option<Result<Vec<_>, String>> = places.into_iter().map(seen).collect();
        all.map(|all| all.map(|all| all.into_iter().flatten().collect()))
    }

    /// Where Istio's configuration is read that counts for this cluster: here, or where the istiod is that serves it;
    /// of an external one, in its configuration cluster. None where that was not looked at.
    fn configured_in(&self, name: &str, sight: &Sight) -> Vec<&'a Sight> {
        if sight.is_primary() {
            return self.seen.get(name).into_iter().collect();
        }
        let hosts = self.hosts(name, sight);
        let read_by = |host: &&'a Sight| -> Option<&'a Sight> {
            if host.is_primary() {
                return Some(host);
            }
            let (_, plane) = host.planes().find(|(_, plane)| plane.external.get() == Some(true))?;
            self.seen.get(self.who(plane.cluster_name.text())?)
        };
        let places: Option<Vec<&Sight>> = hosts.iter().map(read_by).collect();
        places.unwrap_or_default()
    }

    /// Clusters whose istiod serves this one, which has none of its own.
    pub(super) fn hosts(&self, name: &str, sight: &Sight) -> Vec<&'a Sight> {
        self.read().map(|(_, host)| host).filter(|host| self.serves(host, name, sight)).collect()
    }

    /// Whether the objects of Istio's own kinds count that are in this cluster. Nobody reads those of a remote.
    fn is_read(&self, name: &str, sight: &Sight) -> bool {
        sight.is_primary() || self.configured_in(name, sight).into_iter().any(|place| std::ptr::eq(place, sight))
    }
}

/// Whether rules have the clients here speak mTLS, whatever the mesh configuration says.
fn speaks_by_rules(sight: &Sight) -> bool {
    matches!(&sight.crossing.policies, Some(Ok(policies)) if policies.is_mutual())
}

/// Whether workloads may have sidecars: the tunnels of ambient mode are taken whatever policies say.
fn has_sidecars(place: &Sight) -> bool {
    place.configured.is_empty() || !place.configured.iter().flatten().all(|plane| plane.is_ambient)
}
