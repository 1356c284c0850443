//! The values of the charts: the user's documents, and what the attributes say, laid over them.

use serde_json::{Map, Value as Json, json};

use crate::chart::{self, Values};
use crate::mesh::{ControlPlane, REMOTE_CREDENTIALS, mesh_field};
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

/// What `mtls = "off"` decides as well.
const DECIDED_BY_MTLS: &[Decided] = &[Decided { attribute: "mtls", path: &["meshConfig", "enableAutoMtls"] }];

/// What attributes decide unless they are null, which they are for an installation of somebody else: its own documents
/// then say it.
const DECIDED_UNLESS_NULL: &[Decided] = &[
    Decided { attribute: "multi_root", path: &["pilot", "env", "ISTIO_MULTIROOT_MESH"] },
    Decided {
        attribute: "multi_root",
        path: &["meshConfig", "defaultConfig", "proxyMetadata", "PROXY_CONFIG_XDS_AGENT"],
    },
    Decided { attribute: "read_remote_secrets", path: &["pilot", "env", REMOTE_CREDENTIALS] },
    Decided { attribute: "cni", path: &["pilot", "cni", "enabled"] },
    Decided { attribute: "platform", path: &["global", "platform"] },
    Decided { attribute: "images.hub", path: &["global", "hub"] },
    Decided { attribute: "images.pull_secrets", path: &["global", "imagePullSecrets"] },
];

/// What attributes decide in ztunnel's values, which have places of their own.
const DECIDED_IN_ZTUNNEL: &[Decided] = &[
    Decided { attribute: "cluster_name", path: &["multiCluster", "clusterName"] },
    Decided { attribute: "network", path: &["network"] },
    Decided { attribute: "namespace", path: &["istioNamespace"] },
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
    let decided = [
        DECIDED,
        DECIDED_BY_AMBIENT,
        DECIDED_BY_CONFIG_CLUSTER,
        DECIDED_UNLESS_NULL,
        DECIDED_IN_ZTUNNEL,
        DECIDED_BY_MTLS,
    ];
    let decided = decided.into_iter().flatten();
    let found = decided.filter_map(|decided| contradiction(decided, user, &attributes));
    let contradictions: Vec<Contradiction> = found.chain(elsewhere(user, &attributes)).collect();
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
const GKE: &str = "gke";
const OPENSHIFT: &str = "openshift";
/// Where OpenShift's profile has istiod trust the ztunnels.
const KUBE_SYSTEM: &str = "kube-system";
/// The namespace of the ztunnels that istiod trusts to speak for others.
pub const TRUSTED_ZTUNNEL: &str = "trustedZtunnelNamespace";

/// What the charts of the node agents are given.
#[derive(Clone, Debug)]
pub struct AgentValues {
    pub cni: Values,
    /// In ambient mode.
    pub ztunnel: Option<Values>,
}

/// The user's own documents for each chart, merged.
pub struct User {
    pub base: Values,
    pub istiod: Values,
    pub cni: Values,
    pub ztunnel: Values,
}

pub fn of(control_plane: &ControlPlane, tags: &[String], user: &User) -> Result<Laid, Vec<Contradiction>> {
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
    let agents = match control_plane.ambient || control_plane.cni {
        true => Some(AgentValues {
            cni: lay(&user.cni, of_platform(control_plane.cni_values(), &mut istiod, user, control_plane))?,
            ztunnel: match control_plane.ambient {
                true => Some(lay(&user.ztunnel, control_plane.ztunnel_values())?),
                false => None,
            },
        }),
        false => None,
    };
    Ok(Laid { istiod: lay(&user.istiod, istiod)?, base: lay(&user.base, base)?, agents })
}

/// What the charts leave to the cluster, or lead elsewhere, on some platforms: their node agents would not start there.
/// What the user says stays.
fn of_platform(mut cni: Json, istiod: &mut Json, user: &User, control_plane: &ControlPlane) -> Json {
    let platform = |values: &Values| {
        let said = text(values, &["platform"]).or_else(|| text(values, &["global", "platform"]));
        said.or_else(|| control_plane.platform?.profile().map(str::to_owned))
    };
    let has_bin_dir = || [&["cni", "cniBinDir"][..], &["cniBinDir"]].iter().any(|path| text(&user.cni, path).is_some());
    if platform(&user.cni).as_deref() == Some(GKE) && !has_bin_dir() {
        // The chart looks for `-gke` in the version of the cluster, which not every cluster of GKE has there.
        cni["cni"] = json!({ "cniBinDir": GKE_CNI_BIN_DIR });
    }
    let said = text(&user.istiod, &["pilot", TRUSTED_ZTUNNEL]).is_some();
    if control_plane.ambient && !said {
        let agents = control_plane.namespace_of_agents();
        let trusted = match platform(&user.istiod).as_deref() {
            Some(OPENSHIFT) => KUBE_SYSTEM,
            _ => control_plane.namespace.as_str(),
        };
        if agents.as_str() != trusted {
            istiod[TRUSTED_ZTUNNEL] = json!(agents);
        }
    }
    cni
}

/// A text that is not empty.
fn text(values: &Values, path: &[&str]) -> Option<String> {
    let found = at(values, path)?.as_str()?;
    (!found.is_empty()).then(|| found.to_owned())
}

/// What values say at a path. The charts take at their top level, too, what is below `pilot`.
pub fn at<'a>(values: &'a Values, path: &[&str]) -> Option<&'a Json> {
    let at_the_top = || within(values, path.strip_prefix(&["pilot"])?);
    within(values, path).or_else(at_the_top)
}

