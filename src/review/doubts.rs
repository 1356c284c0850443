//! Why a page may not tell all: what of a plan could not be read, is not known, or follows later. However many there
//! are, each reason is one sentence.

use std::collections::{BTreeMap, BTreeSet};

use super::text::{Prose, names, own_names};

/// Why something is not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// Something of the plan itself has another form.
    Part,
    /// What happens to a resource.
    Actions,
    Values,
    Kind,
    Copy,
    Attribute,
    LeftOut,
}

#[derive(Debug, Default)]
pub struct Doubts {
    /// Of the plan as a whole.
    whole: Vec<Prose>,
    of: BTreeMap<Doubt, Places>,
}

/// Where there is a doubt, and by what: addresses, and attributes or providers.
#[derive(Debug, Default)]
struct Places {
    addresses: BTreeSet<String>,
    by: BTreeSet<String>,
}

impl Doubts {
    pub fn of_plan(&mut self, doubt: impl Into<Prose>) {
        self.whole.push(doubt.into());
    }

    pub fn at(&mut self, doubt: Doubt, address: &str) {
        self.of.entry(doubt).or_default().addresses.insert(address.to_owned());
    }

    pub fn by<'a>(&mut self, doubt: Doubt, address: &str, by: impl IntoIterator<Item = &'a str>) {
        self.at(doubt, address);
        self.of.entry(doubt).or_default().by.extend(by.into_iter().map(str::to_owned));
    }

    /// Whether something may change that nobody could read.
    pub fn hide_changes(&self) -> bool {
        let hides = |doubt: &Doubt| !matches!(doubt, Doubt::Attribute | Doubt::LeftOut);
        !self.whole.is_empty() || self.of.keys().any(hides)
    }

    pub fn told(self) -> Vec<Prose> {
        let places = self.of.into_iter().map(|(doubt, places)| sentence(doubt, &places).into());
        self.whole.into_iter().chain(places).collect()
    }
}

fn sentence(doubt: Doubt, Places { addresses, by }: &Places) -> String {
    let all = names(addresses.iter().map(String::as_str));
    let by = names(by.iter().map(String::as_str));
    let one = addresses.len() == 1;
    let verb = if one { "is" } else { "are" };
    match doubt {
        Doubt::Part => format!("{} cannot be read, or not all of it", own_names(addresses.iter().map(String::as_str))),
        Doubt::Actions => format!("what happens to {all} cannot be read"),
        Doubt::Values => format!("the values of {all} cannot be read"),
        Doubt::Kind => format!(
            "{all} {verb} of a kind that this version does not know. Review the plan with the version that planned it"
        ),
        Doubt::Copy => format!(
            "{all} {verb} of the provider {by}, which this review does not know. Find out whether it is a copy of this provider; if so, review the plan with the program of that copy"
        ),
        Doubt::Attribute => format!(
            "{all} {} attributes that this version does not know: {by}. Review the plan with the version that planned it",
            if one { "has" } else { "have" }
        ),
        Doubt::LeftOut => format!("the plan leaves out what state knows: {all}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_one_sentence() {
        let mut doubts = Doubts::default();
        for number in 0..100 {
            doubts.at(Doubt::Kind, &format!("mesh_future.n{number:02}"));
        }
        doubts.by(Doubt::Attribute, "mesh_ca.a", ["x", "y"]);
        doubts.of_plan("first");
        let told: Vec<String> = doubts.told().iter().map(Prose::plain).collect();
        assert_eq!(told.len(), 3);
        assert_eq!(told[0], "first");
        assert!(told[1].starts_with("mesh_future.n00, ") && told[1].contains(" and 92 more are of a kind"), "{told:?}");
        assert!(told[2].starts_with("mesh_ca.a has attributes that this version does not know: x, y."), "{told:?}");
    }
}
