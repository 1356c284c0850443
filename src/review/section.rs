//! Tables of what a plan does, by subject: columns have a name for programs and one for people.

use std::collections::{BTreeSet, HashMap};

use super::text::{Prose, addresses, list};

/// What there is to say of a subject.
#[derive(Debug, Clone)]
pub struct Section {
    /// Name for programs.
    pub key: &'static str,
    pub title: &'static str,
    /// Name for programs, and for people; one without a name for people is left out on a page.
    pub columns: &'static [(&'static str, &'static str)],
    pub rows: Vec<Vec<Prose>>,
    /// Said below the table.
    pub note: &'static str,
    /// The least important goes first where there is no room.
    pub importance: u8,
    /// Shown at once, not behind a click.
    pub open: bool,
}

impl Section {
    pub const fn new(key: &'static str, title: &'static str, columns: &'static [(&'static str, &'static str)]) -> Self {
        Self { key, title, columns, rows: Vec::new(), note: "", importance: 5, open: true }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = Prose>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub fn sorted(mut self) -> Self {
        self.rows.sort();
        self.rows.dedup();
        self
    }

    /// For people: rows that differ in where they are alone are one.
    pub fn grouped(&self) -> Vec<Vec<Prose>> {
        let places: Vec<usize> =
            (0..self.columns.len()).filter(|at| matches!(self.columns[*at].0, "cluster" | "address")).collect();
        let mut groups: Vec<Vec<BTreeSet<Prose>>> = Vec::new();
        let mut known: HashMap<Vec<&Prose>, usize> = HashMap::new();
        for row in &self.rows {
            let rest = row.iter().enumerate().filter(|(at, _)| !places.contains(at)).map(|(_, cell)| cell).collect();
            let at = *known.entry(rest).or_insert_with(|| {
                groups.push(row.iter().map(|_| BTreeSet::new()).collect());
                groups.len() - 1
            });
            for (cells, cell) in groups[at].iter_mut().zip(row) {
                if !cells.contains(cell) {
                    cells.insert(cell.clone());
                }
            }
        }
        let shown = |(at, cells): (usize, &BTreeSet<Prose>)| {
            if self.columns.get(at).is_some_and(|(key, _)| *key == "address") { addresses(cells) } else { list(cells) }
        };
        groups.iter().map(|cells| cells.iter().enumerate().map(shown).collect()).collect()
    }
}
