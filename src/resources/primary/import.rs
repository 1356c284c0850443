//! Takes a control plane that Helm, istioctl or an earlier state installed into Terraform: its attributes are read from
//! the live objects, then its charts are rendered with them, so that the plan after the import shows what really
//! differs and nothing else.

use serde_json::{Map as JsonMap, Value as Json};

use super::build::{self, Charts, Releases};
use super::model::{Endpoints, Gateway, Images, LinkTokens, MeshNetwork, Primary};
use super::spec::{self, Spec};
use super::{Cx, Identity, charts, derive_names, exposure, gateway_api, ready, values};
use crate::cluster::{Cluster, Error, Kind, OWNER_LABEL, Object, ObjectRef, Query};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::{Ctx, Import};
use crate::istiod;
use crate::kept::memory::Memory;
use crate::kept::objects::{Recorded, UNKNOWN, state_key};
use crate::kept::{read, telling};
use crate::mesh::{self, NETWORK_LABEL, Platform, istiod_name_of};
use crate::pki::Fingerprint;
use crate::resources::charts::Version;
use crate::resources::client;
use crate::resources::client::Client;
use crate::resources::keeping;
use crate::resources::parsing;
use crate::value::{List, Map, Value};

const DEFAULT_NAMESPACE: &str = "istio-system";

/// istioctl puts this tag on a control plane without a revision and turns that one's own injector off; the charts leave
/// the injector on.
const DEFAULT_TAG: &str = "default";

/// What the import id or identity names.
struct Named {
    cluster: String,
    namespace: String,
    revision: Option<String>,
}

pub async fn import(cx: &mut Cx, from: Import<Identity>) -> Result<Primary, Diagnostics> {
    let identity = match from {
        Import::Identity(identity) => identity,
        Import::Id(id) => identity(&id)?,
    };
    let namespace = identity.namespace.known().map_or(DEFAULT_NAMESPACE, String::as_str);
    parsing::import_of(namespace, &identity.revision.as_deref().into_iter().collect::<Vec<_>>())?;
    let mut taken = look(cx, identity).await?;
    (cx.private.releases, cx.private.memory) = (taken.releases, taken.memory);
    let cluster = client::cluster(cx, taken.state.cluster.text())?;
    keeping::imported(cx, &cluster, &mut taken.state).await.map_err(Diagnostic::from)?;
    if let Some(warning) = taken.warning {
        cx.warn(warning);
    }
    Ok(taken.state)
}

/// A control plane as found.
pub struct Taken {
    pub state: Primary,
    pub releases: Releases,
    pub memory: Memory,
    pub warning: Option<Diagnostic>,
}

/// Reads the attributes from the live objects and compares these with what the charts make of the attributes.
pub async fn look<P>(cx: &Ctx<Client, P>, identity: Identity) -> Result<Taken, Diagnostics> {
    let named = Named {
        cluster: identity.cluster.text().to_owned(),
        namespace: identity.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE).to_owned(),
        revision: identity.revision.into_option(),
    };
    let cluster = client::cluster(cx, &named.cluster)?;
    let installed = installed(&cluster, &named).await?;
    let mut state = attributes(&named, &installed);
    let releases = releases(&installed);
    derive_names(&mut state);
    let mut warning = None;
    let spec = parsing::complete(Spec::parse(&state)?)?;
    let mut memory = Memory::default();
    let mut recorded = match charts(
        cx,
        &state,
        spec.install_base,
        Version { asked: None, remembered: state.istio_version.as_deref() },
    )
    .await
    {
        Ok(mut charts) => {
            let told = telling::to_apply(&mut memory, &cluster, charts.asks(&spec)).await;
            charts.told = keeping::for_call(cx, told?);
            let shared = compare(&cluster, &state, &mut charts, &releases, &mut memory).await?;
            // Who gave the chart base no values gave those of istiod to istiod alone.
            let bare = Primary { base_values: std::iter::once("{}".to_owned()).collect(), ..state.clone() };
            match shared.differences {
                0 => shared.recorded,
                _ => {
                    let apart = compare(&cluster, &bare, &mut charts, &releases, &mut memory).await?;
                    let better = apart.differences < shared.differences;
                    state.base_values = if better { bare.base_values } else { Value::Null };
                    if better { apart.recorded } else { shared.recorded }
                }
            }
        }
        Err(unavailable) => {
            warning = Some(Diagnostic::warning("Imported without its objects").detail(format!(
                "The charts of Istio {} cannot be fetched, so the next plan shows every object as new: {}",
                state.istio_version.text(),
                Diagnostics::from(unavailable)
            )));
            Recorded::default()
        }
    };
    for superfluous in &installed.superfluous {
        recorded.objects.insert(state_key(superfluous), UNKNOWN.to_owned());
    }
    memory.record(&recorded);
    state.objects = recorded.objects_value();
    state.status = ready::status(Some(&installed.deployment)).into();
    Ok(Taken { state, releases, memory, warning })
}

