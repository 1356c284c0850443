//! `moved` from Helm's release of the chart `gateway`.

use super::{Gateway, Identity};
use crate::cluster::{Kind, Object, Query};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::{Ctx, Moved};
use crate::mesh::NETWORK_LABEL;
use crate::resources::client::Client;
use crate::resources::listing;
use crate::resources::moved::{Release, Sought, refused};
use crate::value::Value;

/// Which gateway a release is.
pub fn adopt(source: &Moved) -> Result<Option<Gateway>, Diagnostic> {
    let Some(release) = Release::of(source) else { return Ok(None) };
    if release.chart != "gateway" {
        let why = format!(
            "`mesh_eastwest_gateway` takes over releases of the chart gateway, and this is of {}.",
            release.chart
        );
        return Err(refused(&why, "Move the release of the gateway."));
    }
    let network = release.value(&["networkGateway"]).or_else(|| release.value(&["labels", NETWORK_LABEL]));
    let Some(network) = network else {
        let why = "This gateway is not one between networks: neither `networkGateway` nor a label of its values names a network.";
        return Err(refused(why, "It stays with Helm."));
    };
    let name = release.value(&["name"]).unwrap_or(release.name);
    Ok(Some(Gateway {
        namespace: release.namespace.into(),
        name: name.into(),
        network: network.into(),
        ..Gateway::default()
    }))
}

/// The gateway, by its name and network.
pub async fn find(cx: &mut Ctx<Client>, moved: &Gateway) -> Result<Identity, Diagnostics> {
    let (namespace, name, network) = (moved.namespace.text(), moved.name.text(), moved.network.text());
    let names = listing::clusters(cx, &Value::Null, "cluster")?;
    let doors = [Query::of(Kind::SERVICE).selector(NETWORK_LABEL).namespace(namespace)];
    let seen = listing::search(cx, &names, &doors).await?;
    let is_it = |door: &Object| door.name() == name && door.label(NETWORK_LABEL) == Some(network);
    let found: Vec<&String> = seen.iter().filter(|(_, doors)| doors.iter().any(is_it)).map(|(name, _)| name).collect();
    let unread: Vec<&String> = names.iter().filter(|name| !seen.contains_key(*name)).collect();
    let sought = Sought {
        what: format!("a Service {namespace}/{name} with the label {NETWORK_LABEL}={network}"),
        type_name: "mesh_eastwest_gateway",
        rest: format!("{namespace}/{name}"),
        // Several clusters may be of one network, each with a gateway.
        is_common: true,
    };
    let cluster = sought.only(&found, &unread)?;
    Ok(Identity { cluster: cluster.into(), namespace: moved.namespace.clone(), name: moved.name.clone() })
}
