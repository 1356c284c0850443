//! Tokens that their cluster refuses though they have not ended: the ServiceAccount is gone, or the Secret that they
//! are bound to. istiod keeps the watches that it has, and goes on saying that it is in sync.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;

use super::judge::{Sight, named};
use crate::cluster::{Cluster, Kind, Object, Query};
use crate::resources::token::{Claims, Lost};

/// What a cluster has in Istio's namespace of that which tokens need.
struct Living {
    accounts: Arc<[Object]>,
    secrets: Arc<[Object]>,
}

/// Notes the tokens that have lost what they need, as far as the clusters that issued them let that be seen. Nobody is
/// asked by the tokens themselves.
pub(super) async fn look(seen: &mut BTreeMap<String, Sight>, clusters: &BTreeMap<String, Cluster>) {
    let living = all_living(seen, clusters).await;
    let found: Vec<_> = seen.values().map(|sight| of(seen, sight, &living)).collect();
    for (sight, revoked) in seen.values_mut().zip(found) {
        sight.revoked = revoked;
    }
}

/// What lives in the clusters that have issued tokens.
async fn all_living(seen: &BTreeMap<String, Sight>, clusters: &BTreeMap<String, Cluster>) -> BTreeMap<String, Living> {
    let claims = seen.values().flat_map(|sight| &sight.claims);
    let issuers: BTreeSet<&str> = claims.filter_map(|(_, id, claims)| issuer(seen, id, claims)).collect();
    let looks = issuers.into_iter().map(|name| async move {
        let (cluster, sight) = (clusters.get(name)?, seen.get(name)?);
        Some((name.to_owned(), living(cluster, &sight.system_namespace).await?))
    });
    join_all(looks).await.into_iter().flatten().collect()
}

/// The cluster that a token is for, where it is of its Istio namespace: readers are there.
fn issuer<'a>(seen: &'a BTreeMap<String, Sight>, id: &str, claims: &Claims) -> Option<&'a str> {
    let (name, sight) = named(seen, id)?;
    (claims.namespace == sight.system_namespace).then_some(name)
}

/// `None` where it cannot be seen.
async fn living(cluster: &Cluster, namespace: &str) -> Option<Living> {
    let of = |kind: Kind| Query::of(kind).namespace(namespace).metadata_only();
    let (accounts, secrets) = (of(Kind::SERVICE_ACCOUNT), of(Kind::SECRET));
    let (accounts, secrets) = tokio::try_join!(cluster.list(&accounts), cluster.list(&secrets)).ok()?;
    Some(Living { accounts, secrets })
}

fn of(seen: &BTreeMap<String, Sight>, sight: &Sight, living: &BTreeMap<String, Living>) -> Vec<(String, String, Lost)> {
    let lost = |(secret, id, claims): &(String, String, Claims)| {
        let there = living.get(issuer(seen, id, claims)?)?;
        Some((secret.clone(), id.clone(), claims.lost(&there.accounts, &there.secrets)?))
    };
    sight.claims.iter().filter_map(lost).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::token::Reference;
    use crate::value::Value;

    #[test]
    fn tokens_are_held_against_what_lives_where_they_were_issued() {
        let claims = |namespace: &str| Claims {
            expires: None,
            issued: None,
            namespace: namespace.into(),
            service_account: Reference { name: "reader".into(), uid: "a-1".into() },
            secret: Some(Reference { name: "r.w.1".into(), uid: "s-1".into() }),
        };
        let live = |kind: &str, name: &str, uid: &str| {
            let object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "uid": uid}});
            Arc::from([Object::new(object).unwrap()])
        };
        let living = |account: &str, secret: &str| {
            let (accounts, secrets) = (live("ServiceAccount", "reader", account), live("Secret", "r.w.1", secret));
            BTreeMap::from([("west".to_owned(), Living { accounts, secrets })])
        };
        let sight = |held: Option<Claims>| {
            let claims = held.map(|claims| ("istio-system/remote".to_owned(), "w1".to_owned(), claims));
            let mut sight = Sight { system_namespace: "istio-system".into(), ..Sight::default() };
            sight.claims = claims.into_iter().collect();
            sight.shown.error = Value::Null;
            sight
        };
        let found = |namespace: &str, error: Value<String>, living: &BTreeMap<String, Living>| {
            let mut west = Sight { called: Some("w1".into()), ..sight(None) };
            west.shown.error = error;
            let east = sight(Some(claims(namespace)));
            let seen = BTreeMap::from([("east".to_owned(), east.clone()), ("west".to_owned(), west)]);
            of(&seen, &east, living).into_iter().map(|(_, _, lost)| lost).collect::<Vec<_>>()
        };
        let all = |account: &str, secret: &str| found("istio-system", Value::Null, &living(account, secret));
        assert_eq!(all("a-1", "s-1"), []);
        assert_eq!(all("a-1", "s-2"), [Lost::Secret("r.w.1".into())]);
        assert_eq!(all("a-2", "s-1"), [Lost::Account("reader".into())]);
        // What cannot be seen is not said to be gone.
        assert_eq!(found("istio-system", Value::Null, &BTreeMap::new()), []);
        assert_eq!(found("istio-system", "no answer".into(), &living("a-2", "s-2")), []);
        assert_eq!(found("elsewhere", Value::Null, &living("a-2", "s-2")), []);
    }
}
