//! A Redis Cluster of three masters.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pollster::block_on;
use slotyard::{
    CreateJobError, Demand, Heartbeat, JobError, JobRequest, NodeState, Scheduler, SharedBuilder, SharedError,
    SharedJob, SharedScheduler,
};
use slotyard_servers::{Cluster, wait_until};

use crate::{PATIENCE, goes_on, ready_node};

fn instance(cluster: &Cluster, with: impl FnOnce(SharedBuilder) -> SharedBuilder) -> SharedScheduler {
    let urls = cluster.urls();
    let builder = SharedScheduler::builder(&urls[0]).cluster(&urls[1..]);
    let builder = builder.call_timeout(PATIENCE).connect_timeout(PATIENCE);
    let builder = builder.poll_interval(Duration::from_millis(5)).flush_interval(Duration::from_millis(20));
    let shared = with(builder).build().unwrap();
    block_on(shared.wait_connected(PATIENCE)).unwrap();
    shared
}

fn request(id: &str) -> JobRequest {
    JobRequest::new(id, Demand::new().service("embed"))
}

fn is_full<T: std::fmt::Debug>(outcome: &Result<T, SharedError<CreateJobError>>) -> bool {
    let is_full = matches!(outcome, Err(SharedError::Refused(CreateJobError::NoNode(_))));
    if !is_full {
        eprintln!("not full: {outcome:?}");
    }
    is_full
}

#[test]
fn jobs_of_nodes_on_all_servers_are_created_once_and_moved_on_by_any_instance() {
    let cluster = Cluster::start(3);
    let (a, b) = (instance(&cluster, |builder| builder), instance(&cluster, |builder| builder));
    let names: Vec<_> = (0..6).map(|number| format!("n{number}")).collect();
    let nodes: Vec<_> = names.iter().map(|name| ready_node(&a, name, 2)).collect();
    let owners: std::collections::BTreeSet<_> =
        names.iter().map(|name| cluster.owner_of(cluster.slot_of(&format!("slotyard:l:{{{name}}}")))).collect();
    assert_eq!(owners.len(), 3, "the nodes are on all servers");
    wait_until("the other instance knows the nodes", || {
        names.iter().all(|name| b.node(name).is_some_and(|_| b.scheduler().node(name).is_some()))
    });
    let mut jobs = Vec::new();
    for number in 0..12 {
        let made = block_on(a.create_job(&request(&format!("r{number}")))).unwrap();
        let again = block_on(b.create_job(&request(&format!("r{number}")))).unwrap();
        assert_eq!((made.id(), made.node_id(), made.fence()), (again.id(), again.node_id(), again.fence()));
        jobs.push(made);
    }
    assert!(is_full(&block_on(b.create_job(&request("one too many")))));
    for job in &jobs {
        block_on(b.dispatched(job.id(), job.attempt())).unwrap();
        block_on(a.running(job.id(), job.attempt())).unwrap();
        block_on(b.complete(job.id(), job.attempt())).unwrap();
    }
    for number in 0..12 {
        block_on(b.create_job(&request(&format!("s{number}")))).unwrap();
    }
    drop(nodes);
}

