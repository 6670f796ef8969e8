//! **Finding by id**: see `loom-tests/roll.rs`. An id that is registered throughout is found and its heartbeat taken, whatever
//! becomes of cells and of the table meanwhile; what is found has that id; a heartbeat is of the node of that id and of no
//! other that gets its cell.
//!
//! Three ids stay, two of which are replaced again and again; three others come and go, so that tables grow and are filled
//! anew; one shard.

use super::*;
use crate::{Heartbeat, ResourceUse};

const ITERATIONS: usize = 3000;

fn register(core: &Core, id: &str) -> NodeHandle {
    core.register(NodeSpec::new(id).capabilities(asr()).replace_existing()).unwrap()
}

/// Each id says another of itself.
fn usage(id: &str) -> f32 {
    f32::from(id.as_bytes()[id.len() - 1] - b'0' + 1) / 10.0
}

fn beat(id: &str) -> Heartbeat {
    let beat = Heartbeat::ready().resources(ResourceUse { cpu: usage(id), ..Default::default() });
    // Some the long way.
    if draw(0..2) == 0 { beat.running(0) } else { beat }
}

#[test]
fn ids_are_found_while_others_come_and_go() {
    explore(ITERATIONS, &["one that comes and goes was heard of", "one that comes and goes was unknown"], |seen| {
        let (core, seen) = (scheduler(|builder| builder), seen.clone());
        ["stays-0", "stays-1", "stays-2"].into_iter().for_each(|id| drop(register(&core, id)));
        together(&core, 5, move |core, number| {
            for turn in 0..4 {
                let stays = format!("stays-{}", draw(0..3));
                let other = format!("other-{}", 3 + draw(0..3));
                match number {
                    0 => drop(register(core, &format!("stays-{}", draw(1..3)))),
                    1 => {
                        let id = format!("other-{}", 3 + turn % 3);
                        let node = register(core, &id);
                        assert_eq!(handle(core, &id).expect("it is registered").incarnation(), node.incarnation());
                        core.deregister(&node).unwrap();
                        assert!(handle(core, &id).is_none(), "it is not registered any more");
                    }
                    2 => {
                        let found = handle(core, &stays).expect("the id is registered all the while");
                        assert_eq!(found.id(), &*stays);
                    }
                    _ => {
                        let heard = core.heartbeat_by_id(&stays, &beat(&stays));
                        assert!(heard.is_ok(), "the id is registered all the while: {heard:?}");
                        let heard = core.heartbeat_by_id(&other, &beat(&other)).is_ok();
                        seen.note(
                            ["one that comes and goes was unknown", "one that comes and goes was heard of"]
                                [usize::from(heard)],
                        );
                    }
                }
            }
        });
        for node in core.nodes() {
            let cpu = node.resources.cpu;
            // Or it has not said so, or that is forgotten.
            assert!(cpu == 0.0 || (cpu - usage(&node.id)).abs() < 0.01, "{} is said to use {cpu}", node.id);
        }
        assert_eq!(core.stats().now.nodes, 3);
        assert_settled(&core);
    });
}
