//! A worker node, at the other end of its connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use slotyard::{Heartbeat, NodeHandle, NodeSpec};

use crate::gateway::{Failure, Gateway, Task};

const HEARTBEAT: Duration = Duration::from_millis(50);
/// What a job takes.
const WORK: Duration = Duration::from_millis(8);

pub(crate) struct Worker {
    pub(crate) id: &'static str,
    pub(crate) slots: u32,
    pub(crate) languages: &'static [&'static str],
    pub(crate) crashes_after: Option<Duration>,
}

impl Worker {
    /// Connects to the gateway and works until the connection ends.
    pub(crate) fn start(self, gateway: &Arc<Gateway>) -> Result<JoinHandle<Result<(), Failure>>, Failure> {
        let (connection, tasks) = channel();
        let Self { id, slots, languages, .. } = self;
        let spec = NodeSpec::new(id).capacity(slots).asr(languages.iter().copied());
        let spec = spec.nmt_any(languages.iter().copied()).tts(languages.iter().copied());
        let node = gateway.connect(spec, id, connection)?;
        let gateway = gateway.clone();
        Ok(thread::spawn(move || self.run(&gateway, &node, &tasks)))
    }

    fn run(&self, gateway: &Gateway, node: &NodeHandle, tasks: &Receiver<Task>) -> Result<(), Failure> {
        let (start, mut next_beat) = (Instant::now(), Instant::now());
        let running = Arc::new(AtomicU32::new(0));
        loop {
            if self.crashes_after.is_some_and(|time| start.elapsed() >= time) {
                // No good-bye: the gateway finds out when it sends the next task, or misses the heartbeats.
                return Ok(());
            }
            if Instant::now() >= next_beat {
                next_beat += HEARTBEAT;
                gateway.scheduler.heartbeat(node, &Heartbeat::ready().running(running.load(Ordering::Relaxed)))?;
            }
            match tasks.recv_timeout(next_beat.saturating_duration_since(Instant::now())) {
                Ok(task) => work(task, &running),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    gateway.disconnected(self.id, node.incarnation());
                    return Ok(());
                }
            }
        }
    }
}

/// Works on a task, beside the others: the scheduler sees to it that there are never more than slots.
fn work(task: Task, running: &Arc<AtomicU32>) {
    let running = running.clone();
    running.fetch_add(1, Ordering::Relaxed);
    thread::spawn(move || {
        thread::sleep(WORK);
        running.fetch_sub(1, Ordering::Relaxed);
        // The client may have given up.
        let _ = task.answer.send(format!("translated: {}", task.text));
    });
}