/// All instances at once, each request from both: one job each, and no slot is lost to whoever came second.
#[test]
fn whoever_comes_second_gives_the_slot_back() {
    let cluster = Cluster::start(3);
    let instances = [instance(&cluster, |builder| builder), instance(&cluster, |builder| builder)];
    let names: Vec<_> = (0..4).map(|number| format!("n{number}")).collect();
    let _nodes: Vec<_> = names.iter().map(|name| ready_node(&instances[0], name, 30)).collect();
    wait_until("the other instance knows the nodes", || {
        names.iter().all(|name| instances[1].scheduler().node(name).is_some())
    });
    let jobs = |shared: &SharedScheduler| {
        let create = |number| block_on(shared.create_job(&request(&format!("r{number}")))).unwrap();
        (0..60).map(create).map(|job| (job.id(), job.fence())).collect::<Vec<_>>()
    };
    let [theirs, ours] = std::thread::scope(|scope| {
        let threads = instances.each_ref().map(|shared| scope.spawn(|| jobs(shared)));
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(theirs, ours);
    // 60 of 120 slots are held: all others can be taken.
    for number in 0..60 {
        block_on(instances[number % 2].create_job(&request(&format!("s{number}")))).unwrap();
    }
    assert!(is_full(&block_on(instances[0].create_job(&request("one too many")))));
}

#[test]
fn a_job_is_tried_again_on_another_server() {
    let cluster = Cluster::start(3);
    let (a, b) = (instance(&cluster, |builder| builder), instance(&cluster, |builder| builder));
    let names: Vec<_> = (0..3).map(|number| format!("n{number}")).collect();
    let _nodes: Vec<_> = names.iter().map(|name| ready_node(&a, name, 1)).collect();
    wait_until("the other instance knows the nodes", || names.iter().all(|name| b.scheduler().node(name).is_some()));
    let first = block_on(a.create_job(&request("r"))).unwrap();
    block_on(b.fail(first.id(), 1)).unwrap();
    let second = block_on(b.retry(first.id(), 1)).unwrap();
    assert_eq!((second.id(), second.attempt()), (first.id(), 2));
    assert_ne!(second.node_id(), first.node_id());
    // The one before is over, and its slot is free; that of the job that is tried again while it runs is freed, too.
    assert!(matches!(block_on(a.complete(first.id(), 1)), Err(SharedError::Refused(JobError::StaleAttempt { .. }))));
    let third = block_on(a.retry(first.id(), 2)).unwrap();
    let others: Vec<_> =
        (0..2).map(|number| block_on(a.create_job(&request(&format!("s{number}")))).unwrap()).collect();
    assert!(is_full(&block_on(b.create_job(&request("one too many")))));
    block_on(b.cancel(third.id(), 3)).unwrap();
    others.iter().for_each(|job| block_on(b.complete(job.id(), 1)).unwrap());
    assert!(matches!(block_on(b.retry(first.id(), 3)), Err(SharedError::Refused(_))));
}

#[test]
fn slots_are_moved_while_jobs_are_created_and_ended() {
    let cluster = Cluster::start(3);
    let shared = instance(&cluster, |builder| builder);
    let names: Vec<_> = (0..3).map(|number| format!("n{number}")).collect();
    let nodes: Vec<_> = names.iter().map(|name| ready_node(&shared, name, 4)).collect();
    let slots: Vec<_> = names.iter().map(|name| cluster.slot_of(&format!("slotyard:l:{{{name}}}"))).collect();
    let made: [AtomicUsize; 3] = Default::default();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (thread, made) in made.iter().enumerate() {
            let (shared, done) = (&shared, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let id = format!("r{thread} {}", made.load(Ordering::Relaxed));
                    let job = block_on(shared.create_job(&request(&id))).unwrap();
                    block_on(shared.dispatched(job.id(), 1)).unwrap();
                    block_on(shared.complete(job.id(), 1)).unwrap();
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for (slot, turn) in slots.iter().zip(1..).cycle().take(9) {
            let from = cluster.owner_of(*slot);
            let to = (from + turn % 2 + 1) % 3;
            // Between the parts of it calls come to where the keys are not, or are in part.
            let before = made.each_ref().map(|made| made.load(Ordering::Relaxed));
            cluster.begin_move(*slot, from, to);
            cluster.move_keys(*slot, from, to);
            cluster.end_move(*slot, from, to);
            wait_until("jobs are made", || {
                nodes.iter().for_each(|node| shared.heartbeat(node, &Heartbeat::ready()).unwrap());
                made.iter().zip(before).all(|(made, before)| made.load(Ordering::Relaxed) > before)
            });
        }
        done.store(true, Ordering::Relaxed);
    });
    for number in 0..12 {
        block_on(shared.create_job(&request(&format!("last {number}")))).unwrap();
    }
    assert!(is_full(&block_on(shared.create_job(&request("one too many")))));
}

#[test]
fn a_server_that_is_lost_has_its_own_nodes_warm_up_and_no_others() {
    let cluster = Cluster::start(3);
    let lease = Duration::from_secs(3);
    let shared = instance(&cluster, |builder| builder.default_lease(lease).max_lease(lease));
    let names: Vec<_> = (0..6).map(|number| format!("n{number}")).collect();
    let nodes: Vec<_> = names.iter().map(|name| ready_node(&shared, name, 1)).collect();
    let of = |name: &str| cluster.owner_of(cluster.slot_of(&format!("slotyard:l:{{{name}}}")));
    let lost = of(&names[0]);
    let there = names.iter().filter(|name| of(name) != lost).count();
    let held = block_on(shared.create_job(&request("held"))).unwrap();
    cluster.servers()[lost].restart();
    cluster.wait_until_ok();
    let beat = || nodes.iter().for_each(|node| shared.heartbeat(node, &Heartbeat::ready()).unwrap());
    // Those of the others can be used at once, and the job that was made goes on.
    let mut made = 0;
    wait_until("all nodes of the other servers are used", || {
        beat();
        made += usize::from(block_on(shared.create_job(&request(&format!("r{made}")))).is_ok());
        made + 1 >= there
    });
    wait_until("all slots are used", || {
        beat();
        made += usize::from(block_on(shared.create_job(&request(&format!("r{made}")))).is_ok());
        made >= 5
    });
    // Where the machine has been so slow that its lease has run out meanwhile, another has its slot.
    wait_until("the job is completed", || {
        block_on(shared.complete(held.id(), 1)).is_ok() || shared.stats().lost_leases > 0
    });
}

#[test]
fn while_a_master_is_away_nodes_of_the_others_are_heard_of_and_none_of_their_jobs_is_lost() {
    let cluster = Cluster::with(3, &[("cluster-require-full-coverage", "no")]);
    let short = |builder: SharedBuilder| {
        let scheduler = Scheduler::builder().heartbeat_timeout(Duration::from_millis(1000));
        builder.call_timeout(Duration::from_millis(150)).scheduler(scheduler)
    };
    let (holder, owner) = (instance(&cluster, short), instance(&cluster, short));
    let names: Vec<_> = (0..6).map(|number| format!("n{number}")).collect();
    let nodes: Vec<_> = names.iter().map(|name| ready_node(&owner, name, 8)).collect();
    let of = |key: &str| cluster.owner_of(cluster.slot_of(key));
    let place = |name: &str| of(&format!("slotyard:l:{{{name}}}"));
    let states = || {
        nodes.iter().for_each(|node| owner.heartbeat(node, &Heartbeat::ready()).unwrap());
        names.iter().map(|name| holder.scheduler().node(name).map(|view| view.state)).collect::<Vec<_>>()
    };
    let are_ready = || states().iter().all(|state| *state == Some(NodeState::Ready));
    wait_until("all nodes are known", are_ready);
    let away = (0..3).find(|place| *place != of("slotyard:{all}:nodes")).unwrap();
    let create = |number| block_on(holder.create_job(&request(&format!("r{number}"))));
    let jobs: Vec<_> = (0..24).map(|number| create(number).unwrap()).collect();
    let (lame, whole): (Vec<_>, Vec<_>) = names.iter().partition(|name| place(name) == away);
    assert!(!lame.is_empty() && !whole.is_empty());
    cluster.servers()[away].pause();
    let is_offline = |name: &String| holder.scheduler().node(name).is_some_and(|view| view.state == NodeState::Offline);
    wait_until("nothing is heard of the nodes that it has", || {
        states();
        lame.iter().all(|name| is_offline(name))
    });
    wait_until("the others are there yet", || {
        states();
        whole.iter().all(|name| !is_offline(name))
    });
    cluster.servers()[away].resume();
    wait_until("all nodes are heard of again", are_ready);
    for job in &jobs {
        wait_until("the job goes on", || {
            states();
            goes_on(&holder, job)
        });
    }
    assert_eq!(holder.stats().lost_leases, 0);
}

#[test]
fn all_keys_on_one_server_of_a_cluster_are_as_with_one_server() {
    let cluster = Cluster::start(3);
    let with = |builder: SharedBuilder| builder.prefix("{one}:");
    let (a, b) = (instance(&cluster, with), instance(&cluster, with));
    let node = ready_node(&a, "n", 2);
    wait_until("the other instance knows the node", || b.scheduler().node("n").is_some());
    let (before, made) = (a.stats().round_trips, block_on(a.create_job(&request("r"))).unwrap());
    assert!(a.stats().round_trips > before);
    assert_eq!(block_on(b.create_job(&request("r"))).unwrap().id(), made.id());
    let slot = cluster.slot_of("{one}:");
    let from = cluster.owner_of(slot);
    cluster.move_slot(slot, from, (from + 1) % 3);
    a.heartbeat(&node, &Heartbeat::ready()).unwrap();
    block_on(b.complete(made.id(), 1)).unwrap();
}

#[test]
fn what_waits_for_one_server_does_not_keep_what_is_for_others() {
    let cluster = Cluster::with(3, &[("cluster-require-full-coverage", "no")]);
    let hasty = |builder: SharedBuilder| builder.call_timeout(Duration::from_millis(300));
    let (shared, other) = (instance(&cluster, hasty), instance(&cluster, hasty));
    let owner = |key: &str| cluster.owner_of(cluster.slot_of(key));
    let nodes: Vec<_> = (0..6).map(|number| ready_node(&shared, &format!("n{number}"), 6)).collect();
    let beat = || nodes.iter().for_each(|node| shared.heartbeat(node, &Heartbeat::ready()).unwrap());
    let mut jobs = Vec::new();
    for number in 0..30 {
        wait_until("it is created", || {
            beat();
            jobs.extend(block_on(shared.create_job(&request(&format!("r{number}")))).ok());
            jobs.len() > number
        });
    }
    let of_request = |job: &SharedJob| owner(&format!("slotyard:r:{}", job.request_id()));
    let of_node = |job: &SharedJob| owner(&format!("slotyard:l:{{{}}}", job.node_id()));
    let of_job = |job: &SharedJob| owner(&format!("slotyard:j:{}", job.id()));
    let down = (owner("slotyard:{all}:nodes") + 1) % 3;
    let (lame, whole): (Vec<_>, Vec<_>) =
        jobs.iter().partition(|job| [of_request(job), of_node(job), of_job(job)].contains(&down));
    assert!(lame.iter().any(|job| of_request(job) == down) && whole.len() >= 2, "{lame:?} {whole:?}");
    cluster.servers()[down].pause();
    let again = lame.iter().find(|job| of_request(job) == down).unwrap();
    // Also by one that has to find out where they are.
    for (turn, job) in lame.iter().chain(&whole).enumerate() {
        let by_other = turn % 2 == 1 && job.id() != again.id();
        block_on(if by_other { &other } else { &shared }.complete(job.id(), 1)).unwrap();
    }
    let has_ended = |job: &SharedJob| {
        let bound = cluster.servers()[of_request(job)].command(&["GET", &format!("slotyard:r:{}", job.request_id())]);
        bound.contains(" completed ")
    };
    wait_until("those of the others have ended", || {
        beat();
        whole.iter().all(|job| has_ended(job))
    });
    assert!(shared.stats().outbox > 0 && other.stats().outbox > 0);
    // One that waits has ended, for whoever asks here.
    let ended = block_on(shared.cancel(again.id(), 1));
    assert!(matches!(ended, Err(SharedError::Refused(JobError::AlreadyEnded { .. }))), "{ended:?}");
    cluster.servers()[down].resume();
    wait_until("all have ended", || {
        beat();
        jobs.iter().all(has_ended)
    });
    wait_until("nothing waits", || shared.stats().outbox + other.stats().outbox == 0);
    assert_eq!((shared.stats().outbox_lost, other.stats().outbox_lost), (0, 0));
}

/// Whoever ends a job may crash before it gives the slot back. Its holder sees that when it renews the lease.
#[test]
fn a_slot_whose_job_was_ended_by_one_that_crashed_comes_free() {
    let cluster = Cluster::start(3);
    let lease = Duration::from_millis(600);
    let shared = instance(&cluster, |builder| builder.default_lease(lease).max_lease(lease));
    let node = ready_node(&shared, "n", 1);
    block_on(shared.create_job(&request("r"))).unwrap();
    let key = "slotyard:r:r";
    let server = &cluster.servers()[cluster.owner_of(cluster.slot_of(key))];
    let bound = server.command(&["GET", key]).to_string();
    server.command(&["SET", key, &bound.replace(" reserved ", " cancelled ")]);
    wait_until("the slot is free", || {
        shared.heartbeat(&node, &Heartbeat::ready()).unwrap();
        block_on(shared.create_job(&request("s"))).is_ok()
    });
}

#[test]
fn a_cluster_is_told_from_a_single_server() {
    let (cluster, server) = (Cluster::start(3), slotyard_servers::Server::start());
    let within = Duration::from_millis(300);
    let as_one = SharedScheduler::builder(&cluster.urls()[0]).build().unwrap();
    let error = block_on(as_one.wait_connected(within)).unwrap_err();
    assert!(error.to_string().contains("cluster"), "{error}");
    let as_cluster = SharedScheduler::builder(server.url()).cluster([server.url()]).build().unwrap();
    let error = block_on(as_cluster.wait_connected(within)).unwrap_err();
    assert!(error.to_string().contains("cluster"), "{error}");
}
