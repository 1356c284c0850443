//! Finds the links between the provider's clusters, for `terraform query`: the remote secrets and kubeconfigs that
//! istiods watch others by, whoever made them.
//!
//! A remote secret names a cluster by Istio's id and by the address of its API server. Which of the provider's clusters
//! that is, these two tell.

use std::collections::{BTreeMap, BTreeSet};

use super::{Identity, MeshRemoteCluster};
use crate::cluster::{Kind, Object, Query as Lookup};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::{Ctx, Found, FoundObject, Listable, Query};
use crate::mesh::{CONFIG_SECRET, MULTI_CLUSTER_LABEL, ParsedRemoteSecret, is_external};
use crate::model;
use crate::resources::client::Client;
use crate::resources::listing;
use crate::value::Value;

model! {
    /// Finds watched clusters, for `terraform query`: every cluster of the provider that the istiods of others watch by
    /// a remote secret or, for an external control plane, by a kubeconfig, whoever made these. All clusters are looked
    /// into, as a link is told by those that watch.
    pub struct Links {
        /// Only this watched cluster, a key of the provider's `clusters`.
        #[attr(optional, validate(non_empty()))]
        pub cluster: Value<String>,
        /// Only those that this cluster watches, a key of the provider's `clusters`.
        #[attr(optional, validate(non_empty()))]
        pub watcher: Value<String>,
        /// Only those whose remote secrets are in this namespace.
        #[attr(optional, validate(dns_label()))]
        pub namespace: Value<String>,
        /// `true`: only those with a remote secret that carries this provider's label, whichever state it is in.
        /// `false`: all others, such as istioctl's.
        #[attr(optional)]
        pub managed: Value<bool>,
    }
}

impl Listable for MeshRemoteCluster {
    type Query = Links;

