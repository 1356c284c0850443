use super::*;
use serde_json::json;

const US: &str = "terraform-provider-mesh";

fn entry(manager: &str, operation: &str, time: &str, fields: Value) -> Value {
    json!({"manager": manager, "operation": operation, "time": time, "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": fields})
}

fn deployment(image: &str, replicas: i64, managed: Vec<Value>) -> Object {
    Object::new(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "istiod", "namespace": "istio-system", "labels": {"istio.io/rev": "default", "app": "istiod"}, "managedFields": managed},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "istiod"}},
            "template": {"spec": {"containers": [
                {"name": "discovery", "image": image, "args": ["discovery", "--x"],
                 "env": [{"name": "A", "value": "1"}, {"name": "ADDED", "value": "2"}],
                 "ports": [{"containerPort": 8080, "protocol": "TCP", "name": "http"}]},
            ]}},
        },
    }))
    .unwrap()
}

fn our_entry() -> Value {
    entry(
        US,
        "Apply",
        "2026-01-01T00:00:00Z",
        json!({
            "f:metadata": {"f:labels": {"f:istio.io/rev": {}, "f:app": {}}},
            "f:spec": {
                "f:replicas": {},
                "f:selector": {},
                "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"discovery\"}": {
                    ".": {}, "f:name": {}, "f:image": {}, "f:args": {},
                    "f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:value": {}}},
                    "f:ports": {"k:{\"containerPort\":8080,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:protocol": {}, "f:name": {}}},
                }}}},
            },
        }),
    )
}

#[test]
fn owned_fields_are_leaves_with_live_values() {
    let live = deployment("istiod:1", 1, vec![our_entry()]);
    let texts: Vec<String> = fields(&live, US).into_iter().map(|(path, value)| format!("{path} = {value}")).collect();
    assert_eq!(
        texts,
        [
            r#"metadata.labels.app = "istiod""#,
            r#"metadata.labels["istio.io/rev"] = "default""#,
            "spec.replicas = 1",
            r#"spec.selector.matchLabels.app = "istiod""#,
            r#"spec.template.spec.containers[name=discovery].args = ["discovery","--x"]"#,
            r#"spec.template.spec.containers[name=discovery].env[name=A].value = "1""#,
            r#"spec.template.spec.containers[name=discovery].image = "istiod:1""#,
            r#"spec.template.spec.containers[name=discovery].ports[containerPort=8080,protocol=TCP].name = "http""#,
        ]
    );
}

#[test]
fn a_manifest_flattens_to_the_paths_of_what_it_becomes() {
    let live = deployment("istiod:1", 1, vec![our_entry()]);
    let mut manifest = live.clone();
    let metadata = manifest.value_mut()["metadata"].as_object_mut().unwrap();
    metadata.remove("managedFields");
    let container = &mut manifest.value_mut()["spec"]["template"]["spec"]["containers"][0];
    container["env"] = json!([{"name": "A", "value": "1"}]);
    container["ports"] = json!([{"containerPort": 8080, "name": "http"}]);
    assert_eq!(flatten(&manifest, Some(&live)), fields(&live, US));
    assert_eq!(flatten(&manifest, None), fields(&live, US), "without a live object the built-in keys are known");
    assert_eq!(planned(&manifest, &live), fields(&live, US));
}

#[test]
fn a_changed_field_is_drift_of_whoever_changed_it() {
    let recorded = fields(&deployment("istiod:1", 1, vec![our_entry()]), US);
    let mut ours = our_entry();
    ours["fieldsV1"]["f:spec"].as_object_mut().unwrap().remove("f:replicas");
    let edited = json!({"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"discovery\"}": {"f:image": {}}}}}}});
    let live = deployment("istiod:2", 3, vec![ours, entry("kubectl-edit", "Update", "2026-01-02T00:00:00Z", edited)]);
    let found = drift(&recorded, &live, US);
    let found: Vec<_> =
        found.iter().map(|drift| (drift.path.as_str(), drift.live.clone(), drift.manager.as_str())).collect();
    assert_eq!(
        found,
        [
            ("spec.replicas", Some(json!(3)), "kubectl-edit"),
            ("spec.template.spec.containers[name=discovery].image", Some(json!("istiod:2")), "kubectl-edit"),
        ]
    );
}

