//! What a team thinks of risks: a small YAML file that raises, lowers or forbids them, asks for a reason, and keeps the
//! reasons given.

use serde::Deserialize;

use super::Error;
use super::risk::{Level, Risk, RiskKind};
use super::secrets::{HIDDEN, HIDDEN_ANEW};
use super::text::{Name, Prose};
use super::topology::UNKNOWN;

/// Rules in order: the last that matches decides.
#[derive(Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    accepted: Vec<Acceptance>,
}

#[derive(Debug)]
struct Rule {
    of: Scope,
    level: Option<Level>,
    needs_reason: Option<bool>,
}

#[derive(Debug)]
struct Acceptance {
    of: Scope,
    reason: String,
    /// The last day on which it holds.
    until: Option<String>,
}

/// What a rule is about; `None` for all.
#[derive(Debug)]
struct Scope {
    risk: Option<&'static RiskKind>,
    clusters: Option<Vec<String>>,
    addresses: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    rules: Vec<RuleEntry>,
    #[serde(default)]
    accepted: Vec<AcceptedEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    risk: String,
    clusters: Option<Vec<String>>,
    addresses: Option<Vec<String>>,
    level: Option<String>,
    needs_reason: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptedEntry {
    risk: String,
    clusters: Option<Vec<String>>,
    addresses: Option<Vec<String>>,
    reason: String,
    until: Option<String>,
}

impl Policy {
    pub fn parse(yaml: &str) -> Result<Self, Error> {
        let file: File = serde_saphyr::from_str(yaml).map_err(|error| {
            let message = error.to_string();
            Error::Policy(super::text::clean(message.lines().next().unwrap_or_default()))
        })?;
        if file.version != 1 {
            return Err(Error::Policy(format!("its version is {}, this program knows version 1", file.version)));
        }
        let rules = file.rules.into_iter().map(rule).collect::<Result<_, _>>()?;
        let accepted = file.accepted.into_iter().map(accepted).collect::<Result<_, _>>()?;
        Ok(Self { rules, accepted })
    }

    /// `made_at` is when the plan was made: by it is judged what has run out.
    pub fn apply(&self, risks: &mut [Risk], made_at: Option<&str>) {
        for risk in risks {
            // What the review forbids itself it has not looked at: nobody knows what a rule would allow.
            if risk.level == Level::Forbidden {
                continue;
            }
            let (level, needs_reason) = self.judged(risk);
            if level != risk.level {
                let words = format!("the policy makes it {} instead of {}", level.word(), risk.level.word());
                (risk.level, risk.policy) = (level, Some(words.into()));
            }
            let valid = self.accepted.iter().filter(|accepted| accepted.of.covers(risk));
            let (valid, past): (Vec<_>, Vec<_>) = valid.partition(|accepted| accepted.holds(made_at));
            // What is forbidden nobody accepts.
            if risk.level == Level::Forbidden {
                continue;
            }
            match (valid.first(), past.first()) {
                (Some(accepted), _) => risk.accepted = Some(Prose::name(&accepted.reason)),
                (None, Some(past)) => {
                    let until = past.until.as_deref().unwrap_or_default();
                    risk.policy = Some(format!("accepted until {} only ({})", Name(until), Name(&past.reason)).into());
                    risk.level = if needs_reason { Level::Forbidden } else { risk.level };
                }
                (None, None) if needs_reason => {
                    risk.policy = Some("the policy asks for a reason, and none is given".into());
                    risk.level = Level::Forbidden;
                }
                (None, None) => {}
            }
        }
    }
}

impl Policy {
    /// A risk of several clusters, or of an address that was another, is judged at each of them, and the strictest
    /// counts: a rule for a test lowers nothing that concerns production too. A cluster that is not known may be any:
    /// it is judged as each one that a rule names.
    fn judged(&self, risk: &Risk) -> (Level, bool) {
        let at = |place: Place<'_>| {
            let rules = || self.rules.iter().rev().filter(move |rule| rule.of.is_at(risk, place));
            let level = rules().find_map(|rule| rule.level).unwrap_or(risk.level);
            (level, rules().find_map(|rule| rule.needs_reason) == Some(true))
        };
        let named = self.rules.iter().filter_map(|rule| rule.of.clusters.as_deref()).flatten();
        let named = named.filter(|_| is_open(risk)).flat_map(|cluster| at_cluster(risk, cluster));
        let all: Vec<(Level, bool)> = places(risk).chain(named).map(at).collect();
        let level = all.iter().map(|(level, _)| *level).max().unwrap_or(risk.level);
        (level, all.iter().any(|(_, needs_reason)| *needs_reason))
    }
}

