//! A job on its way to whoever asked for it: from the instance's own threads to a future that may be dropped at any time.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::engine::Engine;
use super::jobs::SharedJob;

/// A job that nobody has yet. One of ours that is dropped as such is called off: nobody waits for it any more, be it that it
/// was not there yet when its future was dropped, or that nobody has looked.
pub(super) struct Unclaimed {
    job: SharedJob,
    /// Whether it is the call's own, and not one that was there.
    is_ours: bool,
    engine: Arc<Engine>,
    /// It may be dropped on any thread.
    runtime: Handle,
}

impl Unclaimed {
    /// On one of the instance's own threads.
    pub(super) fn new(job: SharedJob, is_ours: bool, engine: Arc<Engine>) -> Self {
        Self { job, is_ours, engine, runtime: Handle::current() }
    }

    /// The caller has it.
    pub(super) fn claim(mut self) -> SharedJob {
        self.is_ours = false;
        self.job.clone()
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if self.is_ours {
            let (engine, job) = (self.engine.clone(), self.job.clone());
            // Stopped, it does nothing: then the lease runs out.
            self.runtime.spawn(async move { engine.call_off(&job).await });
        }
    }
}