/// What is live of the objects that the charts make of the attributes.
struct Compared {
    recorded: Recorded,
    differences: usize,
}

async fn compare(
    cluster: &Cluster,
    state: &Primary,
    charts: &mut Charts,
    releases: &Releases,
    memory: &mut Memory,
) -> Result<Compared, Diagnostics> {
    let spec = parsing::complete(Spec::parse(state)?)?;
    let wanted = telling::rendered(memory, cluster, charts.told.clone(), |told| {
        charts.told.clone_from(told);
        build::wanted(&spec, charts, releases)
    });
    let wanted = wanted.await.map_err(|error| error.diagnostic())?.recorded();
    let live = read::live(cluster, &wanted, &Memory::default()).await?;
    let (recorded, drifts) = wanted.seen(&live, &Memory::default());
    Ok(Compared { recorded, differences: drifts.len() })
}

/// Reads an import id.
fn identity(id: &str) -> Result<Identity, Diagnostic> {
    let parts: Vec<&str> = id.split('/').collect();
    let (cluster, namespace, release) = match parts.as_slice() {
        [cluster] => (*cluster, DEFAULT_NAMESPACE, None),
        [cluster, namespace] => (*cluster, *namespace, None),
        [cluster, namespace, release] => (*cluster, *namespace, Some(*release)),
        _ => ("", "", None),
    };
    if cluster.is_empty() || namespace.is_empty() {
        return Err(Diagnostic::error("Not an import id of mesh_primary").detail(format!(
            "{id:?} does not read as `cluster`, `cluster/namespace` or `cluster/namespace/release`, such as `east/istio-system/istiod` \
             or, for the revision canary, `east/istio-system/istiod-canary`."
        )));
    }
    let revision = release.filter(|release| !matches!(*release, "istiod" | "default" | ""));
    let revision = revision.map(|release| release.strip_prefix("istiod-").unwrap_or(release).to_owned());
    Ok(Identity { cluster: cluster.into(), namespace: namespace.into(), revision: revision.into() })
}

/// What is taken at to tell the attributes.
struct Installed {
    deployment: Object,
    /// The load balancer in front of istiod.
    exposure: Option<Object>,
    values: JsonMap<String, Json>,
    namespace: Option<Object>,
    tags: Vec<String>,
    /// A CustomResourceDefinition of the chart base.
    definition: Option<Object>,
    /// The root of an intermediate that a `mesh_ca` has put there.
    root: Option<Fingerprint>,
    /// The node agents that are this control plane's. Those of releases of their own stay what they are.
    agents: Vec<ObjectRef>,
    /// The release of the Gateway API that this control plane has installed.
    gateway_api: Option<String>,
    /// What the policy for the whole mesh says, where it is this control plane's.
    mtls: Option<&'static str>,
    /// Objects that do what others do already, and are not wanted any more: the first apply removes them.
    superfluous: Vec<ObjectRef>,
}

