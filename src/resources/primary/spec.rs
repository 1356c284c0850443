//! From what the user wrote to a [`Spec`] that nothing later has a reason to refuse. The only place that rejects input.

use std::collections::BTreeMap;
use std::time::Duration;

use super::model::Primary;
use super::networks;
use super::values::{self, AgentValues, Contradiction, Laid, User};
use crate::chart::Values;
use crate::diag::Diagnostics;
use crate::kept::{self, hidden::Hidden};
use crate::mesh::{
    Audience, ClusterName, ControlPlane, DEFAULT_AUDIENCE, ImageHub, Images, IstiodExposure, LinkTokens, MeshId, Mtls,
    Namespace, Network, Platform, Revision, TrustDomain, istiod_name,
};
use crate::pki::Fingerprint;
use crate::resources::parsing::{Parser, each};
use crate::schema::validate::parse_duration;
use crate::value::{List, Path, Value};

/// A control plane as it shall be, wholly known.
#[derive(Clone, Debug)]
pub struct Spec {
    pub control_plane: ControlPlane,
    pub base_values: Values,
    pub istiod_values: Values,
    /// What the node agents are given, where there are any.
    pub agents: Option<AgentValues>,
    /// What `values` says to istiod and the node agents alike.
    pub said_to_all: Vec<&'static str>,
    pub trust_root: Option<Fingerprint>,
    /// The load balancer in front of istiod.
    pub exposure: Option<IstiodExposure>,
    /// Tokens of its own ServiceAccount for the clusters that istiod watches.
    pub link_tokens: Option<LinkTokens>,
    pub install_base: bool,
    pub adopt: bool,
    pub force_conflicts: bool,
    /// What of the values no field shows.
    pub hidden: Hidden,
}

impl Spec {
    /// `Ok(None)` where something it needs is not known yet. What is known is checked all the same.
    pub fn parse(model: &Primary) -> Result<Option<Spec>, Diagnostics> {
        let mut parser = Parser::default();
        let spec = read(&mut parser, model);
        parser.finish(spec)
    }

    /// The name of the release: of the istiod chart, as Istio's documentation calls it; of the resource among the
    /// control planes of a namespace.
    pub fn release(&self) -> String {
        istiod_name(self.control_plane.revision.as_ref())
    }

    /// The owner label of its objects.
    pub fn owner(&self) -> String {
        owner(self.control_plane.namespace.as_str(), &self.release())
    }
}

/// The owner label of a control plane's objects.
pub fn owner(namespace: &str, release: &str) -> String {
    kept::owner("mesh_primary", namespace, release)
}

fn read(parser: &mut Parser, model: &Primary) -> Option<Spec> {
    let (cluster_name, path) = name_of_cluster(model);
    let cluster = parser.parse(cluster_name, path, ClusterName::new);
    let namespace = parser.parse(&model.namespace, "namespace", Namespace::new);
    let mesh_id = parser.parse(&model.mesh_id, "mesh_id", MeshId::new);
    let network = parser.parse(&model.network, "network", Network::new);
    let revision = parser.parse(&model.revision, "revision", Revision::new);
    let trust_domain = parser.parse(&model.trust_domain, "trust_domain", TrustDomain::new);
    let trust_domain_aliases =
        each(parser, &model.trust_domain_aliases, &Path::root("trust_domain_aliases"), |parser, alias, path| {
            parser.parse(&Value::Known(alias.clone()), path.clone(), TrustDomain::new)
        });
    let tags = tags(parser, model, revision.as_ref());
    let trust_root = parser.parse(&model.trust_root, "trust_root", |text| {
        Fingerprint::parse(&text).ok_or(
            "give the 64 hexadecimal digits of the root certificate's SHA-256 fingerprint, such as `mesh_ca.this.root_fingerprint`",
        )
    });
    let mesh_networks = networks::read(parser, model, network.as_ref());
    let external_istiod = parser.plain(&model.external_istiod).unwrap_or(false);
    let ambient = parser.plain(&model.ambient).unwrap_or(false);
    let mtls = mtls(parser, model);
    let custom_hosts = parser.list(&model.custom_hosts);
    let is_external = is_external(parser, model);
    let Platformed { platform, cni, agents_namespace } = platformed(parser, model, ambient, is_external);
    let images = images(parser, model);
    check_gateway_api(parser, model, is_external);
    let install_base = parser.plain(&model.install_base).unwrap_or(true) && !is_external;
    let adopt = parser.plain(&model.adopt).unwrap_or(false);
    let force_conflicts = parser.plain(&model.force_conflicts).unwrap_or(false);
    let all = parser.values(&model.values);
    let said_to_all = values::said_to_all(&all);
    let user = user(parser, model, all);

    let hidden = parser.hidden([&user.base, &user.istiod, &user.cni, &user.ztunnel], &model.sensitive_values);
    let (multi_root, remote_credentials) = (parser.plain(&model.multi_root), parser.plain(&model.read_remote_secrets));
    let namespace = namespace?;
    let link_tokens = link_tokens(parser, model, is_external);
    let exposure = exposure(parser, model, &namespace, revision.as_ref());
    let control_plane = ControlPlane {
        cluster: cluster?,
        mesh_id: mesh_id?,
        network,
        namespace,
        revision,
        trust_domain,
        trust_domain_aliases,
        mesh_networks,
        external_istiod,
        is_external,
        ambient,
        platform,
        cni,
        images,
        agents_namespace,
        mtls,
        custom_hosts,
        multi_root: multi_root.unwrap_or(false),
        remote_credentials: remote_credentials.unwrap_or(true),
        env: BTreeMap::new(),
        proxy_metadata: BTreeMap::new(),
    };
    let Laid { base: base_values, istiod: istiod_values, agents } = values::of(&control_plane, &tags, &user)
        .map_err(|contradictions| refuse_contradictions(parser, &contradictions))
        .ok()?;
    Some(Spec {
        control_plane,
        base_values,
        istiod_values,
        agents,
        said_to_all,
        trust_root,
        exposure,
        link_tokens,
        install_base,
        adopt,
        force_conflicts,
        hidden,
    })
}

