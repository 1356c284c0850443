//! The plan: which watchers are linked anew, which are left alone. Decided from configuration and from what the last
//! refresh wrote down, never from a clock or a cluster.

use super::build::{self, Charts};
use super::credential::Condition;
use super::equality;
use super::gather;
use super::model::{RemoteCluster, Sync, TokenState};
use super::neighbours;
use super::policies;
use super::secret;
use super::spec::{Spec, TokenSpec};
use super::state;
use super::{Cx, derive_names};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::Plan;
use crate::istiod;
use crate::kept::told::Answers;
use crate::mesh::{Pending, ServedBy, WatchedCluster};
use crate::resources::absent;
use crate::resources::charts;
use crate::resources::client;
use crate::resources::keeping;
use crate::schema::validate::parse_duration;
use crate::value::{Map, Value};

pub async fn plan(cx: &mut Cx, plan: &mut Plan<'_, RemoteCluster>) -> Result<(), Diagnostics> {
    // A name that another resource has yet to give is not the cluster's key.
    if !plan.config.cluster_name.is_unknown() {
        derive_names(&mut plan.planned);
    }
    check_clusters(cx, &plan.planned)?;
    keeping::begin(cx, plan)?;
    let spec = Spec::parse(&plan.planned)?;
    let Some(spec) = spec else {
        cx.client()?.walk.pending(Pending::Remote(plan.planned.cluster.text().to_owned()));
        let planned = &mut plan.planned;
        (planned.objects, planned.changes) = (Value::Unknown, Value::Unknown);
        (planned.sync, planned.tokens, planned.token_expires_at) = (Value::Unknown, Value::Unknown, Value::Unknown);
        (planned.server_url, planned.certificate_authority_fingerprint) = (Value::Unknown, Value::Unknown);
        planned.renew_within = Value::Unknown;
        return Ok(());
    };
    declare(cx, plan, &spec).await?;
    objects(cx, plan, &spec).await?;
    endpoint(cx, plan, &spec).await?;
    links(cx, plan, &spec);
    let kept = plan.prior.filter(|prior| prior.token == plan.planned.token && !prior.renew_within.is_null());
    let kept = kept.filter(|_| spec.link_token.is_none());
    plan.planned.renew_within = kept.map_or_else(|| spec.renew_within().into(), |prior| prior.renew_within.clone());
    let found = plan.prior.filter(|_| cx.private.instance.imported).and_then(|prior| as_found(&plan.planned, prior));
    if let Some(found) = found {
        cx.warn(stays(&found));
        plan.planned = found;
    }
    Ok(())
}

/// What others made stays as an import found it while the configuration says just that and does not ask to take it
/// over; then this is the plan.
fn as_found(planned: &RemoteCluster, prior: &RemoteCluster) -> Option<RemoteCluster> {
    let foreign = |token: &TokenState| token.condition.as_deref() == Some(Condition::Foreign.as_str());
    let others = prior.tokens.keys().next().is_some() && prior.tokens.entries().all(|(_, token)| foreign(token));
    let asks_for_it = planned.adopt.get() == Some(true);
    let found = RemoteCluster {
        server_url: prior.server_url.clone(),
        certificate_authority_fingerprint: prior.certificate_authority_fingerprint.clone(),
        sync: prior.sync.clone(),
        tokens: prior.tokens.clone(),
        token_expires_at: prior.token_expires_at.clone(),
        renew_within: prior.renew_within.clone(),
        objects: prior.objects.clone(),
        changes: prior.changes.clone(),
        ..planned.clone()
    };
    (others && !asks_for_it && found == *prior).then_some(found)
}

fn stays(found: &RemoteCluster) -> Diagnostic {
    let watchers = found.tokens.keys().collect::<Vec<_>>().join(", ");
    Diagnostic::warning(format!("The link to {} stays as it was found", found.cluster.text())).at("adopt").detail(format!(
        "Others made the remote secrets by which {watchers} reads it. The link works as before, and this warning returns at each plan. This provider does not renew the tokens in those secrets, and \
         some may have no end. To take the link over, set `adopt = true`: each watcher then gets a token of this provider, which ends and is renewed in time."
    ))
}

