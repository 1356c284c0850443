use super::super::fixtures;
use super::super::secret::StoredRoot;
use super::super::spec::StoreRef;
use super::*;
use crate::cluster::Owner;
use crate::pki::PrivateKey;

fn store(root: &fixtures::Ca) -> Object {
    let key = PrivateKey::from_pem(&root.key.to_pem()).unwrap();
    let roots = RootStore(BTreeMap::from([(2, StoredRoot { certificate: root.certificate.clone(), key })]));
    let at = StoreRef { cluster: "admin".into(), namespace: "mesh-root-ca".into(), name: "mesh-root-ca".into() };
    roots.object(&at, &Owner::by_label("mesh_ca.mesh-root-ca.mesh-root-ca"))
}

fn cacerts(root: &fixtures::Ca, owner: Option<&str>) -> Object {
    let mut object = fixtures::cacerts(root, 365).object("istio-system", &Owner::by_label(owner.unwrap_or_default()));
    if owner.is_none() {
        object.value_mut()["metadata"]["labels"] = serde_json::json!({});
    }
    object
}

fn seen(objects: Vec<(&str, Object)>) -> BTreeMap<String, Vec<Object>> {
    let mut seen = BTreeMap::<String, Vec<Object>>::new();
    objects.into_iter().for_each(|(cluster, object)| seen.entry(cluster.to_owned()).or_default().push(object));
    seen
}

fn names(seen: &BTreeMap<String, Vec<Object>>, asked: &Roots) -> (Vec<String>, Vec<String>) {
    let (found, left_out) = roots(seen, asked);
    (found.into_iter().map(|one| one.name).collect(), left_out.into_iter().map(|one| one.detail).collect())
}

#[test]
fn a_root_is_found_where_it_is_kept_and_not_again_where_it_is_used() {
    let root = fixtures::root();
    let issued = || cacerts(&root, Some("mesh_ca.mesh-root-ca"));
    // What carries the label is in both answers.
    let all = seen(vec![("admin", store(&root)), ("east", issued()), ("east", issued()), ("west", issued())]);
    let (found, left_out) = names(&all, &Roots::default());
    assert_eq!(found, ["admin/mesh-root-ca/mesh-root-ca, root O=Istio, CN=Root CA, generation 2, by this provider"]);
    assert!(left_out.is_empty(), "{left_out:?}");
    let east = Roots { cluster: "east".into(), ..Roots::default() };
    assert_eq!(names(&all, &east).0, Vec::<String>::new(), "the root is not kept in east");
    let (found, left_out) = names(&seen(vec![("east", issued())]), &Roots::default());
    assert!(found.is_empty() && left_out[0].contains("none of the clusters that could be searched"), "{left_out:?}");
}

#[test]
fn a_root_from_elsewhere_is_found_once_and_by_the_first_cluster_that_is_asked_for() {
    let (root, other) = (fixtures::root(), fixtures::root());
    let all =
        seen(vec![("east", cacerts(&root, None)), ("north", cacerts(&other, None)), ("west", cacerts(&root, None))]);
    let (found, left_out) = names(&all, &Roots::default());
    assert_eq!(
        found,
        [
            "east/istio-system/cacerts, root O=Istio, CN=Root CA of east, west",
            "north/istio-system/cacerts, root O=Istio, CN=Root CA of north",
        ]
    );
    assert!(left_out.is_empty(), "{left_out:?}");
    let west = Roots { cluster: "west".into(), ..Roots::default() };
    assert_eq!(names(&all, &west).0, ["west/istio-system/cacerts, root O=Istio, CN=Root CA of east, west"]);
    let managed = |managed: bool| Roots { managed: managed.into(), ..Roots::default() };
    assert_eq!((names(&all, &managed(true)).0.len(), names(&all, &managed(false)).0.len()), (0, 2));
}

#[test]
fn what_cannot_be_taken_over_is_said_and_what_istiod_made_for_itself_is_not() {
    let root = fixtures::root();
    let with = |key: &str| {
        let mut object = cacerts(&root, None);
        object.value_mut()["data"][key] = "eA==".into();
        object
    };
    let (found, left_out) =
        names(&seen(vec![("east", with("tls.crt")), ("west", with("istio-generated"))]), &Roots::default());
    assert!(found.is_empty());
    let [said] = &left_out[..] else { panic!("{left_out:?}") };
    assert!(said.contains("istio-system/cacerts of cluster east") && said.contains("cert-manager"), "{said}");
    let mut broken = store(&root);
    broken.value_mut()["data"]["root-2.key"] = "eA==".into();
    let (found, left_out) = names(&seen(vec![("admin", broken)]), &Roots::default());
    assert!(found.is_empty() && left_out[0].contains("root-2.key"), "{left_out:?}");
}

#[test]
fn nothing_of_a_key_is_told() {
    let root = fixtures::root();
    let (found, _) = roots(&seen(vec![("admin", store(&root)), ("east", cacerts(&root, None))]), &Roots::default());
    let told: String = found.iter().map(|one| format!("{}{:?}", one.name, one.identity)).collect();
    assert!(!told.contains("PRIVATE") && !root.key.to_pem().lines().any(|line| line.len() > 20 && told.contains(line)));
}
