//! Whether a cluster is the one that a resource was applied to: by its uid, and not by its name, which a kubeconfig may
//! give to another one.
//!
//! Of another cluster nothing follows. That it holds no object of the resource does not mean that somebody deleted
//! them, and what is written into it, a signing key among it, goes to whoever it belongs to.

use super::instance::Instance;
use crate::cluster::{Cluster, Error, ObjectRef};
use crate::diag::Diagnostic;

/// Refuses a cluster that is another one than before, or than the provider block means, and remembers which one it is.
/// The warning says that this cannot be told. Of a cluster that does not answer other requests tell; one that answers
/// something else to this question is not written to.
///
/// A state of before remembers none, and takes the cluster as it is.
pub async fn check(cluster: &Cluster, instance: &mut Instance) -> Result<Option<Diagnostic>, Diagnostic> {
    let found = match cluster.uid().await {
        Ok(found) => found,
        Err(error) if error.is_answer() => return Err(error.into()),
        Err(_) => return Ok(None),
    };
    let before = instance.uids.get(cluster.name()).cloned();
    match judge(cluster.meant(), before.as_deref(), found) {
        Ok(Some(found)) => drop(instance.uids.insert(cluster.name().to_owned(), found.to_owned())),
        Ok(None) => {}
        Err(Doubt::Another { before, found }) => return Err(another(cluster.name(), before, found)),
        Err(Doubt::NotMeant { meant, found }) => return Err(not_meant(cluster.name(), meant, found)),
        Err(Doubt::Unreadable) => return Ok(Some(unreadable(cluster.name()))),
    }
    Ok(None)
}

/// Whether an object is the very one that one of the others has, under another name of the cluster. Two clusters that
/// were cloned from one have objects of their own.
///
/// A cluster that does not answer is the one that it was.
pub async fn are_one(
    cluster: &Cluster,
    others: &[Cluster],
    reference: &ObjectRef,
    before: &Instance,
) -> Result<bool, Error> {
    for other in others {
        // Not everybody may read which cluster it is.
        if !may_be_equal(known_uid(cluster, before).await?, known_uid(other, before).await?) {
            continue;
        }
        let (here, there) = tokio::try_join!(cluster.get_metadata(reference), other.get_metadata(reference))?;
        if here.zip(there).is_some_and(|(here, there)| here.uid().is_some() && here.uid() == there.uid()) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn known_uid<'a>(cluster: &'a Cluster, before: &'a Instance) -> Result<Option<&'a str>, Error> {
    match cluster.uid().await {
        Err(error) => before.uids.get(cluster.name()).map(|uid| Some(uid.as_str())).ok_or(error),
        found => found,
    }
}

fn may_be_equal(one: Option<&str>, other: Option<&str>) -> bool {
    one.zip(other).is_none_or(|(one, other)| one == other)
}

#[derive(Debug, PartialEq, Eq)]
enum Doubt<'a> {
    Another { before: &'a str, found: &'a str },
    NotMeant { meant: &'a str, found: &'a str },
    Unreadable,
}

/// What to remember, if anything. What the provider block means counts more than what is remembered: by it a cluster
/// that was rebuilt is accepted.
fn judge<'a>(
    meant: Option<&'a str>,
    before: Option<&'a str>,
    found: Option<&'a str>,
) -> Result<Option<&'a str>, Doubt<'a>> {
    match (meant, before, found) {
        (Some(meant), _, Some(found)) if meant != found => Err(Doubt::NotMeant { meant, found }),
        (None, Some(before), Some(found)) if before != found => Err(Doubt::Another { before, found }),
        (_, _, Some(found)) => Ok(Some(found)),
        (None, None, None) => Ok(None),
        (_, _, None) => Err(Doubt::Unreadable),
    }
}

fn another(name: &str, before: &str, found: &str) -> Diagnostic {
    Diagnostic::error(format!("Cluster {name} is another one than before")).detail(format!(
        "This resource was applied to a cluster whose namespace kube-system has the uid {before}. The API server that answers as cluster {name} now has the uid {found} there, so it is of \
         another cluster. Nothing was written, and state is unchanged.\n\n\
         If it is the wrong cluster, correct the entry {name:?} in `clusters` of the provider block, or the kubeconfig and context that it names.\n\n\
         If the cluster was rebuilt or restored under this name, and the old one is gone, set `uid = {found:?}` in that entry. The next plan shows what is missing in the new one.\n\n\
         If both exist, give the new one an entry of its own in `clusters`."
    ))
}

fn not_meant(name: &str, meant: &str, found: &str) -> Diagnostic {
    Diagnostic::error(format!("Cluster {name} is not the one that is meant")).detail(format!(
        "The entry {name:?} in `clusters` of the provider block has `uid = {meant:?}`. The uid of the namespace kube-system of the cluster that answers is {found}. Nothing was written, and \
         state is unchanged. Correct the kubeconfig, context or host of the entry; or `uid`, if this is the right cluster."
    ))
}

