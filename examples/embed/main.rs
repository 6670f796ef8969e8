//! A gateway that embeds slotyard, with its clients and its worker nodes in one process: threads for both, channels for
//! connections.
//!
//! ```sh
//! cargo run --release --example embed
//! ```
//!
//! What to see in it: a node registers, sends heartbeats, leaves; a client's request becomes a job, waits while all
//! nodes are busy, and is tried again on another node when the one that had it crashes.

mod gateway;
mod node;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use slotyard::{Demand, Service};

use gateway::{Failure, Gateway};
use node::Worker;

const CLIENTS: usize = 24;
const REQUESTS: usize = 20;
/// In the middle of it all one node crashes.
const CRASH: Duration = Duration::from_millis(300);

fn main() -> Result<(), Failure> {
    let gateway = Arc::new(Gateway::new()?);
    let events = gateway.scheduler.subscribe(1024);

    let workers = [
        Worker { id: "gpu-1", slots: 4, languages: &["zh", "en", "fr"], crashes_after: None },
        Worker { id: "gpu-2", slots: 4, languages: &["zh", "en"], crashes_after: Some(CRASH) },
        Worker { id: "gpu-3", slots: 2, languages: &["en", "fr"], crashes_after: None },
    ];
    let nodes: Vec<_> = workers.into_iter().map(|worker| worker.start(&gateway)).collect::<Result<_, _>>()?;

    let clients: Vec<_> = (0..CLIENTS).map(|client| start_client(&gateway, client)).collect();
    let mut served = 0;
    for client in clients {
        served += client.join().expect("a client does not panic")?;
    }
    gateway.close();
    for node in nodes {
        node.join().expect("a node does not panic")?;
    }

    let counters = gateway.scheduler.stats().counters;
    println!("{served} requests served, {} attempts repeated, {} refusals", counters.retried, counters.refused_busy);
    for event in &events {
        println!("event: {event:?}");
    }
    assert_eq!(served, CLIENTS * REQUESTS);
    assert_eq!(counters.reserved, counters.released, "every slot was given back");
    assert!(gateway.scheduler.nodes().is_empty(), "every node has left");
    Ok(())
}

/// A client sends its requests one after the other, all in one session; says how many were answered.
fn start_client(gateway: &Arc<Gateway>, client: usize) -> thread::JoinHandle<Result<usize, Failure>> {
    let gateway = gateway.clone();
    thread::spawn(move || {
        let (from, to) = [("zh", "en"), ("en", "zh"), ("en", "fr")][client % 3];
        let demand = Demand::translate(from, to).services([Service::ASR, Service::NMT, Service::TTS]);
        for request in 0..REQUESTS {
            let answer = gateway.serve(&format!("client-{client}/{request}"), &format!("client-{client}"), &demand)?;
            assert!(answer.starts_with("translated"));
        }
        Ok(REQUESTS)
    })
}