#[test]
fn the_same_value_by_someone_else_is_no_drift() {
    let live = deployment("istiod:1", 1, vec![our_entry()]);
    let recorded = fields(&live, US);
    let taken = entry("hpa", "Update", "2026-01-02T00:00:00Z", json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(drift(&recorded, &deployment("istiod:1", 1, vec![taken]), US), []);
}

#[test]
fn a_removed_field_names_the_last_writer() {
    let recorded = fields(&deployment("istiod:1", 1, vec![our_entry()]), US);
    let editor = entry("kubectl-edit", "Update", "2026-01-02T00:00:00Z", json!({"f:metadata": {"f:annotations": {}}}));
    let status = json!({"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:status": {}}});
    let mut live = deployment("istiod:1", 1, vec![our_entry(), editor, status]);
    live.value_mut()["metadata"]["labels"].as_object_mut().unwrap().remove("app");
    let found = drift(&recorded, &live, US);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].path.as_str(), &found[0].live, found[0].manager.as_str()),
        ("metadata.labels.app", &None, "kubectl-edit")
    );
}

#[test]
fn what_others_add_is_listed_and_is_not_drift() {
    let added = entry(
        "kubectl-edit",
        "Update",
        "2026-01-02T00:00:00Z",
        json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"discovery\"}": {"f:env": {"k:{\"name\":\"ADDED\"}": {".": {}, "f:name": {}, "f:value": {}}}}}}}}}),
    );
    let live = deployment("istiod:1", 1, vec![our_entry(), added]);
    assert_eq!(drift(&fields(&live, US), &live, US), []);
    let found = foreign(&live, US);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path, "spec.template.spec.containers[name=discovery].env[name=ADDED].value");
    assert_eq!((&found[0].value, found[0].manager.as_str()), (&json!("2"), "kubectl-edit"));
}

#[test]
fn sets_are_elements_and_unkeyed_lists_are_places() {
    let object = Object::new(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
        "metadata": {"name": "g", "finalizers": ["x/y"], "managedFields": [entry(US, "Apply", "", json!({
            "f:metadata": {"f:finalizers": {"v:\"x/y\"": {}}}, "f:spec": {"f:servers": {}},
        }))]},
        "spec": {"servers": [{"port": {"number": 15443}, "hosts": ["*.local"]}]},
    }))
    .unwrap();
    let texts: Vec<String> = fields(&object, US).into_iter().map(|(path, value)| format!("{path} = {value}")).collect();
    assert_eq!(
        texts,
        [
            r#"metadata.finalizers["x/y"] = "x/y""#,
            r#"spec.servers[0].hosts = ["*.local"]"#,
            "spec.servers[0].port.number = 15443"
        ]
    );
    assert_eq!(flatten(&object, Some(&object)), fields(&object, US));
}

#[test]
fn spellings_of_the_same_are_the_same() {
    let same = |a: Value, b: Value| super::same(Some(&a), Some(&b));
    assert!(same(json!("1000m"), json!("1")));
    assert!(same(json!("0.5"), json!("500m")));
    assert!(same(json!("2048Mi"), json!("2Gi")));
    assert!(same(json!(1), json!("1")));
    assert!(!same(json!("1Gi"), json!("1G")));
    assert!(!same(json!("a"), json!("b")));
    assert!(super::same(Some(&json!({})), None));
    assert!(!super::same(Some(&json!(true)), None));
}

#[test]
fn digests_tell_fields_apart() {
    let map = |pairs: &[(&str, Value)]| {
        pairs.iter().map(|(path, value)| ((*path).to_owned(), value.clone())).collect::<BTreeMap<_, _>>()
    };
    let one = digest(&map(&[("a", json!("b"))]));
    assert_eq!(one.len(), 64);
    assert_ne!(one, digest(&map(&[("a", json!("c"))])));
    assert_ne!(one, digest(&map(&[("a\"b", json!(""))])));
}
