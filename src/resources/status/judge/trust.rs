//! What is wrong with what signs and what is trusted.

use std::collections::BTreeSet;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Mesh, Sight};
use crate::resources::token::Lost;

impl Mesh<'_> {
    pub(super) fn trust(&self, name: &str, sight: &Sight) -> Vec<String> {
        let mut found = Vec::new();
        // What is left of a Secret that no istiod here signs by is nobody's matter.
        let is_read = sight.is_primary() && !sight.signs_elsewhere;
        if let Some(trust) = sight.shown.trust.known().filter(|_| sight.has_cacerts && is_read) {
            let (kept, given): (BTreeSet<&String>, BTreeSet<&String>) =
                (trust.roots.items().collect(), trust.distributed_roots.items().collect());
            if kept != given && !given.is_empty() {
                found.push(format!(
                    "istiod hands out other roots than those in `cacerts`. Its log says why it has not taken them; restart it if nothing changes (namespace {})",
                    sight.system_namespace
                ));
            }
        }
        let beside: Vec<&str> = self
            .read()
            .filter(|(other, one)| *other != name && one.has_cacerts && one.signs() && self.is_one_mesh(name, other))
            .map(|(other, _)| other)
            .collect();
        if sight.signs() && !sight.has_cacerts && !beside.is_empty() {
            found.push(format!(
                "the Secret `cacerts` is missing, and {} of the same mesh has one: at its next start istiod makes a root of its own, which nobody else trusts. Apply mesh_ca with this cluster among its `clusters`",
                beside.join(", ")
            ));
        }
        found
    }

    /// Tokens and certificates in use that have ended, or have not begun.
    pub(super) fn out_of_date(&self, name: &str, sight: &Sight, now: OffsetDateTime) -> Vec<String> {
        let told = |time: OffsetDateTime| time.format(&Rfc3339).unwrap_or_default();
        let configures = |host: &Sight| host.is_host() && host.ids().iter().any(|id| self.who(id) == Some(name));
        let is_read = sight.has_plane() || self.read().any(|(_, host)| configures(host));
        let has_ended = |end: &OffsetDateTime| *end <= now;
        let tokens = sight.tokens.iter().filter(|(_, _, end)| is_read && has_ended(end));
        let tokens = tokens.map(|(secret, cluster, end)| {
            format!(
                "the token in the Secret {secret} ended at {}: istiod can no longer read cluster {cluster}. Apply its mesh_remote_cluster, which makes a new one",
                told(*end)
            )
        });
        // One that has ended is told once.
        let ended = |secret: &str, cluster: &str| {
            sight.tokens.iter().any(|(held_in, id, end)| held_in == secret && id == cluster && has_ended(end))
        };
        let revoked = sight.revoked.iter().filter(|(secret, cluster, _)| is_read && !ended(secret, cluster));
        let revoked = revoked.map(|(secret, cluster, lost)| {
            let lost = match lost {
                Lost::Account(name) => format!("is of the ServiceAccount {name}"),
                Lost::Secret(name) => format!("is bound to the Secret {name}"),
            };
            format!(
                "the token in the Secret {secret} {lost}, which cluster {cluster} no longer has, or has recreated: its API server refuses the token, and istiod, which may still call the cluster synced, reads nothing more of it. Apply its mesh_remote_cluster, which makes a new one"
            )
        });
        let certificates = sight.signs_by.iter().filter(|_| sight.signs()).filter_map(|(what, begin, end)| {
            let when = match () {
                () if *end <= now => format!("ended at {}", told(*end)),
                () if *begin > now => format!("is valid only from {}", told(*begin)),
                () => return None,
            };
            Some(format!(
                "the {what} in `cacerts` {when}: certificates that istiod signs by it are refused. Renew it, as an apply of its mesh_ca does"
            ))
        });
        tokens.chain(revoked).chain(certificates).collect()
    }

    /// Clusters of one mesh that share no root, each with the first that it differs from; and those that sign by a root
    /// which another does not trust.
    pub(super) fn differing_roots(&self) -> Vec<String> {
        let known: Vec<(&str, &Sight)> =
            self.read().filter(|(_, sight)| !sight.roots().is_empty() && !sight.trusts_more_roots).collect();
        let mut found = Vec::new();
        for (index, (name, sight)) in known.iter().enumerate() {
            let differs = |(other_name, other): &&(&str, &Sight)| {
                let matters = !(sight.no_auto_mtls && other.no_auto_mtls);
                matters && self.is_one_mesh(name, other_name) && sight.roots().is_disjoint(&other.roots())
            };
            if let Some((other, _)) = known[..index].iter().find(differs) {
                found.push(format!(
                    "{other} and {name} have no root in common: their workloads do not trust each other, and mTLS between them fails. Give both one root with mesh_ca"
                ));
            }
        }
        for (name, sight) in known.iter().filter(|(_, sight)| sight.signs()) {
            let Some(root) = &sight.signed_by else { continue };
            let refuses = |(other_name, other): &&(&str, &Sight)| {
                let matters = !(sight.no_auto_mtls && other.no_auto_mtls);
                let roots = other.roots();
                let lacks = !roots.contains(root) && !roots.is_disjoint(&sight.roots());
                matters && lacks && other_name != name && self.is_one_mesh(name, other_name)
            };
            if let Some((other, _)) = known.iter().find(refuses) {
                found.push(format!(
                    "{name}: its `cacerts` signs by a root that {other} does not trust yet: calls between them fail. Give both the same roots with mesh_ca, before either signs by a new one"
                ));
            }
        }
        found
    }
}
