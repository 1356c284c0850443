//! What a plan of a control plane says beyond its objects: contradictions to other resources, what is taken in by
//! running Pods only when they restart, and ambient mode over sidecars.

use super::spec::Spec;
use super::values;
use super::{Cx, Primary, networks};
use crate::chart::Values;
use crate::cluster::{Kind, Object, ObjectRef, Query};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::Plan;
use crate::istiod::mesh_config_map;
use crate::kept::objects::{Wanted, state_key};
use crate::mesh::{
    ControlPlaneAt, DiscoverySelectors, MeshPolicy, NETWORK_LABEL, Pending, Revision, accepted_domains, mesh_field,
};
use crate::resources::client::briefly;
use crate::resources::{absent, discovery};
use crate::value::Value;

/// Istio's own, where nobody says another.
const USUAL_TRUST_DOMAIN: &str = "cluster.local";

/// A control plane of which values are not known yet.
pub fn pending(planned: &Primary) -> Pending {
    let cluster = planned.cluster.text().to_owned();
    let is_unknown = planned.config_cluster.is_null() && planned.cluster.is_unknown();
    let serves = match planned.config_cluster.is_unknown() || is_unknown {
        true => None,
        false => Some(planned.config_cluster.known().unwrap_or(&cluster).clone()),
    };
    Pending::ControlPlane { cluster, serves }
}

/// What other resources contradict.
pub async fn declare(
    cx: &mut Cx,
    plan: &Plan<'_, Primary>,
    spec: &Spec,
    wanted: Option<&Wanted>,
) -> Result<(), Diagnostics> {
    let planned = &plan.planned;
    let policy = wanted.and_then(|wanted| policy(spec, wanted));
    let declared = ControlPlaneAt { policy, ..declared(planned, spec) };
    let left_out = left_out(cx, &declared).await;
    let mut found = cx.client()?.walk.control_plane(planned.id.text(), declared);
    found.extend(networks::registries(cx.client()?, &spec.control_plane.mesh_networks));
    found.check()?;
    found.extend(left_out);
    found.extend(plan.prior.and_then(|prior| outdated(prior, planned)));
    for warning in found {
        cx.warn(warning);
    }
    if networks::names_clusters(&spec.control_plane.mesh_networks) {
        absent::tell(cx, planned.id.text()).await?;
    }
    Ok(())
}

fn declared(planned: &Primary, spec: &Spec) -> ControlPlaneAt {
    let control_plane = &spec.control_plane;
    let said = |path: &[&str]| values::at(&spec.istiod_values, path).map(values::as_text);
    let is_true = |path: &[&str]| said(path).is_some_and(|text| text == "true");
    let mesh = values::at(&spec.istiod_values, &["meshConfig"]).and_then(|mesh| mesh.as_object());
    let in_mesh = |name: &str| mesh.and_then(|mesh| mesh_field(mesh, name));
    let roots = in_mesh("caCertificates").and_then(|roots| roots.as_array());
    let skips = is_true(&["pilot", "env", "PILOT_SKIP_VALIDATE_TRUST_DOMAIN"]);
    ControlPlaneAt {
        cluster: planned.cluster.text().to_owned(),
        config_cluster: planned.config_cluster.known().cloned(),
        name: control_plane.cluster.to_string(),
        namespace: control_plane.namespace.to_string(),
        revision: control_plane.revision.as_ref().map(ToString::to_string),
        mesh_id: control_plane.mesh_id.to_string(),
        network: control_plane.network.as_ref().map(ToString::to_string),
        trust_root: spec.trust_root.as_ref().map(ToString::to_string),
        root_follows: planned.trust_root.is_unknown(),
        // The chart writes `trustDomain` in any case, and of two spellings istiod takes that.
        trust_domain: said(&["meshConfig", "trustDomain"]).unwrap_or_else(|| USUAL_TRUST_DOMAIN.to_owned()),
        trust_domain_aliases: mesh.map(accepted_domains).unwrap_or_default(),
        trusts_more_roots: roots.is_some_and(|roots| !roots.is_empty()),
        any_trust_domain: skips,
        is_ambient: said(&["profile"]).is_some_and(|profile| profile == "ambient"),
        ambient_networks: spreads(spec),
        mtls: control_plane.mtls,
        auto_mtls: in_mesh("enableAutoMtls").is_none_or(|value| values::as_text(value) != "false"),
        version: planned.istio_version.known().cloned(),
        external_istiod: control_plane.external_istiod || control_plane.is_external,
        link_audiences: spec
            .link_tokens
            .iter()
            .flat_map(|tokens| &tokens.audiences)
            .map(|audience| audience.as_str().to_owned())
            .collect(),
        reads_remote_secrets: values::reads_remote_secrets(&spec.istiod_values),
        brings_gateway_api: !planned.gateway_api.is_null(),
        tags: planned.tags.items().cloned().collect(),
        mesh_networks: control_plane.mesh_networks.clone(),
        policy: None,
        discovery: mesh.map(DiscoverySelectors::of).unwrap_or_default(),
    }
}

