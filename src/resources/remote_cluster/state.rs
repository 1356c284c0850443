//! What stands in state: of each watcher what its remote secret says, whether its token holds, and what its istiods
//! say. Pure.

use std::collections::BTreeSet;

use super::credential::{self, Condition, Judged, Standing};
use super::model::{RemoteCluster, Sync, TokenState};
use super::secret::{self, Described};
use super::spec::{Endpoint, Spec};
use crate::cluster::{Object, without_user_info};
use crate::istiod::{ReplicaView, Verdict, oldest_version, verdict};
use crate::mesh::{Credential, MULTI_CLUSTER_LABEL, SecretForm};
use crate::value::{Map, Value};

/// Of a link that stores no token.
pub const PROJECTED: Standing = Standing { expires_at: None, condition: Condition::Projected };

/// Of a link whose token a job renews.
pub const RENEWED: Standing = Standing { expires_at: None, condition: Condition::Renewed };

/// How a token stands that was just made, or is looked after, as far as a plan knows it.
pub fn lasting(spec: &Spec) -> Condition {
    match (&spec.link_token, &spec.token.renewal) {
        (Some(_), _) => Condition::Projected,
        (None, Some(_)) => Condition::Renewed,
        (None, None) => Condition::Valid,
    }
}

/// What was seen of one watcher.
pub struct Seen<'a> {
    pub spec: &'a Spec,
    pub secret_name: &'a str,
    /// The remote secret.
    pub secret: &'a Object,
    /// `None` where istiods could not be asked.
    pub views: Option<&'a [ReplicaView]>,
    pub judged: Judged<'a>,
}

/// A watcher's two entries of state.
pub struct LinkState {
    pub sync: Sync,
    pub token: TokenState,
    /// What the remote secret says of the server, for attributes of the whole resource.
    pub endpoint: Option<Told>,
}

/// What a live remote secret tells of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub server: String,
    pub authority: Option<String>,
}

pub fn entry(seen: &Seen<'_>) -> LinkState {
    let id = seen.spec.id.as_str();
    let described = secret::described(seen.secret, id);
    let authority =
        described.as_ref().and_then(|described| described.certificate_authority.as_deref().map(secret::fingerprint));
    let shape = described.as_ref().map(|described| {
        secret::shape(&Described {
            id,
            server: &described.server,
            authority: authority.as_deref(),
            tls_server_name: described.tls_server_name.as_deref(),
            proxy_url: described.proxy_url.as_deref(),
            own: match &described.credential {
                Credential::Own(audience) => Some(audience.as_str()),
                _ => None,
            },
            labelled: seen.secret.label(MULTI_CLUSTER_LABEL).unwrap_or("false") == is_labelled(seen.spec),
        })
    });
    let own = seen.spec.link_token.as_ref().map(|own| &own.audience);
    let standing = match described.as_ref().map(|described| &described.credential) {
        Some(Credential::Own(audience)) if own == Some(audience) => PROJECTED,
        Some(Credential::Token(token)) if own.is_none() => credential::standing(token, seen.judged),
        Some(_) => Standing { expires_at: None, condition: Condition::Foreign },
        None => Standing { expires_at: None, condition: Condition::Unreadable },
    };
    LinkState {
        sync: sync(seen, shape),
        token: token_state(&standing),
        endpoint: described.map(|described| Told { server: without_user_info(&described.server), authority }),
    }
}

/// What the label of remote secrets says on a Secret of this form.
fn is_labelled(spec: &Spec) -> &'static str {
    match spec.form() {
        SecretForm::Remote => "true",
        // Labelled, it would be watched a second time.
        SecretForm::Config => "false",
    }
}

fn sync(seen: &Seen<'_>, shape: Option<String>) -> Sync {
    let secret = seen.spec.registered_by(seen.secret_name);
    let verdict = seen.views.map_or(Verdict::Unknown, |views| verdict(views, seen.spec.id.as_str(), &secret));
    Sync {
        verdict: verdict.as_str().into(),
        istiod_version: oldest_version(seen.views.unwrap_or_default()).into(),
        secret: shape.into(),
    }
}

pub fn token_state(standing: &Standing) -> TokenState {
    TokenState { expires_at: standing.expires_at.clone().into(), condition: standing.condition.as_str().into() }
}