/// The user's documents for each chart.
fn user(parser: &mut Parser, model: &Primary, all: Values) -> User {
    let base =
        if model.base_values.is_null() { all.clone() } else { parser.values_at("base_values", &model.base_values) };
    let own = parser.plain(&model.chart_values).unwrap_or_default();
    let mut over = |mut values: Values, chart: &str, documents: &Value<List<String>>| {
        values.merge(parser.values_under(&Path::root("chart_values").attr(chart), documents));
        values
    };
    User {
        base: over(base, "base", &own.base),
        istiod: over(all.clone(), "istiod", &own.istiod),
        cni: over(all.clone(), "cni", &own.cni),
        ztunnel: over(all, "ztunnel", &own.ztunnel),
    }
}

/// What follows from the platform, unless it is said.
#[derive(Default)]
struct Platformed {
    platform: Option<Platform>,
    cni: bool,
    agents_namespace: Option<Namespace>,
}

fn platformed(parser: &mut Parser, model: &Primary, ambient: bool, is_external: bool) -> Platformed {
    // The schema lets no other names through.
    let platform = parser.plain(&model.platform).as_deref().and_then(Platform::parse);
    let asked = parser.plain(&model.cni);
    if is_external {
        if asked == Some(true) {
            let detail = "The node agent runs beside the Pods, which are in another cluster than this control plane: the provider does not install it there.";
            parser.refuse("cni", "No node agent with an external control plane", detail);
        }
        return Platformed { platform, ..Platformed::default() };
    }
    if ambient && asked == Some(false) {
        let detail = "In ambient mode the node agent leads the traffic of Pods to ztunnel: leave `cni` out.";
        parser.refuse("cni", "Ambient mode needs the node agent", detail);
    }
    let cni = asked.unwrap_or_else(|| platform.is_some_and(Platform::needs_cni));
    let said = parser.parse(&model.agents_namespace, "agents_namespace", Namespace::new);
    let is_open = model.cni.is_unknown() || model.ambient.is_unknown() || model.platform.is_unknown();
    if said.is_some() && !cni && !ambient && !is_open {
        let detail = "No node agents are installed here: set `cni = true` or `ambient = true`, or leave it out.";
        parser.refuse("agents_namespace", "No node agents for this namespace", detail);
    }
    let agents_namespace = said.or_else(|| platform.and_then(Platform::namespace_of_agents));
    Platformed { platform, cni, agents_namespace: agents_namespace.filter(|_| cni || ambient) }
}

/// Where images come from.
fn images(parser: &mut Parser, model: &Primary) -> Images {
    let Some(said) = parser.plain(&model.images) else { return Images::default() };
    parser.note(said.pull_secrets.is_wholly_known());
    Images {
        hub: parser.parse(&said.hub, Path::root("images").attr("hub"), ImageHub::new),
        pull_secrets: said.pull_secrets.items().cloned().collect(),
    }
}

fn check_gateway_api(parser: &mut Parser, model: &Primary, is_external: bool) {
    let Some(version) = parser.plain(&model.gateway_api) else { return };
    if is_external {
        let detail = "Gateways belong to the cluster that istiod reads its configuration from, which is another: install the definitions there.";
        parser.refuse("gateway_api", "No Gateway API with an external control plane", detail);
    }
    if semver::Version::parse(version.trim_start_matches('v')).is_err() {
        let detail = format!("Give a version such as `1.6.0`, not {version:?}.");
        parser.refuse("gateway_api", "Not a release of the Gateway API", detail);
    }
}

/// The id in Istio, and the attribute that gives it.
fn name_of_cluster(model: &Primary) -> (&Value<String>, Path) {
    if !model.cluster_name.is_null() {
        (&model.cluster_name, Path::root("cluster_name"))
    } else if model.config_cluster.is_null() {
        (&model.cluster, Path::root("cluster"))
    } else {
        (&model.config_cluster, Path::root("config_cluster"))
    }
}

