//! What the reading of one document, or the rendering of one chart, may cost: nodes visited, memory made, depth.
//!
//! Documents, values and charts come from people who need not be trusted with the machine: a few bytes can ask for
//! gigabytes (aliases, `repeat`) or for a stack without end (nesting). So there is one purse, and everything that
//! reads, walks or makes pays from it before it works. A rendering has a time as well, and ends with the operation that
//! it is for: whoever stops Terraform waits for it.
use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
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
    /// What ends it from outside: asked when the clock is.
    static ENDS: RefCell<Ends> = const { RefCell::new(Ends { at: None, stopped: None }) };
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

/// The end of the operation that a rendering is for: its deadline, and whether somebody has stopped it. None by
/// default.
#[derive(Clone, Default)]
pub struct Ends {
    at: Option<Instant>,
    stopped: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl Ends {
    /// `stopped` is asked again and again, and has to be cheap.
    pub fn new(at: Instant, stopped: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { at: Some(at), stopped: Some(Arc::new(stopped)) }
    }

    fn over(&self, now: Instant) -> Option<TooMuch> {
        match (&self.stopped, self.at) {
            (Some(stopped), _) if stopped() => Some(TooMuch::Stopped),
            (_, Some(at)) if now >= at => Some(TooMuch::Late),
            _ => None,
        }
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ends").field("at", &self.at).finish_non_exhaustive()
    }
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
    #[error("the run was stopped: rendering was given up")]
    Stopped,
    #[error("the time allowed was over: rendering was given up")]
    Late,
}

impl From<TooMuch> for String {
    fn from(too_much: TooMuch) -> Self {
        too_much.to_string()
    }
}

/// Runs a rendering with a full purse, unless its operation is over already. An error is why it was given up from
/// outside: what was rendered then is worth nothing.
pub(super) fn render_within<T>(ends: &Ends, render: impl FnOnce() -> T) -> Result<T, TooMuch> {
    let now = Instant::now();
    if let Some(over) = ends.over(now) {
        return Err(over);
    }
    let outer = ENDS.replace(ends.clone());
    let (result, spent) = render_until(now + MAX_TIME, || {
        let result = render();
        (result, RENDERING.get().and_then(|left| left.spent))
    });
    ENDS.set(outer);
    match spent {
        Some(over @ (TooMuch::Stopped | TooMuch::Late)) => Err(over),
        _ => Ok(result),
    }
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
        (None, Some(steps), Some(bytes)) => match left.asks_the_clock(steps).then(|| left.over()).flatten() {
            Some(over) => Err(over),
            None => {
                left = Left { steps, bytes, ..left };
                Ok(())
            }
        },
    };
    left.spent = result.err();
    RENDERING.set(Some(left));
    result
}

impl Left {
    fn asks_the_clock(&self, steps: u64) -> bool {
        steps / STEPS_BETWEEN != self.steps / STEPS_BETWEEN
    }

    fn over(&self) -> Option<TooMuch> {
        let now = Instant::now();
        let late = (now >= self.ends).then_some(TooMuch::Time);
        ENDS.with_borrow(|ends| ends.over(now)).or(late)
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

    #[test]
    fn a_rendering_ends_with_its_operation() {
        let far = Instant::now() + MAX_TIME;
        let steps = |ends: &Ends| render_within(ends, || (0..MAX_STEPS).find(|_| pay(1, 0).is_err()));
        assert_eq!(steps(&Ends::default()), Ok(None));
        assert_eq!(steps(&Ends::new(far, || false)), Ok(None));
        // Before it begins, and meanwhile.
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let asked = Arc::new(asked);
        for (late_by, expected) in [(0, 1), (3, 4)] {
            asked.store(0, std::sync::atomic::Ordering::Relaxed);
            let asks = Arc::clone(&asked);
            let ends = Ends::new(far, move || asks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= late_by);
            assert_eq!(steps(&ends), Err(TooMuch::Stopped));
            assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), expected);
        }
        assert_eq!(steps(&Ends::new(Instant::now(), || false)), Err(TooMuch::Late));
        assert_eq!(steps(&Ends::new(Instant::now() + Duration::from_millis(1), || false)), Err(TooMuch::Late));
        // What is rendered next on this thread has an end of its own.
        assert_eq!(steps(&Ends::default()), Ok(None));
    }
}
