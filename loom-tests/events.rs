//! **Events**: who has subscribed gets every event that is told from then on, once, those of one thread in their order; but
//! for those that find his queue full, which are counted. Nobody is forgotten because others come and go.
//!
//! The queue itself is a crate's, and here the standard library's in its place, each call one step: what these models look
//! at is who is told, and what is counted. That nothing is lost in the queue is the crate's to show.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | one subscribes while another tells of events, and is asked for one more when he has | 2 | 5 |
//! | two subscribe, while one who has left is forgotten | 3 | 3 |
//! | two tell of events, and the queue has room for one | 3 | 3 |
//! | one leaves while two others tell of events | 3 | 3 |
//!
//! Seen to fail by `cargo xtask mutants-loom events`.

use loom::thread;

use super::*;
use crate::event::{Event, EventReceiver, Events};
use crate::sync::AtomicU64;

fn tell(events: &Events, number: u32) {
    events.emit(|| Event::PoolMade { pool: number.to_string() });
}

/// What there is in the queue now.
fn received(receiver: &EventReceiver) -> Vec<u32> {
    receiver
        .map(|event| match event {
            Event::PoolMade { pool } => pool.parse().unwrap(),
            other => panic!("nobody has told of {other:?}"),
        })
        .collect()
}

/// Tells of these, one after the other.
fn teller<const N: usize>(events: &Arc<Events>, numbers: [u32; N]) -> thread::JoinHandle<()> {
    let events = events.clone();
    thread::spawn(move || numbers.into_iter().for_each(|number| tell(&events, number)))
}

#[test]
fn who_has_subscribed_misses_nothing() {
    explore(5, &["all came before", "one came before", "none came before"], |seen| {
        let (events, asked) = (Arc::new(Events::default()), Arc::new(AtomicU64::new(0)));
        let other = thread::spawn({
            let (events, asked) = (events.clone(), asked.clone());
            move || {
                tell(&events, 0);
                // Acquire: he has subscribed.
                let was_asked = asked.load(Ordering::Acquire) == 1;
                tell(&events, 1);
                was_asked
            }
        });
        let receiver = events.subscribe(4);
        asked.store(1, Ordering::Release);
        let mut got = received(&receiver);
        let was_asked = other.join().unwrap();
        tell(&events, 2);
        got.extend(received(&receiver));
        assert!(!was_asked || got.contains(&1), "it was told after he had subscribed: {got:?}");
        assert!(
            [&[0, 1, 2][..], &[1, 2], &[2]].contains(&&got[..]),
            "one is missing, doubled, or out of order: {got:?}"
        );
        seen.note(["none came before", "one came before", "all came before"][3 - got.len()]);
        assert_eq!((receiver.dropped(), events.dropped()), (0, 0));
    });
}

#[test]
fn all_who_subscribe_are_told() {
    explore(3, &["the one who left was forgotten by another"], |seen| {
        let events = Arc::new(Events::default());
        drop(events.subscribe(1));
        let subscribe = || {
            let events = events.clone();
            thread::spawn(move || events.subscribe(4))
        };
        let others = [subscribe(), subscribe()];
        // Finds that one has left.
        tell(&events, 0);
        if events.subscribers() == 0 {
            seen.note("the one who left was forgotten by another");
        }
        let receivers = others.map(|other| other.join().unwrap());
        tell(&events, 1);
        for receiver in &receivers {
            let got = received(receiver);
            assert!([&[0, 1][..], &[1]].contains(&&got[..]), "he has subscribed and got {got:?}");
        }
        assert_eq!(events.subscribers(), 2);
    });
}

#[test]
fn what_finds_the_queue_full_is_counted() {
    explore(3, &["some were missed", "none was missed"], |seen| {
        let events = Arc::new(Events::default());
        let receiver = events.subscribe(1);
        let others = [teller(&events, [0, 1]), teller(&events, [10])];
        let mut got = received(&receiver);
        got.extend(received(&receiver));
        for other in others {
            other.join().unwrap();
        }
        got.extend(received(&receiver));
        assert_eq!(got.len() as u64 + receiver.dropped(), 3, "{got:?}");
        assert_eq!(events.dropped(), receiver.dropped());
        let mut once = got.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), got.len(), "one came twice: {got:?}");
        let of_one: Vec<u32> = got.iter().copied().filter(|number| *number < 10).collect();
        assert!(of_one.is_sorted(), "those of one thread are out of order: {got:?}");
        seen.note(if got.len() == 3 { "none was missed" } else { "some were missed" });
    });
}

#[test]
fn one_who_leaves_takes_nobody_along() {
    explore(3, &["he got one", "he got none"], |seen| {
        let events = Arc::new(Events::default());
        let (stays, leaves) = (events.subscribe(4), events.subscribe(4));
        let others = [
            teller(&events, [0]),
            thread::spawn({
                let seen = seen.clone();
                move || {
                    let got = received(&leaves);
                    seen.note(if got.is_empty() { "he got none" } else { "he got one" });
                    drop(leaves);
                }
            }),
        ];
        tell(&events, 1);
        for other in others {
            other.join().unwrap();
        }
        tell(&events, 2);
        let mut got = received(&stays);
        got.sort_unstable();
        assert_eq!(got, [0, 1, 2]);
        assert_eq!((stays.dropped(), events.dropped()), (0, 0), "who has left misses nothing");
        assert_eq!(events.subscribers(), 1);
    });
}
