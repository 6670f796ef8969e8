//! For how long the server has said of another instance's node that it was not heard of.
//!
//! While the server cannot be asked, nobody here can know how such a node is, and its owner cannot pass its heartbeats on. So
//! its silence counts only from when the server has begun to answer, and only while it does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;

use super::keys::NodeText;
use super::protocol::Moment;
use crate::clock::millis;
use crate::sync::Mutex;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Watches {
    nodes: Mutex<BTreeMap<NodeText, Watch>>,
    /// Between two looks, in ms: what is asked more rarely may have missed that the server was away. An owner whose server
    /// was away for less has had time enough for a heartbeat.
    gap: u64,
    /// A node that is silent for longer is given up, in ms.
    longest_silence: u64,
}

#[derive(Debug, Clone, Copy)]
struct Watch {
    /// The server has answered from then on, as far as is known.
    since: Moment,
    /// When it was asked last.
    last: Moment,
    /// When the node was last heard of.
    heard: Moment,
}

impl Watches {
    pub(super) fn new(heartbeat_timeout: Duration, flush_interval: Duration) -> Self {
        let timeout = millis(heartbeat_timeout);
        // A heartbeat is passed on with the next flush, and seen with the next one here.
        let longest_silence = timeout.saturating_add(millis(flush_interval).saturating_mul(2));
        Self { nodes: Mutex::default(), gap: timeout / 2, longest_silence }
    }

    fn nodes(&self) -> crate::sync::MutexGuard<'_, BTreeMap<NodeText, Watch>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server was asked of a node then, and has answered by now how long ago it was heard of, if it knows the node.
    pub(super) fn answered(&self, node: &NodeText, asked: Moment, now: Moment, age: Option<u64>) {
        let begun = Watch { since: now, last: asked, heard: 0 };
        let mut nodes = self.nodes();
        let watch = nodes.entry(node.clone()).or_insert(begun);
        if now.saturating_sub(watch.last) > self.gap {
            *watch = Watch { heard: watch.heard, ..begun };
        }
        watch.last = watch.last.max(asked);
        watch.heard = age.map_or(watch.heard, |age| watch.heard.max(now.saturating_sub(age)));
    }

    /// The server could not be asked of it.
    pub(super) fn failed(&self, node: &NodeText) {
        self.nodes().remove(node);
    }

    /// Whether it has been silent for so long that nobody works on its jobs any more.
    pub(super) fn is_given_up(&self, node: &NodeText, now: Moment) -> bool {
        self.nodes().get(node).is_some_and(|Watch { since, last, heard }| {
            now.saturating_sub(*last) <= self.gap && last.saturating_sub(*since.max(heard)) >= self.longest_silence
        })
    }

    /// Forgets all others.
    pub(super) fn retain(&self, nodes: &BTreeSet<NodeText>) {
        self.nodes().retain(|node, _| nodes.contains(node));
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    /// Looks at a node at each of these times, of which it was last heard at `heard`; whether it is given up then.
    fn look(watches: &Watches, at: impl IntoIterator<Item = Moment>, heard: Option<Moment>) -> bool {
        let node = NodeText::of("node");
        for now in at {
            watches.answered(&node, now, now, heard.map(|heard| now.saturating_sub(heard)));
        }
        let last = watches.nodes().get(&node).map(|watch| watch.last);
        last.is_some_and(|last| watches.is_given_up(&node, last))
    }

    fn watches() -> Watches {
        Watches::new(Duration::from_millis(1000), Duration::from_millis(100))
    }

    #[test]
    fn a_node_is_given_up_that_was_not_heard_of_for_a_timeout_and_two_flushes() {
        let watches = watches();
        assert!(!look(&watches, (0..=2000).step_by(100), Some(900)));
        assert!(look(&watches, [2100], Some(900)));
        assert!(!look(&watches, [2200], Some(2150)), "it has come back");
    }

    #[test]
    fn a_node_that_the_server_does_not_know_may_come_back_as_well() {
        let watches = watches();
        look(&watches, (0..=2000).step_by(100), Some(1900));
        assert!(!look(&watches, (2100..=3000).step_by(100), None));
        assert!(look(&watches, [3100], None));
    }

    #[test]
    fn what_was_missed_while_the_server_was_away_does_not_count() {
        let node = NodeText::of("node");
        let watches = watches();
        look(&watches, (0..=2000).step_by(100), Some(1900));
        // It was not asked for long, or has not answered for long, or could not be asked.
        assert!(!look(&watches, (5000..=6100).step_by(100), Some(1900)));
        assert!(look(&watches, [6200], Some(1900)));
        watches.answered(&node, 6300, 8000, Some(6000));
        assert!(!look(&watches, (8100..=9100).step_by(100), Some(1900)));
        watches.failed(&node);
        assert!(!look(&watches, (9200..=10_300).step_by(100), Some(1900)));
        assert!(look(&watches, [10_400], Some(1900)));
    }

    #[test]
    fn what_was_last_seen_long_ago_says_nothing() {
        let (watches, node) = (watches(), NodeText::of("node"));
        assert!(look(&watches, (0..=2000).step_by(100), Some(0)));
        assert!(watches.is_given_up(&node, 2500));
        assert!(!watches.is_given_up(&node, 2501));
        watches.retain(&BTreeSet::new());
        assert!(!watches.is_given_up(&node, 2500));
    }
}
