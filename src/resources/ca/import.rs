//! Takes a CA that exists into Terraform: by the store of its root, or by a `cacerts` Secret whose root is then one
//! that was brought.

use std::collections::BTreeMap;

use super::model::{Ca, ClusterCa, Root, Store};
use super::secret::{CACERTS, CaCerts};
use super::spec::StoreRef;
use super::{Cx, Home, Identity, gather, home, memory, report, roots};
use crate::cluster::{Cluster, FIELD_MANAGER, INSTANCE_ANNOTATION, Kind, OWNER_LABEL, Object, Query, is_managed_by};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::Import;
use crate::kept::converge;
use crate::kept::instance::{Instance, Place};
use crate::pki::Certificate;
use crate::resources::client;
use crate::resources::parsing;
use crate::schema::Model;
use crate::value::{Dyn, Value};

const SYSTEM_NAMESPACE: &str = "istio-system";

pub async fn import(cx: &mut Cx, from: Import<Identity>) -> Result<Ca, Diagnostics> {
    let place = place(from)?;
    parsing::import_of(&place.namespace, &[&place.name])?;
    let cluster = client::cluster(cx, &place.cluster)?;
    let (mut state, mark) = if place.name == CACERTS {
        brought(cx, &cluster, &place).await?
    } else {
        generated(cx, &cluster, &place).await?
    };
    state.id = place.to_string().into();
    state.clusters = Value::Known(clusters(cx, &state, &place).await);
    if let Some(home) = lease(cx, &state, mark.as_deref()).await? {
        let cluster = client::cluster(cx, &home.cluster)?;
        let Home { namespace, label, .. } = &home;
        let at = Place { resource: "mesh_ca", id: state.id.text(), namespace, label };
        (cx.private.instance, state.instance) = Instance::imported(&cluster, &at).await.map_err(Diagnostic::from)?;
        cx.private.home = state.instance.is_known().then_some(home);
    }
    Ok(state)
}

/// The home of the instance with the mark that the Secret carries, whichever of its Secrets was named; else where one
/// of this id would have it.
async fn lease(cx: &Cx, state: &Ca, mark: Option<&str>) -> Result<Option<Home>, Diagnostics> {
    let usual = home::usual(state, |name| client::cluster(cx, name).is_ok());
    let Some(mark) = mark else { return Ok(usual) };
    let clusters = cx.client()?.clusters.names().map(str::to_owned).collect();
    Ok(home::find(cx, usual.as_ref(), clusters, mark).await?.or(usual))
}

fn place(from: Import<Identity>) -> Result<StoreRef, Diagnostic> {
    let id = match from {
        Import::Id(id) => id,
        Import::Identity(identity) => {
            let namespace = identity.namespace.as_deref().unwrap_or("mesh-root-ca");
            format!("{}/{namespace}/{}", identity.cluster.text(), identity.name.as_deref().unwrap_or("mesh-root-ca"))
        }
    };
    match id.split('/').collect::<Vec<_>>()[..] {
        [cluster, namespace, name] if !cluster.is_empty() && !namespace.is_empty() && !name.is_empty() => {
            Ok(StoreRef { cluster: cluster.into(), namespace: namespace.into(), name: name.into() })
        }
        _ => Err(Diagnostic::error("Not an import id of mesh_ca").detail(format!(
            "{id:?} does not read as `cluster/namespace/name` of the Secret that holds the root, such as `east/mesh-root-ca/mesh-root-ca`, or of a `cacerts` Secret, such as `east/istio-system/cacerts`."
        ))),
    }
}

