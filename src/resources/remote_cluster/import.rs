//! Import: finds the remote secrets that describe a cluster, whoever made them, and rebuilds the configuration from
//! what they say.

use std::collections::BTreeMap;

use super::build::{self, Charts};
use super::model::{DEFAULT_LIFETIME, LinkToken, RemoteCluster, Renewal, Token};
use super::renewal;
use super::secret;
use super::spec::Spec;
use super::{Cx, Identity, derive_names, gather};
use crate::cluster::{Cluster, Error, Kind, Object, ObjectRef, Query, without_user_info};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::Import;
use crate::kept::memory::Memory;
use crate::kept::read;
use crate::kept::telling::{self, Unrendered};
use crate::kept::told::Answers;
use crate::mesh::{
    CONFIG_SECRET, CONTROL_PLANE_CLUSTERS_ANNOTATION, Credential, MULTI_CLUSTER_LABEL, NETWORK_LABEL,
    ParsedRemoteSecret, ServerUrl,
};
use crate::resources::charts;
use crate::resources::client;
use crate::resources::keeping;
use crate::resources::parsing;
use crate::value::{Map, Value};

pub async fn import(cx: &mut Cx, from: Import<Identity>) -> Result<RemoteCluster, Diagnostics> {
    let Target { cluster, namespace, id } = target(from)?;
    parsing::import_of(&namespace, &[])?;
    let mut model = RemoteCluster {
        cluster: cluster.clone().into(),
        namespace: namespace.clone().into(),
        cluster_name: id.clone().into(),
        mode: "peer".into(),
        service_account: "istio-mesh-reader".into(),
        allow_loopback_server: false.into(),
        read_secrets: true.into(),
        export_services: false.into(),
        adopt: false.into(),
        force_conflicts: false.into(),
        wait: true.into(),
        skip_unreachable_on_destroy: false.into(),
        ..RemoteCluster::default()
    };
    let Search { found, external } = search(cx, &cluster, &namespace, &id).await?;
    if found.is_empty() {
        return Err(Diagnostic::error("No remote secret describes this cluster")
            .detail(format!(
                "No cluster of the provider has, in namespace {namespace}, a Secret with the label {MULTI_CLUSTER_LABEL}=\"true\" and the data key {id:?}. The id is of the form \
                 `cluster/namespace/cluster_name`; the last part is the name by which Istio knows the cluster."
            ))
            .into());
    }
    describe(cx, &mut model, &found);
    if let [(kept_in, runs_in)] = found.keys().filter_map(|name| external.get_key_value(name)).collect::<Vec<_>>()[..] {
        model.config_cluster = kept_in.clone().into();
        model.watchers = Value::Known(std::iter::once(runs_in.clone()).collect());
    }
    mode(cx, &mut model).await?;
    derive_names(&mut model);
    model.read_secrets = reads_secrets(cx, &model).await?.into();
    users(cx, &mut model).await?;
    token(cx, &mut model).await?;
    unsay_defaults(cx, &mut model).await?;
    (model.sync, model.tokens) = (Value::Known(Map::new()), Value::Known(Map::new()));
    let watched = client::cluster(cx, model.cluster.text())?;
    match keeping::imported(cx, &watched, &mut model).await {
        Ok(()) => {}
        Err(error) if error.is_unreachable() || error.is_not_configured() => {}
        Err(error) => return Err(error.into()),
    }
    record(cx, &mut model).await?;
    Ok(model)
}