async fn installed(cluster: &Cluster, named: &Named) -> Result<Installed, Diagnostics> {
    let suffix = named.revision.as_ref().map(|revision| format!("-{revision}")).unwrap_or_default();
    let at = |kind: Kind, name: &str| ObjectRef::namespaced(kind, named.namespace.as_str(), format!("{name}{suffix}"));
    let Some(deployment) = cluster.get(&at(Kind::DEPLOYMENT, "istiod")).await? else {
        return Err(Diagnostic::error("No such control plane")
            .detail(format!(
                "There is no Deployment {}/istiod{suffix} in cluster {}. The id is `cluster/namespace/release`.",
                named.namespace, named.cluster
            ))
            .into());
    };
    let values = cluster.get(&at(Kind::CONFIG_MAP, "values")).await?;
    let values = values.and_then(|values| {
        let text = values.strings("data").get("original-values").map(|text| (*text).to_owned())?;
        serde_json::from_str(&text).ok()
    });
    let revision = named.revision.as_deref().unwrap_or("default");
    let webhooks =
        cluster.list(&Query::of(Kind::MUTATING_WEBHOOK_CONFIGURATION).label("istio.io/rev", revision)).await?;
    let (tagged, superfluous): (Vec<&Object>, Vec<&Object>) = webhooks
        .iter()
        .filter(|webhook| webhook.label("istio.io/tag").is_some())
        .partition(|webhook| named.revision.is_some() || webhook.label("istio.io/tag") != Some(DEFAULT_TAG));
    let tags = tagged.iter().filter_map(|webhook| Some(webhook.label("istio.io/tag")?.to_owned())).collect();
    let mut superfluous: Vec<ObjectRef> =
        superfluous.iter().map(|webhook| webhook.reference_as(Kind::MUTATING_WEBHOOK_CONFIGURATION)).collect();
    if !superfluous.is_empty() {
        let service = ObjectRef::namespaced(Kind::SERVICE, named.namespace.as_str(), "istiod-revision-tag-default");
        superfluous.extend(cluster.get(&service).await?.map(|_| service));
    }
    let namespace = cluster.get(&ObjectRef::cluster(Kind::NAMESPACE, named.namespace.as_str())).await?;
    let definition = ObjectRef::cluster(Kind::CUSTOM_RESOURCE_DEFINITION, "virtualservices.networking.istio.io");
    let definition = cluster.get(&definition).await?;
    let in_namespace = |kind: Kind, name: &str| ObjectRef::namespaced(kind, named.namespace.as_str(), name);
    // Who may not read them can do without: it is an attribute less.
    let readable = |read: Result<Option<Object>, Error>| match read {
        Err(error) if error.is_forbidden() => Ok(None),
        read => read.map_err(Diagnostics::from),
    };
    let cacerts = in_namespace(Kind::SECRET, "cacerts");
    let agents = Query::of(Kind::DAEMON_SET).label(OWNER_LABEL, &owner(named));
    let gateways = ObjectRef::cluster(Kind::CUSTOM_RESOURCE_DEFINITION, gateway_api::GATEWAYS);
    let (agents, gateways, cacerts) =
        tokio::join!(cluster.list(&agents), cluster.get_metadata(&gateways), cluster.get(&cacerts));
    let (gateways, cacerts) = (readable(gateways)?, readable(cacerts)?);
    let agents = match agents {
        Err(error) if error.is_forbidden() => Vec::new(),
        agents => agents?.iter().map(|agent| agent.reference_as(Kind::DAEMON_SET)).collect(),
    };
    let gateways = gateways.filter(|definition| definition.label(OWNER_LABEL) == Some(&owner(named)));
    let policy = cluster.get(&in_namespace(Kind::PEER_AUTHENTICATION, "default")).await;
    let policy = match policy {
        // Of a kind that is not there, there is none.
        Err(error) if error.is_unknown_kind() && cluster.lacks_definition_of(&Kind::PEER_AUTHENTICATION).await? => None,
        read => readable(read)?,
    };
    let policy = policy.filter(|policy| policy.label(OWNER_LABEL) == Some(&owner(named)));
    let mtls = policy.and_then(|policy| match policy.str("spec.mtls.mode") {
        "DISABLE" => Some("off"),
        "STRICT" => Some("strict"),
        _ => None,
    });
    let exposure = exposure::service(&named.namespace, named.revision.as_deref());
    Ok(Installed {
        exposure: cluster.get(&exposure).await?,
        values: values.unwrap_or_default(),
        namespace,
        tags,
        mtls,
        definition,
        root: cacerts.as_ref().and_then(root),
        agents,
        gateway_api: gateways.as_ref().and_then(gateway_api::version),
        deployment,
        superfluous,
    })
}

