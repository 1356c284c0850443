//! Import: finds a gateway that runs, however it was installed, and rebuilds the configuration from what it finds.

use serde_json::Value as Json;

use super::model::{Expose, Gateway, Ports, Service};
use super::spec::{SYSTEM_NAMESPACE, Spec};
use super::{Cx, Identity, ready};
use crate::cluster::{Cluster, Kind, Object, ObjectRef, Query};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::Import;
use crate::kept::memory::Memory;
use crate::kept::read;
use crate::mesh::{API_SERVER_SNI, GatewayPorts, NETWORK_LABEL};
use crate::resources::address::{self, GATEWAY_NAME_LABEL};
use crate::resources::charts::{Charts, Version};
use crate::resources::client;
use crate::resources::keeping;
use crate::resources::parsing;
use crate::resources::passthrough;
use crate::value::{List, Value};

/// The label by which charts say the name of their release.
const INSTANCE: &str = "app.kubernetes.io/instance";

pub async fn import(cx: &mut Cx, from: Import<Identity>) -> Result<Gateway, Diagnostics> {
    let (cluster_name, namespace, name) = target(from)?;
    parsing::import_of(&namespace, &[&name])?;
    let cluster = client::cluster(cx, &cluster_name)?;
    let mut model = Gateway {
        cluster: cluster_name.into(),
        namespace: namespace.clone().into(),
        name: name.clone().into(),
        ambient: false.into(),
        adopt: false.into(),
        force_conflicts: false.into(),
        wait: true.into(),
        cluster_domain: "cluster.local".into(),
        ..Gateway::default()
    };
    super::spec::derive_names(&mut model);
    let found = find(&cluster, &namespace, &name).await?;
    let Some(found) = found else {
        return Err(Diagnostic::error("No such gateway")
            .detail(format!(
                "There is neither a Service nor a Gateway API gateway {namespace}/{name} in cluster {}.",
                cluster.name()
            ))
            .into());
    };
    describe(&mut model, &found);
    cx.private.release = found.release().filter(|release| *release != name).map(str::to_owned);
    if let Some(version) = found.chart_version() {
        let usual = cx.client()?.charts.chart("gateway", None, Version::default()).await.ok();
        let is_usual = usual.is_some_and(|chart| chart.version() == version);
        model.charts = (!is_usual).then(|| of_version(version)).into();
    }
    keeping::imported(cx, &cluster, &mut model).await.map_err(Diagnostic::from)?;
    record(cx, &cluster, &mut model).await?;
    Ok(model)
}

fn target(from: Import<Identity>) -> Result<(String, String, String), Diagnostics> {
    let (cluster, namespace, name) = match from {
        Import::Identity(identity) => {
            (identity.cluster.or_default(), identity.namespace.or_default(), identity.name.or_default())
        }
        Import::Id(id) => match id.split('/').collect::<Vec<_>>()[..] {
            [cluster, namespace, name] => (cluster.to_owned(), namespace.to_owned(), name.to_owned()),
            _ => {
                let detail = format!(
                    "{id:?} is not of the form `cluster/namespace/name`, such as `east/istio-system/istio-eastwestgateway`."
                );
                return Err(Diagnostic::error("Not an id of a gateway").detail(detail).into());
            }
        },
    };
    let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
    Ok((cluster, or(namespace, "istio-system"), or(name, "istio-eastwestgateway")))
}

/// The live objects that the attributes are read from.
struct FoundGateway {
    door: Object,
    deployment: Option<Object>,
    gateways: Vec<Object>,
    routes: Vec<Object>,
}

impl FoundGateway {
    /// Of the chart that made it.
    fn chart_version(&self) -> Option<&str> {
        self.deployment.as_ref()?.label("helm.sh/chart")?.strip_prefix("gateway-")
    }

