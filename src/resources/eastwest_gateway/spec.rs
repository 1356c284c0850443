//! From what the user wrote to a [`Spec`] that nothing later has a reason to refuse. The only place that rejects input.

use std::collections::BTreeMap;

use serde_json::json;

use super::model::{Expose, Gateway, Ports, Service};
use crate::chart::Values;
use crate::diag::{Diagnostic, Diagnostics};
use crate::kept::hidden::Hidden;
use crate::mesh::{EastWestGateway, GatewayPorts, GatewayService, Namespace, Network, Revision};
use crate::resources::address::NODE_SELECTOR_ANNOTATION;
use crate::resources::keeping;
use crate::resources::parsing::Parser;
use crate::value::{Path, Value};

/// The domain of Service names unless something else is said.
const USUAL_DOMAIN: &str = "cluster.local";

/// Where istiod is unless something else is said.
pub const SYSTEM_NAMESPACE: &str = "istio-system";

/// A gateway as it shall be, wholly known.
#[derive(Clone, Debug)]
pub struct Spec {
    pub namespace: Namespace,
    pub name: String,
    pub gateway: EastWestGateway,
    pub values: Values,
    pub exposure: Exposure,
    pub cluster_domain: String,
    pub ambient: bool,
    pub wait: bool,
    /// What of the values no field shows.
    pub hidden: Hidden,
}

/// What it lets through.
#[derive(Clone, Debug, Default)]
pub struct Exposure {
    /// Hosts of the Services; `None` where they are not exposed.
    pub hosts: Option<Vec<String>>,
    /// The namespace of the istiod exposed; `None` where none is.
    pub control_plane: Option<Namespace>,
    pub control_plane_hosts: Vec<String>,
    /// Whether the cluster's own API server is exposed.
    pub api_server: bool,
}

/// Computed names that follow from others.
pub fn derive_names(model: &mut Gateway) {
    if let Some(id) = keeping::id(&model.cluster, &model.namespace, &model.name) {
        model.id = id.into();
    }
}

impl Spec {
    /// `Ok(None)` where something it needs is not known yet. What is known is checked all the same.
    pub fn parse(model: &Gateway) -> Result<Option<Spec>, Diagnostics> {
        let mut parser = Parser::default();
        let spec = read(&mut parser, model);
        parser.finish(spec)
    }

    /// Hosts of Services that no Service has, by the domain of their names.
    pub fn unmatched_hosts(&self) -> Option<Diagnostic> {
        let own = format!(".svc.{}", self.cluster_domain);
        let is_elsewhere = |host: &&String| {
            let name = host.split_once('/').map_or(host.as_str(), |(_, name)| name);
            name.split_once(".svc.").is_some_and(|(_, domain)| format!(".svc.{domain}") != own)
                || name == "*.local" && !self.cluster_domain.ends_with(".local")
        };
        let hosts = self.exposure.hosts.as_ref()?;
        let (index, host) = hosts.iter().enumerate().find(|(_, host)| is_elsewhere(host))?;
        let domain = &self.cluster_domain;
        Some(Diagnostic::warning("No Service of this cluster has such a name").at(Path::root("expose").attr("hosts").index(index)).detail(format!(
            "{host:?} does not end with the domain of this cluster's Services, {domain:?} (`cluster_domain`): peers ask for names such as `web.shop.svc.{domain}`. Write the host with that \
             domain, or set `cluster_domain`."
        )))
    }

    /// The owner label of its objects.
    pub fn owner(&self) -> String {
        owner(self.namespace.as_str(), &self.name)
    }
}

/// The owner label of the gateway that a model describes.
pub fn label(model: &Gateway) -> String {
    owner(model.namespace.text(), model.name.text())
}

fn owner(namespace: &str, name: &str) -> String {
    crate::kept::owner("mesh_eastwest_gateway", namespace, name)
}

