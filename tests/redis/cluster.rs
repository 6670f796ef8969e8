//! A Redis Cluster of three masters.

use std::time::Duration;

use pollster::block_on;
use slotyard::{CreateJobError, Demand, JobRequest, SharedBuilder, SharedError, SharedScheduler};
use slotyard_servers::{Cluster, wait_until};

use crate::{PATIENCE, ready_node};

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

fn is_full<T>(outcome: &Result<T, SharedError<CreateJobError>>) -> bool {
    matches!(outcome, Err(SharedError::Refused(CreateJobError::NoNode(_))))
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