/// Whether watchers may read the cluster's Secrets by the reader that this provider would use; without one, as Istio's
/// own may. Taking a link over gives and takes no right.
async fn reads_secrets(cx: &Cx, model: &RemoteCluster) -> Result<bool, Diagnostics> {
    let Some(spec) = Spec::parse(model)?.filter(|_| model.mode.as_deref() != Some("config")) else { return Ok(true) };
    let watched = client::cluster(cx, model.cluster.text())?;
    let role = ObjectRef::cluster(Kind::CLUSTER_ROLE, spec.reader.cluster_role_name());
    match watched.get(&role).await {
        Ok(Some(role)) => {
            let named = |rule: &serde_json::Value| {
                let resources = rule.get("resources").and_then(|resources| resources.as_array());
                resources
                    .is_some_and(|resources| resources.iter().any(|resource| resource == "secrets" || resource == "*"))
            };
            Ok(role.items("rules").iter().any(named))
        }
        Ok(None) => Ok(true),
        Err(error) if error.is_unreachable() || error.is_not_configured() || error.is_forbidden() => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// To whom the reader's rights are bound, where istiods log in by tokens of their own: what differs from the usual
/// name, of the watcher that it names.
async fn users(cx: &Cx, model: &mut RemoteCluster) -> Result<(), Diagnostics> {
    let Some(spec) = Spec::parse(model)? else { return Ok(()) };
    let (Some(own), Value::Known(link_token)) = (&spec.link_token, &mut model.link_token) else { return Ok(()) };
    let watched = client::cluster(cx, model.cluster.text())?;
    let binding = ObjectRef::cluster(Kind::CLUSTER_ROLE_BINDING, spec.reader.cluster_role_name());
    let binding = match watched.get(&binding).await {
        Ok(binding) => binding,
        Err(error) if error.is_unreachable() || error.is_not_configured() || error.is_forbidden() => None,
        Err(error) => return Err(error.into()),
    };
    let subjects = binding.as_ref().map(|binding| binding.items("subjects")).unwrap_or_default();
    let bound: Vec<&str> = subjects.iter().filter_map(|subject| subject.get("name")?.as_str()).collect();
    let strange: Vec<&&str> = bound.iter().filter(|name| !own.users.values().any(|user| user == **name)).collect();
    let unbound: Vec<&String> =
        own.users.iter().filter(|(_, user)| !bound.contains(&user.as_str())).map(|(name, _)| name).collect();
    // Which of several is whose is not written anywhere.
    if let ([name], [watcher]) = (strange.as_slice(), unbound.as_slice()) {
        link_token.users = Value::Known([((*watcher).clone(), Value::Known((**name).to_owned()))].into());
    }
    Ok(())
}

/// Whether a job in the first watcher renews its token, and in which image.
async fn token(cx: &mut Cx, model: &mut RemoteCluster) -> Result<(), Diagnostics> {
    let Some(watcher) = model.watchers.items().next().filter(|_| model.link_token.is_null()).cloned() else {
        return Ok(());
    };
    let Some(spec) = Spec::parse(model)?.filter(|spec| !spec.is_config_cluster()) else { return Ok(()) };
    let found = renewal::found(&client::cluster(cx, &watcher)?, &spec).await;
    match found {
        Ok(Some(image)) => {
            let renewal = Renewal { image: image.into() };
            model.token = Token {
                lifetime: DEFAULT_LIFETIME.into(),
                long_lived: false.into(),
                rotate_on_affected_versions: false.into(),
                renewal: renewal.into(),
                ..Token::default()
            }
            .into();
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(error) if error.is_unreachable() || error.is_not_configured() || error.is_forbidden() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What the resource would find out by itself need not stand in the configuration.
async fn unsay_defaults(cx: &mut Cx, model: &mut RemoteCluster) -> Result<(), Diagnostics> {
    let watched = client::cluster(cx, model.cluster.text())?;
    let own = watched.endpoint().await.ok().map(|endpoint| endpoint.server);
    if own.as_deref().map(|own| own.trim_end_matches('/'))
        == model.server.as_deref().map(|told| told.trim_end_matches('/'))
    {
        model.server = Value::Null;
    }
    match gather::cluster_authority(&watched).await {
        Ok(Some(pem))
            if model.certificate_authority_fingerprint.as_deref() == Some(secret::fingerprint(&pem).as_str()) =>
        {
            model.certificate_authority = Value::Null;
            cx.private.authority = Some(secret::fingerprint(&pem));
        }
        Ok(_) => {}
        Err(error) if error.is_unreachable() || error.is_not_configured() || error.is_forbidden() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Which of the objects that this configuration wants are there, with their live fields: the plan then shows what
/// differs.
async fn record(cx: &mut Cx, model: &mut RemoteCluster) -> Result<(), Diagnostics> {
    (model.objects, model.changes) = (Value::Known(Map::new()), Value::Known(Map::new()));
    let Some(spec) = Spec::parse(model)? else { return Ok(()) };
    let mut charts = match spec.remote {
        Some(_) => match super::charts(cx, model).await {
            Ok(charts) => Some(charts),
            Err(unavailable) => match charts::without_chart::<Charts, _, _>(cx, unavailable)? {
                Some(charts) => Some(charts),
                None => return Ok(()),
            },
        },
        None => None,
    };
    let watched = client::cluster(cx, model.cluster.text())?;
    let asks = charts.as_ref().map(|charts| charts.asks(&spec)).unwrap_or_default();
    let rendered = match telling::to_apply(&mut cx.private.memory, &watched, asks).await {
        Ok(told) => {
            let told = keeping::for_call(cx, told);
            let render = |told: &Answers| {
                charts.iter_mut().for_each(|charts| charts.told.clone_from(told));
                build::wanted(&spec, charts.as_ref())
            };
            telling::rendered(&mut cx.private.memory, &watched, told, render).await
        }
        Err(error) => Err(Unrendered::Unanswered(error)),
    };
    let recorded = match rendered {
        Ok(wanted) => wanted.recorded(),
        Err(Unrendered::Unanswered(error)) if error.is_unreachable() || error.is_not_configured() => return Ok(()),
        Err(error) => return Err(error.diagnostic().into()),
    };
    match read::live(&watched, &recorded, &Memory::default()).await {
        Ok(live) => {
            let seen = recorded.seen(&live, &Memory::default()).0;
            model.objects = cx.private.memory.record(&seen);
            Ok(())
        }
        Err(error) if error.is_unreachable() || error.is_not_configured() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

struct Target {
    cluster: String,
    namespace: String,
    id: String,
}

fn target(from: Import<Identity>) -> Result<Target, Diagnostics> {
    let (cluster, namespace, id) = match from {
        Import::Identity(identity) => {
            (identity.cluster.or_default(), identity.namespace.or_default(), identity.cluster_name.or_default())
        }
        Import::Id(id) => match id.split('/').collect::<Vec<_>>()[..] {
            [cluster] => (cluster.to_owned(), String::new(), String::new()),
            [cluster, namespace] => (cluster.to_owned(), namespace.to_owned(), String::new()),
            [cluster, namespace, id] => (cluster.to_owned(), namespace.to_owned(), id.to_owned()),
            _ => {
                let detail = format!(
                    "{id:?} is not of the form `cluster/namespace/cluster_name`, such as `east/istio-system/east`."
                );
                return Err(Diagnostic::error("Not an id of a watched cluster").detail(detail).into());
            }
        },
    };
    let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
    Ok(Target { namespace: or(namespace, "istio-system"), id: or(id, &cluster), cluster })
}

/// What a watcher has of the cluster.
struct FoundSecret {
    secret_name: String,
    told: ParsedRemoteSecret,
}

/// What is known of a cluster in the others.
#[derive(Default)]
struct Search {
    /// The Secrets that describe it, by the cluster that has them.
    found: BTreeMap<String, FoundSecret>,
    /// Of each cluster that an external control plane reads its configuration from, by its id: the cluster that one
    /// runs in.
    external: BTreeMap<String, String>,
}

/// Looks into every cluster of the provider but the watched one.
async fn search(cx: &mut Cx, watched: &str, namespace: &str, id: &str) -> Result<Search, Diagnostics> {
    let names: Vec<String> = cx.client()?.clusters.names().filter(|name| *name != watched).map(str::to_owned).collect();
    let query = Query::of(Kind::SECRET).namespace(namespace).label(MULTI_CLUSTER_LABEL, "true");
    let config = ObjectRef::namespaced(Kind::SECRET, namespace, CONFIG_SECRET);
    let mut search = Search::default();
    for name in names {
        let cluster = client::cluster(cx, &name)?;
        let looked = async { tokio::try_join!(cluster.list(&query), cluster.get(&config)) };
        let (secrets, config) = match looked.await {
            Ok(looked) => looked,
            Err(error) if error.is_unreachable() || error.is_not_configured() => {
                cx.warn(unseen(&name, &error));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let secret = secrets.iter().chain(&config).find_map(|secret| describing(secret, id));
        let read_from = config.and_then(|config| ParsedRemoteSecret::from_config_object(config.value()).ok());
        search.external.extend(read_from.map(|(other, _)| (other, name.clone())));
        search.found.extend(secret.map(|secret| (name, secret)));
    }
    Ok(search)
}

fn describing(secret: &Object, id: &str) -> Option<FoundSecret> {
    let told = secret::described(secret, id)?;
    Some(FoundSecret { secret_name: secret.name().to_owned(), told })
}

fn unseen(cluster: &str, error: &Error) -> Diagnostic {
    Diagnostic::warning("A cluster could not be read").detail(format!(
        "Whether cluster {cluster} is a watcher is not known: {error}. If it is, add it to `watchers` once it answers."
    ))
}

fn describe(cx: &mut Cx, model: &mut RemoteCluster, found: &BTreeMap<String, FoundSecret>) {
    model.watchers = Value::Known(found.keys().cloned().collect());
    let Some(first) = found.values().next() else { return };
    model.secret_name = first.secret_name.clone().into();
    let told = &first.told;
    let server_url = without_user_info(&told.server);
    model.server = server_url.clone().into();
    if let Ok(server) = ServerUrl::parse(&server_url) {
        model.allow_loopback_server = server.reachable_from_elsewhere().is_err().into();
    }
    model.certificate_authority = told.certificate_authority.clone().into();
    model.tls_server_name = told.tls_server_name.clone().into();
    let proxy_url = told.proxy_url.as_deref().map(without_user_info);
    if proxy_url != told.proxy_url {
        cx.warn(Diagnostic::warning("The proxy's password is left out").at("proxy_url").detail(
            "The remote secret has a user and a password in the URL of its proxy. State and plans would show them, so the first apply writes the URL without. Let the proxy take the watchers by their address before that, or keep this remote secret out of Terraform.",
        ));
    }
    model.proxy_url = proxy_url.into();
    if let Credential::Own(audience) = &told.credential {
        model.link_token = LinkToken { audience: audience.as_str().to_owned().into(), ..LinkToken::default() }.into();
    }
    model.server_url = server_url.clone().into();
    model.certificate_authority_fingerprint = told.certificate_authority.as_deref().map(secret::fingerprint).into();
    for (watcher, other) in found.iter().skip(1) {
        let same = other.secret_name == first.secret_name && other.told.server == told.server;
        if !same {
            cx.warn(Diagnostic::warning("Watchers differ").at("watchers").detail(format!(
                "Cluster {watcher} has the Secret {}, pointing to {}; others have {}, pointing to {}. The first apply makes them alike.",
                other.secret_name, without_user_info(&other.told.server), first.secret_name, server_url
            )));
        }
    }
}

/// A cluster that an istiod mounts the kubeconfig of is its configuration cluster; one whose namespace names its
/// control planes is a remote.
async fn mode(cx: &mut Cx, model: &mut RemoteCluster) -> Result<(), Diagnostics> {
    let watched = client::cluster(cx, model.cluster.text())?;
    let reference = ObjectRef::cluster(Kind::NAMESPACE, model.namespace.text());
    let namespace = match watched.get(&reference).await {
        Ok(namespace) => namespace,
        Err(error) if error.is_unreachable() || error.is_not_configured() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let Some(namespace) = namespace else { return Ok(()) };
    match namespace.annotation(CONTROL_PLANE_CLUSTERS_ANNOTATION) {
        _ if model.secret_name.text() == CONFIG_SECRET => model.mode = "config".into(),
        Some(serving) => {
            model.mode = "remote".into();
            model.control_plane = serving.split(',').next().map(str::to_owned).into();
        }
        None => return Ok(()),
    }
    model.network = namespace.label(NETWORK_LABEL).map(str::to_owned).into();
    remote_profile(cx, &watched, model).await
}

/// What the remote profile's Service for istiod tells: revision, version of the charts, and the address, which is an
/// endpoint or a name.
async fn remote_profile(cx: &mut Cx, watched: &Cluster, model: &mut RemoteCluster) -> Result<(), Diagnostics> {
    let namespace = model.namespace.text().to_owned();
    let query = Query::of(Kind::SERVICE).namespace(&namespace).label("app.kubernetes.io/name", "istiod");
    let services = watched.list(&query).await?;
    let Some(service) = services.first() else { return Ok(()) };
    let text = |text: &str| Some(text).filter(|text| !text.is_empty()).map(str::to_owned);
    let revision = service.label("istio.io/rev").filter(|revision| *revision != "default");
    model.revision = revision.map(str::to_owned).into();
    cx.private.chart_version =
        service.label("helm.sh/chart").and_then(|chart| chart.strip_prefix("istiod-")).map(str::to_owned);
    let slice = ObjectRef::namespaced(Kind::ENDPOINT_SLICE, namespace, service.name());
    let slice = watched.get(&slice).await?;
    let endpoint = slice.as_ref().and_then(|slice| text(slice.str("endpoints.0.addresses.0")));
    model.control_plane_address = endpoint.or_else(|| text(service.str("spec.externalName"))).into();
    Ok(())
}
