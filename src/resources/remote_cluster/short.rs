//! Tokens that an API server grants for less than was asked for, as managed clouds do: a day on EKS and AKS, two on
//! GKE.

use super::credential::{self, Order};
use super::model::RemoteCluster;
use super::spec::Spec;
use crate::cluster::{Cluster, Owner};
use crate::diag::Diagnostic;
use crate::mesh::Token;
use crate::resources::token;

/// A token that ends before what was asked for, in seconds.
pub struct Shortened {
    asked: u64,
    granted: u64,
}

/// A link, for words.
pub struct Ends<'a> {
    pub spec: &'a Spec,
    pub watched: &'a str,
    pub watcher: &'a str,
}

/// What a refusal leaves.
#[derive(Clone, Copy)]
pub enum Stays {
    /// There was no link.
    Nothing,
    /// The link as it was.
    Link,
}

/// Whether the API server has granted less than was asked for.
pub fn granted(spec: &Spec, token: &Token) -> Option<Shortened> {
    if lasts(spec) {
        return None;
    }
    let claims = token::read(token.reveal()).ok()?;
    let granted = u64::try_from(claims.expires?.checked_sub(claims.issued?)?).ok()?;
    let asked = spec.token.lifetime.as_secs();
    // Servers round.
    (granted + 60 < asked).then_some(Shortened { asked, granted })
}

/// Whether a link outlives its token without an apply.
fn lasts(spec: &Spec) -> bool {
    spec.link_token.is_some() || spec.token.long_lived || spec.token.renewal.is_some()
}

/// Whether one did by what state says, and by tokens of a reader: without one, what would be granted cannot be asked.
fn lasted(prior: &RemoteCluster) -> bool {
    let token = prior.token.known();
    token.is_some_and(|token| token.renewal.is_known() || token.long_lived.get() == Some(true))
}

/// The watcher of a link that lasted without an apply, and is to get tokens that only applies renew.
fn loosened<'a>(spec: &'a Spec, prior: &RemoteCluster) -> Option<&'a String> {
    let known = |watcher: &&String| prior.sync.entry(watcher).is_some();
    spec.watchers.iter().find(known).filter(|_| lasted(prior) && !lasts(spec))
}

/// Refuses an update that would leave a link with tokens that end before anybody renews them: a token is asked for and
/// given back. Before anything else is written, since what renewed the token would lose its right.
pub async fn refuse_loosened(
    watched: &Cluster,
    owner: &Owner,
    spec: &Spec,
    prior: Option<&RemoteCluster>,
) -> Result<(), Diagnostic> {
    let Some(watcher) = prior.and_then(|prior| loosened(spec, prior)) else { return Ok(()) };
    let order = Order { watched, owner, spec, watcher: watcher.as_str(), again: true, secrets: None };
    let issued = match credential::issue(order).await {
        Ok(issued) => issued,
        // Without the reader's ServiceAccount no token of before is valid: nothing is lost.
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(Diagnostic::from(&error)),
    };
    let short = granted(spec, &issued.token);
    credential::give_back(order, Some(&issued.binding)).await.map_err(|error| Diagnostic::from(&error))?;
    let ends = Ends { spec, watched: watched.name(), watcher: watcher.as_str() };
    short.map_or(Ok(()), |short| Err(short.refusal(&ends, Stays::Link)))
}