    async fn list(
        &self,
        cx: &mut Ctx<Client>,
        query: Query<Links>,
        found: &mut Found<Self>,
    ) -> Result<(), Diagnostics> {
        let asked = &query.config;
        listing::known(cx, &asked.cluster, "cluster")?;
        let watchers = listing::clusters(cx, &asked.watcher, "watcher")?;
        let links = search(cx, &watchers, &asked.namespace).await?;
        for (place, link) in links {
            let is_asked_for = listing::is(&asked.cluster, &place.cluster)
                && asked.managed.get().is_none_or(|managed| managed == link.managed);
            if is_asked_for && !found.push(watched(place, &link)).await {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The links of these watchers; what cannot be told of them is said. Whose a link is, the istiods of all clusters tell.
async fn search(
    cx: &mut Ctx<Client>,
    watchers: &[String],
    namespace: &Value<String>,
) -> Result<BTreeMap<Place, Link>, Diagnostics> {
    let secrets = |query: Lookup| listing::within(query, namespace);
    let istiods = Lookup::of(Kind::DEPLOYMENT).label("app", "istiod");
    let linked = [
        secrets(Lookup::of(Kind::SECRET).label(MULTI_CLUSTER_LABEL, "true")),
        secrets(Lookup::of(Kind::SECRET).field("metadata.name", CONFIG_SECRET)),
        istiods.clone(),
    ];
    let mut seen = listing::search(cx, watchers, &linked).await?;
    let others: Vec<String> = cx
        .client()?
        .clusters
        .names()
        .filter(|name| !watchers.iter().any(|one| one == name))
        .map(str::to_owned)
        .collect();
    seen.extend(listing::search(cx, &others, &[istiods]).await?);
    let (links, strangers) = links(&seen, &Names::of(cx, &seen).await?);
    strangers.into_iter().for_each(|stranger| cx.warn(stranger));
    Ok(links)
}

/// The clusters of the provider that remote secrets in a namespace describe by this id.
pub async fn described_as(cx: &mut Ctx<Client>, namespace: &str, id: &str) -> Result<BTreeSet<String>, Diagnostics> {
    let names = listing::clusters(cx, &Value::Null, "cluster")?;
    let links = search(cx, &names, &namespace.into()).await?;
    let about = links.into_keys().filter(|place| place.namespace == namespace && place.id == id);
    Ok(about.map(|place| place.cluster).collect())
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    cluster: String,
    namespace: String,
    id: String,
}

#[derive(Default)]
struct Link {
    watchers: Vec<String>,
    managed: bool,
}

/// What tells the provider's clusters apart.
#[derive(Default)]
struct Names {
    /// API servers as the provider dials them, by key.
    servers: BTreeMap<String, String>,
    /// Keys by the id that the istiod there goes by.
    ids: BTreeMap<String, String>,
    /// Clusters whose istiods could not be asked for theirs.
    silent: BTreeSet<String>,
}

impl Names {
    async fn of(cx: &Ctx<Client>, seen: &BTreeMap<String, Vec<Object>>) -> Result<Names, Diagnostics> {
        let client = cx.client()?;
        let mut names = Names::default();
        for name in client.clusters.names() {
            // A cluster whose entry cannot be read was told of by the search.
            let Ok(cluster) = client.clusters.cluster(name) else { continue };
            let server = cluster.endpoint().await.map(|endpoint| endpoint.server).unwrap_or_default();
            names.servers.insert(name.to_owned(), server);
        }
        names.silent = client.clusters.names().filter(|name| !seen.contains_key(*name)).map(str::to_owned).collect();
        for (name, objects) in seen {
            let own = objects.iter().filter(|one| one.kind() == "Deployment" && !is_external(one.value()));
            names.ids.extend(own.filter_map(cluster_id).map(|id| (id, name.clone())));
        }
        Ok(names)
    }

    /// The key of the cluster that a remote secret describes: by its address, which only one cluster has, then by the
    /// id that its own istiod goes by, then by its name.
    fn key(&self, id: &str, server: Option<&str>) -> Option<String> {
        let bare = |server: &str| server.trim_end_matches('/').to_owned();
        let server = server.map(bare).filter(|server| !server.is_empty());
        let mut there = self.servers.iter().filter(|(_, known)| Some(bare(known)) == server).map(|(name, _)| name);
        if let (Some(only), None) = (there.next(), there.next()) {
            return Some(only.clone());
        }
        self.ids.get(id).cloned().or_else(|| self.servers.contains_key(id).then(|| id.to_owned()))
    }
}

fn cluster_id(istiod: &Object) -> Option<String> {
    let containers = istiod.items("spec.template.spec.containers").iter();
    let mut env = containers.filter_map(|container| container["env"].as_array()).flatten();
    Some(env.find(|entry| entry["name"] == "CLUSTER_ID")?["value"].as_str()?.to_owned())
}

/// The links by what is watched, and a word on each cluster that is watched and not the provider's.
fn links(seen: &BTreeMap<String, Vec<Object>>, names: &Names) -> (BTreeMap<Place, Link>, Vec<Diagnostic>) {
    let (mut links, mut strangers) = (BTreeMap::<Place, Link>::new(), Vec::new());
    for (watcher, objects) in seen {
        for secret in objects.iter().filter(|object| object.kind() == "Secret") {
            for (id, server) in described(secret) {
                let namespace = secret.namespace().unwrap_or_default().to_owned();
                let Some(cluster) = names.key(&id, server.as_deref()) else {
                    strangers.push(stranger(watcher, secret, &id, &names.silent));
                    continue;
                };
                let link = links.entry(Place { cluster, namespace, id }).or_default();
                link.watchers.push(watcher.clone());
                link.managed |= listing::chosen(secret, &true.into());
            }
        }
    }
    (links, strangers)
}

/// The clusters that a Secret describes, and where their API servers are, where that can be read.
fn described(secret: &Object) -> Vec<(String, Option<String>)> {
    if secret.name() == CONFIG_SECRET {
        let read = ParsedRemoteSecret::from_config_object(secret.value()).ok();
        return read.into_iter().map(|(id, told)| (id, Some(told.server))).collect();
    }
    let read = ParsedRemoteSecret::from_object(secret.value()).unwrap_or_default();
    read.into_iter().map(|(id, told)| (id.to_string(), told.ok().map(|told| told.server))).collect()
}

fn stranger(watcher: &str, secret: &Object, id: &str, silent: &BTreeSet<String>) -> Diagnostic {
    let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name());
    let described = format!("The Secret {namespace}/{name} of cluster {watcher} describes a cluster by the id {id}.");
    if !silent.is_empty() {
        let silent = silent.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Diagnostic::warning(format!("Which cluster {watcher} watches as {id} is not known")).detail(format!(
            "{described} No entry of `clusters` has that key or its API server's address. An istiod of that id may run in {silent}, which could not be searched. \
             Search again when all clusters answer. If none of them has it, add the cluster to the provider block."
        ));
    }
    Diagnostic::warning(format!("{watcher} watches a cluster that is not the provider's")).detail(format!(
        "{described} No entry of `clusters` has that key, its API server's address, or an istiod of that id. \
         Add the cluster to the provider block, and search again."
    ))
}

fn watched(place: Place, link: &Link) -> FoundObject<MeshRemoteCluster> {
    let Place { cluster, namespace, id } = place;
    let by = if link.managed { ", by this provider" } else { "" };
    FoundObject {
        name: format!("{cluster}/{namespace}/{id}, watched by {}{by}", link.watchers.join(", ")),
        identity: Identity { cluster: cluster.into(), namespace: namespace.into(), cluster_name: id.into() },
        warnings: Diagnostics::new(),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

    fn secret(id: &str, server: &str) -> Object {
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {id}\nclusters:\n- name: {id}\n  cluster: {{server: \"{server}\"}}\ncontexts:\n- name: {id}\n  context: {{cluster: {id}, \
             user: {id}}}\nusers:\n- name: {id}\n  user: {{token: secret-token}}\n"
        );
        let metadata = json!({"name": format!("istio-remote-secret-{id}"), "namespace": "istio-system"});
        let data = json!({ id: STANDARD.encode(kubeconfig) });
        Object::new(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})).unwrap()
    }

    fn istiod(id: &str) -> Object {
        let container = json!({"name": "discovery", "env": [{"name": "CLUSTER_ID", "value": id}]});
        let spec = json!({"template": {"spec": {"containers": [container]}}});
        let metadata = json!({"name": "istiod", "namespace": "istio-system"});
        Object::new(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})).unwrap()
    }

    fn text(map: &[(&str, &str)]) -> BTreeMap<String, String> {
        map.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_watched_cluster_is_known_by_its_address_its_id_or_its_name_in_this_order() {
        let names = Names {
            servers: text(&[("east", "https://a:6443"), ("west", "https://b:6443/"), ("west-2", "https://c")]),
            ids: text(&[("prod-west", "west")]),
            ..Names::default()
        };
        let key = |id: &str, server: &str| names.key(id, Some(server));
        assert_eq!(key("west", "https://a:6443/").as_deref(), Some("east"), "the address counts, whatever the id");
        assert_eq!(key("prod-west", "https://elsewhere").as_deref(), Some("west"));
        assert_eq!(key("west-2", "https://elsewhere").as_deref(), Some("west-2"));
        assert_eq!(key("north", "https://elsewhere"), None);
        let shared = Names { servers: text(&[("a", "https://front"), ("b", "https://front")]), ..Names::default() };
        assert_eq!(shared.key("b", Some("https://front")).as_deref(), Some("b"), "an address of two tells nothing");
    }

    #[test]
    fn links_are_one_for_each_watched_cluster_and_tell_no_token() {
        let seen = BTreeMap::from([
            (
                "east".to_owned(),
                vec![istiod("east"), secret("prod-west", "https://127.0.0.1"), secret("gone", "https://d")],
            ),
            ("north".to_owned(), vec![secret("prod-west", "https://127.0.0.1")]),
            ("west".to_owned(), vec![istiod("prod-west"), secret("east", "https://a")]),
        ]);
        let names = Names {
            servers: text(&[("east", "https://a"), ("north", "https://n"), ("west", "https://b")]),
            ids: text(&[("east", "east"), ("prod-west", "west")]),
            ..Names::default()
        };
        let told_of = |names: &Names| links(&seen, names).1;
        let silent =
            Names { silent: ["south".to_owned()].into(), ids: names.ids.clone(), servers: names.servers.clone() };
        let unknown = told_of(&silent);
        assert!(unknown[0].summary.contains("east watches as gone is not known"), "{unknown:?}");
        assert!(unknown[0].detail.contains("may run in south"), "{unknown:?}");
        let (links, strangers) = links(&seen, &names);
        let told: Vec<String> = links.into_iter().map(|(place, link)| watched(place, &link).name).collect();
        assert_eq!(
            told,
            ["east/istio-system/east, watched by west", "west/istio-system/prod-west, watched by east, north"]
        );
        let [stranger] = &strangers[..] else { panic!("{strangers:?}") };
        assert!(stranger.detail.contains("istio-remote-secret-gone of cluster east"), "{}", stranger.detail);
        assert!(!format!("{told:?}{}", stranger.detail).contains("secret-token"));
    }
}
