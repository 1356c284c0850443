//! Tokens: which are issued, until when, and how often somebody must come by.

use std::time::Duration;

use super::Cx;
use crate::review::read::{InCluster, Instance, Reading, Type};
use crate::review::risk::{LONG_TOKEN, Level, NOT_AWAITED, TOKEN_ENDS};
use crate::review::section::Section;
use crate::review::text::{Name, Prose};
use crate::schema::validate::parse_duration;

const COLUMNS: &[(&str, &str)] = &[
    ("cluster", "cluster"),
    ("watcher", "read by"),
    ("what", "token"),
    ("ends_before", "end before"),
    ("ends_after", "end after"),
    ("renew_every", "apply at least every"),
];

const DAY: Duration = Duration::from_secs(86_400);

pub fn of_plan(cx: &mut Cx<'_>) -> Section {
    let mut section = Section::new("tokens", "Tokens", COLUMNS);
    section.importance = 6;
    for remote in cx.of(Type::Remote) {
        for one in remote.in_clusters() {
            rows(cx, &mut section, remote, one);
            if remote.changes() {
                judge(cx, remote, one);
            }
        }
    }
    for instance in &cx.plan.instances {
        let waits = |side: Reading<'_>| side.get("wait").value() != false;
        if instance.changes() && instance.after().is_there() && !waits(instance.after()) && waits(instance.before()) {
            cx.risk(&NOT_AWAITED, instance, "The apply no longer waits until what it makes works.")
                .sides("waited for", "not waited for");
        }
    }
    section.sorted()
}

fn rows(cx: &mut Cx<'_>, section: &mut Section, remote: &Instance, of: InCluster<'_>) {
    let (watched, old, new) = (of.cluster, of.before, of.after);
    let (before, after) = (old.get("tokens").entries(), new.get("tokens"));
    let after = match after.is_unknown() && !new.get("watchers").is_partly_unknown() {
        // Which there will be is known by who watches.
        true => new.get("watchers").texts().into_iter().map(|watcher| (watcher, after.get(watcher))).collect(),
        false if after.is_unknown() => before.keys().map(|watcher| (*watcher, after.get(watcher))).collect(),
        false => after.entries(),
    };
    let terms = Terms::of(new);
    let names: std::collections::BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    for watcher in names {
        let nothing = Reading::nothing();
        let (was, will) = (*before.get(watcher).unwrap_or(&nothing), *after.get(watcher).unwrap_or(&nothing));
        let condition = was.get("condition").text().unwrap_or_default();
        let issued = will.is_there() && (will.is_unknown() || will.get("expires_at").is_unknown());
        overdue(cx, remote, watcher, condition);
        let own = |side: Reading<'_>| side.get("link_token").is_there();
        let by_job = |side: Reading<'_>| Terms::of(side).by_job;
        let what = match (was.is_there(), will.is_there()) {
            (false, true) if own(new) => "none stored: istiod has its own",
            (true, true) if own(new) && !own(old) => "no longer stored: istiod has its own",
            (false, true) if by_job(new) => "issued, and renewed by a job of the watcher",
            (true, true) if by_job(new) && !by_job(old) => "reissued, and from now on renewed by a job of the watcher",
            (true, true) if condition == "unrenewed" && !issued => "kept; the job that renews it is made as it was",
            (false, true) => "issued",
            (true, false) => "revoked",
            (true, true) if issued && condition == "rotate" => "renewed as planned",
            (true, true) if issued => "reissued",
            _ => continue,
        };
        cx.renewals += usize::from(what == "renewed as planned");
        let ends = |side: Reading<'_>| match side.get("expires_at").text() {
            Some(end) => Prose::name(end),
            None if side.is_partly_unknown() => "known after apply".into(),
            None if side.get("condition").text() == Some("projected") => "none stored".into(),
            None if matches!(side.get("condition").text(), Some("renewed" | "unrenewed")) => "renewed by a job".into(),
            None if side.is_there() => "never".into(),
            None => Prose::from("none"),
        };
        let capped = is_capped(cx.plan.timestamp.as_deref(), was, &Terms::of(old));
        let every = match (will.is_there(), capped) {
            (false, _) => Prose::default(),
            (true, false) => terms.words(),
            (true, true) => {
                format!("{}, or more often: the API server grants less than is asked for", terms.words()).into()
            }
        };
        section.row([Prose::name(watched), Prose::name(watcher), what.into(), ends(was), ends(will), every]);
    }
}

