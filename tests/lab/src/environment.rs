//! A container's variables, as a kubelet would look them up.

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};
use kube::api::Api;

use crate::projection::field_value;

/// What stands where the API server could not say it.
pub(crate) struct Here<'a> {
    pub client: &'a kube::Client,
    pub pod: &'a Pod,
    /// The pod's address: its status may not tell it yet.
    pub ip: &'a str,
    /// Limits of a machine that is not there, by what a `resourceFieldRef` asks for.
    pub limits: &'a [(&'a str, &'a str)],
}

/// Names and values, in the container's order; what leads nowhere is left out.
pub(crate) async fn variables(here: &Here<'_>, container: &Container) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    for var in container.env.iter().flatten() {
        let value = match &var.value_from {
            None => Some(var.value.clone().unwrap_or_default()),
            Some(from) => looked_up(here, from).await?,
        };
        if let Some(value) = value {
            all.push((var.name.clone(), value));
        }
    }
    Ok(all)
}

async fn looked_up(here: &Here<'_>, from: &EnvVarSource) -> Result<Option<String>, String> {
    let namespace = here.pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(field) = &from.field_ref {
        return Ok(match field.field_path.as_str() {
            "status.podIP" => Some(here.ip.to_owned()),
            path => field_value(here.pod, path),
        });
    }
    if let Some(asked) = &from.resource_field_ref {
        let limit = here.limits.iter().find(|(name, _)| *name == asked.resource);
        return Ok(limit.map(|(_, value)| (*value).to_owned()));
    }
    if let Some(key) = &from.secret_key_ref {
        let api: Api<Secret> = Api::namespaced(here.client.clone(), namespace);
        let found = api.get_opt(&key.name).await.map_err(|error| error.to_string())?;
        let value = found.and_then(|secret| secret.data?.remove(&key.key));
        return Ok(value.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()));
    }
    if let Some(key) = &from.config_map_key_ref {
        let api: Api<ConfigMap> = Api::namespaced(here.client.clone(), namespace);
        let found = api.get_opt(&key.name).await.map_err(|error| error.to_string())?;
        return Ok(found.and_then(|map| map.data?.remove(&key.key)));
    }
    Ok(None)
}
