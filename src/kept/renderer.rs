//! What renders charts for all resources of a provider block: one at a time, and definitions once for all who want the
//! same.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::objects::Entry;
use crate::chart::{Capabilities, Chart, Values};
use crate::cluster::Object;

/// More would be several versions of Istio at once.
const REMEMBERED_AT_MOST: usize = 4;

/// Clones share their turns and what they remember.
#[derive(Clone, Default)]
pub struct Renderer(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// One at a time: what rendering needs on the way is many times what comes of it.
    turn: Mutex<()>,
    /// One at a time, so that whoever comes while it is under way finds it done.
    preparing: tokio::sync::Mutex<()>,
    /// What the last renderings with definitions came to: they are rendered and kept once for all clusters of which
    /// the charts are told the same.
    remembered: Mutex<Vec<Remembered>>,
}

/// A rendering, and what came of it.
pub(super) struct Remembered {
    pub chart: Arc<Chart>,
    pub release: String,
    pub namespace: String,
    pub values: Values,
    /// Where the chart asks.
    pub capabilities: Option<Capabilities>,
    pub owner: String,
    pub brought: Brought,
}

/// The objects of a release.
#[derive(Clone, Default)]
pub(super) struct Brought {
    pub entries: Vec<Arc<Entry>>,
    /// Those of kinds that the table lacks. Another chart may bring the definition.
    pub custom: Vec<Object>,
}

impl std::fmt::Debug for Renderer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Renderer").finish_non_exhaustive()
    }
}

impl Renderer {
    pub(super) fn in_turn<T>(&self, work: impl FnOnce() -> T) -> T {
        let _turn = self.0.turn.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    pub(super) async fn preparing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.preparing.lock().await
    }

    pub(super) fn find(&self, is_it: impl FnMut(&&Remembered) -> bool) -> Option<Brought> {
        self.remembered().iter().find(is_it).map(|known| known.brought.clone())
    }

    pub(super) fn remember(&self, rendered: Remembered) {
        let mut remembered = self.remembered();
        remembered.truncate(REMEMBERED_AT_MOST - 1);
        remembered.insert(0, rendered);
    }

    fn remembered(&self) -> MutexGuard<'_, Vec<Remembered>> {
        self.0.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
