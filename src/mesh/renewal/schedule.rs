//! When a token is renewed: often enough for the life that was granted, and of a fleet's tokens not all at once.

use sha2::{Digest as _, Sha256};

/// A CronJob's schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    minutes: u64,
    /// In the five fields of cron.
    pub cron: String,
}

/// In minutes: what divides an hour, a day, or is a day or a week. Other steps of cron are uneven.
const STEPS: [u64; 20] = [1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120, 180, 240, 360, 480, 720, DAY, 7 * DAY];
const HOUR: u64 = 60;
const DAY: u64 = 24 * HOUR;

impl Schedule {
    /// For tokens that live so many seconds: three runs or more in that time. The link's name decides on minute, hour
    /// and day.
    pub fn within(granted: u64, link: &str) -> Self {
        let minutes = STEPS.into_iter().rev().find(|step| step * 60 * 3 <= granted).unwrap_or(1);
        let digest = Sha256::digest(link);
        let number = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        Self { minutes, cron: cron(minutes, number % minutes) }
    }

    /// Seconds from one run to the next.
    pub fn every(&self) -> u64 {
        self.minutes * 60
    }

    /// The age, in seconds, that a token has only where a run was missed.
    pub fn late_at(granted: u64) -> u64 {
        Self::within(granted, "").every() * 2
    }
}

/// Every so many minutes, at this minute of them.
fn cron(minutes: u64, at: u64) -> String {
    let (minute, hour) = (at % HOUR, at / HOUR);
    match minutes {
        1 => "* * * * *".to_owned(),
        2..HOUR => format!("{at}-59/{minutes} * * * *"),
        HOUR => format!("{minute} * * * *"),
        _ if minutes < DAY => format!("{minute} {hour}-23/{} * * *", minutes / HOUR),
        DAY => format!("{minute} {hour} * * *"),
        _ => format!("{minute} {} * * {}", hour % 24, hour / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_runs_fit_into_every_life() {
        for (granted, every) in [(600, 180), (3_600, 1_200), (86_400, 28_800), (172_800, 43_200), (7_776_000, 604_800)]
        {
            assert_eq!(Schedule::within(granted, "west/east").every(), every, "{granted}");
            assert!(every * 3 <= granted && Schedule::late_at(granted) < granted);
        }
    }

    #[test]
    fn a_fleet_is_spread_over_the_time_there_is() {
        let minutes: Vec<String> = (0..240).map(|n| Schedule::within(86_400, &format!("hub/spoke-{n}")).cron).collect();
        let mut counted = std::collections::BTreeMap::<&str, u32>::new();
        minutes.iter().for_each(|cron| *counted.entry(cron).or_default() += 1);
        assert!(counted.len() > 150, "240 links at {} minutes of 480", counted.len());
        assert!(counted.values().all(|at_once| *at_once <= 5), "{counted:?}");
        assert_eq!(Schedule::within(86_400, "hub/spoke-1"), Schedule::within(86_400, "hub/spoke-1"));
    }

    #[test]
    fn the_five_fields_say_it() {
        let said = [(1, 0), (3, 2), (20, 7), (60, 59), (120, 61), (480, 470), (1440, 1439), (10_080, 10_079)];
        let fields = said.map(|(minutes, at)| cron(minutes, at));
        assert_eq!(
            fields,
            [
                "* * * * *",
                "2-59/3 * * * *",
                "7-59/20 * * * *",
                "59 * * * *",
                "1 1-23/2 * * *",
                "50 7-23/8 * * *",
                "59 23 * * *",
                "59 23 * * 6"
            ]
        );
    }
}
