//! What the reading of one document, or the rendering of one chart, may cost: nodes visited, memory made, depth.
//!
//! Documents, values and charts come from people who need not be trusted with the machine: a few bytes can ask for
//! gigabytes (aliases, `repeat`) or for a stack without end (nesting). So there is one purse, and everything that
//! reads, walks or makes pays from it before it works. A rendering has a time as well: whoever stops Terraform waits
//! for it.
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Deeper structures are refused, aliases counted in: walks and drops are recursive, and run on the small stacks of
/// tokio's threads too.
pub(super) const MAX_NESTING: usize = 250;

/// Memory that aliases and tags may make of a text beside what it says itself.
const REPEATED_BASE: usize = 1 << 20;
const REPEATED_FACTOR: usize = 10;
/// No text may come to more, however long it is: some hundred times Istio's largest.
const MOST: usize = 192 << 20;

/// No function may make a text longer than this: `repeat` alone could fill any memory.
pub(super) const MAX_TEXT: usize = 16 << 20;

/// What a value costs in memory beside its text; a mapping with anything in it is a tree whose smallest node has room
/// for eleven entries.
pub(super) const NODE: usize = 32;
const SMALLEST_TREE: usize = 640;
pub(super) const ENTRY: usize = 96;

pub(super) fn mapping(entries: usize) -> usize {
    if entries == 0 { NODE } else { SMALLEST_TREE.max(ENTRY * entries) }
}

/// The purse of one text, which may hold several documents.
pub(super) struct Budget {
    left: usize,
    left_for_repetition: usize,
}

/// The purse is empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spent;

impl Budget {
    pub(super) fn of(text: &str) -> Self {
        Self::of_length(text.len())
    }

    /// For several texts that are so long together.
    pub(super) fn of_length(length: usize) -> Self {
        let left_for_repetition = length.saturating_mul(REPEATED_FACTOR).saturating_add(REPEATED_BASE);
        Self { left: MOST.min(left_of_rendering()), left_for_repetition }
    }

    /// For what the text says once, so that the sum follows its length.
    pub(super) fn pay(&mut self, bytes: usize) -> Result<(), Spent> {
        self.left = self.left.checked_sub(bytes).ok_or(Spent)?;
        Ok(())
    }

    /// For what the text only refers to.
    pub(super) fn pay_for_repetition(&mut self, bytes: usize) -> Result<(), Spent> {
        self.left_for_repetition = self.left_for_repetition.checked_sub(bytes).ok_or(Spent)?;
        self.pay(bytes)
    }
}

thread_local! {
    /// What the rendering on this thread has left; none where nothing is rendered.
    ///
    /// A thread of its own renders, and some hundred and fifty functions are plain functions of values: a purse in each
    /// signature would hide what they do.
    static RENDERING: Cell<Option<Left>> = const { Cell::new(None) };
}

/// Nodes visited and pieces of work done by one rendering. Istio's largest chart needs less than a fiftieth.
const MAX_STEPS: u64 = 5_000_000;
/// Bytes that one rendering makes in all, also of what it lets go again.
const MAX_MADE: usize = 128 << 20;

/// The steps allow a few seconds; this is for a machine that is a hundred times slower.
const MAX_TIME: Duration = Duration::from_secs(120);
/// How many steps are made before the clock is asked again.
const STEPS_BETWEEN: u64 = 1 << 14;

#[derive(Clone, Copy)]
struct Left {
    steps: u64,
    bytes: usize,
    ends: Instant,
    spent: Option<TooMuch>,
}

/// Why a rendering was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooMuch {
    #[error("the templates take too many steps: rendering was given up")]
    Steps,
    #[error("the templates make too much: rendering was given up")]
    Made,
    #[error("the templates take too long: rendering was given up")]
    Time,
}

impl From<TooMuch> for String {
    fn from(too_much: TooMuch) -> Self {
        too_much.to_string()
    }
}

/// Runs a rendering with a full purse.
pub(super) fn render_within<T>(render: impl FnOnce() -> T) -> T {
    render_until(Instant::now() + MAX_TIME, render)
}

fn render_until<T>(ends: Instant, render: impl FnOnce() -> T) -> T {
    let full = Left { steps: MAX_STEPS, bytes: MAX_MADE, ends, spent: None };
    let outer = RENDERING.replace(Some(full));
    let result = render();
    RENDERING.set(outer);
    result
}

/// Pays for work and for what it makes, before either. Once the purse is empty it stays so, whatever is done with the
/// error.
pub(super) fn pay(steps: usize, bytes: usize) -> Result<(), TooMuch> {
    let Some(mut left) = RENDERING.get() else { return Ok(()) };
    let result = match (left.spent, left.steps.checked_sub(steps as u64), left.bytes.checked_sub(bytes)) {
        (Some(spent), ..) => Err(spent),
        (None, None, _) => Err(TooMuch::Steps),
        (None, _, None) => Err(TooMuch::Made),
        (None, Some(steps), Some(_)) if left.asks_the_clock(steps) && Instant::now() >= left.ends => Err(TooMuch::Time),
        (None, Some(steps), Some(bytes)) => {
            left = Left { steps, bytes, ..left };
            Ok(())
        }
    };
    left.spent = result.err();
    RENDERING.set(Some(left));
    result
}

impl Left {
    fn asks_the_clock(&self, steps: u64) -> bool {
        steps / STEPS_BETWEEN != self.steps / STEPS_BETWEEN
    }
}

/// For what cannot fail: whether to go on. Whoever calls it finds out at the next [`pay`].
pub(super) fn goes_on(steps: usize, bytes: usize) -> bool {
    pay(steps, bytes).is_ok()
}

fn left_of_rendering() -> usize {
    RENDERING.get().map_or(usize::MAX, |left| left.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendering_ends_when_its_time_is_over() {
        let steps = |ends| render_until(ends, || (0..MAX_STEPS).find_map(|i| pay(1, 0).err().map(|error| (i, error))));
        let (made, error) = steps(Instant::now()).unwrap();
        assert!(made <= STEPS_BETWEEN && error == TooMuch::Time, "{made} {error}");
        assert_eq!(steps(Instant::now() + MAX_TIME), None);
        let after = render_until(Instant::now(), || {
            let _ = pay(STEPS_BETWEEN as usize, 0);
            pay(0, 0)
        });
        assert_eq!(after, Err(TooMuch::Time), "it stays so");
    }
}
