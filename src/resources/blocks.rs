//! Two blocks of a configuration that stand for one thing in a cluster: each apply of one would overwrite the other.
//! The protocol does not say which block a plan is of, so that they are told apart by what the core never does: it
//! plans a block that is not there once, and one that is there once more where it is to be replaced. Only that second
//! plan comes with private data and without an object.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Debug;
use std::hash::{Hash as _, Hasher as _};

use crate::diag::Diagnostic;
use crate::engine::Plan;
use crate::value::Value;

/// A block that is planned.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// Type of the resource, such as `mesh_primary`.
    pub resource: &'static str,
    /// What its objects go by: no other block may have the same.
    pub id: &'a str,
    /// The attribute that tells blocks apart.
    pub attribute: &'static str,
    pub seen: Seen,
}

/// What a plan is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Digest of the mark of the instance in state; `None` where it is to be made.
    is_there: Option<u64>,
    /// It is to be made in place of one that is there, which was planned before.
    replaces: bool,
    /// Digest of the configuration.
    config: u64,
}

impl Seen {
    /// `mark` picks the mark of the instance.
    pub fn of<M: Debug + PartialEq>(plan: &Plan<'_, M>, mark: fn(&M) -> &Value<String>) -> Self {
        let is_there = plan.prior.map(|prior| digest(mark(prior)));
        Self { is_there, replaces: plan.replaces, config: digest(plan.config) }
    }
}

fn digest(value: &impl Debug) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{value:?}").hash(&mut hasher);
    hasher.finish()
}

/// The blocks planned so far, by type and id.
#[derive(Debug, Default)]
pub struct Blocks(BTreeMap<(&'static str, String), Vec<Seen>>);

impl Blocks {
    /// Notes a block; the error where another one stands for the same thing.
    pub fn meet(&mut self, block: Block<'_>) -> Option<Diagnostic> {
        let Block { resource, id, attribute, seen } = block;
        let before = self.0.entry((resource, id.to_owned())).or_default();
        let is_another = before.iter().any(|earlier| match (earlier.is_there, seen.is_there) {
            (Some(one), Some(other)) => one != other,
            // A copy has the same configuration as what it is a copy of, and replaces nothing.
            (Some(_), None) => !seen.replaces || earlier.config != seen.config,
            (None, _) => true,
        });
        before.push(seen);
        is_another.then(|| {
            Diagnostic::error(format!("Two blocks for {id}")).at(attribute).detail(format!(
                "Another `{resource}` of this configuration stands for {id} as well: each apply of one would overwrite what the other made. Remove one of the blocks, or change `{attribute}` of \
                 one so that they differ."
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn there(mark: u64, config: u64) -> Seen {
        Seen { is_there: Some(mark), replaces: false, config }
    }

    const fn new(config: u64) -> Seen {
        Seen { is_there: None, replaces: false, config }
    }

    const fn replacing(config: u64) -> Seen {
        Seen { is_there: None, replaces: true, config }
    }

    fn meets(seen: &[Seen]) -> Vec<bool> {
        let mut blocks = Blocks::default();
        let block = |seen: &Seen| Block {
            resource: "mesh_primary",
            id: "east/istio-system/istiod",
            attribute: "revision",
            seen: *seen,
        };
        seen.iter().map(|seen| blocks.meet(block(seen)).is_some()).collect()
    }

    #[test]
    fn two_blocks_of_one_id_are_told_whatever_is_there() {
        assert_eq!(meets(&[new(1), new(2)]), [false, true], "both new");
        assert_eq!(meets(&[new(1), new(1)]), [false, true], "both new, and alike");
        assert_eq!(meets(&[there(7, 1), new(2)]), [false, true], "one is there");
        assert_eq!(meets(&[there(7, 1), new(1)]), [false, true], "one is there, and the other is a copy of it");
        assert_eq!(meets(&[new(1), there(7, 1)]), [false, true], "the copy first");
        assert_eq!(meets(&[new(2), there(7, 1)]), [false, true], "the new one first");
        assert_eq!(meets(&[there(7, 1), there(8, 2)]), [false, true], "both are there");
    }

    #[test]
    fn one_block_that_is_replaced_is_one() {
        assert_eq!(meets(&[there(7, 1), replacing(1)]), [false, false]);
        assert_eq!(meets(&[replacing(1)]), [false], "tainted: it is planned once");
        assert_eq!(meets(&[there(7, 1), replacing(1), new(2)]), [false, false, true], "and another is another");
        assert_eq!(meets(&[there(7, 1), replacing(1), new(1)]), [false, false, true], "also a copy");
    }

    #[test]
    fn another_id_is_another_thing() {
        let mut blocks = Blocks::default();
        let seen = new(1);
        for id in ["east/istio-system/istiod", "east/istio-system/istiod-canary"] {
            let block = Block { resource: "mesh_primary", id, attribute: "revision", seen };
            assert!(blocks.meet(block).is_none());
        }
        let gateway =
            Block { resource: "mesh_eastwest_gateway", id: "east/istio-system/istiod", attribute: "name", seen };
        assert!(blocks.meet(gateway).is_none());
    }
}