/// What an established link's secret is expected to say, if all of it is known.
pub fn expected_shape(spec: &Spec, server: &str, authority: Option<&str>) -> String {
    secret::shape(&Described {
        id: spec.id.as_str(),
        server: server.trim_end_matches('/'),
        authority,
        tls_server_name: spec.endpoint.tls_server_name.as_deref(),
        proxy_url: spec.endpoint.proxy_url.as_deref(),
        own: spec.link_token.as_ref().map(|own| own.audience.as_str()),
        labelled: true,
    })
}

pub fn expected_shape_of(spec: &Spec, endpoint: &Endpoint) -> String {
    let authority = endpoint.certificate_authority.as_deref().map(secret::fingerprint);
    expected_shape(spec, endpoint.server.as_str(), authority.as_deref())
}

/// State as it is to be kept by an apply that fails: links that it did not come to stay in it as they were, among them
/// those of watchers that the configuration names no longer, or nobody would ever remove these.
pub fn still_linked(mut state: RemoteCluster, prior: Option<&RemoteCluster>, gone: &BTreeSet<String>) -> RemoteCluster {
    let Some(prior) = prior else { return state };
    let (mut sync, mut tokens) = (state.sync.clone().or_default(), state.tokens.clone().or_default());
    let is_open = |name: &str| state.sync.entry(name).is_none_or(|link| link.verdict.is_unknown());
    let is_linked = |name: &str| !gone.contains(name) && is_open(name);
    for (name, link) in prior.sync.entries().filter(|(name, _)| is_linked(name)) {
        sync.insert(name.to_owned(), link.clone().into());
        tokens.extend(prior.tokens.entry(name).map(|token| (name.to_owned(), Value::Known(token.clone()))));
    }
    (state.sync, state.tokens) = (Value::Known(sync), Value::Known(tokens));
    state.token_expires_at = earliest(&state.tokens);
    state
}

/// The earliest end of the tokens; unknown as long as one of them is.
pub fn earliest(tokens: &Value<Map<TokenState>>) -> Value<String> {
    let Some(tokens) = tokens.known() else { return Value::Unknown };
    let mut earliest: Option<&str> = None;
    for token in tokens.values() {
        let Some(token) = token.known() else { return Value::Unknown };
        if token.expires_at.is_unknown() {
            return Value::Unknown;
        }
        // RFC 3339 in UTC: the order of texts is that of times.
        if let Some(end) = token.expires_at.as_deref() {
            earliest = Some(earliest.map_or(end, |earliest| earliest.min(end)));
        }
    }
    earliest.map(str::to_owned).into()
}

/// Whether an apply has anything to do beside writing down attributes.
pub fn untouched(prior: &RemoteCluster, planned: &RemoteCluster) -> bool {
    let same = |pick: fn(&RemoteCluster) -> Value<Map<String>>| pick(prior) == pick(planned);
    same(|model| model.objects.clone())
        && prior.sync == planned.sync
        && prior.tokens == planned.tokens
        && prior.server_url == planned.server_url
        && prior.certificate_authority_fingerprint == planned.certificate_authority_fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linked_to(watchers: &[&str]) -> RemoteCluster {
        let tokens = watchers.iter().map(|name| {
            let expires_at = format!("2027-01-01T00:00:0{}Z", name.len()).into();
            ((*name).to_owned(), Value::Known(TokenState { expires_at, condition: "valid".into() }))
        });
        let sync = watchers.iter().map(|name| ((*name).to_owned(), Value::Known(Sync::default())));
        RemoteCluster {
            sync: Value::Known(sync.collect()),
            tokens: Value::Known(tokens.collect()),
            ..RemoteCluster::default()
        }
    }

    #[test]
    fn an_apply_that_fails_keeps_the_links_it_has_not_taken_away() {
        let (prior, state) = (linked_to(&["north", "east", "west"]), linked_to(&["north"]));
        let kept = still_linked(state.clone(), Some(&prior), &["west".to_owned()].into());
        assert_eq!(kept.sync.keys().collect::<Vec<_>>(), ["east", "north"]);
        assert_eq!(kept.tokens.keys().collect::<Vec<_>>(), ["east", "north"]);
        assert_eq!(kept.token_expires_at.text(), "2027-01-01T00:00:04Z");
        // A link that was to be written again, and was not come to.
        let open = Sync { verdict: Value::Unknown, ..Sync::default() };
        for open in [Value::Unknown, Value::Known(open)] {
            let mut state = state.clone();
            state.sync = Value::Known([("north".to_owned(), open)].into_iter().collect());
            let kept = still_linked(state, Some(&prior), &["east".to_owned(), "west".to_owned()].into());
            assert_eq!(kept.sync, linked_to(&["north"]).sync);
        }
    }
}