fn unreadable(name: &str) -> Diagnostic {
    Diagnostic::warning(format!("Whether {name} is the same cluster as before is not known")).detail(format!(
        "The provider knows a cluster by the uid of its namespace kube-system, and this identity is not allowed to get that namespace in cluster {name}. So the provider does not notice if the kubeconfig leads to another cluster under this name. \
         Allow `get` of the namespace: see examples/rbac/provider.yaml."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::stub::{answering, forbidden, namespaces};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_question_that_is_answered_otherwise_lets_nothing_be_written() {
        let known = || Instance { uids: [("east".to_owned(), "a".to_owned())].into(), ..Instance::default() };
        let unauthorized = |_: &str, _: &str| (401, serde_json::json!({"kind": "Status", "code": 401}));
        assert!(check(&answering("east", unauthorized), &mut known()).await.is_err());
        assert!(check(&answering("east", |_, _| namespaces("b")), &mut known()).await.is_err());
        assert!(matches!(check(&answering("east", |_, _| namespaces("a")), &mut known()).await, Ok(None)));
        assert!(matches!(check(&answering("east", |_, _| forbidden()), &mut known()).await, Ok(Some(_))));
    }

    #[test]
    fn another_cluster_is_refused_until_it_is_meant() {
        assert_eq!(judge(None, None, Some("a")), Ok(Some("a")), "the first, or a state of before");
        assert_eq!(judge(None, Some("a"), Some("a")), Ok(Some("a")));
        assert_eq!(judge(None, Some("a"), Some("b")), Err(Doubt::Another { before: "a", found: "b" }));
        assert_eq!(judge(Some("b"), Some("a"), Some("b")), Ok(Some("b")), "rebuilt, and accepted");
        assert_eq!(judge(Some("a"), Some("a"), Some("b")), Err(Doubt::NotMeant { meant: "a", found: "b" }));
        assert_eq!(judge(Some("a"), None, Some("b")), Err(Doubt::NotMeant { meant: "a", found: "b" }));
    }

    #[test]
    fn what_cannot_be_told_is_said_where_it_counts() {
        assert_eq!(judge(None, None, None), Ok(None));
        assert_eq!(judge(None, Some("a"), None), Err(Doubt::Unreadable));
        assert_eq!(judge(Some("a"), None, None), Err(Doubt::Unreadable));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_object_under_a_new_name_of_its_cluster_is_the_same_object() {
        use crate::cluster::Kind;
        use serde_json::json;
        let reference = ObjectRef::namespaced(Kind::SECRET, "istio-system", "remote");
        let cluster = |uid: Option<&'static str>, secret: Option<&'static str>| {
            answering("a", move |_, path| match (path.contains("/secrets/"), uid, secret) {
                (true, _, Some(uid)) => (
                    200,
                    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "remote", "uid": uid}}),
                ),
                (true, _, None) | (_, None, _) => forbidden(),
                (_, Some(uid), _) => namespaces(uid),
            })
        };
        let old = || cluster(Some("c1"), Some("s1"));
        for (other, told) in [
            (cluster(Some("c1"), Some("s1")), Some(true)),
            (cluster(None, Some("s1")), Some(true)),
            (cluster(Some("c1"), Some("s2")), Some(false)),
            // Nobody asks another cluster for the object.
            (cluster(Some("c2"), None), Some(false)),
            (cluster(Some("c1"), None), None),
        ] {
            assert_eq!(are_one(&old(), &[other], &reference, &Instance::default()).await.ok(), told);
        }
        // One that is out of reach holds up nobody of whom it is known that it is another.
        let silent = || answering("b", |_, _| (401, json!({"kind": "Status", "code": 401})));
        let known = |uid: &str| Instance { uids: [("b".to_owned(), uid.to_owned())].into(), ..Instance::default() };
        assert_eq!(are_one(&old(), &[silent()], &reference, &known("c2")).await.ok(), Some(false));
        assert_eq!(are_one(&old(), &[silent()], &reference, &known("c1")).await.ok(), None);
        assert_eq!(are_one(&old(), &[silent()], &reference, &Instance::default()).await.ok(), None);
    }

    #[test]
    fn only_what_is_known_to_be_another_is_another() {
        assert!(may_be_equal(Some("a"), Some("a")) && !may_be_equal(Some("a"), Some("b")));
        for (one, other) in [(None, Some("b")), (Some("a"), None), (None, None)] {
            assert!(may_be_equal(one, other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn the_refusal_names_both_clusters_and_the_ways_out() {
        let told = another("east", "old-uid", "new-uid").to_string();
        for word in ["east", "old-uid", "new-uid", "`uid = \"new-uid\"`", "kubeconfig"] {
            assert!(told.contains(word), "{word}: {told}");
        }
    }
}