/// The tokens that this provider gives an istiod for its links.
fn link_token(deployment: &Object) -> Option<LinkTokens> {
    let tokens = mesh::LinkTokens::of(deployment.value())?;
    let seconds = tokens.lifetime.as_secs();
    let lifetime = if seconds.is_multiple_of(3600) { format!("{}h", seconds / 3600) } else { format!("{seconds}s") };
    let audiences: Vec<String> = tokens.audiences.iter().map(|audience| audience.as_str().to_owned()).collect();
    let usual = audiences == [mesh::DEFAULT_AUDIENCE];
    let audiences = if usual { Value::Null } else { Value::Known(audiences.into_iter().collect()) };
    Some(LinkTokens { audiences, lifetime: lifetime.into() })
}

/// The one root of a `mesh_ca`; of several, while a root is rotated, none is the one to wait for.
fn root(cacerts: &Object) -> Option<Fingerprint> {
    cacerts.label(OWNER_LABEL).filter(|owner| owner.starts_with("mesh_ca."))?;
    <[Fingerprint; 1]>::try_from(ready::roots(cacerts)).ok().map(|[root]| root)
}

fn owner(named: &Named) -> String {
    spec::owner(&named.namespace, &istiod_name_of(named.revision.as_deref()))
}

/// The attributes that the installation speaks of; the rest of its values become a values document.
fn attributes(named: &Named, installed: &Installed) -> Primary {
    let at = |path: &[&str]| -> Value<String> {
        let (first, rest) = path.split_first().unwrap_or((&"", &[]));
        let found = rest.iter().try_fold(installed.values.get(*first), |value, step| Some(value?.get(step))).flatten();
        found.and_then(Json::as_str).filter(|text| !text.is_empty()).map(str::to_owned).into()
    };
    let network = match installed.namespace.as_ref().and_then(|namespace| namespace.label(NETWORK_LABEL)) {
        Some(network) => Value::Known(network.to_owned()),
        None => at(&["global", "network"]),
    };
    let cluster_name = env(&installed.deployment, "CLUSTER_ID").unwrap_or_else(|| named.cluster.clone());
    let external =
        installed.values.get("global").and_then(|global| global.get("externalIstiod")) == Some(&Json::Bool(true));
    let aliases =
        installed.values.get("meshConfig").and_then(|config| config.get("trustDomainAliases")).and_then(Json::as_array);
    let aliases = aliases
        .map(|aliases| aliases.iter().filter_map(Json::as_str).map(|alias| Value::Known(alias.to_owned())).collect());
    let base_owner = installed.definition.as_ref().and_then(|definition| definition.label(OWNER_LABEL));
    let installs_base =
        installed.definition.is_some() && base_owner.is_none_or(|base_owner| base_owner == owner(named));
    let is_external = mesh::is_external(installed.deployment.value());
    let is_ours = installed.deployment.label(OWNER_LABEL).is_some();
    let Agents { ambient, cni, platform, namespace: agents_namespace } =
        agents(installed, at(&["global", "platform"]).into_option().filter(|_| is_ours), &named.namespace);
    let images = mesh::Images::of(installed.values.get("global").filter(|_| is_ours).unwrap_or(&Json::Null));
    let mut kind = values::Decides { is_ambient: ambient, is_external, ..values::Decides::default() };
    if is_ours {
        kind = kind.of_ours(&installed.values);
        kind.has_platform = platform.is_some();
        kind.has_hub = images.hub.is_some();
        kind.has_pull_secrets = !images.pull_secrets.is_empty();
        kind.cni = cni == Some(true) || platform.is_some_and(Platform::needs_cni) && cni.is_none();
    }
    kind.without_mtls = installed.mtls == Some("off");
    let mut rest = values::undecided(&installed.values, kind);
    // istioctl makes the validator of the default revision by itself and keeps the chart from it.
    rest.retain(|key, value| key != "defaultRevision" || value.as_str() != Some(""));
    // So does this provider, which follows the agents.
    let agents_run_in = installed.agents.first().and_then(|agent| agent.namespace.clone());
    rest.retain(|key, value| !is_ours || key != values::TRUSTED_ZTUNNEL || value.as_str() != agents_run_in.as_deref());
    Primary {
        cluster: named.cluster.as_str().into(),
        // The key is not told anywhere; where it is the id, as by default, this is it.
        config_cluster: is_external.then(|| cluster_name.clone()).into(),
        namespace: named.namespace.as_str().into(),
        cluster_name: cluster_name.into(),
        mesh_id: mesh_id(at(&["global", "meshID"]), at(&["meshConfig", "trustDomain"])),
        network,
        revision: named.revision.clone().into(),
        tags: if installed.tags.is_empty() {
            Value::Null
        } else {
            Value::Known(installed.tags.iter().cloned().collect())
        },
        istio_version: istiod::version_of(&installed.deployment).into(),
        trust_domain: at(&["meshConfig", "trustDomain"]),
        trust_domain_aliases: aliases.into(),
        external_istiod: (external && !is_external).into(),
        link_token: link_token(&installed.deployment).into(),
        expose: installed.exposure.as_ref().map(exposure::attribute).into(),
        addresses: installed.exposure.as_ref().map(exposure::addresses).into(),
        mesh_networks: mesh_networks(installed.values.get("global").and_then(|global| global.get("meshNetworks"))),
        trust_root: installed.root.as_ref().map(ToString::to_string).into(),
        multi_root: kind.multi_root.then_some(true).into(),
        read_remote_secrets: kind.no_remote_secrets.then_some(false).into(),
        ambient: ambient.into(),
        cni: cni.into(),
        platform: platform.map(|platform| platform.as_str().to_owned()).into(),
        images: (images != mesh::Images::default()).then(|| image_attribute(&images)).into(),
        agents_namespace: agents_namespace.into(),
        gateway_api: installed.gateway_api.clone().into(),
        mtls: installed.mtls.map(str::to_owned).into(),
        custom_hosts: custom_hosts(at(&["pilot", "env", "ISTIOD_CUSTOM_HOST"])),
        values: if rest.is_empty() {
            Value::Null
        } else {
            std::iter::once(format!("{:#}", Json::Object(rest))).collect()
        },
        install_base: (installs_base || is_external).into(),
        adopt: false.into(),
        force_conflicts: false.into(),
        ..Primary::default()
    }
}