/// What other resources contradict.
async fn declare(cx: &mut Cx, plan: &Plan<'_, RemoteCluster>, spec: &Spec) -> Result<(), Diagnostics> {
    let planned = &plan.planned;
    let served_by = spec.remote.as_ref().map(|remote| ServedBy {
        control_plane: remote.system_namespace.control_planes.first().unwrap_or(&spec.id).to_string(),
        revision: remote.data_plane.revision.as_ref().map(ToString::to_string),
    });
    let declared = WatchedCluster {
        cluster: planned.cluster.text().to_owned(),
        name: spec.id.to_string(),
        namespace: spec.namespace.to_string(),
        watchers: spec.watchers.clone(),
        served_by,
        reads_secrets: spec.reader.read_secrets,
        link_audience: spec.link_token.as_ref().map(|own| own.audience.as_str().to_owned()),
        usual_users: spec.link_token.as_ref().map(|own| own.usual.clone()).unwrap_or_default(),
        is_new: plan.prior.is_none_or(|prior| prior.read_secrets.get() != Some(spec.reader.read_secrets)),
        network: spec.remote.as_ref().and_then(|remote| remote.data_plane.network.as_ref()).map(ToString::to_string),
        stands: plan.prior.is_some(),
    };
    let named = declared.watchers.iter().map(String::as_str).chain([declared.cluster.as_str()]);
    client::tell_apart(cx, named).await;
    let mut found = cx.client()?.walk.watched(planned.id.text(), declared.clone());
    found.check()?;
    found.extend(neighbours::pod_ranges(cx, &declared, plan.prior).await);
    // These read clusters to warn, which the plan before an apply has done, and each one after it does again.
    if !cx.is_changing() {
        found.extend(policies::against(cx, &declared).await);
        found.extend(equality::against(cx, &declared).await);
    }
    found.extend(plan.prior.and_then(|prior| outdated(prior, planned)));
    for warning in found {
        cx.warn(warning);
    }
    absent::tell(cx, planned.id.text()).await?;
    Ok(())
}

/// What the proxies of a remote are given when they are injected: those that run keep it.
fn outdated(prior: &RemoteCluster, planned: &RemoteCluster) -> Option<Diagnostic> {
    let (before, after) = (&prior.network, &planned.network);
    let shown = |network: &Value<String>| network.as_deref().unwrap_or("none").to_owned();
    (before != after && !after.is_unknown()).then(|| {
        Diagnostic::warning(format!("Running Pods of {} keep what they were injected with", planned.cluster.text())).at("network").detail(format!(
            "Proxies that run keep the network {} (it becomes {}) until their Pods are restarted, and until then peers may send their calls the wrong way. After the apply restart every workload \
             with a sidecar, gateways included.",
            shown(before),
            shown(after)
        ))
    })
}

/// Names that are not among the provider's clusters, at their attribute.
fn check_clusters(cx: &Cx, planned: &RemoteCluster) -> Result<(), Diagnostics> {
    let clusters = &cx.client()?.clusters;
    let mut diagnostics = Diagnostics::new();
    let named = planned
        .cluster
        .known()
        .map(|name| (name, "cluster"))
        .into_iter()
        .chain(planned.watchers.items().map(|name| (name, "watchers")))
        .chain(planned.config_cluster.known().map(|name| (name, "config_cluster")));
    for (name, attribute) in named {
        if let Err(error) = clusters.cluster(name) {
            diagnostics.push(Diagnostic::from(&error).at(attribute));
        }
    }
    diagnostics.check()
}

