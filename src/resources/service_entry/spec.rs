//! From what the user wrote to a [`Spec`] that nothing later has a reason to refuse. The only place that rejects input.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::model::{Exporter, Port, ServiceEntry};
use crate::diag::Diagnostics;
use crate::kept;
use crate::mesh::{
    Address, ExportAlias, ExportPort, Host, Import, ImportAt, ImportEndpoint, ImportError, ImportPort, Namespace,
    Network, Protocol, Selector, ServiceAccountName, ServiceExposure, SpiffeId, SubsetName, TrustDomain,
    east_west_selector,
};
use crate::resources::parsing::{Parser, sentence};
use crate::value::{Path, Value};

/// A service of another mesh as it shall be, wholly known.
#[derive(Clone, Debug)]
pub struct Spec {
    pub import: Import,
    pub stub_service: bool,
    pub exporters: Vec<ExporterSpec>,
    pub adopt: bool,
    pub force_conflicts: bool,
}

/// An exporting mesh, as far as there is something to check or to make.
#[derive(Clone, Debug)]
pub struct ExporterSpec {
    /// Key in the attribute `exporters`.
    pub key: String,
    pub cluster: Option<String>,
    pub namespace: Namespace,
    pub service: String,
    pub fqdn: String,
    pub service_accounts: Vec<String>,
    pub trust_domain: TrustDomain,
    pub istiod_namespace: Namespace,
    pub exposure: Option<ServiceExposure>,
    pub alias: Option<ExportAlias>,
}

impl Spec {
    /// `Ok(None)` where something it needs is not known yet. What is known is checked all the same.
    pub fn parse(model: &ServiceEntry) -> Result<Option<Spec>, Diagnostics> {
        let mut parser = Parser::default();
        let spec = read(&mut parser, model);
        parser.finish(spec)
    }

    /// The owner label of its objects, in whichever cluster.
    pub fn owner(&self) -> String {
        owner(self.import.namespace.as_str(), &self.import.name)
    }
}

/// The owner label of what a model describes.
pub fn label(model: &ServiceEntry) -> String {
    owner(model.namespace.text(), model.name.text())
}

/// The owner label of the objects of the resource with this name.
pub fn owner(namespace: &str, name: &str) -> String {
    kept::owner("mesh_service_entry", namespace, name)
}

/// The name of the objects where none is given.
pub fn default_name(host: &str) -> String {
    host.replace('.', "-").chars().take(63).collect::<String>().trim_end_matches('-').to_owned()
}

fn read(parser: &mut Parser, model: &ServiceEntry) -> Option<Spec> {
    let namespace = parser.parse(&model.namespace, "namespace", Namespace::new);
    let host = parser.parse(&model.host, "host", Host::new);
    let name = parser.plain(&model.name);
    let rule_name = parser.plain(&model.destination_rule_name);
    let ports = ports(parser, model);
    let remote_host = exported_host(parser, model);
    let endpoints = endpoints(parser, model);
    let identities = identities(parser, model);
    let addresses: Vec<IpAddr> = parser.list(&model.addresses).iter().filter_map(|ip| ip.parse().ok()).collect();
    let export_to = parser.list(&model.export_to);
    let subsets = subsets(parser, model);
    let stub_service = parser.plain(&model.stub_service).unwrap_or(false);
    let outlier_detection = parser.plain(&model.outlier_detection).unwrap_or(false);
    let import = Import {
        name: name?,
        rule_name: rule_name?,
        namespace: namespace?,
        host: host?,
        remote_host: remote_host?,
        ports,
        endpoints,
        identities,
        addresses,
        export_to,
        subsets,
        outlier_detection,
    };
    check(parser, &import, stub_service);
    let exporters = exporters(parser, model, &import);
    Some(Spec {
        import,
        stub_service,
        exporters,
        adopt: parser.plain(&model.adopt).unwrap_or(false),
        force_conflicts: parser.plain(&model.force_conflicts).unwrap_or(false),
    })
}

fn ports(parser: &mut Parser, model: &ServiceEntry) -> Vec<ImportPort> {
    let mut ports = Vec::new();
    for (name, port) in known_entries(parser, &model.ports) {
        let number = port_number(parser, &port.number);
        let remote = port_number(parser, &port.exporter_port);
        let protocol = parser.plain(&port.protocol).and_then(|name| Protocol::from_name(&name));
        let (Some(number), Some(protocol)) = (number, protocol) else { continue };
        ports.push(ImportPort { number, remote_number: remote.unwrap_or(number), name, protocol });
    }
    ports
}

fn port_number(parser: &mut Parser, value: &Value<i64>) -> Option<u16> {
    parser.plain(value).and_then(|number| u16::try_from(number).ok())
}

