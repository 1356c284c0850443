//! The values of the charts: the user's documents, and what the attributes say, laid over them.

use serde_json::{Map, Value as Json, json};

use crate::chart::{self, Values};
use crate::mesh::{ControlPlane, REMOTE_CREDENTIALS};
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

/// What attributes decide unless they are null, which they are for an installation of somebody else: its own documents then say it.
const DECIDED_UNLESS_NULL: &[Decided] = &[
    Decided { attribute: "multi_root", path: &["pilot", "env", "ISTIO_MULTIROOT_MESH"] },
    Decided {
        attribute: "multi_root",
        path: &["meshConfig", "defaultConfig", "proxyMetadata", "PROXY_CONFIG_XDS_AGENT"],
    },
    Decided { attribute: "read_remote_secrets", path: &["pilot", "env", REMOTE_CREDENTIALS] },
];

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
    let decided = DECIDED.iter().chain(DECIDED_BY_AMBIENT).chain(DECIDED_BY_CONFIG_CLUSTER).chain(DECIDED_UNLESS_NULL);
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

/// Where the nodes of GKE keep the plugins of their network.
const GKE_CNI_BIN_DIR: &str = "/home/kubernetes/bin";
/// The namespace of the ztunnels that istiod trusts to speak for others.
const TRUSTED_ZTUNNEL: &str = "trustedZtunnelNamespace";

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
            cni: lay(user.istiod, of_platform(control_plane.cni_values(), &mut istiod, user.istiod, control_plane))?,
            ztunnel: lay(user.istiod, control_plane.ztunnel_values())?,
        }),
        false => None,
    };
    Ok(Laid { istiod: lay(user.istiod, istiod)?, base: lay(user.base, base)?, agents })
}

/// What the charts leave to the cluster, or lead elsewhere, on some platforms: their node agents would not start there. What the user says stays.
fn of_platform(mut cni: Json, istiod: &mut Json, user: &Values, control_plane: &ControlPlane) -> Json {
    let said = |path: &[&str]| {
        let (first, rest) = path.split_first()?;
        let found = rest.iter().try_fold(user.as_map().get(*first)?, |value, step| value.get(step))?;
        found.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    };
    match said(&["platform"]).or_else(|| said(&["global", "platform"])).as_deref() {
        // The chart looks for `-gke` in the cluster's version, which no rendering here knows.
        Some("gke") if said(&["cni", "cniBinDir"]).is_none() => cni["cni"] = json!({ "cniBinDir": GKE_CNI_BIN_DIR }),
        // The profile trusts ztunnels of kube-system; these here run beside istiod.
        Some("openshift") if said(&[TRUSTED_ZTUNNEL]).or_else(|| said(&["pilot", TRUSTED_ZTUNNEL])).is_none() => {
            istiod[TRUSTED_ZTUNNEL] = json!(control_plane.namespace);
        }
        _ => {}
    }
    cni
}

/// Whether an istiod with these values reads the Secrets of the clusters it watches, or waits for the right to.
pub fn reads_remote_secrets(istiod: &Values) -> bool {
    let env = istiod.as_map().get("pilot").and_then(|pilot| pilot.get("env")?.get(REMOTE_CREDENTIALS));
    env.is_none_or(|value| !value.to_string().trim_matches('"').eq_ignore_ascii_case("false"))
}

/// What decides over values only where it is so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kind {
    pub is_ambient: bool,
    pub is_external: bool,
    /// It takes several roots, as the attribute makes it.
    pub multi_root: bool,
    /// It reads no Secrets of other clusters, as the attribute makes it.
    pub no_remote_secrets: bool,
}

impl Kind {
    /// What an installation of this provider's says by attributes that are null for others.
    pub fn of_ours(self, values: &Map<String, Json>) -> Self {
        let says = |decided: &Decided, value: &str| {
            let (first, rest) = decided.path.split_first()?;
            let found = rest.iter().try_fold(values.get(*first)?, |value, step| value.get(step))?;
            Some(found.as_str() == Some(value))
        };
        let of = |attribute: &'static str, value: &str| {
            let mut decided = DECIDED_UNLESS_NULL.iter().filter(|decided| decided.attribute == attribute);
            decided.all(|decided| says(decided, value) == Some(true))
        };
        Self { multi_root: of("multi_root", "true"), no_remote_secrets: of("read_remote_secrets", "false"), ..self }
    }
}

/// Values of an installation without what attributes decide.
pub fn undecided(values: &Map<String, Json>, of: Kind) -> Map<String, Json> {
    let mut rest = values.clone();
    let by_ambient = if of.is_ambient { DECIDED_BY_AMBIENT } else { &[] };
    let by_config_cluster = if of.is_external { DECIDED_BY_CONFIG_CLUSTER } else { &[] };
    let by_ours = DECIDED_UNLESS_NULL.iter().filter(|decided| match decided.attribute {
        "multi_root" => of.multi_root,
        _ => of.no_remote_secrets,
    });
    for decided in DECIDED.iter().chain(by_ambient).chain(by_config_cluster).chain(by_ours) {
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
    // The charts write both into the environment as text.
    let same_text = document.to_string().trim_matches('"') == attribute.to_string().trim_matches('"');
    let is_environment = decided.path.first() == Some(&"pilot");
    (document != attribute && !(is_environment && same_text)).then(|| Contradiction {
        attribute: decided.attribute,
        path: decided.path.join("."),
        document: document.to_string(),
        decided: attribute.to_string(),
    })
}
