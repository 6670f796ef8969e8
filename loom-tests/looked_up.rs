//! **What is looked up is what it was when it was looked at**: the word of a cell that is read with a name is of the node that
//! has this name; and who looks for an id in a table that is filled anew meanwhile does not take what he sees there for the
//! table that he began with.
//!
//! As `roll`, from states that take many steps to come to; so these models take the steps themselves.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | a name is looked for in a cell that another has, and that goes to the one who has it | 2 | 5 |
//! | an id is looked for in a table, which is filled twice more in another order | 2 | 5 |
//!
//! Seen to fail by `cargo xtask mutants-loom looked_up`.

use loom::thread;

use super::*;
use crate::id::{Name, NodeKey};
use crate::node::word::Flags;
use crate::node::{Cells, Roll, Tenancy};

#[test]
fn a_word_is_of_the_node_that_is_called_this() {
    explore(5, &["it was found", "it was not there yet"], |seen| {
        let (cells, stirred) = (Arc::new(Cells::new()), Arc::new(crate::sync::AtomicU64::new(0)));
        let number = cells.take();
        // As `Fleet::stir`.
        let stir = move || _ = stirred.fetch_add(1, Ordering::Relaxed);
        let come = {
            let stir = stir.clone();
            move |cells: &Cells, name: &str| {
                stir();
                cells.put_name(number, Name::of(name));
                stir();
                let generation = cells.at(number).prepare(1, 100);
                cells.at(number).open(generation, 1, Flags::NONE);
                stir();
                generation
            }
        };
        let before = come(&cells, "before");
        let writer = thread::spawn({
            let cells = cells.clone();
            move || {
                cells.at(number).change(before, |word| word.with_flags(Flags::GONE)).expect("nobody else changes it");
                cells.at(number).vacate();
                come(&cells, "after")
            }
        });
        stir();
        let found = cells.named(number, Name::of("after")).map(|(_, word)| word.generation());
        let after = writer.join().unwrap();
        assert!(found.is_none_or(|found| found == after), "it is not the word of the one who is called this");
        seen.note(if found.is_some() { "it was found" } else { "it was not there yet" });
    });
}

#[test]
fn an_id_is_found_in_a_table_that_is_filled_in_another_order() {
    explore(5, &["it was found"], |seen| {
        // Its place is the last one of eight. One that wants this, too, is put into the first, and into the last when the next
        // table is filled, before it.
        let fleet = Fleet::new([1]);
        let at_the_end = |id: &String| fleet.core.node_key(id).hash % 8 == 7;
        let id = (0..).map(|number| format!("id-{number}")).find(at_the_end).expect("one in eight is");
        let node = add_node(&fleet.core, &id, 1);
        let hash = fleet.core.node_key(&id).hash;
        let (roll, mut tenancy) = (Arc::new(Roll::default()), Tenancy::default());
        roll.enter(&mut tenancy, hash, node.cell);
        // So many that the table has eight places.
        roll.enter(&mut tenancy, hash.wrapping_add(3), 0);
        roll.turn(&mut tenancy);
        let writer = thread::spawn({
            let roll = roll.clone();
            move || {
                roll.turn(&mut tenancy);
                roll.enter(&mut tenancy, hash.wrapping_add(8), 0);
                roll.turn(&mut tenancy);
            }
        });
        let key = NodeKey { hash, name: Name::of(&id), text: &id };
        let found = roll.find(&key, &fleet.core.cells, unpinned()).expect("it is there all the while");
        assert_eq!(found.cell, node.cell);
        seen.note("it was found");
        writer.join().unwrap();
    });
}
