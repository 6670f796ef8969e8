//! What instances tell one another: that a job of which another holds the lease has been ended. It is news only. What is
//! lost of it the other finds out when it renews the lease; until then it counts a slot that is free.

use super::engine::Engine;
use super::error::CoordinatorError;
use super::lease::Instance;
use crate::clock::millis;
use crate::id::JobId;

/// So many messages are read at once.
const BATCH: usize = 1024;

impl Engine {
    /// Tells the instance that holds the lease of an attempt that it has ended.
    pub(super) async fn tell_ended(&self, holder: Instance, job: JobId, attempt: u32) {
        let inbox = self.keys.inbox(holder);
        let mut pipeline = redis::pipe();
        pipeline.cmd("RPUSH").arg(&inbox).arg(format!("{job}:{attempt}"));
        // It reads them much sooner, or never.
        pipeline.cmd("PEXPIRE").arg(&inbox).arg(millis(self.config.max_lease));
        let _ = self.servers.plain(&pipeline, self.within().deadline()).await;
    }

    /// Reads what others have told us.
    pub(super) async fn read_inbox(&self) -> Result<(), CoordinatorError> {
        loop {
            let mut pipeline = redis::pipe();
            pipeline.cmd("LPOP").arg(self.keys.inbox(self.instance)).arg(BATCH);
            let answer = self.servers.plain(&pipeline, self.within().deadline()).await?.pop().unwrap_or_default();
            let messages: Option<Vec<String>> = redis::from_redis_value(answer).unwrap_or_default();
            let messages = messages.unwrap_or_default();
            for message in &messages {
                if let Some((job, attempt)) = message.split_once(':')
                    && let (Ok(job), Ok(attempt)) = (job.parse(), attempt.parse())
                {
                    self.let_go(job, attempt);
                }
            }
            if messages.len() < BATCH {
                return Ok(());
            }
        }
    }
}
