//! `moved` blocks from other providers: what the states of `helm_release` and `kubernetes_secret` say of the object
//! they are about. They hold values and tokens: nothing of them but names is handed on, and no state says in which
//! cluster the object is.

use serde_json::Value as Json;

use crate::chart::Values;
use crate::diag::Diagnostic;
use crate::engine::Moved;
use crate::value::MAX_DEPTH;

/// A release of Helm's. It cannot be printed: values may hold secrets.
pub struct Release {
    pub name: String,
    pub namespace: String,
    /// Name of the chart, whatever it came from.
    pub chart: String,
    values: Json,
}

/// A Secret. It cannot be printed.
pub struct MovedSecret {
    pub namespace: String,
    pub name: String,
    metadata: Json,
    data: Json,
}

impl Release {
    /// `None` where the state is of another type.
    pub fn of(source: &Moved) -> Option<Release> {
        if source.type_name != "helm_release" || !source.provider.ends_with("/hashicorp/helm") {
            return None;
        }
        let state = &source.state;
        let text = |key: &str| state.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        // Helm has recorded the chart's own name. Where it comes from may end in anything.
        let recorded = metadata(state).and_then(|metadata| metadata.get("chart")?.as_str());
        let path = text("chart");
        let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().trim_end_matches(".tgz");
        let chart = recorded.filter(|name| !name.is_empty()).unwrap_or(last).to_owned();
        Some(Release {
            name: text("name"),
            namespace: Some(text("namespace")).filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned()),
            chart,
            values: values(state),
        })
    }

    /// What the values say, as text.
    pub fn value(&self, path: &[&str]) -> Option<String> {
        let found = path.iter().try_fold(&self.values, |value, step| value.get(step))?;
        let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
        (!text.is_empty() && !found.is_null()).then_some(text)
    }
}

/// What Helm has recorded of a release. A list of one up to version 2 of that provider, an object since.
fn metadata(state: &Json) -> Option<&Json> {
    state.get("metadata").map(|metadata| metadata.get(0).unwrap_or(metadata))
}

/// The values of a release: as Helm has recorded them, else as the configuration gave them.
fn values(state: &Json) -> Json {
    let recorded =
        metadata(state).and_then(|metadata| serde_json::from_str::<Json>(metadata.get("values")?.as_str()?).ok());
    if let Some(recorded) = recorded.filter(|values| values.as_object().is_some_and(|values| !values.is_empty())) {
        return recorded;
    }
    let mut values = Values::default();
    for document in state.get("values").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str) {
        if let Ok(document) = Values::from_yaml(document) {
            values.merge(document);
        }
    }
    let mut values = Json::Object(values.into_map());
    for one in state.get("set").and_then(Json::as_array).into_iter().flatten() {
        let (Some(name), Some(value)) = (one.get("name").and_then(Json::as_str), one.get("value")) else { continue };
        if name.split('.').nth(MAX_DEPTH).is_some() {
            // No value of a chart is as deep, and dropping what is would take the whole stack.
            continue;
        }
        if let Some(place) = name
            .split('.')
            .try_fold(&mut values, |place, step| (place.is_object() || place.is_null()).then(|| &mut place[step]))
        {
            *place = value.clone();
        }
    }
    values
}

impl MovedSecret {
    /// `None` where the state is of another type.
    pub fn of(source: &Moved) -> Option<MovedSecret> {
        let is_secret = ["kubernetes_secret", "kubernetes_secret_v1"].contains(&source.type_name.as_str());
        if !is_secret || !source.provider.ends_with("/hashicorp/kubernetes") {
            return None;
        }
        let metadata = source.state.get("metadata")?;
        let metadata = metadata.get(0).unwrap_or(metadata).clone();
        let text = |key: &str| metadata.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        Some(MovedSecret {
            namespace: Some(text("namespace")).filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned()),
            name: text("name"),
            data: source.state.get("data").cloned().unwrap_or_default(),
            metadata,
        })
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.get("labels")?.get(key)?.as_str()
    }

    /// The keys of its data.
    pub fn keys(&self) -> Vec<&str> {
        let data = self.data.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        data.map(|(key, _)| key.as_str()).collect()
    }
}