fn read(parser: &mut Parser, model: &Gateway) -> Option<Spec> {
    let namespace = parser.parse(&model.namespace, "namespace", Namespace::new);
    let network = parser.parse(&model.network, "network", Network::new);
    let revision = parser.parse(&model.revision, "revision", Revision::new);
    let (service, ports) = service(parser, model);
    let cluster_domain = parser.plain(&model.cluster_domain);
    let exposure = exposure(parser, model, cluster_domain.as_deref());
    let name = parser.plain(&model.name);
    let ambient = parser.plain(&model.ambient).unwrap_or(false);
    let values = parser.values(&model.values);
    let hidden = parser.hidden([&values], &model.sensitive_values);
    let wait = parser.plain(&model.wait).unwrap_or(true);
    if ambient {
        refuse_with_ambient(parser, model, &exposure);
    }
    let gateway = EastWestGateway { network: network?, revision, service, ports, labels: BTreeMap::new() };
    let values = lay(parser, values, &gateway);
    refuse_moved_ports(parser, &values, &exposure, gateway.ports);
    Some(Spec {
        namespace: namespace?,
        name: name?,
        gateway,
        values,
        exposure,
        cluster_domain: cluster_domain?,
        ambient,
        wait,
        hidden,
    })
}

fn service(parser: &mut Parser, model: &Gateway) -> (GatewayService, GatewayPorts) {
    let Some(service) = parser.plain(&model.service) else { return Default::default() };
    let path = Path::root("service");
    let service_type = parser.plain(&service.r#type);
    let annotations = parser.map(&service.annotations);
    let external_ips = parser.list(&service.external_ips);
    let balanced = service_type.as_deref() == Some("LoadBalancer");
    if service_type.is_some() && !balanced {
        refuse_without_balancer(parser, &service, &path);
    }
    match service_type.as_deref() {
        Some("NodePort") if parser.knows_all() => node_port(parser, &annotations, external_ips.is_empty(), &path),
        Some("ClusterIP") if parser.knows_all() && external_ips.is_empty() => parser.refuse(
            path.attr("type"),
            "Nobody could dial this gateway",
            "A Service of the type ClusterIP has no address outside its cluster. Give `external_ips`, or use the type `LoadBalancer` or `NodePort`.",
        ),
        _ => {}
    }
    let ports = service.ports.known().map(|ports| read_ports(parser, ports)).unwrap_or_default();
    let service = GatewayService {
        service_type,
        annotations,
        load_balancer_class: parser.plain(&service.load_balancer_class),
        load_balancer_ip: parser.plain(&service.load_balancer_ip),
        source_ranges: parser.list(&service.source_ranges),
        external_ips,
        external_traffic_policy: parser.plain(&service.external_traffic_policy),
        ip_family_policy: parser.plain(&service.ip_family_policy),
    };
    (service, ports)
}

/// What the API server would drop, or keep without effect.
fn refuse_without_balancer(parser: &mut Parser, service: &Service, path: &Path) {
    for (attribute, set) in [
        ("load_balancer_class", service.load_balancer_class.is_known()),
        ("load_balancer_ip", service.load_balancer_ip.is_known()),
        ("source_ranges", service.source_ranges.is_known()),
    ] {
        if set {
            parser.refuse(
                path.attr(attribute),
                "Only for load balancers",
                format!("`{attribute}` has a meaning only with the type `LoadBalancer`."),
            );
        }
    }
}

fn node_port(parser: &mut Parser, annotations: &BTreeMap<String, String>, alone: bool, path: &Path) {
    match annotations.get(NODE_SELECTOR_ANNOTATION) {
        None if alone => parser.refuse(
            path.attr("annotations"),
            "Nobody would find this gateway",
            format!(
                "istiod takes the addresses of a Service of the type NodePort from the nodes that the annotation `{NODE_SELECTOR_ANNOTATION}` chooses, and without it from none. \
                 Set it to a JSON object of node labels, such as `jsonencode({{ \"kubernetes.io/os\" = \"linux\" }})`."
            ),
        ),
        Some(selector) if serde_json::from_str::<BTreeMap<String, String>>(selector).is_err() => parser.refuse(
            path.attr("annotations").key(NODE_SELECTOR_ANNOTATION),
            "Not a node selector",
            "Give a JSON object of node labels, such as `jsonencode({ \"kubernetes.io/os\" = \"linux\" })`; istiod ignores anything else.",
        ),
        _ => {}
    }
}

fn read_ports(parser: &mut Parser, ports: &Ports) -> GatewayPorts {
    let default = GatewayPorts::default();
    let mut port = |value: &Value<i64>, default: u16| {
        parser.plain(value).and_then(|port| u16::try_from(port).ok()).unwrap_or(default)
    };
    let ports = GatewayPorts {
        status: port(&ports.status, default.status),
        tls: port(&ports.tls, default.tls),
        istiod: port(&ports.istiod, default.istiod),
        webhook: port(&ports.webhook, default.webhook),
    };
    let named = [("status", ports.status), ("tls", ports.tls), ("istiod", ports.istiod), ("webhook", ports.webhook)];
    for (index, (name, number)) in named.iter().enumerate() {
        if let Some((other, _)) = named[..index].iter().find(|(_, taken)| taken == number) {
            let path = Path::root("service").attr("ports").attr(*name);
            parser.refuse(
                path,
                "One port number for two purposes",
                format!("{number} is the port of `{other}` already."),
            );
        }
    }
    ports
}

fn exposure(parser: &mut Parser, model: &Gateway, cluster_domain: Option<&str>) -> Exposure {
    let Some(expose) = parser.plain(&model.expose) else { return Exposure::default() };
    let path = Path::root("expose");
    let services = parser.plain(&expose.services).unwrap_or(false);
    let control_plane = parser.plain(&expose.control_plane).unwrap_or(false);
    let istiod_namespace = istiod_namespace(parser, &expose.istiod_namespace, path.attr("istiod_namespace"));
    let control_plane_hosts = parser.list(&expose.control_plane_hosts);
    let hosts = hosts(parser, &expose, &path, cluster_domain);
    if expose.hosts.is_known() && !services && expose.services.is_known() {
        parser.refuse(
            path.attr("hosts"),
            "Hosts without services",
            "`hosts` chooses among the Services exposed: set `services = true` as well, or remove `hosts`.",
        );
    }
    if expose.istiod_namespace.is_known() && !control_plane && expose.control_plane.is_known() {
        parser.refuse(
            path.attr("istiod_namespace"),
            "No istiod is exposed",
            "`istiod_namespace` says where the istiod is that is exposed: set `control_plane = true` as well, or remove `istiod_namespace`.",
        );
    }
    let control_plane = istiod_namespace.filter(|_| control_plane);
    let api_server = parser.plain(&expose.api_server).unwrap_or(false);
    if api_server {
        refuse_open_api_server(parser, &model.service);
    }
    Exposure { hosts: services.then_some(hosts), control_plane, control_plane_hosts, api_server }
}

/// An API server for everybody is nobody's default. Who wants that says so by a range.
fn refuse_open_api_server(parser: &mut Parser, service: &Value<Service>) {
    let limited = match service {
        Value::Unknown => return,
        Value::Null => false,
        Value::Known(service) => match &service.source_ranges {
            Value::Unknown => return,
            ranges => ranges.known().is_some_and(|ranges| !ranges.is_empty()),
        },
    };
    if !limited {
        parser.refuse(
            Path::root("service").attr("source_ranges"),
            "Nothing limits who dials the API server",
            "With `expose.api_server` whoever dials this gateway reaches the cluster's API server. List the networks from which the istiods of the watchers call, and those of the other \
             clusters' workloads: the ranges count for everything behind the gateway. They need a Service of the type `LoadBalancer`. `0.0.0.0/0` lets everyone in.",
        );
    }
}

fn istiod_namespace(parser: &mut Parser, asked: &Value<String>, path: Path) -> Option<Namespace> {
    let usual = Value::Known(SYSTEM_NAMESPACE.to_owned());
    parser.parse(if asked.is_null() { &usual } else { asked }, path, Namespace::new)
}

fn hosts(parser: &mut Parser, expose: &Expose, path: &Path, cluster_domain: Option<&str>) -> Vec<String> {
    if expose.hosts.is_null() {
        return vec![all_services(cluster_domain.unwrap_or(USUAL_DOMAIN))];
    }
    let listed = parser.list(&expose.hosts);
    for (index, host) in expose.hosts.known().into_iter().flatten().enumerate() {
        let Some(host) = host.known() else { continue };
        if let Err(why) = check_host(host) {
            parser.refuse(path.attr("hosts").index(index), "Not a host of Services", why);
        }
    }
    listed
}

/// The host that admits every Service of a domain; Istio's own for the usual one, and for what that admits as well.
fn all_services(cluster_domain: &str) -> String {
    match cluster_domain == "local" || cluster_domain.ends_with(".local") {
        true => "*.local".to_owned(),
        false => format!("*.{cluster_domain}"),
    }
}

/// Ports that remotes dial: their charts, and the webhooks' URLs, know only Istio's own.
fn refuse_moved_ports(parser: &mut Parser, values: &Values, exposure: &Exposure, said: GatewayPorts) {
    if exposure.control_plane.is_none() {
        return;
    }
    let default = GatewayPorts::default();
    for (name, entry, usual, by_attribute) in [
        ("istiod", "tls-istiod", default.istiod, said.istiod != default.istiod),
        ("webhook", "tls-webhook", default.webhook, said.webhook != default.webhook),
    ] {
        let said = values.as_map().get("networkGatewayPorts").and_then(|ports| ports.get(entry)?.get("port")?.as_u64());
        let Some(port) = said.filter(|port| *port != u64::from(usual)) else { continue };
        let path = if by_attribute { Path::root("service").attr("ports").attr(name) } else { Path::root("values") };
        parser.refuse(
            path,
            "Remote clusters dial another port",
            format!(
                "This gateway exposes the control plane, and remote clusters reach it at port {usual}, as Istio's charts for them say: they would find nothing at {port}. Leave the port at {usual}; only `tls` can be changed."
            ),
        );
    }
}

/// What istiod's validation would refuse, or accept and never match.
fn check_host(host: &str) -> Result<(), String> {
    let name = host.split_once('/').map_or(host, |(_, name)| name);
    if name == "*" {
        return Ok(());
    }
    let rest = name.strip_prefix("*.").unwrap_or(name);
    if rest.contains('*') {
        return Err(format!(
            "{host:?} has a `*` that is not its whole first part. Write names such as `web.shop.svc.cluster.local` or `*.shop.svc.cluster.local`."
        ));
    }
    if rest.contains(':') || rest.contains("//") {
        return Err(format!(
            "{host:?} is not a bare name: leave out scheme and port, every port of the Service is exposed."
        ));
    }
    if !crate::schema::validate::is_dns_subdomain(rest) {
        return Err(format!("{host:?} is not a DNS name in lower case."));
    }
    if !rest.contains('.') && !name.starts_with('*') {
        return Err(format!(
            "{host:?} is a short name, but peers ask for Services by their full names: write `{host}.<namespace>.svc.cluster.local`."
        ));
    }
    Ok(())
}

fn refuse_with_ambient(parser: &mut Parser, model: &Gateway, exposure: &Exposure) {
    let without = |what: &str| {
        format!(
            "{what} With `ambient = true` istiod makes the gateway's Deployment and Service from a Gateway API resource."
        )
    };
    if model.service.is_known() {
        parser.refuse("service", "Not for ambient gateways", without("The Service is not configurable here."));
    }
    if model.values.is_known() {
        parser.refuse("values", "Not for ambient gateways", without("No chart is rendered."));
    }
    if exposure.hosts.is_some() || exposure.control_plane.is_some() || exposure.api_server {
        parser.refuse(
            "expose",
            "Not for ambient gateways",
            without("Services are exposed by their label `istio.io/global`; ambient mode supports no remote control plane, and this gateway no API server."),
        );
    }
}

/// Places that attributes decide, and a values document therefore must not.
const DECIDED: &[(&str, &[&str])] = &[
    ("network", &["networkGateway"]),
    ("revision", &["revision"]),
    ("name", &["name"]),
    ("service.type", &["service", "type"]),
    ("service.ports", &["networkGatewayPorts"]),
];

/// The user's values with the attributes' on top; what both say and say differently is refused.
fn lay(parser: &mut Parser, user: Values, gateway: &EastWestGateway) -> Values {
    let attributes = gateway.values();
    for (attribute, path) in DECIDED {
        let said = path.iter().try_fold(&json!(user.as_map()), |value, step| value.get(step)).cloned();
        let decided = path.iter().try_fold(&attributes, |value, step| value.get(step));
        let free = *attribute == "service.type" || *attribute == "service.ports" || *attribute == "revision";
        if let Some(said) = said
            && Some(&said) != decided
            && !(free && decided.is_none())
        {
            let detail = format!(
                "The values set `{}` to {said}. The attribute `{attribute}` sets this: remove it from the values.",
                path.join(".")
            );
            parser.refuse("values", "A value contradicts an attribute", detail);
        }
    }
    let mut values = user;
    if let serde_json::Value::Object(attributes) = attributes {
        values.merge(attributes.into());
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::List;

    fn model() -> Gateway {
        Gateway {
            cluster: "east".into(),
            namespace: "istio-system".into(),
            name: "istio-eastwestgateway".into(),
            network: "n1".into(),
            cluster_domain: "cluster.local".into(),
            ..Gateway::default()
        }
    }

    fn exposing(hosts: &[&str]) -> Gateway {
        let hosts: List<String> = hosts.iter().map(|host| Value::Known((*host).to_owned())).collect();
        let expose = Expose { services: true.into(), hosts: hosts.into(), ..Expose::default() };
        Gateway { expose: expose.into(), ..model() }
    }

    fn serving(service: Service) -> Gateway {
        Gateway { service: service.into(), ..model() }
    }

    /// Where the complaints are, and what they say.
    fn refusals(model: &Gateway) -> Vec<String> {
        let complaints = Spec::parse(model).expect_err("refused");
        complaints.iter().map(|one| format!("{}: {}", one.path.clone().unwrap_or_default(), one.summary)).collect()
    }

    #[test]
    fn nothing_is_exposed_unasked_and_all_services_by_default_when_asked() {
        assert_eq!(Spec::parse(&model()).unwrap().unwrap().exposure.hosts, None);
        let asked = Gateway { expose: Expose { services: true.into(), ..Expose::default() }.into(), ..model() };
        assert_eq!(Spec::parse(&asked).unwrap().unwrap().exposure.hosts, Some(vec!["*.local".to_owned()]));
    }

    #[test]
    fn istiod_is_exposed_where_it_is_and_not_where_the_gateway_is() {
        let exposing = |control_plane: bool, istiod: Value<String>| Gateway {
            namespace: "istio-gateways".into(),
            expose: Expose { control_plane: control_plane.into(), istiod_namespace: istiod, ..Expose::default() }
                .into(),
            ..model()
        };
        for (said, namespace) in [(Value::Null, "istio-system"), ("mesh-b".into(), "mesh-b")] {
            let spec = Spec::parse(&exposing(true, said)).unwrap().unwrap();
            assert_eq!(spec.exposure.control_plane, Some(Namespace::new(namespace).unwrap()));
            let wanted = super::super::build::wanted(&spec, None).unwrap();
            let of = |kind: &str| {
                let entry = wanted.iter().map(|(_, entry)| entry).find(|entry| entry.object.kind() == kind);
                entry.expect(kind).object.clone()
            };
            let routes = of("VirtualService");
            assert_eq!(routes.namespace(), Some("istio-gateways"));
            for route in routes.items("spec.tls") {
                assert_eq!(route["route"][0]["destination"]["host"], format!("istiod.{namespace}.svc.cluster.local"));
            }
        }
        assert!(Spec::parse(&exposing(true, Value::Unknown)).unwrap().is_none(), "nothing is guessed");
        assert_eq!(refusals(&exposing(false, "mesh-b".into())), ["expose.istiod_namespace: No istiod is exposed"]);
    }

    #[test]
    fn all_services_are_those_of_the_cluster_s_domain() {
        let of = |domain: &str| {
            let expose = Expose { services: true.into(), ..Expose::default() };
            let spec = Spec::parse(&Gateway { cluster_domain: domain.into(), expose: expose.into(), ..model() });
            spec.unwrap().unwrap().exposure.hosts.unwrap()
        };
        assert_eq!(of("cluster.local"), ["*.local"]);
        assert_eq!(of("k8s.local"), ["*.local"]);
        assert_eq!(of("corp.example"), ["*.corp.example"]);
    }

    #[test]
    fn hosts_of_another_domain_are_pointed_at() {
        let path = |hosts: &[&str], domain: &str| {
            let spec = Spec::parse(&Gateway { cluster_domain: domain.into(), ..exposing(hosts) }).unwrap().unwrap();
            spec.unmatched_hosts().map(|told| told.path.unwrap_or_default().to_string())
        };
        let domain = "corp.example";
        assert_eq!(path(&["web.shop.svc.corp.example", "*.global", "*"], domain), None);
        assert_eq!(path(&["*", "web.shop.svc.cluster.local"], domain).as_deref(), Some("expose.hosts[1]"));
        assert_eq!(path(&["*.local"], domain).as_deref(), Some("expose.hosts[0]"));
        assert_eq!(path(&["web.shop.svc.cluster.local", "*.local"], "cluster.local"), None);
    }

    #[test]
    fn ports_that_remotes_dial_stay_where_istiod_is_exposed() {
        let with = |ports: Ports, control_plane: bool| {
            let service = Service { r#type: "LoadBalancer".into(), ports: ports.into(), ..Service::default() };
            let expose = Expose { services: true.into(), control_plane: control_plane.into(), ..Expose::default() };
            Gateway { expose: expose.into(), ..serving(service) }
        };
        let ports = |tls: i64, istiod: i64, webhook: i64| Ports {
            status: 15021.into(),
            tls: tls.into(),
            istiod: istiod.into(),
            webhook: webhook.into(),
        };
        assert_eq!(
            refusals(&with(ports(15443, 25012, 25017), true)),
            [
                "service.ports.istiod: Remote clusters dial another port",
                "service.ports.webhook: Remote clusters dial another port"
            ]
        );
        assert!(Spec::parse(&with(ports(443, 15012, 15017), true)).is_ok(), "traffic between Services may move");
        assert!(Spec::parse(&with(ports(15443, 25012, 15017), false)).is_ok(), "nobody dials it");
        let document = "networkGatewayPorts: {tls-istiod: {port: 25012, targetPort: 15012}}".to_owned();
        let by_values =
            Gateway { values: Value::Known(vec![Value::Known(document)]), ..with(ports(15443, 15012, 15017), true) };
        assert_eq!(refusals(&by_values), ["values: Remote clusters dial another port"]);
    }

    #[test]
    fn hosts_are_full_names_or_wildcards() {
        assert!(
            Spec::parse(&exposing(&[
                "web.shop.svc.cluster.local",
                "*.shop.svc.cluster.local",
                "*.global",
                "*",
                "shop/*"
            ]))
            .is_ok()
        );
        for host in ["web", "https://web.shop.svc.cluster.local", "web.shop:80", "w*b.shop.local", "Web.shop.local"] {
            assert_eq!(refusals(&exposing(&[host])), ["expose.hosts[0]: Not a host of Services"], "{host}");
        }
        let unexposed = Gateway {
            expose: Expose { services: false.into(), ..exposing(&["a.b"]).expose.or_default() }.into(),
            ..model()
        };
        assert_eq!(refusals(&unexposed), ["expose.hosts: Hosts without services"]);
    }

    #[test]
    fn services_that_nobody_can_dial_are_refused() {
        assert_eq!(
            refusals(&serving(Service { r#type: "ClusterIP".into(), ..Service::default() })),
            ["service.type: Nobody could dial this gateway"]
        );
        assert_eq!(
            refusals(&serving(Service { r#type: "NodePort".into(), ..Service::default() })),
            ["service.annotations: Nobody would find this gateway"]
        );
        let selector =
            [(NODE_SELECTOR_ANNOTATION.to_owned(), Value::Known("os=linux".to_owned()))].into_iter().collect();
        let wrong = Service { r#type: "NodePort".into(), annotations: Value::Known(selector), ..Service::default() };
        assert_eq!(
            refusals(&serving(wrong)),
            ["service.annotations[\"traffic.istio.io/nodeSelector\"]: Not a node selector"]
        );
    }

    #[test]
    fn one_port_serves_one_purpose() {
        let ports = Ports { status: 15021.into(), tls: 443.into(), istiod: 15012.into(), webhook: 443.into() };
        let service = Service { r#type: "LoadBalancer".into(), ports: ports.into(), ..Service::default() };
        assert_eq!(refusals(&serving(service)), ["service.ports.webhook: One port number for two purposes"]);
    }

    #[test]
    fn values_do_not_contradict_attributes() {
        let values =
            |document: &str| Gateway { values: Value::Known(vec![Value::Known(document.to_owned())]), ..model() };
        assert!(Spec::parse(&values("replicaCount: 2")).is_ok());
        assert!(Spec::parse(&values("networkGateway: n1")).is_ok());
        assert_eq!(refusals(&values("networkGateway: n2")), ["values: A value contradicts an attribute"]);
    }

    #[test]
    fn an_ambient_gateway_has_no_chart() {
        let ambient = Gateway { ambient: true.into(), ..exposing(&["*.local"]) };
        assert_eq!(refusals(&ambient), ["expose: Not for ambient gateways"]);
    }
}