fn image_attribute(images: &mesh::Images) -> Images {
    let secrets = &images.pull_secrets;
    Images {
        hub: images.hub.as_ref().map(ToString::to_string).into(),
        pull_secrets: match secrets.is_empty() {
            true => Value::Null,
            false => Value::Known(secrets.iter().cloned().collect()),
        },
    }
}

/// What the node agents tell of attributes.
struct Agents {
    ambient: bool,
    cni: Option<bool>,
    platform: Option<Platform>,
    namespace: Option<String>,
}

/// Attributes are null where they are as the platform has them.
fn agents(installed: &Installed, platform: Option<String>, namespace: &str) -> Agents {
    let platform = platform.and_then(|platform| Platform::parse(&platform));
    let ambient = installed.agents.iter().any(|agent| agent.name == "ztunnel");
    let needs_cni = platform.is_some_and(Platform::needs_cni);
    let by_agent = installed.agents.iter().any(|agent| agent.name == "istio-cni-node");
    let asked =
        installed.values.get("pilot").and_then(|pilot| pilot.get("cni")?.get("enabled")) == Some(&Json::Bool(true));
    let cni = match (by_agent, needs_cni) {
        (true, true) => None,
        (false, true) => Some(false),
        // Ambient's agent is there in any case.
        (by_agent, false) => (by_agent && (asked || !ambient)).then_some(true),
    };
    let usual = platform.and_then(Platform::namespace_of_agents);
    let usual = usual.as_ref().map_or(namespace, |usual| usual.as_str());
    let found = installed.agents.first().and_then(|agent| agent.namespace.clone());
    Agents { ambient, cni, platform, namespace: found.filter(|found| found != usual) }
}

/// The values `global.meshNetworks`, which are written like Istio's own mesh networks.
fn mesh_networks(values: Option<&Json>) -> Value<Map<MeshNetwork>> {
    let text =
        |value: &Json, key: &str| -> Value<String> { value.get(key).and_then(Json::as_str).map(str::to_owned).into() };
    let entries = |network: &Json, key: &str| network.get(key).and_then(Json::as_array).cloned().unwrap_or_default();
    let network = |network: &Json| MeshNetwork {
        endpoints: some(entries(network, "endpoints").iter().map(|endpoints| Endpoints {
            from_registry: text(endpoints, "fromRegistry"),
            from_cidr: text(endpoints, "fromCidr"),
        })),
        gateways: some(entries(network, "gateways").iter().map(|gateway| Gateway {
            address: text(gateway, "address"),
            registry_service_name: text(gateway, "registryServiceName"),
            port: gateway.get("port").and_then(Json::as_i64).into(),
        })),
    };
    let named = values.and_then(Json::as_object).filter(|networks| !networks.is_empty());
    let networks = |networks: &JsonMap<String, Json>| -> Map<MeshNetwork> {
        networks.iter().map(|(name, values)| (name.clone(), Value::Known(network(values)))).collect()
    };
    named.map(networks).into()
}