    /// The name of the release, which the chart writes into labels.
    fn release(&self) -> Option<&str> {
        let deployment = self.deployment.as_ref()?;
        // The Pods' first: tools that deploy put a name of their own on the Deployment alone, and other Pods would be a
        // restart.
        let of_pods = deployment.get("spec.template.metadata.labels").and_then(|labels| labels.get(INSTANCE)?.as_str());
        let release = of_pods.or_else(|| deployment.label(INSTANCE)).or_else(|| deployment.label("release"));
        release.filter(|release| !release.is_empty())
    }
}

/// What a configuration says that would make the gateway as it is.
fn of_version(version: &str) -> Charts {
    Charts { version: version.into(), ..Charts::default() }
}

async fn find(cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<FoundGateway>, crate::cluster::Error> {
    let reference = |kind| ObjectRef::namespaced(kind, namespace, name);
    // What istiod makes for a Gateway API gateway has its name, and is not to be taken for an installation of the
    // chart.
    let of_its_own = |service: &Object| service.label(GATEWAY_NAME_LABEL).is_none();
    if let Some(door) = cluster.get(&reference(Kind::SERVICE)).await?.filter(of_its_own) {
        let deployment = cluster.get(&reference(Kind::DEPLOYMENT)).await?;
        let gateways = cluster.list(&Query::of(Kind::ISTIO_GATEWAY).namespace(namespace)).await?;
        let routes = cluster.list(&Query::of(Kind::VIRTUAL_SERVICE).namespace(namespace)).await?;
        return Ok(Some(FoundGateway { door, deployment, gateways: gateways.to_vec(), routes: routes.to_vec() }));
    }
    let kind = Kind::GATEWAY_API_GATEWAY;
    let door = match cluster.get(&reference(kind.clone())).await {
        // Without the Gateway API there is no gateway of it.
        Err(error) if error.is_unknown_kind() && cluster.lacks_definition_of(&kind).await? => None,
        door => door?,
    };
    Ok(door.map(|door| FoundGateway { door, deployment: None, gateways: Vec::new(), routes: Vec::new() }))
}

fn describe(model: &mut Gateway, found: &FoundGateway) {
    let FoundGateway { door, deployment, gateways, routes } = found;
    model.network = door.label(NETWORK_LABEL).map(str::to_owned).into();
    if door.kind() == "Gateway" {
        model.ambient = true.into();
        model.revision = door.label("istio.io/rev").map(str::to_owned).into();
        return;
    }
    let template = deployment
        .as_ref()
        .and_then(|deployment| deployment.get("spec.template.metadata.labels")?.get("istio.io/rev")?.as_str());
    model.revision = template.map(str::to_owned).into();
    model.service = service(door).into();
    let selector = deployment
        .as_ref()
        .and_then(|deployment| deployment.get("spec.template.metadata.labels")?.get("istio")?.as_str())
        .unwrap_or_default();
    let mut found = expose(gateways, routes, selector);
    // Without ranges it would be refused. Then it stays somebody else's, as any other Gateway at these Pods.
    let limited = model.service.known().is_some_and(|service| service.source_ranges.is_known());
    if let Some(found) = found.as_mut().filter(|_| !limited) {
        found.api_server = Value::Null;
    }
    model.expose = found.into();
}

/// `None` where it is what the chart makes unasked.
fn service(live: &Object) -> Option<Service> {
    let text = |path: &str| Value::from(Some(live.str(path)).filter(|text| !text.is_empty()).map(str::to_owned));
    let kind = live.str("spec.type");
    let service = Service {
        r#type: kind.into(),
        annotations: address::annotations(live),
        load_balancer_class: text("spec.loadBalancerClass"),
        load_balancer_ip: text("spec.loadBalancerIP"),
        source_ranges: address::texts(live, "spec.loadBalancerSourceRanges"),
        external_ips: address::texts(live, "spec.externalIPs"),
        external_traffic_policy: Some(live.str("spec.externalTrafficPolicy"))
            .filter(|policy| *policy == "Local")
            .map(str::to_owned)
            .into(),
        ip_family_policy: Some(live.str("spec.ipFamilyPolicy"))
            .filter(|policy| !policy.is_empty() && *policy != "SingleStack")
            .map(str::to_owned)
            .into(),
        ports: ports(live).into(),
    };
    let plain = Service { r#type: "LoadBalancer".into(), ..Service::default() };
    (service != plain).then_some(service)
}

fn ports(live: &Object) -> Option<Ports> {
    let default = GatewayPorts::default();
    let port = |name: &str, default: u16| -> u16 {
        let named = live.items("spec.ports").iter().find(|port| port.get("name").and_then(Json::as_str) == Some(name));
        named.and_then(|port| port.get("port")?.as_u64()?.try_into().ok()).unwrap_or(default)
    };
    let found = GatewayPorts {
        status: port("status-port", default.status),
        tls: port("tls", default.tls),
        istiod: port("tls-istiod", default.istiod),
        webhook: port("tls-webhook", default.webhook),
    };
    (found != default).then(|| Ports {
        status: i64::from(found.status).into(),
        tls: i64::from(found.tls).into(),
        istiod: i64::from(found.istiod).into(),
        webhook: i64::from(found.webhook).into(),
    })
}

/// What Istio's Gateways open on these Pods.
fn expose(gateways: &[Object], routes: &[Object], selector: &str) -> Option<Expose> {
    let selects = |gateway: &&Object| gateway.get("spec.selector.istio").and_then(Json::as_str) == Some(selector);
    let gateways: Vec<&Object> = gateways.iter().filter(selects).collect();
    let servers: Vec<&Json> = gateways.iter().flat_map(|gateway| gateway.items("spec.servers")).collect();
    let mode = |server: &Json| {
        server.get("tls").and_then(|tls| tls.get("mode")?.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let port = |server: &Json| server.get("port").and_then(|port| port.get("number")?.as_u64()).unwrap_or_default();
    let services = gateways.iter().copied().flat_map(passthrough::servers).next();
    let control_plane = servers.iter().any(|server| mode(server) == "PASSTHROUGH" && port(server) == 15012);
    let api_server = servers.iter().any(|server| {
        mode(server) == "PASSTHROUGH" && port(server) == 15443 && passthrough::hosts_of(server).eq([API_SERVER_SNI])
    });
    let hosts: List<String> = services
        .and_then(|server| server.get("hosts")?.as_array())
        .into_iter()
        .flatten()
        .filter_map(|host| Some(Value::Known(host.as_str()?.to_owned())))
        .collect();
    let usual = hosts == vec![Value::Known("*.local".to_owned())];
    (services.is_some() || control_plane || api_server).then(|| Expose {
        services: services.is_some().into(),
        hosts: if hosts.is_empty() || usual { Value::Null } else { Value::Known(hosts) },
        control_plane: control_plane.into(),
        istiod_namespace: istiod_namespace(&gateways, routes).filter(|_| control_plane).into(),
        control_plane_hosts: Value::Null,
        api_server: api_server.then_some(true).into(),
    })
}

/// The namespace that these gateways' routes for istiod lead to, where it is not the usual one.
fn istiod_namespace(gateways: &[&Object], routes: &[Object]) -> Option<String> {
    let is_bound = |route: &&Object| {
        let bound = route.items("spec.gateways").iter().filter_map(Json::as_str);
        let mut names = bound.map(|name| name.rsplit('/').next().unwrap_or(name));
        names.any(|name| gateways.iter().any(|gateway| gateway.name() == name))
    };
    let takes_istiod = |route: &&Json| {
        let mut matches = route["match"].as_array().into_iter().flatten();
        matches.any(|one| one["port"].as_u64() == Some(15012))
    };
    let route = routes.iter().filter(is_bound).find_map(|object| {
        let route = object.items("spec.tls").iter().find(takes_istiod)?;
        // A short name is one of the route's own namespace.
        let host = route["route"][0]["destination"]["host"].as_str()?;
        host.split('.').nth(1).or(object.namespace()).map(str::to_owned)
    });
    route.filter(|namespace| namespace != SYSTEM_NAMESPACE)
}

/// Which of the objects that this configuration wants are there, with their live fields: the plan then shows what
/// differs.
async fn record(cx: &mut Cx, cluster: &Cluster, model: &mut Gateway) -> Result<(), Diagnostics> {
    let Some(spec) = Spec::parse(model)? else { return Ok(()) };
    let chart = super::chart::chart(cx, model, &spec, None).await.map_err(Diagnostics::from)?;
    model.chart_version = chart.as_ref().map(|chart| chart.version().to_owned()).unwrap_or_default().into();
    let wanted = super::chart::wanted(cx, cluster, &spec, chart.as_ref()).await?;
    let recorded = wanted.recorded();
    let live = read::live(cluster, &recorded, &Memory::default()).await?;
    let (seen, _) = recorded.seen(&live, &cx.private.memory);
    model.objects = cx.private.memory.record(&seen);
    let spec = &Spec { wait: false, ..spec };
    let waiting = ready::Waiting { cluster, hurried: cluster, spec, wanted: &wanted, is_new: false };
    let found = ready::wait(waiting).await?;
    model.addresses = ready::addresses(&found).into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mesh::{ApiServerExposure, ControlPlaneExposure, Namespace, east_west_selector};

    /// What an apply makes for istiod, and what an import reads back from it.
    fn read_back(gateway: &str, istiod: &str) -> Expose {
        let exposure = ControlPlaneExposure {
            namespace: Namespace::new(gateway).unwrap(),
            istiod_namespace: Namespace::new(istiod).unwrap(),
            selector: east_west_selector(),
            revision: None,
            cluster_domain: "cluster.local".into(),
            custom_hosts: vec![],
        };
        let [gateway, routes] = exposure.objects().map(|object| Object::new(object).unwrap());
        let others = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "web"},
            "spec": {"gateways": ["web"], "tls": [{"match": [{"port": 15012}], "route": [{"destination": {"host": "a.b"}}]}]}});
        expose(&[gateway], &[Object::new(others).unwrap(), routes], "eastwestgateway").unwrap()
    }

    #[test]
    fn an_exposed_api_server_is_read_back_where_its_callers_are_limited() {
        let exposure = ApiServerExposure {
            name: "api-server-gateway".into(),
            namespace: Namespace::new("istio-system").unwrap(),
            selector: east_west_selector(),
            cluster_domain: "cluster.local".into(),
        };
        let [gateway, route] = exposure.objects().map(|object| Object::new(object).unwrap());
        for (ranges, read) in [(json!(["192.0.2.0/24"]), true.into()), (json!(null), Value::Null)] {
            let door = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "istio-eastwestgateway"},
                "spec": {"type": "LoadBalancer", "loadBalancerSourceRanges": ranges}});
            let labels = json!({"istio": "eastwestgateway"});
            let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "istio-eastwestgateway"},
                "spec": {"template": {"metadata": {"labels": labels}}}});
            let found = FoundGateway {
                door: Object::new(door).unwrap(),
                deployment: Object::new(deployment),
                gateways: vec![gateway.clone()],
                routes: vec![route.clone()],
            };
            let mut model = Gateway::default();
            describe(&mut model, &found);
            let expose = model.expose.or_default();
            assert_eq!((expose.api_server, expose.services), (read, false.into()));
        }
    }

    #[test]
    fn the_namespace_of_the_istiod_exposed_is_read_back() {
        for gateway in ["istio-system", "istio-gateways"] {
            let usual = read_back(gateway, "istio-system");
            assert_eq!((usual.control_plane, usual.istiod_namespace), (true.into(), Value::Null));
            assert_eq!(read_back(gateway, "mesh-b").istiod_namespace, "mesh-b".into());
        }
    }
}
