//! `link_token`, read: what the watched API server demands of the istiods' own tokens, and who they are to it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::model::RemoteCluster;
use crate::mesh::{Audience, DEFAULT_AUDIENCE, Namespace, istiod_name, usual_user};
use crate::resources::parsing::Parser;
use crate::value::Path;

/// The istiods' own tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTokenSpec {
    pub audience: Audience,
    /// The user names that the API server gives the istiods, by watcher.
    pub users: BTreeMap<String, String>,
    /// The watchers for which nobody has said a name.
    pub usual: BTreeSet<String>,
}

pub fn read(
    parser: &mut Parser,
    model: &RemoteCluster,
    namespace: Option<&Namespace>,
    watchers: &BTreeSet<String>,
) -> Option<LinkTokenSpec> {
    let said = parser.plain(&model.link_token)?;
    let path = Path::root("link_token");
    if model.token.is_known() {
        let detail = "With `link_token` no token is made: leave `token` out. Or leave `link_token` out, and each watcher gets a token of `token`.";
        parser.refuse("token", "Two kinds of tokens", detail);
    }
    if model.config_cluster.is_known() {
        let detail = "An external control plane runs beside the ServiceAccounts of another cluster than it serves, and this provider gives it no tokens for its links: leave `link_token` out, and use `token`.";
        parser.refuse(path.clone(), "Not with an external control plane", detail);
    }
    let audience = match said.audience.is_null() {
        true => Audience::new(DEFAULT_AUDIENCE).ok(),
        false => parser.parse(&said.audience, path.attr("audience"), Audience::new),
    };
    let named = parser.map(&said.users);
    for (watcher, user) in &named {
        let path = path.attr("users").key(watcher);
        if !watchers.contains(watcher) && model.watchers.is_wholly_known() {
            parser.refuse(path.clone(), "Not a watcher", format!("{watcher:?} is not among `watchers`."));
        }
        if user.starts_with("system:") {
            let detail = format!(
                "{user:?} is the name of one of the cluster's own accounts, which would get the rights as well: names that begin with `system:` are Kubernetes' own. Have the API server put a prefix before \
                 it, such as `{watcher}:`."
            );
            parser.refuse(path, "Not a name for somebody of another cluster", detail);
        }
    }
    let usual = |watcher: &String| Some(usual_user(watcher, namespace?.as_str(), &istiod_name(None)));
    let users = watchers.iter().filter_map(|watcher| {
        let user = named.get(watcher).cloned().or_else(|| usual(watcher))?;
        Some((watcher.clone(), user))
    });
    let unnamed = watchers.iter().filter(|watcher| !named.contains_key(*watcher));
    Some(LinkTokenSpec { audience: audience?, users: users.collect(), usual: unnamed.cloned().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::remote_cluster::model::{LinkToken, Token};
    use crate::resources::remote_cluster::spec::Spec;
    use crate::value::Value;

    fn model(link_token: LinkToken) -> RemoteCluster {
        RemoteCluster {
            cluster: "east".into(),
            namespace: "istio-system".into(),
            watchers: Value::Known(["north", "west"].map(str::to_owned).into_iter().collect()),
            mode: "peer".into(),
            service_account: "istio-mesh-parser".into(),
            link_token: link_token.into(),
            ..RemoteCluster::default()
        }
    }

    fn refusals(model: &RemoteCluster) -> Vec<String> {
        let complaints = Spec::parse(model).expect_err("refused");
        complaints.iter().map(|one| format!("{}: {}", one.path.clone().unwrap_or_default(), one.summary)).collect()
    }

    fn users(of: &[(&str, &str)]) -> LinkToken {
        let users = of.iter().map(|(watcher, user)| ((*watcher).to_owned(), Value::Known((*user).to_owned())));
        LinkToken { users: Value::Known(users.collect()), ..LinkToken::default() }
    }

    #[test]
    fn every_watcher_has_a_user_and_the_reader_no_account() {
        let spec = Spec::parse(&model(users(&[("west", "istiods-of-west")]))).unwrap().unwrap();
        let own = spec.link_token.as_ref().unwrap();
        assert_eq!(own.audience.as_str(), "istio-links");
        assert_eq!(own.users["west"], "istiods-of-west");
        assert_eq!(own.users["north"], "north:system:serviceaccount:istio-system:istiod");
        assert_eq!(own.usual, BTreeSet::from(["north".to_owned()]));
        assert_eq!(spec.reader.users.len(), 2);
        assert_eq!(spec.renew_within(), None, "nothing has to be renewed");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert_eq!(refusals(&model(users(&[("south", "a")]))), ["link_token.users[\"south\"]: Not a watcher"]);
        assert_eq!(
            refusals(&model(users(&[("west", "system:serviceaccount:istio-system:istiod")]))),
            ["link_token.users[\"west\"]: Not a name for somebody of another cluster"]
        );
        let audience = LinkToken { audience: "https://east.example".into(), ..LinkToken::default() };
        assert_eq!(refusals(&model(audience)), ["link_token.audience: Unsuitable value"]);
        let both = RemoteCluster { token: Token::default().into(), ..model(LinkToken::default()) };
        assert_eq!(refusals(&both), ["token: Two kinds of tokens"]);
        let external = RemoteCluster {
            mode: "remote".into(),
            control_plane: "hub".into(),
            control_plane_address: "10.0.0.9".into(),
            config_cluster: "hub".into(),
            ..model(LinkToken::default())
        };
        assert_eq!(refusals(&external), ["link_token: Not with an external control plane"]);
    }
}