/// A root that this provider generated, and the mark of its Secret.
async fn generated(cx: &mut Cx, cluster: &Cluster, place: &StoreRef) -> Result<(Ca, Option<String>), Diagnostics> {
    let Some(kept) = gather::store(cluster, place).await? else {
        return Err(nothing(place).into());
    };
    let store = &kept.roots;
    store.check().map_err(|why| memory::damaged(&why, place))?;
    let Some((generation, newest)) = store.0.last_key_value() else {
        return Err(Diagnostic::error("Not the store of a root")
            .detail(format!("The Secret {place} holds no root."))
            .into());
    };
    let mut state = Ca {
        root: Value::Known(Root {
            store: Value::Known(Store {
                cluster: place.cluster.as_str().into(),
                namespace: place.namespace.as_str().into(),
                name: place.name.as_str().into(),
                readable_by_watchers: readable(cluster).await?.then_some(true).into(),
            }),
            generation: (*generation).into(),
            ..root_like(&newest.certificate)
        }),
        ..defaults()
    };
    report::root(&mut state, &newest.certificate);
    cx.private.note_store(store);
    cx.private.accepted = Some(cx.private.roots.values().cloned().collect());
    cx.warn(roots::taken_over(place, &kept));
    Ok((state, kept.mark))
}

/// Whether the tokens of watchers reach the store already: what is so is not made an error by an import.
async fn readable(cluster: &Cluster) -> Result<bool, Diagnostics> {
    let roles = match cluster.list(&Query::owned(Kind::CLUSTER_ROLE, "")).await {
        Ok(roles) => roles,
        Err(error) if error.is_forbidden() => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let of_reader = |role: &&Object| {
        role.label(OWNER_LABEL).is_some_and(|owner| owner.starts_with("mesh_remote_cluster."))
            && role.items("rules").iter().any(|rule| {
                let resources = rule.get("resources").and_then(|resources| resources.as_array());
                resources.is_some_and(|resources| resources.iter().any(|resource| resource == "secrets"))
            })
    };
    Ok(roles.iter().any(|role| of_reader(&role)))
}

/// A `cacerts` Secret, whoever wrote it, and its mark.
async fn brought(cx: &mut Cx, cluster: &Cluster, place: &StoreRef) -> Result<(Ca, Option<String>), Diagnostics> {
    let secret = cluster.get(&CaCerts::reference(&place.namespace)).await?;
    let Some(secret) = secret else { return Err(nothing(place).into()) };
    let held = CaCerts::read_theirs(&secret).map_err(|fault| {
        Diagnostic::error("Not a cacerts Secret this provider can take over")
            .detail(format!("The Secret {place}: {fault}."))
    })?;
    let Some(root) = held.issuer() else { return Err(nothing(place).into()) };
    let mut state =
        Ca { root: Value::Known(Root { certificate: root.to_pem().into(), ..root_like(root) }), ..defaults() };
    report::root(&mut state, root);
    // What this one Secret trusts was pointed at; whatever else other clusters trust was not.
    cx.private.accepted = Some(held.roots.fingerprints().iter().map(ToString::to_string).collect());
    Ok((state, secret.annotation(INSTANCE_ANNOTATION).map(str::to_owned)))
}

fn nothing(place: &StoreRef) -> Diagnostic {
    Diagnostic::error("Nothing to import").detail(format!("There is no Secret {place}."))
}

/// The clusters of the provider whose `cacerts` trust the root, each with the namespace of its control plane.
async fn clusters(cx: &mut Cx, state: &Ca, place: &StoreRef) -> BTreeMap<String, Value<ClusterCa>> {
    let Ok(client) = cx.client().cloned() else { return BTreeMap::new() };
    let mut found = BTreeMap::new();
    for name in client.clusters.names() {
        let Ok(cluster) = client::cluster(cx, name) else { continue };
        let namespaces = match place.name == CACERTS {
            true => vec![place.namespace.clone()],
            false => namespaces(cx, &cluster, place).await,
        };
        let mut trusting = Vec::new();
        for namespace in namespaces {
            if trusts(cx, &cluster, &namespace, state.root_fingerprint.text()).await {
                trusting.push(namespace);
            }
        }
        let mut trusting = trusting.into_iter();
        let Some(namespace) = trusting.next() else { continue };
        trusting.for_each(|other| cx.warn(second(name, &namespace, &other)));
        let cluster = ClusterCa { namespace: namespace.into(), generation: 1.into(), ..ClusterCa::default() };
        found.insert(name.to_owned(), Value::Known(cluster));
    }
    found
}

/// Where `cacerts` of a generated root may be: in the usual namespace, and wherever this provider has written one for
/// this CA. What only carries the label may be anybody's.
async fn namespaces(cx: &mut Cx, cluster: &Cluster, store: &StoreRef) -> Vec<String> {
    let mut namespaces = vec![SYSTEM_NAMESPACE.to_owned()];
    match cluster.list(&Query::of(Kind::SECRET).selector(OWNER_LABEL).metadata_only()).await {
        Ok(secrets) => {
            let others = secrets.iter().filter(|one| is_of(store, one)).filter_map(Object::namespace);
            namespaces.extend(others.filter(|name| *name != SYSTEM_NAMESPACE).map(str::to_owned));
            namespaces[1..].sort();
        }
        Err(error) => cx.warn(converge::stale(&error)),
    }
    namespaces
}

fn is_of(store: &StoreRef, secret: &Object) -> bool {
    let label = super::spec::label(Some(store), secret.namespace().unwrap_or_default());
    secret.name() == CACERTS && secret.label(OWNER_LABEL) == Some(&label) && is_managed_by(secret, FIELD_MANAGER)
}

async fn trusts(cx: &mut Cx, cluster: &Cluster, namespace: &str, root: &str) -> bool {
    match cluster.get(&CaCerts::reference(namespace)).await {
        Ok(None) => false,
        Ok(Some(secret)) => match CaCerts::read_theirs(&secret) {
            Ok(held) => held.roots.fingerprints().iter().any(|held| held.to_string() == root),
            Err(fault) => {
                cx.warn(Diagnostic::warning(format!("The cacerts of {} is left out", cluster.name())).detail(format!(
                    "Whether cluster {} uses this root is not known. Secret {namespace}/{CACERTS}: {fault}.",
                    cluster.name()
                )));
                false
            }
        },
        Err(error) => {
            cx.warn(converge::stale(&error));
            false
        }
    }
}

fn second(cluster: &str, taken: &str, other: &str) -> Diagnostic {
    Diagnostic::warning(format!("A second cacerts of {cluster} is left out")).detail(format!(
        "The Secrets {taken}/{CACERTS} and {other}/{CACERTS} trust this root. A CA serves one namespace of a cluster: {taken} is imported. For the other, use a `mesh_ca` of its own."
    ))
}

/// Attributes of a root that its certificate shows.
fn root_like(certificate: &Certificate) -> Root {
    let mut root: Root = with_defaults();
    if let Some(name) = certificate.common_name() {
        root.common_name = name.into();
    }
    if let Some(organization) = certificate.organization() {
        root.organization = organization.into();
    }
    let kind = certificate.key_kind().to_string();
    if crate::pki::KeyAlgorithm::from_name(&kind).is_some() {
        root.algorithm = kind.into();
    }
    root
}

fn defaults() -> Ca {
    with_defaults()
}

/// A model with the defaults of its attributes.
fn with_defaults<M: Model>() -> M {
    let attributes =
        M::attributes().into_iter().map(|attribute| (attribute.name, attribute.default.unwrap_or(Dyn::Null)));
    M::decode(&Dyn::Object(attributes.collect())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;
    use crate::pki::Subject;

    #[test]
    fn a_root_is_imported_with_the_commas_of_its_names() {
        let subject = Subject {
            organization: Some("Acme, Inc.".into()),
            common_name: "Root, O=of all, CN=1".into(),
            locality: None,
        };
        let root = root_like(&fixtures::root_of(subject).certificate);
        assert_eq!(root.organization.as_deref(), Some("Acme, Inc."));
        assert_eq!(root.common_name.as_deref(), Some("Root, O=of all, CN=1"));
    }
}
