//! What a campaign came to, in numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::life::Outcome;

const ACTIONS: [&str; 5] = ["create", "change", "rotation", "replace", "destroy"];
const DISTURBANCES: [&str; 6] =
    ["both killed", "provider killed", "CLI killed", "wrong answers", "outage", "objects deleted"];

#[derive(Default)]
pub struct Tally {
    cells: BTreeMap<(&'static str, &'static str), Cell>,
    pub broken: Vec<String>,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    rounds: usize,
    in_time: usize,
    failed: usize,
}

impl Tally {
    pub fn count(&mut self, outcome: &Outcome, broken: Vec<String>) {
        let cell = self.cells.entry((outcome.action, outcome.disturbance)).or_default();
        cell.rounds += 1;
        cell.in_time += usize::from(outcome.in_time);
        cell.failed += usize::from(outcome.failed);
        self.broken.extend(broken);
    }

    fn sum(&self, of: impl Fn(&Cell) -> usize) -> usize {
        self.cells.values().map(of).sum()
    }

    pub fn told(&self, seed: u64, lasted: Duration) -> String {
        format!(
            "seed {seed}: {} rounds in {:.0} s, {} disturbed in time, {} commands failed by it, {} laws broken",
            self.sum(|cell| cell.rounds),
            lasted.as_secs_f64(),
            self.sum(|cell| cell.in_time),
            self.sum(|cell| cell.failed),
            self.broken.len()
        )
    }

    fn table(&self) -> String {
        let mut table = format!("| | {} |\n| --- |{}\n", DISTURBANCES.join(" | "), " --: |".repeat(DISTURBANCES.len()));
        for action in ACTIONS {
            write!(table, "| {action} |").expect("a string");
            for disturbance in DISTURBANCES {
                let cell = self.cells.get(&(action, disturbance)).copied().unwrap_or_default();
                write!(table, " {} of {} |", cell.failed, cell.rounds).expect("a string");
            }
            table.push('\n');
        }
        table
    }
}

/// Writes docs/guides/campaign.md where the figures are asked for.
pub fn write(tally: &Tally, seed: u64, lasted: Duration) {
    if std::env::var_os("MESH_CAMPAIGN_PAGE").is_none() {
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides/campaign.md");
    let text = std::fs::read_to_string(&page).expect("the page");
    let (head, _) = text.split_once("<!-- figures -->").expect("where the figures begin");
    let figures = format!(
        "{head}<!-- figures -->\n\nWritten by `make campaign` on {}.\n\n{}.\n\n{}",
        crate::bench::machine(),
        tally.told(seed, lasted).replacen("seed", "Seed", 1),
        tally.table()
    );
    std::fs::write(page, figures).expect("the page");
}