fn within<'a>(values: &'a Values, path: &[&str]) -> Option<&'a Json> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(values.as_map().get(*first)?, |value, step| value.get(step))
}

/// Whether an istiod with these values injects Pods that leave their network to the node agent `cni`.
pub fn leaves_network_to_cni(istiod: &Values) -> bool {
    let platform = || text(istiod, &["platform"]).or_else(|| text(istiod, &["global", "platform"]));
    match at(istiod, &["pilot", "cni", "enabled"]) {
        Some(enabled) => enabled == true || enabled == "true",
        // Its profile says so.
        None => platform().as_deref() == Some(OPENSHIFT),
    }
}

/// Whether istiod signs nothing: another CA does, such as istio-csr.
pub fn leaves_signing_to_others(istiod: &Values) -> bool {
    at(istiod, &["pilot", "env", "ENABLE_CA_SERVER"]).is_some_and(|signs| signs == false || signs == "false")
}

/// Members of the charts' top level that mean something to istiod and to the node agents alike.
const EVERYWHERE: &[&str] =
    &["affinity", "env", "image", "podAnnotations", "podLabels", "resources", "tolerations", "volumeMounts", "volumes"];

/// What documents for all charts say to istiod and the node agents alike.
pub fn said_to_all(values: &Values) -> Vec<&'static str> {
    EVERYWHERE.iter().filter(|member| values.as_map().contains_key(**member)).copied().collect()
}

/// What the charts look for at their top level first. The attributes are written below `global`.
const AT_THE_TOP: &[(&str, &[&str])] = &[
    ("platform", &["platform"]),
    ("images.hub", &["hub"]),
    // istiod's chart copies what is below `pilot` over its top level.
    ("images.hub", &["pilot", "hub"]),
    ("images.pull_secrets", &["imagePullSecrets"]),
];

/// Documents that say at the top level of a chart what an attribute decides.
fn elsewhere<'a>(user: &'a Values, attributes: &'a Json) -> impl Iterator<Item = Contradiction> + use<'a> {
    AT_THE_TOP.iter().filter_map(|(attribute, path)| {
        let decided = attributes.get("global")?.get(path.last()?)?;
        let document = within(user, path).filter(|document| *document != decided && *document != "")?;
        Some(Contradiction {
            attribute,
            path: path.join("."),
            document: document.to_string(),
            decided: decided.to_string(),
        })
    })
}

/// A scalar as the charts write it.
pub fn as_text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether an istiod with these values reads the Secrets of the clusters it watches, or waits for the right to.
pub fn reads_remote_secrets(istiod: &Values) -> bool {
    let env = at(istiod, &["pilot", "env", REMOTE_CREDENTIALS]);
    env.is_none_or(|value| !value.to_string().trim_matches('"').eq_ignore_ascii_case("false"))
}

/// What decides over values only where it is so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decides {
    pub is_ambient: bool,
    pub is_external: bool,
    /// It takes several roots, as the attribute makes it.
    pub multi_root: bool,
    /// It reads no Secrets of other clusters, as the attribute makes it.
    pub no_remote_secrets: bool,
    /// Its sidecars leave their network to the node agent, as the attribute makes it.
    pub cni: bool,
    /// Its platform is one that the attribute can say.
    pub has_platform: bool,
    /// Its images come from where the attribute can say.
    pub has_hub: bool,
    /// Its images are pulled by Secrets that the attribute can list.
    pub has_pull_secrets: bool,
    /// Nobody uses mTLS, as the attribute makes it.
    pub without_mtls: bool,
}

impl Decides {
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
pub fn undecided(values: &Map<String, Json>, of: Decides) -> Map<String, Json> {
    let mut rest = values.clone();
    let by_ambient = if of.is_ambient { DECIDED_BY_AMBIENT } else { &[] };
    let by_config_cluster = if of.is_external { DECIDED_BY_CONFIG_CLUSTER } else { &[] };
    let by_ours = DECIDED_UNLESS_NULL.iter().filter(|decided| match decided.attribute {
        "multi_root" => of.multi_root,
        "cni" => of.cni,
        "platform" => of.has_platform,
        "images.hub" => of.has_hub,
        "images.pull_secrets" => of.has_pull_secrets,
        _ => of.no_remote_secrets,
    });
    let by_mtls = if of.without_mtls { DECIDED_BY_MTLS } else { &[] };
    for decided in DECIDED.iter().chain(by_ambient).chain(by_config_cluster).chain(by_ours).chain(by_mtls) {
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
    let document = match decided.path.split_first()? {
        (&"meshConfig", rest) => mesh_field(user.as_map().get("meshConfig")?.as_object()?, &rest.join("."))?,
        _ => within(user, decided.path)?,
    };
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