async fn objects(cx: &mut Cx, plan: &mut Plan<'_, RemoteCluster>, spec: &Spec) -> Result<(), Diagnostics> {
    let unknown = cx.client()?.charts.is_open(&plan.planned.charts);
    if plan.prior.is_some() && spec.remote.is_some() {
        cx.client()?.charts.refuse_changed(cx.private.charts.as_ref(), plan.planned.charts.known()).await?;
    }
    let mut charts = match spec.remote {
        Some(_) if unknown || !super::follow_in_plan(cx, plan, spec).await => None,
        Some(_) => match super::charts(cx, &plan.planned).await {
            Ok(charts) => Some(charts),
            Err(unavailable) => charts::without_chart::<Charts, _, _>(cx, unavailable)?,
        },
        None => None,
    };
    let asks = charts.as_ref().map(|charts| charts.asks(spec)).unwrap_or_default();
    let told = keeping::told(cx, plan, asks).await.filter(|_| spec.remote.is_none() || charts.is_some());
    let wanted = match told {
        None => None,
        Some(told) => {
            let render = |told: &Answers| {
                charts.iter_mut().for_each(|charts| charts.told.clone_from(told));
                build::wanted(spec, charts.as_ref())
            };
            keeping::rendered(cx, plan, told, render).await?
        }
    };
    keeping::plan(cx, plan, wanted.as_ref());
    Ok(())
}

/// Where the remote secrets will point.
async fn endpoint(cx: &Cx, plan: &mut Plan<'_, RemoteCluster>, spec: &Spec) -> Result<(), Diagnostics> {
    let watched = client::cluster(cx, plan.planned.cluster.text())?;
    let seen = plan.prior.and(cx.private.server.as_deref());
    plan.planned.server_url = match gather::server(&watched, &spec.endpoint, seen).await? {
        Some(server) => server.as_str().to_owned().into(),
        None => Value::Unknown,
    };
    plan.planned.certificate_authority_fingerprint =
        match (&spec.endpoint.certificate_authority, &cx.private.authority, plan.prior) {
            (Some(given), _, _) => secret::fingerprint(given).into(),
            // What refresh saw of the cluster's own authority.
            (None, Some(seen), Some(_)) => seen.clone().into(),
            (None, None, Some(prior))
                if !prior.certificate_authority_fingerprint.is_null()
                    && prior.certificate_authority == plan.planned.certificate_authority =>
            {
                prior.certificate_authority_fingerprint.clone()
            }
            _ => Value::Unknown,
        };
    Ok(())
}

fn links(cx: &mut Cx, plan: &mut Plan<'_, RemoteCluster>, spec: &Spec) {
    let planned = &mut plan.planned;
    let expected = match (planned.server_url.as_deref(), planned.certificate_authority_fingerprint.as_deref()) {
        (Some(server), Some(authority)) => Some(state::expected_shape(spec, server, Some(authority))),
        _ => None,
    };
    let (mut sync, mut tokens) = (Map::new(), Map::new());
    // Tokens issued for another length of time, or of another kind, are not what is asked for.
    let reissue = plan.prior.is_some_and(|prior| terms(prior) != terms(planned));
    for watcher in &spec.watchers {
        let before = plan.prior.and_then(|prior| Some((prior.sync.entry(watcher)?, prior.tokens.entry(watcher)?)));
        let (link, token) = match before {
            Some((link, token)) if !reissue => one(cx, spec, expected.as_deref(), Before { watcher, link, token }),
            _ => (Value::Unknown, issued(spec)),
        };
        sync.insert(watcher.clone(), link);
        tokens.insert(watcher.clone(), token);
    }
    planned.sync = Value::Known(sync);
    planned.tokens = Value::Known(tokens);
    planned.token_expires_at = state::earliest(&planned.tokens);
}

/// What tokens are issued on.
fn terms(model: &RemoteCluster) -> (String, bool, bool, Option<String>) {
    let token = model.token.known().cloned().unwrap_or_default();
    let lifetime = token
        .lifetime
        .as_deref()
        .map_or_else(|| TokenSpec::default().lifetime, |text| parse_duration(text).unwrap_or_default());
    let own = model.link_token.known().map(|own| own.audience.text().to_owned());
    (format!("{lifetime:?}"), token.long_lived.get().unwrap_or(false), token.renewal.is_known(), own)
}

/// A watcher's entries as the last refresh left them.
#[derive(Clone, Copy)]
struct Before<'a> {
    watcher: &'a str,
    link: &'a Sync,
    token: &'a TokenState,
}