/// A cluster and an address that a risk concerns.
#[derive(Clone, Copy)]
struct Place<'a> {
    cluster: &'a str,
    address: &'a str,
}

/// Here a risk of no cluster is matched by `*` alone: `judged` adds those that rules name.
fn places(risk: &Risk) -> impl Iterator<Item = Place<'_>> {
    let none = risk.clusters.is_empty().then_some("");
    let clusters = risk.clusters.iter().map(String::as_str).chain(none);
    clusters.flat_map(|cluster| at_cluster(risk, cluster))
}

fn at_cluster<'a>(risk: &'a Risk, cluster: &'a str) -> impl Iterator<Item = Place<'a>> {
    let addresses = [Some(risk.address.as_str()), risk.formerly.as_deref()].into_iter().flatten();
    addresses.map(move |address| Place { cluster, address })
}

/// Whether it concerns a cluster, or may, that the plan does not name.
fn is_open(risk: &Risk) -> bool {
    risk.clusters.is_empty() || risk.clusters.iter().any(|name| [HIDDEN, HIDDEN_ANEW, UNKNOWN].contains(&name.as_str()))
}

fn rule(entry: RuleEntry) -> Result<Rule, Error> {
    let level = entry.level.map(|word| {
        let words = Level::ALL.map(Level::word).join(", ");
        Level::parse(&word).ok_or_else(|| Error::Policy(format!("{word:?} is no level: write one of {words}")))
    });
    let level = level.transpose()?;
    if level.is_none() && entry.needs_reason.is_none() {
        return Err(Error::Policy(format!("the rule on {:?} says neither level nor needs_reason", entry.risk)));
    }
    Ok(Rule { of: Scope::new(&entry.risk, entry.clusters, entry.addresses)?, level, needs_reason: entry.needs_reason })
}

fn accepted(entry: AcceptedEntry) -> Result<Acceptance, Error> {
    if entry.reason.trim().is_empty() {
        return Err(Error::Policy(format!("what is accepted of {:?} has no reason", entry.risk)));
    }
    if let Some(until) = &entry.until
        && !is_date(until)
    {
        return Err(Error::Policy(format!("{until:?} is no date: write it as 2027-01-31")));
    }
    let of = Scope::new(&entry.risk, entry.clusters, entry.addresses)?;
    Ok(Acceptance { of, reason: entry.reason, until: entry.until })
}

/// A day that there is, written as `2027-01-31`: days are compared as texts.
fn is_date(text: &str) -> bool {
    text.parse::<jiff::civil::Date>().is_ok_and(|date| date.to_string() == text)
}

impl Acceptance {
    /// Without the time of the plan nobody knows whether a date has passed.
    fn holds(&self, made_at: Option<&str>) -> bool {
        match (&self.until, made_at.and_then(|made_at| made_at.get(..10))) {
            (None, _) => true,
            (Some(until), Some(day)) => is_date(day) && day <= until.as_str(),
            (Some(_), None) => false,
        }
    }
}

impl Scope {
    fn new(risk: &str, clusters: Option<Vec<String>>, addresses: Option<Vec<String>>) -> Result<Self, Error> {
        for (name, patterns) in [("clusters", &clusters), ("addresses", &addresses)] {
            if patterns.as_ref().is_some_and(Vec::is_empty) {
                let why = "an empty list matches nothing, and a list left out matches all";
                return Err(Error::Policy(format!("the entry on {risk:?} has {name}: []; {why}")));
            }
        }
        let risk = match risk {
            "*" => None,
            word => Some(
                RiskKind::find(word)
                    .ok_or_else(|| Error::Policy(format!("{word:?} is no risk, neither by number nor by name")))?,
            ),
        };
        Ok(Self { risk, clusters, addresses })
    }

    /// The risk concerns these clusters alone: what is accepted for a test is not accepted for production with it.
    fn covers(&self, risk: &Risk) -> bool {
        places(risk).all(|place| self.is_at(risk, place))
    }

    fn is_at(&self, risk: &Risk, Place { cluster, address }: Place<'_>) -> bool {
        self.risk.is_none_or(|kind| kind == risk.kind)
            && any(self.clusters.as_deref(), cluster)
            && any(self.addresses.as_deref(), address)
    }
}