/// What becomes of the tokens of a link that the configuration forgets.
pub fn forgotten(link: Reading<'_>) -> &'static str {
    match Terms::of(link) {
        Terms { own: true, .. } => {
            " No token is stored: the istiods of the watchers continue to log in with tokens of their own."
        }
        Terms { endless: true, .. } => {
            " No apply revokes its tokens, which have no end: each is valid until somebody deletes its Secret in the cluster."
        }
        Terms { by_job: true, .. } => {
            " No apply revokes its tokens, and a job in each watcher continues to renew them: they are valid until somebody deletes their Secrets in the cluster."
        }
        _ => " No apply renews or revokes its tokens: each is valid until its end, and with it the link ends.",
    }
}

/// Whether a token that needs no renewal yet ends sooner than its terms have it: the API server cuts it short, and an
/// apply must come more often than the configuration alone says.
fn is_capped(planned: Option<&str>, token: Reading<'_>, terms: &Terms) -> bool {
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let ends = token.get("expires_at").text().and_then(time);
    let left = planned.and_then(time).zip(ends).map(|(planned, ends)| ends.duration_since(planned));
    let left = left.and_then(|left| Duration::try_from(left).ok());
    let valid = token.get("condition").text() == Some("valid");
    valid && left.zip(terms.window).is_some_and(|(left, window)| left < window)
}

fn overdue(cx: &mut Cx<'_>, remote: &Instance, watcher: &str, condition: &str) {
    if matches!(condition, "expired" | "unreadable") {
        let what = format!("The token by which {} reads the cluster is {}.", Name(watcher), Name(condition));
        cx.risk(&TOKEN_ENDS, remote, what).at(Level::Warning).sides(Prose::name(condition), "reissued");
    }
}

/// On what tokens are issued.
struct Terms {
    lifetime: Option<Duration>,
    /// How long before its end a token may be renewed: somebody must apply within.
    window: Option<Duration>,
    endless: bool,
    /// None is stored.
    own: bool,
    /// A job renews them.
    by_job: bool,
}

impl Terms {
    fn of(side: Reading<'_>) -> Self {
        let token = side.get("token");
        let time = |name: &str| token.get(name).text().and_then(parse_duration);
        let unknown =
            token.is_unknown() || token.get("lifetime").is_unknown() || token.get("rotate_before").is_unknown();
        let own = side.get("link_token").is_there();
        let lifetime = if unknown || own { None } else { Some(time("lifetime").unwrap_or(90 * DAY)) };
        let usual = |lifetime: Duration| if lifetime < 90 * DAY { lifetime / 3 } else { 30 * DAY };
        Self {
            lifetime,
            window: lifetime.map(|lifetime| time("rotate_before").unwrap_or_else(|| usual(lifetime))),
            endless: token.get("long_lived").flag(),
            own,
            by_job: token.get("renewal").is_there() && !token.get("renewal").is_unknown(),
        }
    }

    fn words(&self) -> Prose {
        match (self.endless, self.window) {
            _ if self.own => "never".into(),
            _ if self.by_job => "never: a job renews them".into(),
            (true, _) => "never".into(),
            (false, Some(window)) => days(window).into(),
            (false, None) => "known after apply".into(),
        }
    }
}

/// In days and hours.
fn days(time: Duration) -> String {
    let hours = time.as_secs() / 3_600;
    match (hours / 24, hours % 24) {
        (0, 0) => format!("{} min", time.as_secs() / 60),
        (0, hours) => format!("{hours} h"),
        (days, 0) => format!("{days} d"),
        (days, hours) => format!("{days} d {hours} h"),
    }
}

fn judge(cx: &mut Cx<'_>, remote: &Instance, InCluster { cluster, before, after }: InCluster<'_>) {
    if !after.is_there() {
        return;
    }
    let (was, will) = (Terms::of(before), Terms::of(after));
    let shown = |terms: &Terms| match terms.lifetime {
        _ if terms.own => "none stored".into(),
        _ if terms.endless => "for ever".into(),
        Some(lifetime) => Prose::from(days(lifetime)),
        None => "known after apply".into(),
    };
    let was_shown = if before.is_there() { shown(&was) } else { "none".into() };
    let grows = !before.is_there() || will.lifetime > was.lifetime;
    if will.endless && !(was.endless && before.is_there()) {
        let what = "Each watcher gets a token without an end, kept in a Secret of the cluster.";
        cx.risk(&LONG_TOKEN, remote, what).of(cluster).sides(was_shown, shown(&will));
    } else if !will.endless && grows && will.lifetime.is_some_and(|lifetime| lifetime > 365 * DAY) {
        cx.risk(&LONG_TOKEN, remote, "Tokens are asked for that live longer than a year.")
            .of(cluster)
            .sides(was_shown, shown(&will));
    } else if !will.endless && !will.by_job && will.lifetime.is_some() {
        let shrinks = before.is_there() && (was.endless || was.by_job || was.own || will.window < was.window);
        let short = !before.is_there() && will.window.is_some_and(|window| window < 7 * DAY);
        if shrinks || short {
            let what = format!("From now on somebody must plan and apply at least every {}.", will.words());
            let was = if before.is_there() { was.words() } else { "none".into() };
            cx.risk(&TOKEN_ENDS, remote, what).of(cluster).sides(was, will.words());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_ends_too_soon_for_its_terms_is_cut_short() {
        let terms = Terms::of(Reading::nothing());
        let capped = |condition: &str, ends: &str| {
            let token = serde_json::json!({ "condition": condition, "expires_at": ends });
            is_capped(Some("2026-11-30T10:00:00Z"), Reading::new(&token, &serde_json::Value::Null), &terms)
        };
        assert!(capped("valid", "2026-12-01T08:00:00Z"));
        assert!(!capped("valid", "2027-02-01T08:00:00Z"));
        assert!(!capped("rotate", "2026-12-01T08:00:00Z"), "near its end as planned");
        assert!(!capped("valid", "nonsense") && !capped("valid", "2026-11-29T08:00:00Z"));
    }

    #[test]
    fn a_length_of_time_is_told_in_days_and_hours() {
        for (seconds, words) in
            [(600, "10 min"), (7_200, "2 h"), (86_400, "1 d"), (201_600, "2 d 8 h"), (7_776_000, "90 d")]
        {
            assert_eq!(days(Duration::from_secs(seconds)), words);
        }
    }
}