/// Whether the state is of a key or a certificate of the provider `tls`, which is nowhere but in states.
pub fn is_of_tls(source: &Moved) -> bool {
    source.type_name.starts_with("tls_") && source.provider.ends_with("/hashicorp/tls")
}

/// Such a state has no object to read, and what is in it is known to whoever reads states.
pub fn refused_of_tls(source: &Moved, instead: &str) -> Diagnostic {
    Diagnostic::error("This cannot be moved here").detail(format!(
        "A `{}` is in a state and in no cluster, so there is no object that this resource could take over; and this resource keeps no key in state.\n\n\
         {instead} Then give the other resource a `removed` block with `lifecycle {{ destroy = false }}`. Old versions of its state still hold its key: delete them.",
        source.type_name
    ))
}

/// A state of a type that is known, whose object this type cannot become.
pub fn refused(why: &str, instead: &str) -> Diagnostic {
    Diagnostic::error("This cannot be moved here").detail(format!(
        "{why}\n\n{instead} Give the other resource a `removed` block with `lifecycle {{ destroy = false }}`: its objects stay in the cluster."
    ))
}

/// What is looked for in all clusters of the provider.
pub struct Sought<'a> {
    /// In words, such as `a control plane with the cluster name east in namespace istio-system`.
    pub what: String,
    pub type_name: &'a str,
    /// The id of an import, after the name of the cluster.
    pub rest: String,
    /// Whether what was looked for may be in several clusters: then all of them must have been read.
    pub is_common: bool,
}