fn any(patterns: Option<&[String]>, text: &str) -> bool {
    patterns.is_none_or(|patterns| patterns.iter().any(|pattern| glob(pattern, text)))
}

/// `*` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    if !pattern.contains('*') {
        return rest.is_empty();
    }
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    let mut rest = rest;
    for part in between {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::review::risk::{DRIFT, HOSTS_WIDENED};

    fn risk(kind: &'static RiskKind, clusters: &[&str]) -> Risk {
        Risk {
            kind,
            level: kind.level,
            clusters: clusters.iter().map(|name| (*name).to_owned()).collect(),
            address: "mesh_eastwest_gateway.this[\"a\"]".into(),
            formerly: None,
            what: Prose::default(),
            before: Prose::default(),
            after: Prose::default(),
            accepted: None,
            policy: None,
        }
    }

    fn after(policy: &str, mut risk: Risk) -> Risk {
        Policy::parse(policy).unwrap().apply(std::slice::from_mut(&mut risk), Some("2026-11-28T10:00:00Z"));
        risk
    }

    #[test]
    fn the_last_rule_that_matches_decides() {
        let policy = "version: 1\nrules:\n- {risk: hosts-widened, level: note}\n- {risk: R11, clusters: [\"prod-*\"], level: forbidden}\n";
        assert_eq!(after(policy, risk(&HOSTS_WIDENED, &["dev-1"])).level, Level::Note);
        assert_eq!(after(policy, risk(&HOSTS_WIDENED, &["prod-1"])).level, Level::Forbidden);
        assert_eq!(after(policy, risk(&DRIFT, &["prod-1"])).level, Level::Warning);
    }

    #[test]
    fn a_reason_is_needed_given_and_runs_out() {
        let rule = "version: 1\nrules: [{risk: '*', needs_reason: true}]\n";
        assert_eq!(after(rule, risk(&DRIFT, &["a"])).level, Level::Forbidden);
        let given =
            |until: &str| format!("{rule}accepted: [{{risk: changed-outside, clusters: [a], reason: CHG-1{until}}}]\n");
        let accepted = after(&given(""), risk(&DRIFT, &["a"]));
        assert_eq!((accepted.level, accepted.accepted), (Level::Warning, Some(Prose::name("CHG-1"))));
        assert_eq!(after(&given(""), risk(&DRIFT, &["b"])).level, Level::Forbidden);
        assert!(after(&given(", until: 2026-11-29"), risk(&DRIFT, &["a"])).accepted.is_some());
        assert!(after(&given(", until: 2026-11-28"), risk(&DRIFT, &["a"])).accepted.is_some(), "through that day");
        let past = after(&given(", until: 2026-11-27"), risk(&DRIFT, &["a"]));
        assert_eq!((past.level, past.accepted), (Level::Forbidden, None));
        let forbidden = "version: 1\nrules: [{risk: R26, level: forbidden}]\naccepted: [{risk: R26, reason: x}]\n";
        assert_eq!(after(forbidden, risk(&DRIFT, &["a"])).accepted, None);
    }

    /// As a `mesh_ca` concerns all its clusters.
    #[test]
    fn what_concerns_several_clusters_is_forbidden_for_one_and_accepted_for_all() {
        let both = || risk(&HOSTS_WIDENED, &["prod-1", "test-1"]);
        let forbids = "version: 1\nrules: [{risk: R11, clusters: [\"prod-*\"], level: forbidden}]\n";
        assert_eq!(after(forbids, both()).level, Level::Forbidden);
        let accepts =
            |clusters: &str| format!("version: 1\naccepted: [{{risk: R11, clusters: {clusters}, reason: x}}]\n");
        assert_eq!(after(&accepts("[\"test-*\"]"), both()).accepted, None);
        assert!(after(&accepts("[\"test-*\", \"prod-*\"]"), both()).accepted.is_some());
        assert_eq!(after(&accepts("[\"test-*\"]"), risk(&HOSTS_WIDENED, &[])).accepted, None);
        assert!(after(&accepts("[\"*\"]"), risk(&HOSTS_WIDENED, &[])).accepted.is_some());
    }

    #[test]
    fn a_rule_for_tests_lowers_nothing_of_production() {
        let both = || risk(&HOSTS_WIDENED, &["prod-1", "test-1"]);
        let lowers = "version: 1\nrules: [{risk: R11, clusters: [\"test-*\"], level: note}]\n";
        assert_eq!(after(lowers, both()).level, Level::Warning);
        assert_eq!(after(lowers, risk(&HOSTS_WIDENED, &["test-1"])).level, Level::Note);
        let forbids = "version: 1\nrules: [{risk: R11, clusters: [\"prod-*\"], level: forbidden}, {risk: R11, clusters: [\"test-*\"], level: note}]\n";
        assert_eq!(after(forbids, both()).level, Level::Forbidden);
    }

    /// Whoever opens a pull request can take the name of a cluster from something that is known after the apply only.
    #[test]
    fn a_cluster_that_is_not_known_evades_no_rule() {
        let rule = "version: 1\nrules: [{risk: R11, clusters: [\"prod-*\"], level: forbidden}]\n";
        for clusters in [&[][..], &["(sensitive)"], &["test-1", HIDDEN_ANEW], &["test-1", UNKNOWN]] {
            assert_eq!(after(rule, risk(&HOSTS_WIDENED, clusters)).level, Level::Forbidden, "{clusters:?}");
        }
        assert_eq!(after(rule, risk(&HOSTS_WIDENED, &["test-1"])).level, Level::Warning);
        let lowers = "version: 1\nrules: [{risk: R11, clusters: [\"test-*\"], level: note}]\n";
        assert_eq!(after(lowers, risk(&HOSTS_WIDENED, &[])).level, Level::Warning);
        let all =
            "version: 1\nrules: [{risk: R11, clusters: [\"prod-*\"], level: forbidden}, {risk: R11, level: note}]\n";
        assert_eq!(after(all, risk(&HOSTS_WIDENED, &[])).level, Level::Note, "the last rule is for all");
    }

    #[test]
    fn no_rule_allows_what_was_not_looked_at() {
        let unread = Risk { level: Level::Forbidden, ..risk(&DRIFT, &[]) };
        let allows = "version: 1\nrules: [{risk: '*', level: note}]\naccepted: [{risk: '*', reason: x}]\n";
        let judged = after(allows, unread);
        assert_eq!((judged.level, judged.accepted, judged.policy), (Level::Forbidden, None, None));
    }

    /// Whoever opens a pull request chooses the addresses.
    #[test]
    fn another_address_evades_no_rule() {
        let moved = || Risk { formerly: Some("mesh_primary.prod".into()), ..risk(&HOSTS_WIDENED, &["a"]) };
        let rule = |address: &str, of: &str| format!("version: 1\n{of}: [{{risk: R11, addresses: [\"{address}\"], ");
        let forbids = format!("{}level: forbidden}}]\n", rule("mesh_primary.prod*", "rules"));
        assert_eq!(after(&forbids, moved()).level, Level::Forbidden);
        let accepts = format!("{}reason: x}}]\n", rule("mesh_eastwest_gateway.*", "accepted"));
        assert_eq!(after(&accepts, moved()).accepted, None);
        assert!(after(&accepts, risk(&HOSTS_WIDENED, &["a"])).accepted.is_some());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (policy, word) in [
            ("version: 2", "version"),
            ("rules: []", "version"),
            ("version: 1\nrules: [{risk: nonsense, level: note}]", "nonsense"),
            ("version: 1\nrules: [{risk: R01, level: high}]", "high"),
            ("version: 1\nrules: [{risk: R01}]", "neither"),
            ("version: 1\nrules: [{risk: R01, level: note, cluster: a}]", "cluster"),
            ("version: 1\naccepted: [{risk: R01, reason: ''}]", "reason"),
            ("version: 1\naccepted: [{risk: R01, reason: x, until: soon}]", "soon"),
            ("version: 1\naccepted: [{risk: R01, reason: x, until: 2027-02-30}]", "2027-02-30"),
            ("version: 1\naccepted: [{risk: R01, reason: x, until: 2027-99-99}]", "2027-99-99"),
            ("version: 1\nrules: [{risk: R01, level: note, clusters: []}]", "clusters: []"),
            ("version: 1\naccepted: [{risk: R01, reason: x, addresses: []}]", "addresses: []"),
            ("a: [", ""),
        ] {
            let error = Policy::parse(policy).map(drop).unwrap_err().to_string();
            assert!(error.contains(word), "{policy}: {error}");
        }
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, matches) in [
            ("prod-*", "prod-1", true),
            ("prod-*", "dev-prod-1", false),
            ("*-eu-*", "a-eu-b", true),
            ("*-eu-*", "a-us-b", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("east", "east", true),
            ("east", "easter", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }
}
