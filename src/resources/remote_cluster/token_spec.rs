//! `token`, read: on what terms readers' tokens are issued, and who renews them. Pure.

use std::time::Duration;

use super::model::{RemoteCluster, Renewal};
use crate::resources::parsing::Parser;
use crate::schema::validate::parse_duration;
use crate::value::{Path, Value};

#[derive(Clone, Debug)]
pub struct TokenSpec {
    pub lifetime: Duration,
    pub rotate_before: Duration,
    pub long_lived: bool,
    pub rotate_on_affected_versions: bool,
    /// A job in each watcher renews its token.
    pub renewal: Option<RenewalSpec>,
}

#[derive(Clone, Debug, Default)]
pub struct RenewalSpec {
    /// In place of the watcher's istiod's.
    pub image: Option<String>,
}

impl TokenSpec {
    /// How often an apply must come for no token to end; never where none ends, or where a job renews them.
    pub fn renew_within(&self) -> Option<String> {
        let seconds = self.rotate_before.as_secs();
        let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
        let fits = units.iter().find(|(unit, _)| seconds.is_multiple_of(*unit) && seconds > 0);
        fits.filter(|_| !self.long_lived && self.renewal.is_none())
            .map(|(unit, name)| format!("{}{name}", seconds / unit))
    }
}

impl Default for TokenSpec {
    fn default() -> Self {
        let day = Duration::from_secs(86_400);
        Self {
            lifetime: 90 * day,
            rotate_before: 30 * day,
            long_lived: false,
            rotate_on_affected_versions: false,
            renewal: None,
        }
    }
}

pub fn read(parser: &mut Parser, model: &RemoteCluster) -> TokenSpec {
    let default = TokenSpec::default();
    let Some(token) = parser.plain(&model.token) else { return default };
    let path = Path::root("token");
    let length = |text: Option<String>, default: Duration| text.as_deref().and_then(parse_duration).unwrap_or(default);
    let lifetime = length(parser.plain(&token.lifetime), default.lifetime);
    let rotate_before = length(parser.plain(&token.rotate_before), default.rotate_before.min(lifetime / 3));
    // The least the API server grants.
    if lifetime < Duration::from_secs(600) {
        parser.refuse(
            path.attr("lifetime"),
            "Too short a lifetime",
            "The API server issues no token for less than 10 minutes (`10m`).",
        );
    }
    if rotate_before >= lifetime && token.rotate_before.is_known() && token.lifetime.is_known() {
        parser.refuse(
            path.attr("rotate_before"),
            "Tokens would be renewed at every apply",
            "`rotate_before` must be less than `lifetime`: it is how long before its end a token is renewed.",
        );
    }
    let long_lived = parser.plain(&token.long_lived).unwrap_or(false);
    TokenSpec {
        lifetime,
        rotate_before,
        long_lived,
        rotate_on_affected_versions: parser.plain(&token.rotate_on_affected_versions).unwrap_or(false),
        renewal: renewal(parser, model, &token.renewal, long_lived),
    }
}

fn renewal(parser: &mut Parser, model: &RemoteCluster, said: &Value<Renewal>, long_lived: bool) -> Option<RenewalSpec> {
    let said = parser.plain(said)?;
    let path = Path::root("token").attr("renewal");
    if long_lived {
        let detail = "A token of `long_lived` never ends, so that nothing has to renew it: leave one of the two out.";
        parser.refuse(path.clone(), "Nothing to renew", detail);
    }
    if model.mode.as_deref() == Some("config") || model.config_cluster.is_known() {
        let detail = "An external control plane keeps its tokens where no Pods of its own run, and this provider gives it no job that renews them: leave `renewal` out.";
        parser.refuse(path, "Not with an external control plane", detail);
    }
    Some(RenewalSpec { image: parser.plain(&said.image) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::remote_cluster::model::Token;
    use crate::resources::remote_cluster::spec::Spec;

    fn model() -> RemoteCluster {
        RemoteCluster {
            cluster: "east".into(),
            namespace: "istio-system".into(),
            watchers: Value::Known(["west".to_owned()].into_iter().collect()),
            mode: "peer".into(),
            service_account: "istio-mesh-reader".into(),
            ..RemoteCluster::default()
        }
    }

    /// Where the complaints are, and what they say.
    fn refusals(model: &RemoteCluster) -> Vec<String> {
        let complaints = Spec::parse(model).expect_err("refused");
        complaints.iter().map(|one| format!("{}: {}", one.path.clone().unwrap_or_default(), one.summary)).collect()
    }

    #[test]
    fn token_windows_must_fit_their_lifetime() {
        let with = |lifetime: &str, rotate_before: &str| {
            let token = Token { lifetime: lifetime.into(), rotate_before: rotate_before.into(), ..Token::default() };
            RemoteCluster { token: token.into(), ..model() }
        };
        assert_eq!(refusals(&with("5m", "1m")), ["token.lifetime: Too short a lifetime"]);
        assert_eq!(refusals(&with("1h", "1h")), ["token.rotate_before: Tokens would be renewed at every apply"]);
        assert!(Spec::parse(&with("1h", "20m")).unwrap().is_some());
        let alone = Token { lifetime: "1h".into(), ..Token::default() };
        let spec = Spec::parse(&RemoteCluster { token: alone.into(), ..model() }).unwrap().unwrap();
        assert_eq!(spec.token.rotate_before, Duration::from_secs(1200), "a third, where nothing is said");
    }

    #[test]
    fn the_duty_to_apply_is_told_in_the_largest_unit_that_fits() {
        let within = |rotate_before: u64, long_lived: bool| {
            TokenSpec { rotate_before: Duration::from_secs(rotate_before), long_lived, ..TokenSpec::default() }
                .renew_within()
        };
        for (seconds, text) in [(30 * 86_400, "30d"), (7 * 86_400 / 3, "56h"), (1200, "20m"), (590, "590s")] {
            assert_eq!(within(seconds, false).as_deref(), Some(text));
        }
        assert_eq!(within(1200, true), None);
    }

    #[test]
    fn a_token_that_a_job_renews_asks_for_no_apply() {
        let renewed = |long_lived: bool| Token {
            renewal: Renewal::default().into(),
            long_lived: long_lived.into(),
            ..Token::default()
        };
        let spec = Spec::parse(&RemoteCluster { token: renewed(false).into(), ..model() }).unwrap().unwrap();
        assert_eq!(spec.renew_within(), None);
        assert_eq!(spec.reader.renewal.as_deref(), Some("istio-mesh-reader.east."));
        let endless = RemoteCluster { token: renewed(true).into(), ..model() };
        assert_eq!(refusals(&endless), ["token.renewal: Nothing to renew"]);
        let external = RemoteCluster {
            mode: "remote".into(),
            control_plane: "hub".into(),
            control_plane_address: "10.0.0.9".into(),
            config_cluster: "hub".into(),
            token: renewed(false).into(),
            ..model()
        };
        assert_eq!(refusals(&external), ["token.renewal: Not with an external control plane"]);
    }
}