/// The common name: given, or that of all exported Services.
fn exported_host(parser: &mut Parser, model: &ServiceEntry) -> Option<Host> {
    if !model.exported_host.is_null() {
        return parser.parse(&model.exported_host, "exported_host", Host::new);
    }
    let names: BTreeSet<String> =
        known_entries(parser, &model.exporters).iter().filter_map(|(_, exporter)| fqdn(parser, exporter)).collect();
    if names.len() > 1 {
        parser.refuse(
            "exported_host",
            "The exporters know the service by different names",
            format!(
                "A connection carries one SNI, and so one name: {} are different. Set `exported_host` to a name for all of them, and `expose = true` on the exporters.",
                names.iter().cloned().collect::<Vec<_>>().join(" and ")
            ),
        );
    }
    names.into_iter().next().and_then(|name| Host::new(name).ok())
}

fn fqdn(parser: &mut Parser, exporter: &Exporter) -> Option<String> {
    let service = parser.plain(&exporter.service)?;
    let namespace = parser.plain(&exporter.namespace)?;
    let domain = parser.plain(&exporter.cluster_domain).unwrap_or_else(|| "cluster.local".to_owned());
    Some(format!("{service}.{namespace}.svc.{domain}"))
}

fn endpoints(parser: &mut Parser, model: &ServiceEntry) -> Vec<ImportEndpoint> {
    let mut endpoints = Vec::new();
    for (key, exporter) in known_entries(parser, &model.exporters) {
        let path = Path::root("exporters").key(key);
        if exporter.gateways.is_unknown() || exporter.network.is_unknown() {
            // One of them may turn out to be null.
            parser.note(false);
            continue;
        }
        let (gateways, network) = (exporter.gateways.is_known(), exporter.network.is_known());
        if gateways == network {
            let detail = "Give `gateways`, the addresses of the exporter's east-west gateway, or `network`, whose gateways the importing istiod knows: one of the two.";
            parser.refuse(path.clone(), "No way to reach the exporter", detail);
            continue;
        }
        let locality = parser.plain(&exporter.locality);
        let weight = parser.plain(&exporter.weight).and_then(|weight| u32::try_from(weight).ok());
        let labels = parser.map(&exporter.labels);
        let endpoint = |at| ImportEndpoint { at, locality: locality.clone(), weight, labels: labels.clone() };
        if network {
            let network = parser.parse(&exporter.network, path.attr("network"), Network::new);
            endpoints.extend(network.map(|network| endpoint(ImportAt::Network(network))));
            continue;
        }
        parser.plain(&exporter.gateways);
        for (index, gateway) in exporter.gateways.known().into_iter().flatten().enumerate() {
            let path = path.attr("gateways").index(index);
            let Some(gateway) = parser.plain(gateway) else { continue };
            let address = parser.parse(&gateway.value, path.attr("value"), |text| Address::parse(&text));
            let port = port_number(parser, &gateway.port).unwrap_or(crate::mesh::GATEWAY_PORT);
            endpoints.extend(address.map(|address| endpoint(ImportAt::Gateway { address, port })));
        }
    }
    endpoints
}

fn identities(parser: &mut Parser, model: &ServiceEntry) -> Vec<SpiffeId> {
    let mut identities = Vec::new();
    for (key, exporter) in known_entries(parser, &model.exporters) {
        let path = Path::root("exporters").key(key);
        let namespace = parser.parse(&exporter.namespace, path.attr("namespace"), Namespace::new);
        let trust_domain = parser.parse(&exporter.trust_domain, path.attr("trust_domain"), TrustDomain::new);
        for (index, account) in exporter.service_accounts.known().into_iter().flatten().enumerate() {
            let account = parser.parse(account, path.attr("service_accounts").index(index), ServiceAccountName::new);
            if let (Some(namespace), Some(trust_domain), Some(account)) = (&namespace, &trust_domain, account) {
                let identity = SpiffeId {
                    trust_domain: trust_domain.clone(),
                    namespace: namespace.clone(),
                    service_account: account,
                };
                if !identities.contains(&identity) {
                    identities.push(identity);
                }
            }
        }
        parser.list(&exporter.service_accounts);
    }
    identities
}

fn subsets(parser: &mut Parser, model: &ServiceEntry) -> BTreeMap<SubsetName, BTreeMap<String, String>> {
    let mut subsets = BTreeMap::new();
    for (name, labels) in known_entries(parser, &model.subsets) {
        let labels = parser.map(&Value::Known(labels));
        subsets.extend(SubsetName::new(name).ok().map(|name| (name, labels)));
    }
    subsets
}

/// What only shows when everything is taken together. While something is unknown, only what is there already can be
/// wrong.
fn check(parser: &mut Parser, import: &Import, stub_service: bool) {
    match import.check() {
        Err(error @ (ImportError::PortTwice(_) | ImportError::PortNameTwice(_))) => {
            parser.refuse("ports", "Ports collide", sentence(&error.to_string()));
        }
        Err(error @ ImportError::MixedForms) => {
            parser.refuse("exporters", "Two ways to reach the exporters", sentence(&error.to_string()));
        }
        // What is missing altogether was refused where it was read.
        _ => {}
    }
    if stub_service && import.stub_service().is_none() {
        let detail = format!(
            "The cluster's DNS resolves Services only, whose names are of the form `name.namespace.svc.domain`; {} is not.",
            import.host
        );
        parser.refuse("stub_service", "This host cannot be a Service", detail);
    }
    if parser.knows_all() {
        for name in import.empty_subsets() {
            parser.refuse(
                Path::root("subsets").key(name.as_str()),
                "This subset chooses no exporter",
                "No exporter has these `labels`. The labels of a subset choose exporters, not Pods; the exporter's own subset of the same name chooses the Pods. Use `{}` for all exporters.",
            );
        }
    }
    if parser.knows_all() && !stub_service && import.lacks_virtual_ip() {
        parser.refuse(
            "addresses",
            "A TCP port needs an address of its own",
            "TCP traffic does not say which host it is meant for: without a virtual IP, all services with this port number would be one. Give one in `addresses`, or set `stub_service = true`.",
        );
    }
}

