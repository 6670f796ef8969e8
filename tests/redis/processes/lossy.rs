//! Processes whose connections are cut, held up, slowed down, and lose answers, at random.

use std::time::Duration;

use fastrand::Rng;
use slotyard_servers::Proxy;

use super::fleet::{Fleet, Member};
use super::worker::{Role, Terms};

/// Leases outlast whatever is done to connections: who has lost one has done something wrong.
const TERMS: Terms = Terms { lease: Duration::from_secs(5), call: Duration::from_millis(400), requests: 100 };
const PROCESSES: usize = 6;

/// The connections of one process, and how many looks it is yet until what was done to them is over.
struct Way {
    proxy: Proxy,
    looks_left: u32,
    loses_answers: bool,
}

impl Way {
    fn look(&mut self, random: &mut Rng) {
        match self.looks_left {
            0 if random.u8(..8) == 0 => self.disturb(random),
            0 => {}
            1 => self.mend(),
            _ => self.looks_left -= 1,
        }
    }

    fn disturb(&mut self, random: &mut Rng) {
        match random.u8(..5) {
            0 => self.proxy.cut(),
            // The server has done what it was asked, and nobody learns of it.
            1 => self.proxy.cut_after_request(random.u32(1..5)),
            2 => self.proxy.delay(Duration::from_millis(random.u64(1..40))),
            3 => self.proxy.hold(true),
            _ => {
                self.proxy.swallow_replies(true);
                self.loses_answers = true;
            }
        }
        // Some are longer than a call may take.
        self.looks_left = random.u32(4..100);
    }

    fn mend(&mut self) {
        self.looks_left = 0;
        self.proxy.hold(false);
        self.proxy.delay(Duration::ZERO);
        if std::mem::take(&mut self.loses_answers) {
            // A connection that has lost some of what was sent on it is none any more.
            self.proxy.refuse(true);
            self.proxy.cut();
            self.proxy.swallow_replies(false);
            self.proxy.refuse(false);
        }
    }
}

#[test]
fn what_is_lost_on_the_way_makes_no_second_job_and_no_slot_is_held_twice() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let mut fleet = Fleet::start(TERMS);
    let mut members: Vec<(Way, Member)> = Vec::new();
    for _ in 0..PROCESSES {
        let proxy = Proxy::to(fleet.server.address());
        let member = fleet.process(&proxy.url(), Role::Asks, None);
        members.push((Way { proxy, looks_left: 0, loses_answers: false }, member));
    }
    fleet.until("all processes are done", || {
        members.iter_mut().for_each(|(way, _)| way.look(&mut random));
        members.iter_mut().all(|(_, member)| member.is_done())
    });
    let log = fleet.log();
    assert!(log.lines().any(|line| line.contains(" unknown ")), "every outcome was learned");
    fleet.settle();
}
