//! **Nodes that change**: one registers again, goes and comes back, has more slots or fewer, while jobs come and go.
//!
//! | model | clients | lost | crashes | jumps of time |
//! |---|---|---|---|---|
//! | registers again, and runs what it is sent | 3 | 0 | 0 | 1 |
//! | deregisters and registers again | 3 | 1 | 0 | 0 |
//! | has fewer slots | 3 | 0 | 2 | 1 |
//! | has more slots | 3 | 1 | 0 | 1 |
//! | has fewer slots, and then more | 3 | 0 | 1 | 1 |

use super::explore::explore;
use super::machine::FIRST;
use super::programs::{deregister, register, resize, wish, work};
use super::scenario::Scenario;

#[test]
fn a_node_registers_again() {
    let scenario = Scenario::new([("n1", 1)])
        .client(|process| work(process, wish("a", 1, &["n1"])))
        .client(|process| async move { register(&process, (0, "n1"), 1).await })
        .client(|process| work(process, wish("b", 2, &["n1"])))
        .running()
        .jumps(1);
    explore(scenario, &["it was handed out", "it was orphaned", "the node was full", "it was ended"]);
}

#[test]
fn a_node_deregisters_and_registers_again() {
    let scenario = Scenario::new([("n1", 1)])
        .client(|process| async move {
            work(process.clone(), wish("a", 1, &["n1"])).await;
            work(process, wish("b", 2, &["n1"])).await;
        })
        .client(|process| async move {
            deregister(&process, "n1", FIRST).await;
            register(&process, (0, "n1"), 1).await;
        })
        .client(|process| work(process, wish("c", 3, &["n1"])))
        .running()
        .losses(1);
    explore(scenario, &["it was handed out", "it was orphaned", "the node was full", "it was ended"]);
}

#[test]
fn a_node_has_fewer_slots() {
    let scenario = Scenario::new([("n1", 2)])
        .client(|process| work(process, wish("a", 1, &["n1"])))
        .client(|process| async move { resize(&process, "n1", 1).await })
        .client(|process| work(process, wish("b", 2, &["n1"])))
        .crashes(2)
        .jumps(1);
    explore(scenario, &["it was handed out", "the node was full", "it was ended"]);
}

#[test]
fn a_node_has_more_slots() {
    let scenario = Scenario::new([("n1", 1)])
        .client(|process| work(process, wish("a", 1, &["n1"])))
        .client(|process| async move { resize(&process, "n1", 2).await })
        .client(|process| work(process, wish("b", 2, &["n1"])))
        .losses(1)
        .jumps(1);
    explore(scenario, &["it was handed out", "the node was full", "it was ended"]);
}

#[test]
fn a_node_has_fewer_slots_and_then_more() {
    let scenario = Scenario::new([("n1", 2)])
        .client(|process| work(process, wish("a", 1, &["n1"])))
        .client(|process| async move {
            resize(&process, "n1", 1).await;
            resize(&process, "n1", 2).await;
        })
        .client(|process| work(process, wish("b", 2, &["n1"])))
        .running()
        .crashes(1)
        .jumps(1);
    explore(scenario, &["it was handed out", "the node was full", "it was ended"]);
}
