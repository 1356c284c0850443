//! What of the mesh is in a plan: resources with both sides of their change, actions that it invokes, and checks.

use serde_json::Value;

use super::reading::Reading;
use super::text::outside_quotes;

/// A resource of the mesh in a plan.
#[derive(Debug, Clone)]
pub struct Instance {
    pub address: String,
    pub kind: Type,
    pub action: Action,
    pub importing: bool,
    /// An object left over from an earlier replacement.
    pub deposed: bool,
    pub previous_address: Option<String>,
    /// Why it is replaced, in Terraform's words.
    pub reason: Option<String>,
    /// Where it is replaced, the old one stays and nobody keeps it.
    pub leaves_old: bool,
    /// The configuration holds values that are to stay hidden: what was made of them stays hidden too.
    pub guarded: bool,
    /// It is made before the old one goes.
    pub creates_first: bool,
    pub before: Value,
    pub after: Value,
    /// What of it is hidden and differs from what is after.
    pub before_hidden: Value,
    /// What is not known yet, and what is hidden and differs from what was before.
    pub unknown: Value,
}

/// A check of the configuration that does not hold.
#[derive(Debug, Clone)]
pub struct Check {
    pub address: String,
    pub status: Status,
    pub messages: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Fails,
    NotEvaluated,
}

/// An action that restarts workloads, with what is known of its configuration.
#[derive(Debug, Clone)]
pub struct Invocation {
    pub address: String,
    pub config: Value,
    pub unknown: Value,
}

/// A resource as far as it is in one cluster.
#[derive(Clone, Copy)]
pub struct InCluster<'a> {
    /// Empty where it is not known.
    pub cluster: &'a str,
    pub before: Reading<'a>,
    pub after: Reading<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    Ca,
    Primary,
    Gateway,
    Remote,
    ServiceEntry,
    CaRequest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    None,
    Create,
    Update,
    Replace,
    Delete,
    /// It stays in the cluster, and nobody keeps it any more.
    Forget,
}

impl Type {
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Ca, "mesh_ca"),
        (Self::Primary, "mesh_primary"),
        (Self::Gateway, "mesh_eastwest_gateway"),
        (Self::Remote, "mesh_remote_cluster"),
        (Self::ServiceEntry, "mesh_service_entry"),
        (Self::CaRequest, "mesh_ca_request"),
    ];

    pub fn resource(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

impl Status {
    /// For programs: a fixed word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fails => "fails",
            Self::NotEvaluated => "cannot be asked",
        }
    }
}

impl Action {
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "stays",
            Self::Create => "made",
            Self::Update => "changed",
            Self::Replace => "replaced",
            Self::Delete => "removed",
            Self::Forget => "forgotten",
        }
    }
}

impl Invocation {
    pub fn config(&self) -> Reading<'_> {
        Reading::new(&self.config, &self.unknown)
    }
}

impl Instance {
    pub fn before(&self) -> Reading<'_> {
        Reading::new(&self.before, &self.before_hidden)
    }

    pub fn after(&self) -> Reading<'_> {
        Reading::new(&self.after, &self.unknown)
    }

    /// Both sides of an attribute, where there is a resource on both.
    pub fn sides(&self, name: &str) -> Option<(Reading<'_>, Reading<'_>)> {
        let both = self.before.is_object() && self.after.is_object();
        both.then(|| (self.before().get(name), self.after().get(name)))
    }

    /// An attribute after the apply, or before it where there is no after.
    pub fn latest(&self, name: &str) -> Reading<'_> {
        if self.after.is_object() { self.after().get(name) } else { self.before().get(name) }
    }

    /// The cluster it is of.
    pub fn cluster(&self) -> Option<&str> {
        self.latest("cluster").text()
    }

    /// The cluster that it leaves, where it is recreated in another one.
    pub fn left_cluster(&self) -> Option<&str> {
        let (before, after) = self.sides("cluster")?;
        before.text().filter(|_| !before.is_same(after))
    }

    /// What it is in each cluster. One that is recreated in another cluster is two: the first goes, the second comes.
    /// So is one that leaves its predecessor behind: the first stays.
    pub fn in_clusters(&self) -> Vec<InCluster<'_>> {
        let (before, after, nothing) = (self.before(), self.after(), Reading::nothing());
        let cluster = self.cluster().unwrap_or_default();
        let left = self.left_cluster();
        if left.is_none() && !self.leaves_old {
            return vec![InCluster { cluster, before, after }];
        }
        let stays = if self.leaves_old { before } else { nothing };
        vec![
            InCluster { cluster: left.unwrap_or(cluster), before, after: stays },
            InCluster { cluster, before: nothing, after },
        ]
    }

    /// What another kind of resource kept before, as a `moved` block says.
    pub fn moved_from(&self) -> Option<&str> {
        self.previous_address.as_deref().filter(|address| type_of(address) != Some(self.kind.resource()))
    }
}

/// The type in an address: what is before its last name.
fn type_of(address: &str) -> Option<&str> {
    let dots: Vec<usize> = outside_quotes(address).filter(|(_, c)| *c == '.').map(|(at, _)| at).collect();
    let last = *dots.last()?;
    let first = dots.len().checked_sub(2).map_or(0, |at| dots[at] + 1);
    Some(&address[first..last])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_what_is_before_the_last_name() {
        for (address, kind) in [
            ("mesh_primary.this", Some("mesh_primary")),
            ("helm_release.mesh_primary", Some("helm_release")),
            ("module.a[\"mesh_ca.x\"].helm_release.istiod[\"a.b\"]", Some("helm_release")),
            ("nonsense", None),
        ] {
            assert_eq!(type_of(address), kind, "{address}");
        }
    }
}
