//! The values of the charts: the user's documents, and what the attributes say, laid over them.

use serde_json::{Map, Value as Json};

use crate::chart::{self, Values};
use crate::mesh::ControlPlane;
use crate::value::Dyn;

/// One place that an attribute decides and a values document therefore must not.
struct Decided {
    attribute: &'static str,
    path: &'static [&'static str],
}

const DECIDED: &[Decided] = &[
    Decided { attribute: "cluster_name", path: &["global", "multiCluster", "clusterName"] },
    Decided { attribute: "mesh_id", path: &["global", "meshID"] },
    Decided { attribute: "network", path: &["global", "network"] },
    Decided { attribute: "namespace", path: &["global", "istioNamespace"] },
    Decided { attribute: "revision", path: &["revision"] },
    Decided { attribute: "tags", path: &["revisionTags"] },
    Decided { attribute: "trust_domain", path: &["meshConfig", "trustDomain"] },
    Decided { attribute: "trust_domain_aliases", path: &["meshConfig", "trustDomainAliases"] },
    Decided { attribute: "mesh_networks", path: &["global", "meshNetworks"] },
    Decided { attribute: "external_istiod", path: &["global", "externalIstiod"] },
    Decided { attribute: "custom_hosts", path: &["pilot", "env", "ISTIOD_CUSTOM_HOST"] },
];

/// What ambient mode decides as well; without it the documents may say what they like there.
const DECIDED_BY_AMBIENT: &[Decided] = &[
    Decided { attribute: "ambient", path: &["profile"] },
    Decided { attribute: "ambient", path: &["pilot", "env", "AMBIENT_ENABLE_MULTI_NETWORK"] },
];

/// What an external control plane decides as well.
const DECIDED_BY_CONFIG_CLUSTER: &[Decided] =
    &[Decided { attribute: "config_cluster", path: &["global", "resourceScope"] }];

/// A values document that says something else than an attribute does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    pub attribute: &'static str,
    pub path: String,
    pub document: String,
    pub decided: String,
}

/// The user's values with the attributes' on top; what both say and say differently is told.
pub fn lay(user: &Values, attributes: Json) -> Result<Values, Vec<Contradiction>> {
    let decided = DECIDED.iter().chain(DECIDED_BY_AMBIENT).chain(DECIDED_BY_CONFIG_CLUSTER);
    let contradictions: Vec<Contradiction> =
        decided.filter_map(|decided| contradiction(decided, user, &attributes)).collect();
    if !contradictions.is_empty() {
        return Err(contradictions);
    }
    let mut values = user.clone();
    if let Json::Object(attributes) = attributes {
        values.merge(attributes.into());
    }
    Ok(values)
}

/// What the charts are given.
pub struct Laid {
    pub base: Values,
    pub istiod: Values,
    pub agents: Option<AgentValues>,
}

/// What the charts of ambient's node agents are given.
#[derive(Clone, Debug)]
pub struct AgentValues {
    pub cni: Values,
    pub ztunnel: Values,
}

/// The user's own documents, merged.
pub struct User<'a> {
    pub base: &'a Values,
    pub istiod: &'a Values,
}

pub fn of(control_plane: &ControlPlane, tags: &[String], user: User<'_>) -> Result<Laid, Vec<Contradiction>> {
    let (mut base, mut istiod) = (control_plane.base_values(), control_plane.istiod_values());
    // The charts' own default, said again, would only be a difference to an installation that does not say it.
    if control_plane.namespace.as_str() == "istio-system" {
        for values in [&mut base, &mut istiod] {
            take_at(values, &["global", "istioNamespace"]);
        }
    }
    if !tags.is_empty() {
        istiod["revisionTags"] = tags.into();
    }
    let agents = match control_plane.ambient {
        true => Some(AgentValues {
            cni: lay(user.istiod, control_plane.cni_values())?,
            ztunnel: lay(user.istiod, control_plane.ztunnel_values())?,
        }),
        false => None,
    };
    Ok(Laid { istiod: lay(user.istiod, istiod)?, base: lay(user.base, base)?, agents })
}

/// What decides over values only where it is so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kind {
    pub is_ambient: bool,
    pub is_external: bool,
}

/// Values of an installation without what attributes decide.
pub fn undecided(values: &Map<String, Json>, of: Kind) -> Map<String, Json> {
    let mut rest = values.clone();
    let by_ambient = if of.is_ambient { DECIDED_BY_AMBIENT } else { &[] };
    let by_config_cluster = if of.is_external { DECIDED_BY_CONFIG_CLUSTER } else { &[] };
    for decided in DECIDED.iter().chain(by_ambient).chain(by_config_cluster) {
        take(&mut rest, decided.path);
    }
    rest
}

fn take_at(values: &mut Json, path: &[&str]) {
    if let Json::Object(values) = values {
        take(values, path);
    }
}

/// Removes what is at a path, and the maps that are empty then.
fn take(values: &mut Map<String, Json>, path: &[&str]) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        values.remove(*first);
    } else if let Some(Json::Object(inner)) = values.get_mut(*first) {
        take(inner, rest);
        if inner.is_empty() {
            values.remove(*first);
        }
    }
}

/// Whether two lists of documents mean the same values.
pub fn same(a: &Dyn, b: &Dyn) -> bool {
    match (merged(a), merged(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

fn merged(documents: &Dyn) -> Option<Values> {
    let Dyn::List(documents) = documents else { return None };
    let documents: Vec<&str> = documents.iter().map(Dyn::as_str).collect::<Option<_>>()?;
    chart::merge_values(documents).ok()
}

fn contradiction(decided: &Decided, user: &Values, attributes: &Json) -> Option<Contradiction> {
    let (first, rest) = decided.path.split_first()?;
    let document = rest.iter().try_fold(user.as_map().get(*first)?, |value, step| value.get(step))?;
    let attribute = decided.path.iter().try_fold(attributes, |value, step| value.get(step))?;
    (document != attribute).then(|| Contradiction {
        attribute: decided.attribute,
        path: decided.path.join("."),
        document: document.to_string(),
        decided: attribute.to_string(),
    })
}
