//! What the core has under way. It walks resources side by side and in no fixed order, and never says that all have
//! been planned: that nothing is asked any more for a while is the nearest there is. It tells nothing where the core
//! walks one resource after the other (`-parallelism=1`): then the next is asked for when this one has been answered.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The calls under way since the provider was configured.
#[derive(Debug)]
pub(super) struct Calls(Mutex<State>);

#[derive(Debug)]
struct State {
    running: usize,
    /// Of those, the ones that wait for the others.
    waiting: usize,
    /// The core changes things by now.
    changes: bool,
    /// Two have been under way at once: what else there is to plan is asked for while somebody waits.
    beside: bool,
    /// Somebody has waited alone, in vain: others have been asked for only after that.
    one_by_one: bool,
    /// When one began or ended last.
    moved: Instant,
}

impl State {
    /// Whether nobody but those who wait has been under way for so long.
    fn is_quiet(&self, quiet: Duration) -> bool {
        self.running <= self.waiting && self.moved.elapsed() >= quiet
    }
}

/// How often it is looked whether the others are done.
const PAUSE: Duration = Duration::from_millis(25);

impl Default for Calls {
    fn default() -> Self {
        Self(Mutex::new(State {
            running: 0,
            waiting: 0,
            changes: false,
            beside: false,
            one_by_one: false,
            moved: Instant::now(),
        }))
    }
}

/// Counted while it lives.
pub(super) struct Counted<'a>(&'a Calls, fn(&mut State) -> &mut usize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        *(self.1)(&mut state) -= 1;
        state.moved = Instant::now();
    }
}

impl Calls {
    pub fn begin(&self) -> Counted<'_> {
        let counted = self.count(|state| &mut state.running);
        let mut state = self.state();
        state.beside |= state.running > 1;
        drop(state);
        counted
    }

    pub fn begin_change(&self) -> Counted<'_> {
        self.state().changes = true;
        self.begin()
    }

    /// Whether the core changes things by now.
    pub fn has_changes(&self) -> bool {
        self.state().changes
    }

    /// Waits, within a call, until no other has been under way for so long. `false` where that does not mean that all
    /// has been planned: the core changes things by now, or may ask for one after the other.
    pub async fn others_done(&self, quiet: Duration) -> bool {
        let done = self.until(|state| {
            let is_vain = state.changes || state.one_by_one && !state.beside;
            is_vain.then_some(false).or_else(|| state.is_quiet(quiet).then_some(state.beside))
        });
        let done = done.await;
        self.state().one_by_one |= !done;
        done
    }

    /// The same, changes or not: an apply plans each resource once more, some of them after the changes of others.
    pub async fn others_quiet(&self, quiet: Duration) {
        self.until(|state| state.is_quiet(quiet).then_some(())).await;
    }

    async fn until<T>(&self, answer: impl Fn(&State) -> Option<T>) -> T {
        let _waiting = self.count(|state| &mut state.waiting);
        loop {
            let answered = answer(&self.state());
            match answered {
                Some(answer) => return answer,
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn count(&self, which: fn(&mut State) -> &mut usize) -> Counted<'_> {
        let mut state = self.state();
        *which(&mut state) += 1;
        state.moved = Instant::now();
        drop(state);
        Counted(self, which)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(60);

    #[tokio::test]
    async fn who_waits_hears_when_the_others_are_done_and_nobody_begins() {
        let calls = Calls::default();
        let _own = calls.begin();
        let other = calls.begin();
        let others = async {
            tokio::time::sleep(3 * QUIET).await;
            drop(other);
            tokio::time::sleep(QUIET / 3).await;
            // The core asks for the next.
            let next = calls.begin();
            tokio::time::sleep(2 * QUIET).await;
            drop(next);
            Instant::now()
        };
        let (done, ended) = tokio::join!(async { (calls.others_done(QUIET).await, Instant::now()) }, others);
        assert!(done.0 && done.1 >= ended + QUIET, "not between two calls");
    }

    #[tokio::test]
    async fn who_is_asked_alone_cannot_know_what_comes_after() {
        let calls = Calls::default();
        for (number, quiet) in [(1, QUIET), (2, Duration::from_secs(3600))] {
            let _own = calls.begin();
            assert!(!calls.others_done(quiet).await, "number {number}");
        }
        let (_own, other) = (calls.begin(), calls.begin());
        drop(other);
        assert!(calls.others_done(QUIET).await, "the core asks for several at once after all");
    }

    #[tokio::test]
    async fn two_that_wait_do_not_wait_for_each_other_and_nobody_waits_for_changes() {
        let calls = Calls::default();
        let waits = async || {
            let _own = calls.begin();
            calls.others_done(QUIET).await
        };
        assert_eq!(tokio::join!(waits(), waits()), (true, true));
        let change = calls.begin_change();
        assert!(!calls.others_done(QUIET).await);
        let ends = async {
            tokio::time::sleep(3 * QUIET).await;
            drop(change);
            Instant::now()
        };
        let _own = calls.begin();
        let quiet = async {
            calls.others_quiet(QUIET).await;
            Instant::now()
        };
        let (quiet, ended) = tokio::join!(quiet, ends);
        assert!(quiet >= ended + QUIET, "who has to know waits for changes as well");
    }
}
