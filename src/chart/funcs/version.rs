//! Semantic versions and constraints as Masterminds/semver reads them.
use std::rc::Rc;

use super::Param::Str;
use super::{Row, text};
use crate::chart::value::{Native, Value};

pub(super) const TABLE: &[Row] = &[
    ("semver", &[Str], None, false, |args| {
        let version = parse(text(&args[0])).ok_or("invalid semantic version")?;
        Ok(Value::Native(Native::Semver(Rc::new(version), Rc::from(text(&args[0])))))
    }),
    ("semverCompare", &[Str, Str], None, false, |args| {
        let constraint = text(&args[0]);
        let alternatives = constraints(constraint).ok_or_else(|| format!("improper constraint: {constraint:?}"))?;
        let version = parse(text(&args[1])).ok_or("invalid semantic version")?;
        Ok(Value::Bool(satisfies(&alternatives, &version)))
    }),
];

/// Whether a version (of Kubernetes) is inside a chart's `kubeVersion`; a constraint nobody can read matches nothing.
pub(in crate::chart) fn compatible(constraint: &str, version: &str) -> bool {
    match (constraints(constraint), parse(version)) {
        (Some(alternatives), Some(version)) => satisfies(&alternatives, &version),
        _ => false,
    }
}

/// A version of which minor and patch may be missing, with or without a `v`.
fn parse(text: &str) -> Option<semver::Version> {
    let partial = Partial::parse(text)?;
    (!partial.wildcard).then(|| partial.lowest())
}

struct Partial {
    numbers: Vec<u64>,
    wildcard: bool,
    pre: semver::Prerelease,
}

impl Partial {
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, build) = text.split_once('+').map_or((text, None), |(t, b)| (t, Some(b)));
        if let Some(build) = build {
            semver::BuildMetadata::new(build).ok()?;
        }
        let (core, pre) = text.split_once('-').unwrap_or((text, ""));
        let mut numbers = Vec::new();
        let mut wildcard = false;
        for part in core.split('.') {
            match part {
                "x" | "X" | "*" => wildcard = true,
                _ if wildcard || part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) => return None,
                part => numbers.push(part.parse().ok()?),
            }
        }
        (numbers.len() <= 3).then_some(())?;
        Some(Self { numbers, wildcard, pre: semver::Prerelease::new(pre).ok()? })
    }

    fn at(&self, i: usize) -> u64 {
        self.numbers.get(i).copied().unwrap_or(0)
    }

    fn lowest(&self) -> semver::Version {
        let mut version = semver::Version::new(self.at(0), self.at(1), self.at(2));
        version.pre = self.pre.clone();
        version
    }
}

struct Constraint {
    operator: &'static str,
    partial: Partial,
}

const OPERATORS: [&str; 12] = ["=<", "=>", "!=", ">=", "<=", "~>", "=", ">", "<", "~", "^", ""];

/// Alternatives separated by `||`, each a list that must hold together.
fn constraints(text: &str) -> Option<Vec<Vec<Constraint>>> {
    text.split("||").map(group).collect()
}

fn group(text: &str) -> Option<Vec<Constraint>> {
    let mut found = Vec::new();
    // `1.2 - 1.4` stands for `>=1.2 <=1.4`.
    let text = match text.split_once(" - ") {
        Some((low, high)) => format!(">={} <={}", low.trim(), high.trim()),
        None => text.to_owned(),
    };
    let mut rest = text.trim().trim_start_matches(',');
    while !rest.is_empty() {
        let operator = OPERATORS.into_iter().find(|operator| rest.starts_with(operator))?;
        rest = rest[operator.len()..].trim_start();
        let end = rest.find([' ', ',', '<', '>', '=', '~', '^', '!']).unwrap_or(rest.len());
        found.push(Constraint { operator, partial: Partial::parse(&rest[..end])? });
        rest = rest[end..].trim_start_matches([' ', ',']);
    }
    (!found.is_empty()).then_some(found)
}

fn satisfies(alternatives: &[Vec<Constraint>], version: &semver::Version) -> bool {
    alternatives.iter().any(|group| {
        // A prerelease only matches where a constraint of the group mentions one.
        let pre_allowed = version.pre.is_empty() || group.iter().any(|c| !c.partial.pre.is_empty());
        pre_allowed && group.iter().all(|constraint| constraint.holds(version))
    })
}

impl Constraint {
    fn holds(&self, version: &semver::Version) -> bool {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let low = self.partial.lowest();
        let order = version.cmp_precedence(&low);
        let given = self.partial.numbers.len();
        let dirty = given < 3;
        // As far as the constraint names numbers, they agree.
        let agrees = |count: usize| {
            let actual = [version.major, version.minor, version.patch];
            (0..count).all(|i| actual[i] == self.partial.at(i))
        };
        match self.operator {
            "" | "=" if dirty => agrees(given) && order != Less,
            "" | "=" => order == Equal,
            "!=" if dirty => !agrees(given),
            "!=" => order != Equal,
            ">" if dirty => order == Greater && !agrees(given),
            ">" => order == Greater,
            "<" => order == Less,
            ">=" | "=>" => order != Less,
            "<=" | "=<" if dirty => order != Greater || agrees(given),
            "<=" | "=<" => order != Greater,
            "~" | "~>" => order != Less && agrees(given.min(2)),
            // The caret keeps the leftmost number that is not zero.
            _ => {
                let kept = match (self.partial.at(0), self.partial.at(1)) {
                    _ if given == 0 => 0,
                    (1.., _) => 1,
                    (0, _) if given == 1 => 1,
                    (0, 1..) => 2,
                    (0, 0) if given == 2 => 2,
                    _ => 3,
                };
                order != Less && agrees(kept)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::compatible;

    /// As charts are written for the versions of clouds.
    #[test]
    fn one_bound_that_names_a_prerelease_lets_them_in() {
        for (constraint, version, wanted) in [
            (">=1.28.0-0 <1.40.0", "v1.33.4-gke.1", true),
            (">=1.28.0 <1.40.0-0", "v1.33.4-gke.1", true),
            (">=1.28.0-0, !=1.33.3", "v1.33.4-gke.1", true),
            (">=1.34.0-0 <1.40.0", "v1.33.4-gke.1", false),
            (">=1.28.0 <1.40.0", "v1.33.4-gke.1", false),
            ("!=1.33.3", "v1.33.4-gke.1", false),
            (">=1.34.0-0 || >=1.28.0", "v1.33.4-gke.1", false),
        ] {
            assert_eq!(compatible(constraint, version), wanted, "{constraint} {version}");
        }
    }
}
