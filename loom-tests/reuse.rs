//! **What is used again is not taken for what it was**: a cell whose generation has come round, the number and the place of a
//! job, an item of a list from which it was taken and to which it was given back meanwhile.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | a slot is reserved by a word that was read three tenants of the cell ago, under the same generation | 2 | 5 |
//! | a job is ended twice, and its number has the next one by then | 2 | 1 |
//! | a job is read that is forgotten, and its place has the next one by then | 2 | 1 |
//! | an item is taken off a list, while others are and it comes back | 2 | 5 |
//!
//! In the models generations go from 1 to 3, see `SlotWord`.
//!
//! Seen to fail by `cargo xtask mutants-loom reuse`.

use loom::thread;

use super::*;
use crate::job::{End, Job, Shared};
use crate::node::cell::Cell;
use crate::node::word::Flags;
use crate::{Demand, JobError, JobRequest, JobState};

/// A tenant with two slots comes into the cell: its generation.
fn come(cell: &Cell) -> u32 {
    let generation = cell.prepare(2, 100);
    cell.open(generation, 2, Flags::NONE);
    generation
}

/// It goes. `false`: a slot of it is held.
fn go(cell: &Cell, generation: u32) -> bool {
    let gone = cell.change(generation, |word| word.with_flags(Flags::GONE)).expect("nobody else changes it");
    if gone.leaves_idle() {
        cell.vacate();
    }
    gone.leaves_idle()
}

#[test]
fn a_slot_is_not_reserved_of_a_later_tenant_of_the_same_generation() {
    explore(5, &["it was in time", "the generation has come round"], |seen| {
        let cell = Arc::new(Cell::default());
        let first = come(&cell);
        let word = cell.word();
        let late = thread::spawn({
            let cell = cell.clone();
            move || cell.reserve(word).is_ok()
        });
        let mut tenants = 1;
        let mut generation = first;
        while tenants < 4 && go(&cell, generation) {
            generation = come(&cell);
            tenants += 1;
        }
        let in_time = late.join().unwrap();
        assert_eq!(in_time, tenants == 1, "a slot was taken of a later tenant");
        if in_time {
            seen.note("it was in time");
        } else {
            assert_eq!((cell.word().in_flight(), tenants, generation), (0, 4, first));
            seen.note("the generation has come round");
        }
    });
}

fn create(core: &Core, id: &str) -> Job {
    let request = JobRequest::new(id, Demand::new().service(Service::ASR));
    core.create_job(&request, &crossbeam_epoch::pin()).expect("a slot is free")
}

fn end(core: &Core, job: &Job) -> bool {
    match core.end(job.id(), 1, End::Completed, &crossbeam_epoch::pin()) {
        Ok(()) => true,
        Err(JobError::UnknownJob { .. } | JobError::AlreadyEnded { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Of jobs that have ended none is remembered.
fn forgetful() -> Arc<Fleet> {
    Fleet::of(scheduler(|builder| builder.max_finished_jobs(0)), [2])
}

#[test]
fn a_job_is_not_ended_in_place_of_the_one_before() {
    explore(1, &["the next one has its number"], |seen| {
        let fleet = forgetful();
        let job = create(&fleet.core, "request");
        let late = thread::spawn({
            let (fleet, job) = (fleet.clone(), job.clone());
            move || {
                fleet.stir();
                end(&fleet.core, &job)
            }
        });
        let ended = end(&fleet.core, &job);
        let next = create(&fleet.core, "other");
        fleet.stir();
        let ended_late = late.join().unwrap();
        assert!(ended != ended_late, "it was ended twice, or not at all");
        assert_ne!(next.id(), job.id(), "two jobs of one id");
        if next.id().number() == job.id().number() {
            seen.note("the next one has its number");
        }
        assert_eq!(next.state(), JobState::Reserved, "the next one was ended");
        assert_eq!(fleet.word(0).in_flight(), 1);
        assert_told(&fleet.core);
    });
}

#[test]
fn a_job_is_read_while_its_place_is_used_again() {
    explore(1, &["its place has another", "it was forgotten before"], |seen| {
        let fleet = forgetful();
        let (id, place) = {
            let job = create(&fleet.core, "request");
            (job.id(), job.place())
        };
        let reader = thread::spawn({
            let (fleet, seen) = (fleet.clone(), seen.clone());
            move || {
                let pin = crossbeam_epoch::pin();
                let Some(record) = fleet.core.jobs.get(id, &pin) else { return seen.note("it was forgotten before") };
                let read = || (record.id, record.request.as_str().to_owned());
                let before = read();
                fleet.stir();
                // The other's turn, which is no preemption.
                thread::yield_now();
                assert_eq!(before, read(), "a job was written to that somebody reads");
            }
        });
        fleet.core.end(id, 1, End::Completed, &crossbeam_epoch::pin()).expect("nobody else ends it");
        fleet.core.jobs.clear_all_later(&crossbeam_epoch::pin());
        for _ in 0..3 {
            crossbeam_epoch::pin().flush();
        }
        fleet.stir();
        // One that was never used is taken if no other is vacant yet.
        if create(&fleet.core, "other").place() == place {
            seen.note("its place has another");
        }
        fleet.stir();
        reader.join().unwrap();
        let listed = fleet.core.jobs.clone();
        reclaim(|| Arc::strong_count(&listed) == 2);
        assert_told(&fleet.core);
    });
}

/// Takes an item off, which nobody else may have then.
fn pop(list: &Shared<2>, held: &[AtomicU64; 2]) -> Option<u32> {
    let item = list.pop()?;
    assert_eq!(held[item as usize].fetch_add(1, Ordering::SeqCst), 0, "two have the same item");
    Some(item)
}

fn push(list: &Shared<2>, held: &[AtomicU64; 2], item: u32) {
    held[item as usize].fetch_sub(1, Ordering::SeqCst);
    list.push(item);
}

#[test]
fn an_item_is_one_takers_though_it_was_taken_and_given_back() {
    explore(5, &["both have one", "it was given back before"], |seen| {
        let list = Arc::new(Shared::<2>::full());
        let held = Arc::new([const { AtomicU64::new(0) }; 2]);
        let other = thread::spawn({
            let (list, held) = (list.clone(), held.clone());
            move || pop(&list, &held)
        });
        let (first, second) = (pop(&list, &held), pop(&list, &held));
        if let (Some(first), Some(_)) = (first, second) {
            push(&list, &held, first);
            seen.note("it was given back before");
        } else {
            seen.note("both have one");
        }
        let third = pop(&list, &held);
        let others = other.join().unwrap();
        let taken = [first, second, third, others].into_iter().flatten().count();
        assert!((2..=3).contains(&taken), "an item is lost");
    });
}
