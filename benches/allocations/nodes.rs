//! Choosing nodes, hearing of them, and changing them.

use std::cell::Cell;

use slotyard::{Heartbeat, NodeHandle, Service};

use crate::{Counts, NONE, fleet};

const NODES: u32 = 1_000;

pub(crate) fn count(counts: &mut Counts) {
    let (scheduler, _) = fleet::scheduler(NODES, 8);
    let demand = fleet::demand();
    let prepared = scheduler.prepare(&demand);
    counts.simple("select", NONE, || drop(scheduler.select(&demand).expect("a slot is free")));
    counts.simple("select_prepared", NONE, || drop(scheduler.select_prepared(&prepared).expect("a slot is free")));
    counts.simple("reserve + release", NONE, || drop(scheduler.reserve(&demand).expect("a slot is free")));

    let ids: Vec<String> = (0..NODES).map(fleet::node_id).collect();
    let handles: Vec<NodeHandle> = ids.iter().map(|id| scheduler.handle(id).expect("it is registered")).collect();
    let (next, beat) = (Cell::new(0), Heartbeat::ready().running(0));
    let place = || next.replace((next.get() + 1) % ids.len());
    counts.simple("heartbeat", NONE, || scheduler.heartbeat(&handles[place()], &beat).expect("it is registered"));
    counts.simple("heartbeat_by_id", NONE, || {
        scheduler.heartbeat_by_id(&ids[place()], &beat).expect("it is registered");
    });
    counts.simple("heartbeat_batch of 64", NONE, || {
        let refused = scheduler.heartbeat_batch(handles[..64].iter().map(|handle| (handle, &beat)));
        assert!(refused.is_empty(), "all are registered");
    });
    let all = [Service::ASR, Service::NMT, Service::TTS];
    let beats = [Heartbeat::ready().services(all[..2].to_vec()), Heartbeat::ready().services(all)];
    // One stays in each pool, so that none is made or dropped.
    scheduler.heartbeat(&handles[1], &beats[0]).expect("it is registered");
    let odd = Cell::new(0);
    counts.simple("heartbeat, a service off or on", None, || {
        odd.set(1 - odd.get());
        scheduler.heartbeat(&handles[0], &beats[odd.get()]).expect("it is registered");
    });

    let capabilities = fleet::capabilities();
    let number = Cell::new(NODES);
    let spec = || Cell::new(Some(fleet::spec(number.replace(number.get() + 1), 8, &capabilities)));
    counts.take(
        "register",
        None,
        spec,
        |spec| scheduler.register(spec.take().expect("once each")).expect("the id is new"),
        |_, node| scheduler.deregister(&node).expect("it was just registered"),
    );
    counts.take(
        "deregister",
        None,
        || scheduler.register(spec().take().expect("once each")).expect("the id is new"),
        |node| scheduler.deregister(node).expect("it was just registered"),
        |_, ()| (),
    );
}