/// Its own namespace, where istiod would not look into it. The plan before an apply has told it.
async fn left_out(cx: &Cx, declared: &ControlPlaneAt) -> Option<Diagnostic> {
    if cx.is_changing() {
        return None;
    }
    let network = declared.network.as_deref().map(|network| (NETWORK_LABEL, network));
    let given: Vec<(&str, &str)> = network.into_iter().collect();
    let cluster = declared.config_cluster.as_ref().unwrap_or(&declared.cluster);
    let namespace = discovery::Namespace { cluster, name: &declared.namespace, given: &given };
    let is_left_out = discovery::is_left_out(cx, &declared.discovery, namespace).await;
    is_left_out.then(|| discovery::own_namespace(cluster, &declared.namespace))
}

/// What the mesh configuration that istiod is to read says, the chart's own part included.
fn policy(spec: &Spec, wanted: &Wanted) -> Option<MeshPolicy> {
    let name = mesh_config_map(spec.control_plane.revision.as_ref().map(Revision::as_str));
    let reference = ObjectRef::namespaced(Kind::CONFIG_MAP, spec.control_plane.namespace.as_str(), name);
    let map = wanted.get(&state_key(&reference))?;
    let mesh = Values::from_yaml(map.object.strings("data").get("mesh")?).ok()?;
    Some(MeshPolicy::of(mesh.as_map()))
}

/// Whether istiod tells of endpoints in other clusters as ambient mode does: of those of Services with
/// `istio.io/global` alone.
fn spreads(spec: &Spec) -> bool {
    let said = values::at(&spec.istiod_values, &["pilot", "env", "AMBIENT_ENABLE_MULTI_NETWORK"]);
    said.map(values::as_text).is_some_and(|text| text == "true")
}

/// What proxies are given when they are injected: those that run keep it.
fn outdated(prior: &Primary, planned: &Primary) -> Option<Diagnostic> {
    let usual = Value::Known(USUAL_TRUST_DOMAIN.to_owned());
    let or_usual = |domain: &Value<String>| if domain.is_null() { usual.clone() } else { domain.clone() };
    let pairs = [
        ("network", prior.network.clone(), planned.network.clone()),
        ("cluster name", prior.cluster_name.clone(), planned.cluster_name.clone()),
        ("mesh id", prior.mesh_id.clone(), planned.mesh_id.clone()),
        ("trust domain", or_usual(&prior.trust_domain), or_usual(&planned.trust_domain)),
    ];
    let changed: Vec<String> = pairs
        .iter()
        .filter(|(_, before, after)| !after.is_unknown() && before != after)
        .map(|(what, before, after)| {
            let shown = |value: &Value<String>| value.as_deref().unwrap_or("none").to_owned();
            format!("the {what} {} (it becomes {})", shown(before), shown(after))
        })
        .collect();
    let attribute = pairs.iter().find(|(_, before, after)| !after.is_unknown() && before != after)?.0.replace(' ', "_");
    Some(Diagnostic::warning(format!("Running Pods of {} keep what they were injected with", planned.cluster.text())).at(attribute.as_str()).detail(format!(
        "Proxies that run keep {} until their Pods are restarted, and until then peers may send their calls the wrong way. After the apply restart every workload with a sidecar, gateways \
         included, such as by `kubectl rollout restart deployment -n <namespace>`.",
        changed.join(" and ")
    )))
}

