//! When the process ends.
//!
//! The core asks a plugin to leave through go-plugin's controller. Beside that: SIGTERM ends it; SIGINT does not, since
//! a terminal sends it to the core and to every plugin at once, and the core then asks each of them to stop its work
//! (StopProvider) and still needs their answers; and a plugin whose core is gone has nobody left to ask it anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(unix)]
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How often a plugin looks whether its core is still there. Windows keeps the parent's number when the parent is gone:
/// there the core ends its plugins itself.
#[cfg(unix)]
const PARENT_INTERVAL: Duration = Duration::from_secs(1);

/// Ends the process when cancelled. Every holder may do so.
#[derive(Clone, Default)]
pub(super) struct Shutdown {
    begun: CancellationToken,
    asked_for: Arc<AtomicBool>,
}

impl Shutdown {
    pub(super) fn begin(&self) {
        self.begun.cancel();
    }

    /// Whoever started the process asks for it, as a core does when it has had all its answers.
    pub(super) fn ask(&self) {
        self.asked_for.store(true, Ordering::Release);
        self.begin();
    }

    pub(super) fn is_asked_for(&self) -> bool {
        self.asked_for.load(Ordering::Acquire)
    }

    pub(super) async fn begun(&self) {
        self.begun.cancelled().await;
    }

    pub(super) fn into_begun(self) -> impl Future<Output = ()> + Send + 'static {
        self.begun.cancelled_owned()
    }
}

/// A crash leaves no image of the process: it would hold keys, tokens and kubeconfigs, in the folder that Terraform
/// runs in.
pub fn without_core_dumps() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let limit = rustix::process::Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
        // Lowering one's own limit is always allowed.
        let _ = setrlimit(Resource::Core, limit);
    }
}

/// Who started the process, which decides what SIGINT means and whom it lives for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartedBy {
    Core,
    Person,
}

/// Listens to the operating system from now on; what must come before the core knows the plugin is there.
pub(super) fn watch(started_by: StartedBy, shutdown: &Shutdown) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};

        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let ends = shutdown.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => ends.begin(),
                    _ = interrupt.recv() => match started_by {
                        StartedBy::Core => tracing::debug!("SIGINT is left to the core"),
                        // No core asks for it: a person does, when the runs are over.
                        StartedBy::Person => ends.ask(),
                    },
                }
            }
        });
        if started_by == StartedBy::Core {
            let parent = std::os::unix::process::parent_id();
            let ends = shutdown.clone();
            tokio::spawn(async move {
                while std::os::unix::process::parent_id() == parent {
                    tokio::time::sleep(PARENT_INTERVAL).await;
                }
                tracing::debug!("the core is gone");
                ends.begin();
            });
        }
    }
    #[cfg(not(unix))]
    {
        let ends = shutdown.clone();
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if started_by == StartedBy::Person {
                    ends.ask();
                }
            }
        });
    }
    Ok(())
}