/// Whether the configuration is another cluster's; what has no place in an external control plane is refused.
fn is_external(parser: &mut Parser, model: &Primary) -> bool {
    let Some(config_cluster) = parser.plain(&model.config_cluster) else { return false };
    if model.cluster.known() == Some(&config_cluster) {
        let detail = format!(
            "{config_cluster:?} is the cluster that istiod runs in, whose configuration it reads anyway: leave it out."
        );
        parser.refuse("config_cluster", "Not another cluster", detail);
    }
    if model.ambient.get() == Some(true) {
        let detail = "Ambient's node agents run beside the Pods, which are in another cluster than this control plane: the provider does not install them there.";
        parser.refuse("ambient", "No ambient mode with an external control plane", detail);
    }
    if model.tags.items().next().is_some() {
        let detail = format!(
            "A tag is a webhook in the cluster whose Pods it selects, {config_cluster}: set the value `revisionTags` of its `mesh_remote_cluster`."
        );
        parser.refuse("tags", "No tags of an external control plane", detail);
    }
    true
}

/// What becomes of mTLS; what it cannot be is refused.
fn mtls(parser: &mut Parser, model: &Primary) -> Mtls {
    let said = parser.plain(&model.mtls);
    let mtls = match said.as_deref() {
        Some("off") => Mtls::Off,
        Some("strict") => Mtls::Strict,
        _ => Mtls::Permissive,
    };
    if mtls == Mtls::Off && model.ambient.get() == Some(true) {
        let detail = "In ambient mode ztunnels use mTLS between each other, always: leave `mtls` out, or `ambient`.";
        parser.refuse("mtls", "Ambient mode needs mTLS", detail);
    }
    if mtls != Mtls::Permissive && model.config_cluster.is_known() {
        let detail = "The policy belongs into the cluster that istiod reads its configuration from, where this resource makes nothing. Make a PeerAuthentication there, and set \
                      `meshConfig.enableAutoMtls` in `values` for no mTLS.";
        parser.refuse("mtls", "Not with an external control plane", detail);
    }
    mtls
}

/// The tokens that istiod gets for its links.
fn link_tokens(parser: &mut Parser, model: &Primary, is_external: bool) -> Option<LinkTokens> {
    let said = parser.plain(&model.link_token)?;
    let path = Path::root("link_token");
    if is_external {
        let detail = "An external control plane runs beside the ServiceAccounts of another cluster than it serves, and this provider gives it no tokens for its links: leave `link_token` out, and use \
                      `token` of `mesh_remote_cluster`.";
        parser.refuse(path.clone(), "Not with an external control plane", detail);
    }
    parser.note(said.audiences.is_wholly_known());
    let mut audiences = std::collections::BTreeSet::new();
    for audience in said.audiences.items() {
        audiences.extend(parser.parse(&Value::Known(audience.clone()), path.attr("audiences"), Audience::new));
    }
    if said.audiences.is_null() {
        audiences.extend(Audience::new(DEFAULT_AUDIENCE).ok());
    }
    let lifetime = parser.plain(&said.lifetime).as_deref().and_then(parse_duration);
    let lifetime = lifetime.unwrap_or(Duration::from_secs(3600));
    // The least that a kubelet may ask for.
    if lifetime < Duration::from_secs(600) {
        let detail = "A Pod cannot have a token for less than 10 minutes (`10m`).";
        parser.refuse(path.attr("lifetime"), "Too short a lifetime", detail);
    }
    Some(LinkTokens { audiences, lifetime })
}

fn exposure(
    parser: &mut Parser,
    model: &Primary,
    namespace: &Namespace,
    revision: Option<&Revision>,
) -> Option<IstiodExposure> {
    let expose = parser.plain(&model.expose)?;
    Some(IstiodExposure {
        namespace: namespace.clone(),
        revision: revision.cloned(),
        annotations: parser.map(&expose.annotations),
        load_balancer_class: parser.plain(&expose.load_balancer_class),
        source_ranges: parser.list(&expose.source_ranges),
        external_ips: parser.list(&expose.external_ips),
    })
}

fn tags(parser: &mut Parser, model: &Primary, revision: Option<&Revision>) -> Vec<String> {
    if !model.tags.is_wholly_known() {
        parser.plain(&Value::<()>::Unknown);
    }
    let mut tags: Vec<String> = model.tags.items().cloned().collect();
    tags.sort();
    for tag in &tags {
        // A tag's webhook and Service carry it in their names as they carry a revision.
        if tag != "default"
            && let Err(error) = Revision::new(tag.clone())
        {
            parser.refuse("tags", "Invalid tag", format!("{tag:?}: {}.", error.reason));
        }
        if revision.is_some_and(|revision| revision.as_str() == tag) {
            let detail = format!("{tag:?} already selects this control plane: its revision has that name.");
            parser.refuse("tags", "A tag is named like the revision", detail);
        }
    }
    tags
}

fn refuse_contradictions(parser: &mut Parser, contradictions: &[Contradiction]) {
    for Contradiction { attribute, path, document, decided } in contradictions {
        let detail = format!(
            "The values set `{path}` to {document}, but the attribute `{attribute}` makes it {decided}. Remove it from the values, or change the \
             attribute."
        );
        parser.refuse("values", "A value contradicts an attribute", detail);
    }
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