/// Refuses to turn a mesh of running sidecars into one that tells them of few endpoints in other clusters, unless it is
/// asked for.
pub async fn interlock(cx: &mut Cx, plan: &Plan<'_, Primary>, spec: &Spec) -> Result<(), Diagnostics> {
    let before = plan.prior.and_then(|prior| Spec::parse(prior).ok().flatten());
    let is_accepted = plan.planned.ambient_beside_sidecars.get() == Some(true);
    if !spreads(spec) || before.as_ref().is_some_and(spreads) || is_accepted {
        return Ok(());
    }
    let name = plan.planned.cluster.text();
    let Some(cluster) = briefly(cx, name) else { return Ok(()) };
    match cluster.list(&Query::of(Kind::POD).label("security.istio.io/tlsMode", "istio")).await {
        Ok(pods) => {
            let sidecars: Vec<&Object> = pods.iter().filter(|pod| has_sidecar(pod)).collect();
            match sidecars.first() {
                Some(first) => Err(over_sidecars(name, first, sidecars.len()).into()),
                None => Ok(()),
            }
        }
        // A cluster that is still to come runs none. One that refuses is there.
        Err(error) if plan.prior.is_none() && !error.is_answer() => Ok(()),
        Err(error) => {
            cx.warn(Diagnostic::warning(format!("Whether sidecars run in {name} is not known")).at("ambient").detail(format!(
                "With ambient mode over several networks istiod tells sidecars only of those endpoints in other clusters whose Service has the label `istio.io/global=true`. The Pods cannot be \
                 listed: {error}. {}",
                error.remedy()
            )));
            Ok(())
        }
    }
}

fn has_sidecar(pod: &Object) -> bool {
    let containers = pod.items("spec.containers").iter().chain(pod.items("spec.initContainers"));
    let is_sidecar = |container: &serde_json::Value| {
        let args = container.get("args").and_then(|args| args.as_array()).into_iter().flatten();
        container.get("name").and_then(|name| name.as_str()) == Some("istio-proxy")
            && args.into_iter().any(|arg| arg.as_str() == Some("sidecar"))
    };
    !pod.is_terminating() && containers.into_iter().any(is_sidecar)
}

