//! Everything about certificates goes by the clock of this machine: when they begin, when they are due, when a root may
//! go. One that is wrong would have all of them issued anew, or at once, in every cluster. The clusters have clocks
//! too, and each answer tells theirs: where all that have answered say that this machine is behind, its time is put
//! right.

use time::{Duration, OffsetDateTime};

use super::Cx;
use super::issue::BACKDATED;
use crate::diag::{Diagnostic, Diagnostics};
use crate::resources::client;

/// How far this machine may be behind, and be put right. By more, it is a fault to be told.
const BEHIND: i64 = 24 * 3600;

/// Refuses to go on by a clock that no cluster agrees with.
pub fn check(cx: &Cx, names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), Diagnostics> {
    wrong(&told(cx, names)).map_or(Ok(()), |error| Err(error.into()))
}

/// The time of an apply or a refresh. A step that a machine which is behind has dated early would have a shorter pause
/// on every other machine. One that is ahead dates it late, which is safe.
pub fn corrected(cx: &Cx, names: impl IntoIterator<Item = impl AsRef<str>>, now: OffsetDateTime) -> OffsetDateTime {
    now.checked_add(Duration::seconds(lag(&told(cx, names)))).unwrap_or(now)
}

/// By how many seconds this machine is ahead of each cluster that has told its time.
fn told(cx: &Cx, names: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<(String, i64)> {
    let clusters = names.into_iter().filter_map(|name| client::cluster(cx, name.as_ref()).ok());
    clusters.filter_map(|cluster| Some((cluster.name().to_owned(), cluster.clock_ahead()?))).collect()
}

/// The seconds by which every cluster says that this machine is behind: beside another, one with a fast clock of its
/// own moves nothing.
fn lag(told: &[(String, i64)]) -> i64 {
    told.iter().map(|(_, ahead)| ahead.saturating_neg().max(0)).min().unwrap_or_default()
}

/// One cluster with another opinion has a clock of its own that is wrong; all of them say that it is ours.
fn wrong(told: &[(String, i64)]) -> Option<Diagnostic> {
    let is_off = |ahead: i64| ahead > BACKDATED.whole_seconds() || ahead < -BEHIND;
    let (name, ahead) = told.first().filter(|_| told.iter().all(|(_, ahead)| is_off(*ahead)))?;
    let direction = if *ahead > 0 { "ahead of" } else { "behind" };
    Some(Diagnostic::error("The clock of this machine is wrong").detail(format!(
        "This machine's clock is {} minutes {direction} that of cluster {name}{}. Certificates would be renewed, begin and end at the wrong time. Correct the clock, and plan again.",
        ahead.abs() / 60,
        if told.len() > 1 { ", and no other cluster agrees with it" } else { "" }
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_put_forward_where_every_cluster_says_so() {
        let lag = |all: &[i64]| {
            let told: Vec<_> = all.iter().enumerate().map(|(i, ahead)| (format!("c{i}"), *ahead)).collect();
            super::lag(&told)
        };
        assert_eq!(lag(&[-72_000, -72_010]), 72_000);
        assert_eq!(lag(&[-72_000, 5]), 0, "one of two");
        assert_eq!(lag(&[300]), 0, "it is ahead");
        assert_eq!(lag(&[]), 0, "nobody has told");
    }

    #[test]
    fn a_clock_is_wrong_where_every_cluster_says_so() {
        let told = |all: &[i64]| {
            let told: Vec<_> = all.iter().enumerate().map(|(i, ahead)| (format!("c{i}"), *ahead)).collect();
            wrong(&told).map(|error| error.detail)
        };
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[300, -3600]), None);
        assert_eq!(told(&[90_000, 10]), None, "one of two");
        assert!(told(&[7200]).is_some_and(|detail| {
            detail.starts_with("This machine's clock is 120 minutes ahead of that of cluster c0.")
        }));
        assert!(
            told(&[-90_000, -90_001]).is_some_and(|detail| detail.contains("behind that of cluster c0, and no other"))
        );
    }
}