fn exporters(parser: &mut Parser, model: &ServiceEntry, import: &Import) -> Vec<ExporterSpec> {
    let entries = known_entries(parser, &model.exporters);
    entries.into_iter().filter_map(|(key, exporter)| read_exporter(parser, &key, &exporter, import, model)).collect()
}

fn read_exporter(
    parser: &mut Parser,
    key: &str,
    exporter: &Exporter,
    import: &Import,
    model: &ServiceEntry,
) -> Option<ExporterSpec> {
    let path = Path::root("exporters").key(key);
    let cluster = parser.plain(&exporter.cluster);
    let expose = parser.plain(&exporter.expose).unwrap_or(false);
    if expose && exporter.cluster.is_null() {
        let detail = "What lets the gateway accept the SNI is made in the exporting cluster. Name it in `cluster`, or set this up there by hand and leave `expose` out.";
        parser.refuse(path.attr("expose"), "No cluster to expose the Service in", detail);
    }
    let namespace = Namespace::new(parser.plain(&exporter.namespace)?).ok()?;
    let gateway_namespace =
        parser.parse(&exporter.gateway_namespace, path.attr("gateway_namespace"), Namespace::new)?;
    let usual = Value::Known("istio-system".to_owned());
    let istiod_namespace = if exporter.istiod_namespace.is_null() { &usual } else { &exporter.istiod_namespace };
    let istiod_namespace = parser.parse(istiod_namespace, path.attr("istiod_namespace"), Namespace::new)?;
    let fqdn = fqdn(parser, exporter)?;
    let selector: Selector = match parser.map(&exporter.gateway_selector) {
        labels if labels.is_empty() => east_west_selector(),
        labels => labels,
    };
    let exposure = expose.then(|| ServiceExposure {
        name: format!("export-{}", import.name),
        namespace: gateway_namespace.clone(),
        selector,
        hosts: vec![import.remote_host.to_string()],
    });
    let is_alias = fqdn != import.remote_host.as_str();
    let places = (&namespace, &gateway_namespace);
    let alias = (expose && is_alias).then(|| alias(parser, &path, exporter, places, import, model)).flatten();
    Some(ExporterSpec {
        key: key.to_owned(),
        cluster,
        namespace,
        service: parser.plain(&exporter.service)?,
        fqdn,
        service_accounts: parser.list(&exporter.service_accounts),
        // Refused, if need be, where the identities are read.
        trust_domain: TrustDomain::new(parser.plain(&exporter.trust_domain)?).ok()?,
        istiod_namespace,
        exposure,
        alias,
    })
}

fn alias(
    parser: &mut Parser,
    path: &Path,
    exporter: &Exporter,
    (namespace, gateway_namespace): (&Namespace, &Namespace),
    import: &Import,
    model: &ServiceEntry,
) -> Option<ExportAlias> {
    let workload_labels = parser.map(&exporter.workload_labels);
    if exporter.workload_labels.is_null() || exporter.workload_labels.is_wholly_known() && workload_labels.is_empty() {
        parser.refuse(
            path.attr("workload_labels"),
            "Which Pods answer for the alias?",
            format!(
                "{} is not the name of a Service at the exporter, so its gateway does not know its Pods: give the labels by which the Service selects them.",
                import.remote_host
            ),
        );
        return None;
    }
    let target = |name: &str, port: &ImportPort| {
        let own: Option<&Port> = model.ports.entry(name);
        own.and_then(|own| own.target_port.get()).and_then(|n| u16::try_from(n).ok()).unwrap_or(port.remote_number)
    };
    let ports = import.ports.iter().map(|port| ExportPort {
        number: port.remote_number,
        target: target(&port.name, port),
        name: port.name.clone(),
        protocol: port.protocol,
    });
    Some(ExportAlias {
        name: format!("export-{}", import.name),
        namespace: namespace.clone(),
        alias: import.remote_host.clone(),
        ports: ports.collect(),
        workload_labels,
        gateway_namespace: gateway_namespace.clone(),
    })
}

/// The known entries of a map; what is not known yet is noted.
fn known_entries<T: Clone>(parser: &mut Parser, map: &Value<crate::value::Map<T>>) -> Vec<(String, T)> {
    let Some(entries) = parser.plain(map) else { return Vec::new() };
    entries.into_iter().filter_map(|(key, value)| parser.plain(&value).map(|value| (key, value))).collect()
}