/// Nothing said is null, and not an empty list.
fn some<T>(entries: impl Iterator<Item = T>) -> Value<List<T>> {
    let entries: List<T> = entries.map(Value::Known).collect();
    if entries.is_empty() { Value::Null } else { Value::Known(entries) }
}

/// istiod takes one text, the names apart by commas.
fn custom_hosts(joined: Value<String>) -> Value<List<String>> {
    let hosts: Option<List<String>> = joined.known().map(|hosts| hosts.split(',').map(Value::from).collect());
    hosts.into()
}

/// Without an id Istio takes the trust domain.
fn mesh_id(id: Value<String>, trust_domain: Value<String>) -> Value<String> {
    id.into_option().or(trust_domain.into_option()).unwrap_or_else(|| "cluster.local".to_owned()).into()
}

/// The names of the releases, which the charts write into labels.
fn releases(installed: &Installed) -> Releases {
    let of = |object: &Object| {
        object.label("app.kubernetes.io/instance").or_else(|| object.label("release")).map(str::to_owned)
    };
    Releases { istiod: of(&installed.deployment), base: installed.definition.as_ref().and_then(of) }
}

fn env(deployment: &Object, name: &str) -> Option<String> {
    let entries = deployment.items("spec.template.spec.containers.0.env").iter();
    let mut named = entries.filter(|entry| entry.get("name").and_then(Json::as_str) == Some(name));
    named.next()?.get("value")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mesh_networks_are_read_as_they_are_written() {
        assert_eq!(mesh_networks(None), Value::Null);
        assert_eq!(mesh_networks(Some(&serde_json::json!({}))), Value::Null);
        let values = serde_json::json!({"a": {"endpoints": [{"fromCidr": "10.0.0.0/8"}, {"fromRegistry": "east"}],
            "gateways": [{"address": "192.0.2.1", "port": 443}]}, "b": {}});
        let read = mesh_networks(Some(&values)).into_option().unwrap();
        let network = |name: &str| read.get(name).and_then(Value::known).unwrap();
        assert_eq!((&network("b").endpoints, &network("b").gateways), (&Value::Null, &Value::Null));
        let endpoints =
            |range: Value<String>, registry: Value<String>| Endpoints { from_cidr: range, from_registry: registry };
        let of_a = [endpoints("10.0.0.0/8".into(), Value::Null), endpoints(Value::Null, "east".into())];
        assert_eq!(network("a").endpoints, some(of_a.into_iter()));
        let gateway = Gateway { address: "192.0.2.1".into(), registry_service_name: Value::Null, port: 443.into() };
        assert_eq!(network("a").gateways, some(std::iter::once(gateway)));
    }

    #[test]
    fn custom_hosts_are_read_as_they_are_written() {
        assert_eq!(custom_hosts(Value::Null), Value::Null);
        let hosts = custom_hosts("a.example,b.example".into());
        assert_eq!(hosts, ["a.example", "b.example"].map(str::to_owned).into_iter().collect());
    }

    #[test]
    fn ids_name_cluster_namespace_and_release() {
        let read = |id: &str| {
            identity(id).map(|read| (read.namespace.into_option().unwrap_or_default(), read.revision.into_option()))
        };
        assert_eq!(read("east").unwrap(), ("istio-system".into(), None));
        assert_eq!(read("east/mesh/istiod").unwrap(), ("mesh".into(), None));
        assert_eq!(read("east/mesh/istiod-canary").unwrap(), ("mesh".into(), Some("canary".into())));
        assert_eq!(read("east/mesh/canary").unwrap(), ("mesh".into(), Some("canary".into())));
        assert!(read("").is_err());
        assert!(read("a/b/c/d").is_err());
    }
}
