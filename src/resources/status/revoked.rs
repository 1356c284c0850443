//! Tokens that their cluster refuses though they have not ended: the ServiceAccount is gone, or the Secret that they
//! are bound to. istiod keeps the watches that it has, and goes on saying that it is in sync.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;

use super::judge::{Sight, named};
use crate::cluster::{Cluster, Kind, Object, Query};
use crate::resources::token::{Claims, Lost};

/// What lives in Istio's namespace of a cluster: Secrets for tokens that are bound to one, else ServiceAccounts. A
/// second list for each cluster would be too much for the rare case that of a bound token the ServiceAccount alone
/// goes; a refresh of its mesh_remote_cluster sees that.
type Living = BTreeMap<(String, bool), Arc<[Object]>>;

/// Notes the tokens that have lost what they need, as far as the clusters that issued them let that be seen. Nobody is
/// asked by the tokens themselves.
pub(super) async fn look(seen: &mut BTreeMap<String, Sight>, clusters: &BTreeMap<String, Cluster>) {
    let living = all_living(seen, clusters).await;
    let found: Vec<_> = seen.values().map(|sight| of(seen, sight, &living)).collect();
    for (sight, revoked) in seen.values_mut().zip(found) {
        sight.revoked = revoked;
    }
}

/// What lives in the clusters that have issued tokens, where it can be seen.
async fn all_living(seen: &BTreeMap<String, Sight>, clusters: &BTreeMap<String, Cluster>) -> Living {
    let claims = seen.values().flat_map(|sight| &sight.claims);
    let issuers: BTreeSet<(String, bool)> = claims.filter_map(|(_, id, claims)| issuer(seen, id, claims)).collect();
    let looks = issuers.into_iter().map(|(name, is_bound)| async move {
        let (cluster, sight) = (clusters.get(&name)?, seen.get(&name)?);
        let kind = if is_bound { Kind::SECRET } else { Kind::SERVICE_ACCOUNT };
        let living = cluster.list(&Query::of(kind).namespace(&sight.system_namespace).metadata_only()).await.ok()?;
        Some(((name, is_bound), living))
    });
    join_all(looks).await.into_iter().flatten().collect()
}

/// The cluster that a token is for, where it is of its Istio namespace: readers are there. And whether it is bound to a
/// Secret.
fn issuer(seen: &BTreeMap<String, Sight>, id: &str, claims: &Claims) -> Option<(String, bool)> {
    let (name, sight) = named(seen, id)?;
    (claims.namespace == sight.system_namespace).then(|| (name.to_owned(), claims.secret.is_some()))
}

fn of(seen: &BTreeMap<String, Sight>, sight: &Sight, living: &Living) -> Vec<(String, String, Lost)> {
    let lost = |(secret, id, claims): &(String, String, Claims)| {
        let issuer = issuer(seen, id, claims)?;
        let (there, is_bound) = (living.get(&issuer)?, issuer.1);
        let lost = if is_bound { claims.lost_secret(there) } else { claims.lost_account(there) };
        Some((secret.clone(), id.clone(), lost?))
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
        let claims = |namespace: &str, is_bound: bool| Claims {
            expires: None,
            issued: None,
            namespace: namespace.into(),
            service_account: Reference { name: "reader".into(), uid: "a-1".into() },
            secret: is_bound.then(|| Reference { name: "r.w.1".into(), uid: "s-1".into() }),
        };
        let live = |kind: &str, name: &str, uid: &str| {
            let object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "uid": uid}});
            Arc::from([Object::new(object).unwrap()])
        };
        let living = |account: &str, secret: &str| -> Living {
            let (accounts, secrets) = (live("ServiceAccount", "reader", account), live("Secret", "r.w.1", secret));
            [(("west".to_owned(), false), accounts), (("west".to_owned(), true), secrets)].into()
        };
        let sight = |held: Option<Claims>| {
            let claims = held.map(|claims| ("istio-system/remote".to_owned(), "w1".to_owned(), claims));
            let mut sight = Sight { system_namespace: "istio-system".into(), ..Sight::default() };
            sight.claims = claims.into_iter().collect();
            sight.shown.error = Value::Null;
            sight
        };
        let found = |claims: Claims, error: Value<String>, living: &Living| {
            let mut west = Sight { called: Some("w1".into()), ..sight(None) };
            west.shown.error = error;
            let east = sight(Some(claims));
            let seen = BTreeMap::from([("east".to_owned(), east.clone()), ("west".to_owned(), west)]);
            of(&seen, &east, living).into_iter().map(|(_, _, lost)| lost).collect::<Vec<_>>()
        };
        let all = |is_bound: bool, account: &str, secret: &str| {
            found(claims("istio-system", is_bound), Value::Null, &living(account, secret))
        };
        assert_eq!(all(true, "a-1", "s-1"), []);
        assert_eq!(all(true, "a-1", "s-2"), [Lost::Secret("r.w.1".into())]);
        assert_eq!(all(false, "a-2", "s-2"), [Lost::Account("reader".into())]);
        assert_eq!(all(false, "a-1", "s-2"), []);
        // What cannot be seen is not said to be gone.
        let bound = || claims("istio-system", true);
        assert_eq!(found(bound(), Value::Null, &Living::new()), []);
        assert_eq!(found(bound(), "no answer".into(), &living("a-2", "s-2")), []);
        assert_eq!(found(claims("elsewhere", true), Value::Null, &living("a-2", "s-2")), []);
    }
}