impl Shortened {
    pub fn refusal(&self, ends: &Ends<'_>, stays: Stays) -> Diagnostic {
        let Ends { spec, watcher, .. } = ends;
        let so = match stays {
            Stays::Nothing => {
                format!("So no remote secret was written to cluster {watcher}, and the token is revoked.")
            }
            Stays::Link => {
                "So nothing was changed: the link keeps the token that it has, and what makes it last.".to_owned()
            }
        };
        Diagnostic::error("The API server grants shorter tokens than asked for").at("token").detail(format!(
            "{} When the token ends, the istiods of {watcher} would lose cluster {}, unless an apply has renewed it before. {so} \
             Choose one of these:\n\
             - `token = {{ renewal = {{}} }}` lets a job in {watcher} renew the token, however short it is.\n\
             - `token = {{ lifetime = \"{}\" }}` asks for what is granted. Then apply at least every {}, by a scheduled run of your pipeline.\n\
             - `link_token = {{}}` in place of `token` stores no token: the watcher's istiod comes with its own, and the API server trusts its issuer. The guide on credentials says how.\n\
             - `token = {{ long_lived = true }}` uses a token that does not end. It is kept in a Secret of the watched cluster; deleting the Secret revokes it.\n\
             - Raise the limit of the API server (`--service-account-max-token-expiration`), where it is yours.",
            self.facts(ends),
            spec.id,
            span(self.granted),
            span(self.granted / 3)
        ))
    }

    pub fn warning(&self, ends: &Ends<'_>) -> Diagnostic {
        // Of several warnings with one summary Terraform shows the first alone.
        Diagnostic::warning(format!("{} gets shorter tokens than asked for", ends.watcher)).at("token").detail(format!(
            "{} Apply at least every {}, or let a job renew it: `token = {{ renewal = {{}} }}`. To say that you know, set `token = {{ lifetime = \"{}\" }}`.",
            self.facts(ends),
            span(self.granted / 3),
            span(self.granted)
        ))
    }

    fn facts(&self, ends: &Ends<'_>) -> String {
        format!(
            "The API server of cluster {} grants tokens for {}, and `token.lifetime` asks for {}.",
            ends.watched,
            span(self.granted),
            span(self.asked)
        )
    }
}

/// Seconds in the largest unit that divides them, as durations are written: `24h`.
fn span(seconds: u64) -> String {
    match seconds {
        s if s % 86_400 == 0 && s > 0 => format!("{}d", s / 86_400),
        s if s % 3_600 == 0 && s > 0 => format!("{}h", s / 3_600),
        s if s % 60 == 0 && s > 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::remote_cluster::model::{LinkToken, Renewal, Sync, Token as Terms};
    use crate::value::Value;

    fn model(token: Value<Terms>, link_token: Value<LinkToken>) -> RemoteCluster {
        RemoteCluster {
            cluster: "east".into(),
            namespace: "istio-system".into(),
            watchers: Value::Known(["west".to_owned()].into_iter().collect()),
            mode: "peer".into(),
            service_account: "istio-mesh-reader".into(),
            token,
            link_token,
            sync: Value::Known([("west".to_owned(), Value::Known(Sync::default()))].into()),
            ..RemoteCluster::default()
        }
    }

    #[test]
    fn a_link_that_lasted_by_itself_and_is_to_need_applies_is_known() {
        let renewed = || Terms { renewal: Renewal::default().into(), ..Terms::default() }.into();
        let endless = || Terms { long_lived: true.into(), ..Terms::default() }.into();
        let [renewed, endless, own, bounded] = [
            model(renewed(), Value::Null),
            model(endless(), Value::Null),
            model(Value::Null, LinkToken::default().into()),
            model(Value::Null, Value::Null),
        ];
        let is_told = |prior: &RemoteCluster, wanted: &RemoteCluster| {
            let spec = Spec::parse(wanted).unwrap().unwrap();
            loosened(&spec, prior).is_some()
        };
        for prior in [&renewed, &endless] {
            assert!(is_told(prior, &bounded), "{:?}", prior.token);
            for wanted in [&renewed, &endless, &own] {
                assert!(!is_told(prior, wanted), "{:?} {:?}", prior.token, wanted.token);
            }
        }
        assert!(!is_told(&bounded, &bounded), "it needed applies before");
        assert!(!is_told(&own, &bounded), "no reader is there to ask for");
        let unlinked = RemoteCluster { sync: Value::Known(crate::value::Map::new()), ..renewed };
        assert!(!is_told(&unlinked, &bounded), "a new link is judged when it is made");
    }
}
