//! The roots that istiod hands to proxies, and whether it would take others.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Istiod, deployments};
use crate::cluster::{Error, Kind, Object, ObjectRef, Query};
use crate::mesh::mesh_field;
use crate::pki::{Bundle, Certificate};

/// The ConfigMap by which istiod hands roots out, in every namespace that it serves.
pub const HANDED_OUT: &str = "istio-ca-root-cert";

/// The roots in a ConfigMap of that name, as proxies read them: text between them is nothing to them. `None` where they
/// cannot be read.
pub fn roots_of(map: &Object) -> Option<Bundle> {
    let certificates = Certificate::all_in(map.strings("data").get("root-cert.pem")?).ok()?;
    Some(certificates.into_iter().collect())
}

/// The roots that a mesh configuration adds, by entry; `None` for one that holds no certificates.
pub fn added_roots(mesh: &Map<String, Value>) -> Vec<Option<Vec<Certificate>>> {
    let entries = mesh_field(mesh, "caCertificates").and_then(Value::as_array);
    let read = |entry: &Value| {
        let roots = Certificate::all_from_pem(entry.get("pem")?.as_str()?).ok()?;
        (!roots.is_empty()).then_some(roots)
    };
    entries.into_iter().flatten().map(read).collect()
}

/// When the roots in a ConfigMap of that name were last written, by the API server's clock. `None` where it does not
/// say.
pub fn handed_out_since(map: &Object) -> Option<OffsetDateTime> {
    let entries = map.items("metadata.managedFields").iter();
    let of_roots = entries.filter(|entry| {
        entry.get("fieldsV1").and_then(|fields| fields.get("f:data")?.get("f:root-cert.pem")).is_some()
    });
    of_roots.filter_map(|entry| OffsetDateTime::parse(entry.get("time")?.as_str()?, &Rfc3339).ok()).max()
}

impl Istiod {
    /// The roots that istiod hands out: in its own namespace or, where its `discoverySelectors` leave that out, in
    /// whichever it does. There may be other control planes, of other roots, in those.
    pub async fn handed_out(&self) -> Result<Vec<Bundle>, Error> {
        let reference = ObjectRef::namespaced(Kind::CONFIG_MAP, self.namespace.as_str(), HANDED_OUT);
        if let Some(own) = self.cluster.get(&reference).await? {
            return Ok(roots_of(&own).into_iter().collect());
        }
        let elsewhere = Query::of(Kind::CONFIG_MAP).field("metadata.name", HANDED_OUT);
        Ok(self.cluster.list_now(&elsewhere).await?.iter().filter_map(roots_of).collect())
    }

    /// A Deployment of istiod that expects one root for ever: it refuses any change of roots, and only its log says so.
    pub async fn expecting_one_root(&self) -> Result<Option<String>, Error> {
        let deployments = self.cluster.list_now(&deployments(&self.namespace)).await?;
        Ok(deployments.iter().find(|deployment| !expects_several(deployment)).map(ToString::to_string))
    }
}

fn expects_several(deployment: &Object) -> bool {
    let containers = deployment.items("spec.template.spec.containers");
    containers.iter().filter_map(|container| container.get("env")?.as_array()).flatten().any(|env| {
        env.get("name").is_some_and(|name| name == "ISTIO_MULTIROOT_MESH")
            && env.get("value").and_then(|value| value.as_str()).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_writes_a_label_has_not_written_the_roots() {
        let entry = |time: &str, fields: serde_json::Value| json!({"manager": "m", "time": time, "fieldsV1": fields});
        let map = |entries: serde_json::Value| {
            let metadata = json!({"name": HANDED_OUT, "namespace": "shop", "managedFields": entries});
            Object::new(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).unwrap()
        };
        let roots = json!({"f:data": {".": {}, "f:root-cert.pem": {}}});
        let label = json!({"f:metadata": {"f:labels": {}}});
        let both = map(json!([entry("2026-01-01T00:00:00Z", roots), entry("2026-02-01T00:00:00Z", label)]));
        assert_eq!(handed_out_since(&both).unwrap().unix_timestamp(), 1_767_225_600);
        assert_eq!(handed_out_since(&map(json!([]))), None);
    }
}