fn over_sidecars(cluster: &str, first: &Object, count: usize) -> Diagnostic {
    let (namespace, name) = (first.namespace().unwrap_or_default(), first.name());
    Diagnostic::error("Ambient mode would cut sidecars off from other clusters").at("ambient").detail(format!(
        "{count} Pods with sidecars run in cluster {cluster}, such as {namespace}/{name}. With `ambient = true` and a `network`, its istiod tells sidecars only of those endpoints in other clusters \
         whose Service has the label `istio.io/global=true`: calls to all other Services stay in the cluster, or fail. Move the workloads to ambient mode in a cluster of its own, or label every \
         Service that is called across; then set `ambient_beside_sidecars = true`."
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mesh::Mtls;

    fn primary() -> Primary {
        Primary {
            cluster: "east".into(),
            cluster_name: "east".into(),
            namespace: "istio-system".into(),
            mesh_id: "mesh1".into(),
            network: "net-east".into(),
            ..Primary::default()
        }
    }

    fn of(model: &Primary) -> ControlPlaneAt {
        declared(model, &Spec::parse(model).unwrap().unwrap())
    }

    fn with_values(text: &str) -> Primary {
        Primary { values: Value::Known(vec![text.into()]), ..primary() }
    }

    #[test]
    fn what_values_say_counts_as_what_attributes_say() {
        let plain = of(&primary());
        assert_eq!((plain.trust_domain.as_str(), plain.auto_mtls, plain.is_ambient), ("cluster.local", true, false));
        let said = of(&with_values("meshConfig: {trustDomain: a.b, trustDomainAliases: [c.d], enableAutoMtls: false}"));
        assert_eq!((said.trust_domain.as_str(), said.auto_mtls), ("a.b", false));
        assert!(said.trust_domain_aliases.contains("c.d") && !said.any_trust_domain);
        assert!(of(&with_values("pilot: {env: {PILOT_SKIP_VALIDATE_TRUST_DOMAIN: 'true'}}")).any_trust_domain);
        assert!(of(&with_values("env: {PILOT_SKIP_VALIDATE_TRUST_DOMAIN: 'true'}")).any_trust_domain);
        let other =
            of(&with_values("meshConfig: {trust_domain: a.b, trust_domain_aliases: [c.d], enable_auto_mtls: false}"));
        assert!(!other.auto_mtls, "by the names of protobuf");
        assert_eq!(other.trust_domain, "cluster.local", "of two names istiod takes the other, which the chart writes");
        assert!(other.trust_domain_aliases.contains("c.d"));
        let roots =
            |entry: &str| of(&with_values(&format!("meshConfig: {{trustDomain: a.b, caCertificates: [{entry}]}}")));
        let named = roots("{pem: x, trustDomains: [e.f, g.h]}");
        assert!(named.trusts_more_roots && !named.any_trust_domain);
        assert_eq!(named.trust_domain_aliases, ["e.f".to_owned(), "g.h".to_owned()].into());
        let unnamed = roots("{pem: x}");
        assert!(unnamed.trusts_more_roots && !unnamed.any_trust_domain && unnamed.trust_domain_aliases.is_empty());
        assert!(!roots("").trusts_more_roots, "an empty list");
        let off = of(&Primary { mtls: "off".into(), ..primary() });
        assert_eq!((off.mtls, off.auto_mtls), (Mtls::Off, false));
    }

    #[test]
    fn ambient_mode_spreads_by_networks_alone() {
        let ambient = Primary { ambient: true.into(), ..primary() };
        assert!(of(&ambient).ambient_networks);
        let one_network = Primary { network: Value::Null, ..ambient };
        assert_eq!((of(&one_network).is_ambient, of(&one_network).ambient_networks), (true, false));
        // As a configuration of Helm says it, at the top level of the chart.
        let of_helm = with_values("profile: ambient\nenv: {AMBIENT_ENABLE_MULTI_NETWORK: 'true'}");
        assert!(of(&of_helm).ambient_networks);
    }

    #[test]
    fn running_pods_keep_what_they_were_injected_with() {
        let renamed = Primary { network: "vpc-east".into(), ..primary() };
        let told = outdated(&primary(), &renamed).expect("a warning");
        assert!(told.detail.contains("the network net-east (it becomes vpc-east)"), "{}", told.detail);
        assert_eq!(told.path, Some(crate::value::Path::root("network")));
        let usual = Primary { trust_domain: "cluster.local".into(), ..primary() };
        assert_eq!(outdated(&primary(), &usual), None, "said, what was so anyway");
        assert_eq!(outdated(&primary(), &Primary { values: Value::Known(vec!["a: b".into()]), ..primary() }), None);
        assert_eq!(outdated(&primary(), &Primary { network: Value::Unknown, ..primary() }), None);
    }

    #[test]
    fn sidecars_are_told_from_gateways() {
        let pod = |args: &[&str]| {
            Object::new(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"containers": [{"name": "istio-proxy", "args": args}]}}))
            .expect("an object")
        };
        assert!(has_sidecar(&pod(&["proxy", "sidecar"])));
        assert!(!has_sidecar(&pod(&["proxy", "router"])));
        let told = over_sidecars("east", &pod(&["proxy", "sidecar"]), 3);
        assert!(told.detail.contains("3 Pods with sidecars") && told.detail.contains("shop/web"), "{}", told.detail);
    }
}
