//! What becomes of nodes when a server has lost what it was told of them, or somebody takes them away.

use redis::Commands;

use super::*;

#[test]
fn what_a_node_is_said_to_have_is_what_its_slots_say_when_it_is_restored_and_a_change_counts_from_there() {
    let mut asked = Asked::new();
    let n = node("n");
    let incarnation = asked.register(&n, 2, "draining", false);
    let restore = |asked: &mut Asked, incarnation| {
        let (capacity, state, kept, longest_lease, leases, fields) = (6, "ready", KEPT, LEASE, &[][..], &[][..]);
        asked.ask(&Restore { node: &n, incarnation, capacity, state, kept, longest_lease, leases, fields })
    };
    let described = |asked: &mut Asked| -> Vec<String> {
        asked.connection.hmget(asked.keys.node(&n), &["capacity", "state"]).unwrap()
    };
    let resize = |asked: &mut Asked, state| {
        let (capacity, kept, fields) = (Some(6), KEPT, &[][..]);
        asked.ask(&Update { node: &n, incarnation, state, capacity, kept, fields })
    };
    // What it is has gone, its slots have not.
    let _: () = asked.connection.del(asked.keys.node(&n)).unwrap();
    assert_eq!(resize(&mut asked, None), Changed::Unknown);
    assert_eq!(restore(&mut asked, incarnation), Restored::Restored { held: vec![], made: false });
    assert_eq!(described(&mut asked), ["2", "draining"]);
    // Or somebody has written what is not so.
    let _: () = asked.connection.hset(asked.keys.node(&n), "capacity", 6).unwrap();
    let _: () = asked.connection.hset(asked.keys.node(&n), "state", "ready").unwrap();
    assert_eq!(resize(&mut asked, Some("ready")), Changed::Done);
    assert_eq!((described(&mut asked), asked.free(&n)), (vec!["6".to_owned(), "ready".to_owned()], 6));
    asked.created("a", &n);
    // Its slots have gone: no change makes others.
    let _: () = asked.connection.del(asked.keys.slots(&n)).unwrap();
    assert_eq!(resize(&mut asked, None), Changed::Unknown);
    // Of an incarnation of which the server has lost that it began.
    assert_eq!(restore(&mut asked, incarnation + 1), Restored::Restored { held: vec![], made: true });
    let there: u64 = asked.connection.hget(asked.keys.node(&n), "incarnation").unwrap();
    assert_eq!((there, described(&mut asked)), (incarnation + 1, vec!["6".to_owned(), "ready".to_owned()]));
}

#[test]
fn slots_that_a_server_may_have_lost_are_given_out_when_no_lease_of_them_can_be_left() {
    let mut asked = Asked::new();
    let [old, new] = ["old", "new"].map(node);
    let resize = |asked: &mut Asked, node, incarnation, capacity| {
        let (state, capacity, kept, fields) = (None, Some(capacity), KEPT, &[][..]);
        asked.ask(&Update { node, incarnation, state, capacity, kept, fields })
    };
    let before = asked.node(&old, 1);
    let a = asked.created("a", &old);
    assert_eq!(resize(&mut asked, &old, before, 2), Changed::Done);
    let b = asked.created("b", &old);
    // A replica that lacks the second slot, and the lease of it, takes the place.
    let _: () = asked.connection.zrem(asked.keys.slots(&old), b.to_string()).unwrap();
    let _: () = asked.connection.zrem(asked.keys.slots(&old), format!("node:{before}:2")).unwrap();
    let _: () = asked.connection.zadd(asked.keys.slots(&old), format!("node:{before}:1"), f64::INFINITY).unwrap();
    let warm_until = (asked.slots(&old)[0].1 as u64) + LEASE;
    asked.standing = Standing { epoch: 101, warm_until };
    assert_eq!(resize(&mut asked, &old, before, 3), Changed::Done);
    let refused = asked.create("c", std::slice::from_ref(&old));
    assert!(matches!(&refused[..], [Refused::Full(_) | Refused::WarmUp(_)]), "{refused:?}");
    // Whoever has the lease tells of it.
    let restored = asked.ask(&Restore {
        node: &old,
        incarnation: before,
        capacity: 3,
        state: "ready",
        kept: KEPT,
        longest_lease: LEASE,
        leases: &[(a, LEASE), (b, LEASE)],
        fields: &[],
    });
    assert_eq!(restored, Restored::Restored { held: vec![true, true], made: false });
    let slots = asked.slots(&old);
    assert!(slots.len() == 4 && slots.iter().all(|(member, _)| !member.starts_with("free:")), "{slots:?}");
    // Of a node that was registered since nothing can have been lost.
    let incarnation = asked.node(&new, 1);
    assert_eq!((resize(&mut asked, &new, incarnation, 3), asked.free(&new)), (Changed::Done, 3));
}

#[test]
fn leases_that_are_restored_beside_free_slots_take_the_place_of_those() {
    let mut asked = Asked::new();
    let n = node("n");
    let incarnation = asked.node(&n, 2);
    let leases = ["a", "b"].map(|request| (asked.created(request, &n), LEASE));
    for (lease, _) in &leases {
        // Of what its holder knows nothing is left, but slots of other numbers.
        let other = format!("free:{}:{incarnation}:100", lease.slot + 2);
        let _: () = asked.connection.zrem(asked.keys.slots(&n), lease.to_string()).unwrap();
        let _: () = asked.connection.zadd(asked.keys.slots(&n), other, 0).unwrap();
    }
    let (capacity, state, kept, longest_lease, fields) = (2, "ready", KEPT, LEASE, &[][..]);
    for leases in [&leases[..1], &leases] {
        asked.ask(&Restore { node: &n, incarnation, capacity, state, kept, longest_lease, leases, fields });
        assert_eq!(asked.free(&n), 2 - leases.len());
    }
}