impl Sought<'_> {
    /// The only cluster that has it.
    pub fn only(&self, found: &[&String], unread: &[&String]) -> Result<String, Diagnostic> {
        let names = |clusters: &[&String]| clusters.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        let why = match found {
            [only] if unread.is_empty() || !self.is_common => return Ok((*only).clone()),
            [] if unread.is_empty() => "no cluster of the provider has it".to_owned(),
            [] => format!("no cluster that could be read has it; {} could not be read", names(unread)),
            [only] => format!("{only} has it, and {} could not be read", names(unread)),
            several => format!("{} have it", names(several)),
        };
        let Sought { what, type_name, rest, .. } = self;
        Err(Diagnostic::error("Which object is moved cannot be known").detail(format!(
            "The other state does not name the cluster. Looked for was {what}: {why}.\n\nReplace the `moved` block by these two:\n\n  removed {{\n    from = <the other resource>\n    lifecycle {{ destroy = false }}\n  \
             }}\n\n  import {{\n    to = {type_name}.<name>\n    id = \"<cluster>/{rest}\"\n  }}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn moved(provider: &str, type_name: &str, state: Json) -> Moved {
        Moved { provider: provider.to_owned(), type_name: type_name.to_owned(), version: 1, state }
    }

    const HELM: &str = "registry.terraform.io/hashicorp/helm";
    const KUBERNETES: &str = "registry.opentofu.org/hashicorp/kubernetes";

    #[test]
    fn a_release_says_its_values_as_either_version_of_its_provider_keeps_them() {
        let path = ["global", "multiCluster", "clusterName"];
        let recorded = json!({"global": {"multiCluster": {"clusterName": "east"}}}).to_string();
        for more in [
            json!({"metadata": [{"values": recorded}]}),
            json!({"metadata": {"values": recorded}}),
            json!({"values": ["global:\n  multiCluster:\n    clusterName: east\n"]}),
            json!({"set": [{"name": "global.multiCluster.clusterName", "value": "east"}]}),
            json!({"values": ["global: {multiCluster: {clusterName: west}}"], "set": [{"name": "global.multiCluster.clusterName", "value": "east"}]}),
        ] {
            let mut state =
                json!({"name": "istiod", "namespace": "istio-system", "chart": "oci://example.com/charts/istiod"});
            state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let release = Release::of(&moved(HELM, "helm_release", state.clone())).unwrap();
            assert_eq!((release.chart.as_str(), release.value(&path).as_deref()), ("istiod", Some("east")), "{state}");
        }
        assert!(Release::of(&moved(HELM, "helm_template", json!({}))).is_none());
        assert!(Release::of(&moved("registry.terraform.io/example/helm", "helm_release", json!({}))).is_none());
        let bare = Release::of(&moved(HELM, "helm_release", json!({"set": [{"name": "a.b"}, {"name": "a", "value": 1}, {"name": "a.b.c", "value": 2}], "values": ["a: [", null]}))).unwrap();
        assert_eq!((bare.namespace.as_str(), bare.value(&["a"])), ("default", Some("1".to_owned())));
    }

    #[test]
    fn a_release_says_its_chart_as_helm_has_recorded_it() {
        let named = |chart: &str, metadata: Json| {
            let state = json!({"name": "istiod", "chart": chart, "metadata": metadata});
            Release::of(&moved(HELM, "helm_release", state)).unwrap().chart
        };
        for path in ["./charts/istiod-1.30.2.tgz", "../manifests/charts/istio-control/istio-discovery", "istio/istiod"]
        {
            assert_eq!(named(path, json!([{"chart": "istiod"}])), "istiod", "{path}");
            assert_eq!(named(path, json!({"chart": "istiod"})), "istiod", "{path}");
            assert_eq!(named(path, json!({"chart": "base"})), "base", "{path}");
        }
        for metadata in [Json::Null, json!([]), json!({"chart": ""}), json!([{"chart": null}])] {
            assert_eq!(named("oci://example.com/charts/istiod", metadata.clone()), "istiod", "{metadata}");
            assert_eq!(named("./charts/gateway.tgz", metadata), "gateway");
        }
    }

    #[test]
    fn a_value_that_is_set_too_deeply_is_left_out() {
        let set = |name: &str| json!({"name": name, "value": 1});
        let state = json!({"set": [set(&"a.".repeat(1_000_000)), set("b.c")]});
        let release = Release::of(&moved(HELM, "helm_release", state)).unwrap();
        assert_eq!((release.value(&["a"]), release.value(&["b", "c"])), (None, Some("1".to_owned())));
    }

    #[test]
    fn a_secret_says_names_and_no_data() {
        let state = json!({"metadata": [{"name": "istio-remote-secret-west", "namespace": "istio-system", "labels": {"istio/multiCluster": "true"}}], "data": {"west": "token: t0ken", "gone": null}});
        let secret = MovedSecret::of(&moved(KUBERNETES, "kubernetes_secret_v1", state)).unwrap();
        assert_eq!((secret.keys(), secret.label("istio/multiCluster")), (vec!["west"], Some("true")));
        assert!(MovedSecret::of(&moved(KUBERNETES, "kubernetes_config_map", json!({}))).is_none());
    }

    #[test]
    fn a_key_that_is_only_in_a_state_is_told_from_others() {
        let key = json!({"private_key_pem": "pr1vate"});
        let of = |provider: &str, type_name: &str| moved(provider, type_name, key.clone());
        let source = of("registry.terraform.io/hashicorp/tls", "tls_private_key");
        assert!(is_of_tls(&source) && is_of_tls(&of("registry.opentofu.org/hashicorp/tls", "tls_self_signed_cert")));
        assert!(!is_of_tls(&of(KUBERNETES, "tls_private_key")) && !is_of_tls(&of(HELM, "helm_release")));
        let said = refused_of_tls(&source, "Do this.").detail;
        assert!(said.contains("`tls_private_key`") && said.contains("Do this.") && !said.contains("pr1vate"), "{said}");
    }

    #[test]
    fn only_one_cluster_that_is_sure_to_be_meant_is_taken() {
        let [east, west] = ["east".to_owned(), "west".to_owned()];
        let sought = |is_common| Sought {
            what: "it".to_owned(),
            type_name: "mesh_primary",
            rest: "istio-system/istiod".to_owned(),
            is_common,
        };
        assert_eq!(sought(true).only(&[&east], &[]).unwrap(), "east");
        assert_eq!(sought(false).only(&[&east], &[&west]).unwrap(), "east");
        for (found, unread) in
            [(vec![], vec![]), (vec![&east, &west], vec![]), (vec![&east], vec![&west]), (vec![], vec![&west])]
        {
            let said = sought(true).only(&found, &unread).unwrap_err();
            assert!(said.detail.contains("id = \"<cluster>/istio-system/istiod\""), "{}", said.detail);
        }
    }
}
