//! Objects of somebody else in every namespace of the mesh and beside it. Some of them carry our label, and the mark of
//! an instance.

use std::collections::BTreeMap;

use lab::{Cluster, Lab};
use serde_json::{Value as Json, json};

use super::laws;

/// By this label they are told apart from what is ours.
const LABEL: &str = "campaign/bystander";
pub const NOT_THEIRS: &str = "!campaign/bystander";
const KINDS: &str = "secrets,configmaps,services,serviceaccounts,roles,clusterroles,namespaces";
/// The namespaces that the mesh would make.
const OF_THE_MESH: [&str; 2] = ["istio-system", "mesh-root-ca"];

pub struct Bystanders {
    before: BTreeMap<String, BTreeMap<String, Json>>,
    /// Whether they were in the namespaces of the mesh first, which therefore stay.
    pub in_the_mesh: bool,
}

impl Bystanders {
    pub fn plant(lab: &Lab, in_the_mesh: bool) -> Bystanders {
        for cluster in lab.clusters() {
            let mut objects = vec![namespace("team-a")];
            let mut namespaces = vec!["default", "kube-system", "team-a"];
            if in_the_mesh {
                objects.extend(OF_THE_MESH.map(namespace));
                namespaces.extend(OF_THE_MESH);
            }
            for namespace in namespaces {
                objects.extend(of_namespace(namespace, "plain", &json!({}), &json!({})));
                objects.extend(of_namespace(namespace, "labelled", &label("mesh_primary.istiod"), &json!({})));
            }
            objects.push(cluster_role("labelled", &label("mesh_primary.istiod"), &json!({})));
            apply(cluster, &objects);
        }
        let mut planted = Bystanders { before: BTreeMap::new(), in_the_mesh };
        planted.remember(lab);
        planted
    }

    /// Copies of what is ours, with its label and its mark, beside it and elsewhere.
    pub fn copy_marks(&mut self, lab: &Lab) {
        for cluster in lab.clusters() {
            let mut objects = Vec::new();
            for (number, (owner, mark)) in laws::marks(cluster).into_iter().enumerate() {
                let (label, mark) = (label(&owner), json!({ "terraform-provider-mesh/instance": mark }));
                let namespaces = if self.in_the_mesh { &["team-a", "istio-system"][..] } else { &["team-a"] };
                for namespace in namespaces {
                    objects.extend(of_namespace(namespace, &format!("copy-{number}"), &label, &mark));
                }
                objects.push(cluster_role(&format!("copy-{number}"), &label, &mark));
            }
            apply(cluster, &objects);
        }
        self.remember(lab);
    }

    fn remember(&mut self, lab: &Lab) {
        self.before = lab.clusters().iter().map(|cluster| (cluster.name().to_owned(), look(cluster))).collect();
    }

    /// Byte for byte as they were planted.
    pub fn untouched(&self, lab: &Lab) -> Vec<String> {
        let mut broken = Vec::new();
        for cluster in lab.clusters() {
            let now = look(cluster);
            for (name, before) in &self.before[cluster.name()] {
                match now.get(name) {
                    None => broken.push(format!("a bystander's {name} is gone from {}", cluster.name())),
                    Some(now) if now != before => {
                        broken.push(format!("a bystander's {name} in {} was {before}, is {now}", cluster.name()));
                    }
                    Some(_) => {}
                }
            }
        }
        broken
    }

    /// They leave, when the mesh has gone.
    pub fn leave(self, lab: &Lab) {
        for cluster in lab.clusters() {
            if self.in_the_mesh {
                cluster.kubectl(&["delete", "namespace", OF_THE_MESH[0], OF_THE_MESH[1]]).expect("kubectl");
            }
            cluster.kubectl(&["delete", KINDS, "-A", "-l", LABEL]).expect("kubectl");
        }
    }
}

/// All of them, whole: managers of fields left out, and of namespaces what others write into them.
fn look(cluster: &Cluster) -> BTreeMap<String, Json> {
    let listed = cluster.get(&[KINDS, "-A", "-l", LABEL]).expect("a list").unwrap_or_default();
    let objects = listed["items"].as_array().cloned().unwrap_or_default().into_iter().map(|mut object| {
        let text = |path: &str| object.pointer(path).and_then(Json::as_str).unwrap_or_default().to_owned();
        let kind = text("/kind");
        let name = format!("{kind} {}/{}", text("/metadata/namespace"), text("/metadata/name"));
        let metadata = object["metadata"].as_object_mut().expect("metadata");
        metadata.remove("managedFields");
        if kind == "Namespace" {
            // The mesh labels its namespace, and takes the label away again.
            metadata.retain(|member, _| ["name", "uid"].contains(&member.as_str()));
        }
        (name, object)
    });
    objects.collect()
}

fn label(owner: &str) -> Json {
    json!({ "terraform-provider-mesh/owner": owner })
}

fn metadata(namespace: Option<&str>, name: &str, labels: &Json, annotations: &Json) -> Json {
    let mut labels = labels.clone();
    labels[LABEL] = "yes".into();
    json!({ "namespace": namespace, "name": name, "labels": labels, "annotations": annotations })
}

fn namespace(name: &str) -> Json {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata(None, name, &json!({}), &json!({})) })
}

fn cluster_role(name: &str, labels: &Json, annotations: &Json) -> Json {
    json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata(None, &format!("bystander-{name}"), labels, annotations), "rules": [] })
}

fn of_namespace(namespace: &str, name: &str, labels: &Json, annotations: &Json) -> Vec<Json> {
    let metadata = metadata(Some(namespace), &format!("bystander-{name}"), labels, annotations);
    vec![
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": { "a": "b" } }),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "a": "b" } }),
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": { "ports": [{ "port": 80 }], "selector": { "app": "nobody" } } }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }),
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": [] }),
    ]
}

fn apply(cluster: &Cluster, objects: &[Json]) {
    // Namespaces first: a list is applied in its order.
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    cluster.apply(&list.to_string()).expect("kubectl");
}