fn one(cx: &mut Cx, spec: &Spec, expected: Option<&str>, before: Before<'_>) -> (Value<Sync>, Value<TokenState>) {
    let Before { watcher, link, token } = before;
    let as_expected = expected.is_some() && link.secret.as_deref() == expected;
    let renew = match token.condition.as_deref() {
        Some("valid" | "projected" | "leftover" | "renewed" | "unrenewed") => false,
        Some("rotate") => may_rotate(cx, spec, watcher, link, token),
        _ => true,
    };
    // Whether istiods could not be asked or say nothing wrong: there is nothing to bring about.
    let at_rest = !spec.wait || matches!(link.verdict.as_deref(), Some("synced" | "unknown"));
    let is = |condition: Condition| token.condition.as_deref() == Some(condition.as_str());
    let leftover = is(Condition::Leftover) || is(Condition::Unrenewed);
    match (as_expected && at_rest && !renew && !leftover, renew) {
        (true, _) => (Value::Known(link.clone()), Value::Known(token.clone())),
        // It stays; those beside it are retired, and what renews it is made as it was.
        (false, false) if leftover => {
            let condition = state::lasting(spec).as_str().into();
            (Value::Unknown, Value::Known(TokenState { condition, ..token.clone() }))
        }
        (false, false) => (Value::Unknown, Value::Known(token.clone())),
        (false, true) => (Value::Unknown, issued(spec)),
    }
}

/// A token that is to be made: a plan shows that one will be, such as `condition` from `rotate` to `valid`. Until when
/// is for the API server to say.
fn issued(spec: &Spec) -> Value<TokenState> {
    if spec.link_token.is_some() {
        return state::token_state(&state::PROJECTED).into();
    }
    TokenState { expires_at: Value::Unknown, condition: state::lasting(spec).as_str().into() }.into()
}

/// A changed remote secret makes some versions of istiod lose the cluster's endpoints.
fn may_rotate(cx: &mut Cx, spec: &Spec, watcher: &str, link: &Sync, token: &TokenState) -> bool {
    let version = link.istiod_version.text();
    if spec.token.rotate_on_affected_versions || !istiod::loses_endpoints_on_rotation(version) {
        return true;
    }
    cx.warn(Diagnostic::warning("A token is near its end and is not renewed").at("token").detail(format!(
        "The token by which {watcher} reads {} ends at {}. But {watcher} runs Istio {version}, whose istiod loses a cluster's endpoints when its remote secret changes (repaired in \
         1.30.4 and 1.31). Upgrade it first, or set `token.rotate_on_affected_versions = true` and restart istiod after the apply.",
        spec.id,
        token.expires_at.text()
    )));
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(condition: &str) -> RemoteCluster {
        let token = TokenState { condition: condition.to_owned().into(), ..TokenState::default() };
        RemoteCluster {
            cluster: "east".into(),
            watchers: Value::Known(["west".to_owned()].into_iter().collect()),
            adopt: false.into(),
            objects: Value::Known(Map::new()),
            sync: Value::Known([("west".to_owned(), Value::Known(Sync::default()))].into()),
            tokens: Value::Known([("west".to_owned(), Value::Known(token))].into()),
            ..RemoteCluster::default()
        }
    }

    #[test]
    fn what_others_made_stays_as_found_until_it_is_asked_for_or_something_else_is_wanted() {
        let prior = found("foreign");
        let planned =
            RemoteCluster { objects: Value::Unknown, tokens: Value::Unknown, sync: Value::Unknown, ..prior.clone() };
        assert_eq!(as_found(&planned, &prior).as_ref(), Some(&prior));
        assert!(stays(&prior).detail.contains("by which west reads it"));
        assert_eq!(as_found(&RemoteCluster { adopt: true.into(), ..planned.clone() }, &prior), None);
        assert_eq!(as_found(&RemoteCluster { read_secrets: false.into(), ..planned.clone() }, &prior), None);
        assert_eq!(as_found(&planned, &found("rotate")), None, "ours is renewed when it is due");
        let nobody = RemoteCluster { tokens: Value::Known(Map::new()), ..prior };
        assert_eq!(as_found(&RemoteCluster { tokens: Value::Unknown, ..nobody.clone() }, &nobody), None);
    }
}
