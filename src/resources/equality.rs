//! DestinationRules and VirtualServices of several clusters of one mesh, compared. Two lists for each cluster, held for
//! the walk; a third of those where something is missing, to know whether it is missed there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;

use crate::cluster::{Cluster, Error, Kind, Object, Query};
use crate::mesh::{HostRules, MeshPolicy, RuleAt, Unlike, UnlikeRules, is_called, unlike};

/// A cluster whose istiod reads such rules, and what is known of its mesh configuration.
pub struct Primary {
    pub name: String,
    pub cluster: Cluster,
    pub policies: Vec<MeshPolicy>,
}

/// What the comparison came to, in words.
#[derive(Debug, Default)]
pub struct Compared {
    /// Where rules are not the same.
    pub unlike: Vec<String>,
    /// Clusters of which that could not be known, and why.
    pub unknown: BTreeMap<String, String>,
}

/// The rules of one cluster.
struct Rules {
    destination_rules: Arc<[Object]>,
    virtual_services: Arc<[Object]>,
}

/// Compares all that can be read. A cluster that does not answer is left out: whatever is kept there says so.
pub async fn compare(primaries: &[Primary]) -> Compared {
    let mut compared = Compared::default();
    if primaries.len() < 2 {
        return compared;
    }
    let read = join_all(primaries.iter().map(|primary| rules(&primary.cluster))).await;
    let mut known = BTreeMap::new();
    for (primary, read) in primaries.iter().zip(read) {
        match read {
            Ok(rules) => drop(known.insert(primary.name.as_str(), rules)),
            Err(error) if error.is_answer() => drop(compared.unknown.insert(primary.name.clone(), error.to_string())),
            Err(_) => {}
        }
    }
    let hosts = known.iter().map(|(name, rules)| (*name, rules.by_host())).collect();
    let usual = [MeshPolicy::default()];
    let said = primaries.iter().flat_map(|primary| &primary.policies).chain(&usual);
    let said: Vec<&MeshPolicy> = said.collect();
    let stays = |host: &str| said.iter().any(|policy| policy.keeps_within(host));
    let mut found = unlike(&hosts, stays);
    drop(hosts);
    let missed = Missed::look(primaries, &found).await;
    found.retain_mut(|rules| missed.concerns(rules));
    compared.unlike = found.iter().map(ToString::to_string).collect();
    for (name, why) in missed.unread {
        compared.unknown.entry(name).or_insert(why);
    }
    compared
}

async fn rules(cluster: &Cluster) -> Result<Rules, Error> {
    let (rules, routes) = (Query::of(Kind::DESTINATION_RULE), Query::of(Kind::VIRTUAL_SERVICE));
    let (destination_rules, virtual_services) =
        tokio::try_join!(cluster.list_if_served(&rules), cluster.list_if_served(&routes))?;
    Ok(Rules { destination_rules, virtual_services })
}

impl Rules {
    fn by_host(&self) -> HostRules<'_> {
        let mut hosts = HostRules::default();
        self.destination_rules.iter().filter_map(rule).for_each(|rule| hosts.destination_rule(rule));
        self.virtual_services.iter().filter_map(rule).for_each(|rule| hosts.virtual_service(rule));
        hosts
    }
}

fn rule(object: &Object) -> Option<RuleAt<'_>> {
    Some(RuleAt { namespace: object.namespace()?, name: object.name(), spec: object.get("spec")? })
}

/// Which Services there are where rules are missing: a rule is missed where its host can be called.
#[derive(Default)]
struct Missed {
    services: BTreeMap<String, Arc<[Object]>>,
    unread: BTreeMap<String, String>,
}

impl Missed {
    async fn look(primaries: &[Primary], found: &[UnlikeRules]) -> Missed {
        let without: BTreeSet<&String> = found
            .iter()
            .flat_map(|rules| match &rules.how {
                Unlike::Missing { without, .. } => without.iter().collect(),
                Unlike::Field { .. } => Vec::new(),
            })
            .collect();
        let asked: Vec<&Primary> = primaries.iter().filter(|primary| without.contains(&primary.name)).collect();
        let query = Query::of(Kind::SERVICE).metadata_only();
        let lists = join_all(asked.iter().map(|primary| primary.cluster.list(&query))).await;
        let mut missed = Missed::default();
        for (primary, listed) in asked.into_iter().zip(lists) {
            match listed {
                Ok(services) => drop(missed.services.insert(primary.name.clone(), services)),
                Err(error) if error.is_answer() => {
                    drop(missed.unread.insert(primary.name.clone(), error.to_string()));
                }
                Err(_) => {}
            }
        }
        missed
    }

    /// Leaves the clusters where a rule is missed; `false` where there is none.
    fn concerns(&self, rules: &mut UnlikeRules) -> bool {
        let UnlikeRules { host, how, .. } = rules;
        let Unlike::Missing { without, .. } = how else { return true };
        without.retain(|cluster| {
            let mut services = self.services.get(cluster).into_iter().flat_map(|services| services.iter());
            services.any(|service| is_called(host, service.name(), service.namespace().unwrap_or_default()))
        });
        !without.is_empty()
    }
}
