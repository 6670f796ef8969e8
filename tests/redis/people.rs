//! What is on the server can be read by people and other programs.

use std::collections::BTreeMap;

use pollster::block_on;
use slotyard::{Demand, JobRequest, NodeSpec};
use slotyard_servers::{Server, wait_until};

use crate::instance_with;

fn hash(server: &Server, key: &str) -> BTreeMap<String, String> {
    let listed = server.command(&["HGETALL", key]);
    let lines: Vec<_> = listed.lines().collect();
    lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

#[test]
fn a_node_is_described() {
    let server = Server::start();
    let shared = instance_with(&server, |builder| builder.prefix("speech:").address("10.0.0.7:8080"));
    let spec = NodeSpec::new("gpu-7").capacity(2).asr(["zh", "en"]).tts(["en"]).label("zone", "a").ready();
    let registered = block_on(shared.register(spec)).unwrap();
    block_on(shared.create_job(&JobRequest::new("one", Demand::new()))).unwrap();
    let node = || hash(&server, "speech:n:gpu-7");
    let beat = || shared.heartbeat(&registered, &slotyard::Heartbeat::alive().running(1)).unwrap();
    wait_until("its load is told", || {
        beat();
        node().get("load").is_some_and(|load| load == "1")
    });
    let node = node();
    let expected = [
        ("state", "ready"),
        ("capacity", "2"),
        ("services", "asr,tts"),
        ("languages", "en,zh"),
        ("labels", "zone=a"),
        ("address", "10.0.0.7:8080"),
        ("weight", "100"),
    ];
    for (field, value) in expected {
        assert_eq!(node.get(field).map(String::as_str), Some(value), "{field} of {node:?}");
    }
}

#[test]
fn pools_have_their_members_and_instances_say_that_they_live() {
    let server = Server::start();
    let shared = instance_with(&server, |builder| builder.address("10.0.0.7:8080"));
    let nodes = ["a", "b c"].map(|id| {
        let spec = NodeSpec::new(id).service_in("embed", ["en"]).ready();
        shared.blocking().register(spec).unwrap()
    });
    let pools = shared.scheduler().node("a").unwrap().pools;
    let members = |pool: &str| server.command(&["SMEMBERS", &format!("slotyard:p:{pool}")]);
    let mut lines: Vec<_> = members(&pools[0]).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["a", "b%20c"]);
    shared.blocking().update(&nodes[0], slotyard::Capabilities::new().asr(["zh"])).unwrap();
    shared.blocking().deregister(&nodes[1]).unwrap();
    assert_eq!(members(&pools[0]), "");
    let owner = &hash(&server, "slotyard:n:a")["owner"];
    wait_until("it says that it lives", || {
        hash(&server, &format!("slotyard:i:{owner}")).get("address").is_some_and(|address| address == "10.0.0.7:8080")
    });
}

#[test]
fn every_key_ends_by_itself() {
    let server = Server::start();
    let shared = instance_with(&server, |builder| builder);
    let node = crate::ready_node(&shared, "node", 2);
    let job = block_on(shared.create_job(&JobRequest::new("one", Demand::new()))).unwrap();
    block_on(shared.create_job(&JobRequest::new("two", Demand::new()))).unwrap();
    block_on(shared.dispatched(job.id(), 1)).unwrap();
    block_on(shared.complete(job.id(), 1)).unwrap();
    block_on(shared.set_capacity(&node, 1)).unwrap();
    let keys = server.command(&["KEYS", "*"]);
    assert!(keys.lines().count() >= 8, "{keys}");
    for key in keys.lines() {
        let left: i64 = server.command(&["PTTL", key]).parse().unwrap();
        assert!(left > 0, "{key} is kept for ever");
    }
}
