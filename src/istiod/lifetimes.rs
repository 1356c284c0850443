//! How long the certificates of workloads may live that istiods have issued: until the last of an old root is gone,
//! that root must be trusted.

use std::time::Duration;

use super::{Istiod, deployments, mesh_config_map};
use crate::cluster::{Error, Kind, Object, ObjectRef};
use crate::schema::validate::parse_duration;

const DAY: Duration = Duration::from_secs(86_400);
/// The longest that istiod issues unless it is told otherwise.
const MAXIMUM: Duration = Duration::from_secs(90 * 86_400);

impl Istiod {
    /// The longest that a certificate which they issued may live, by their own objects. Nothing where there is no
    /// istiod.
    pub async fn longest_lifetime(&self) -> Result<Option<Duration>, Error> {
        let mut longest = None;
        for deployment in self.cluster.list_now(&deployments(&self.namespace)).await?.iter() {
            let name = mesh_config_map(deployment.label("istio.io/rev"));
            let mesh = ObjectRef::namespaced(Kind::CONFIG_MAP, self.namespace.as_str(), name);
            let mesh = self.cluster.get(&mesh).await?;
            let mesh = mesh.as_ref().and_then(|mesh| mesh.strings("data").get("mesh").map(|text| (*text).to_owned()));
            longest = longest.max(Some(issued(deployment, mesh.as_deref().unwrap_or_default())));
        }
        Ok(longest)
    }
}

/// What a proxy asks for counts, within what istiod grants.
fn issued(deployment: &Object, mesh: &str) -> Duration {
    let env = |name: &str| match env(deployment, name)? {
        Asked::Plain(text) => parse_duration(&text),
        // What a Secret or a ConfigMap says of it is not looked up: as long as can be.
        Asked::Elsewhere => Some(MAXIMUM),
    };
    let asked = said(mesh, "SECRET_TTL").filter_map(parse_duration).max().unwrap_or(DAY);
    let without_asking = env("DEFAULT_WORKLOAD_CERT_TTL").unwrap_or(DAY);
    asked.max(without_asking).min(env("MAX_WORKLOAD_CERT_TTL").unwrap_or(MAXIMUM))
}

/// How a variable gets its value.
enum Asked {
    Plain(String),
    Elsewhere,
}

fn env(deployment: &Object, name: &str) -> Option<Asked> {
    let containers = deployment.items("spec.template.spec.containers");
    let mut entries = containers.iter().filter_map(|container| container.get("env")?.as_array()).flatten();
    let entry = entries.find(|entry| entry.get("name").and_then(|other| other.as_str()) == Some(name))?;
    if entry.get("valueFrom").is_some_and(|from| !from.is_null()) {
        return Some(Asked::Elsewhere);
    }
    Some(Asked::Plain(entry.get("value")?.as_str()?.to_owned()))
}

/// The values of a key in a text of others' that is YAML, in blocks, in braces or quoted. Nothing is made of the rest
/// of it.
fn said<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let is_part_of_name = |before: &str| before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    text.match_indices(key).filter_map(move |(at, _)| {
        let behind = text[at + key.len()..].trim_start_matches(['"', '\'']).trim_start().strip_prefix(':')?;
        let value = behind.trim_start().trim_start_matches(['"', '\'']);
        let value = value.split(['"', '\'', ',', '}', '#', ' ', '\t', '\n', '\r']).next()?;
        (!value.is_empty() && !is_part_of_name(&text[..at])).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(env: &[(&str, &str)]) -> Object {
        let env: Vec<_> = env.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        Object::new(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "istiod" },
            "spec": { "template": { "spec": { "containers": [{ "name": "discovery", "env": env }] } } },
        }))
        .unwrap()
    }

    #[test]
    fn the_longest_is_what_is_asked_for_within_what_is_granted() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let mesh = |ttl: &str| format!("defaultConfig:\n  proxyMetadata:\n    SECRET_TTL: {ttl}\n  tracing: {{}}\n");
        assert_eq!(issued(&deployment(&[]), ""), DAY);
        assert_eq!(issued(&deployment(&[]), &mesh("\"72h\"")), hours(72));
        assert_eq!(issued(&deployment(&[]), &mesh("1h")), DAY, "what asks for none gets istiod's own");
        assert_eq!(issued(&deployment(&[("DEFAULT_WORKLOAD_CERT_TTL", "48h0m0s")]), ""), hours(48));
        let least = [("DEFAULT_WORKLOAD_CERT_TTL", "1h"), ("MAX_WORKLOAD_CERT_TTL", "2h")];
        assert_eq!(issued(&deployment(&least), &mesh("8760h")), hours(2));
        assert_eq!(issued(&deployment(&[]), &mesh("8760h")), MAXIMUM);
        assert_eq!(issued(&deployment(&[]), &mesh("soon")), DAY);
        for mesh in [
            "defaultConfig: {proxyMetadata: {SECRET_TTL: 72h, X: y}}",
            "\"defaultConfig\": {\"proxyMetadata\": {\"SECRET_TTL\":\"72h\"}}",
            "    SECRET_TTL: 72h # three days\n    OTHER_SECRET_TTL: 96h",
            "SECRET_TTL: 48h\n---\n'SECRET_TTL' : '72h'",
        ] {
            assert_eq!(issued(&deployment(&[]), mesh), hours(72), "{mesh}");
        }
    }

    #[test]
    fn a_lifetime_that_is_said_elsewhere_is_the_longest() {
        let mut deployment = deployment(&[("DEFAULT_WORKLOAD_CERT_TTL", "1h")]);
        let entry = &mut deployment.value_mut()["spec"]["template"]["spec"]["containers"][0]["env"][0];
        *entry = json!({ "name": "DEFAULT_WORKLOAD_CERT_TTL", "valueFrom": { "configMapKeyRef": {} } });
        assert_eq!(issued(&deployment, ""), MAXIMUM);
    }
}
