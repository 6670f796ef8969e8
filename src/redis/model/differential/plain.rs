//! The commands by themselves, also as no script uses them yet.

use std::fmt::Write;

use proptest::prelude::*;
use slotyard_servers::Server;

use super::super::commands;
use super::both::Both;

/// Commands with what may stand for their letters: `K` keys, `M` members, fields and texts, `S` scores, `B` bounds of scores,
/// `I` places.
const COMMANDS: [&str; 25] = [
    "GET K",
    "SET K M",
    "SET K M PX 7200000",
    "SET K M KEEPTTL",
    "SET K M NX PX 7200000",
    "SET K M NX GET PX 7200000",
    "DEL K K",
    "EXISTS K K",
    "PEXPIRE K 10800000",
    "HGET K M",
    "HMGET K M M",
    "HSET K M M",
    "HSET K M M M S",
    "ZADD K S M",
    "ZADD K S M S M",
    "ZADD K XX GT S M",
    "ZADD K S M S",
    "ZREM K M M",
    "ZSCORE K M",
    "ZPOPMIN K",
    "ZRANGE K I I",
    "ZRANGE K B B BYSCORE",
    "ZRANGE K B B BYSCORE LIMIT 1 2",
    "ZCOUNT K B B",
    "HSET K M",
];

fn written([command, ref choices @ ..]: [u8; 7]) -> Vec<String> {
    let mut choices = choices.iter().map(|byte| usize::from(*byte));
    let words = COMMANDS[usize::from(command) % COMMANDS.len()].split(' ').map(|word| {
        let of: &[&str] = match word {
            "K" => &["r:1", "l:1", "n:1"],
            "M" => &["a", "b", "c"],
            "S" => &["0", "1", "2", "-1", "+inf", "inf", "-inf", "x"],
            "B" => &["0", "(0", "1", "(1", "(2", "-inf", "+inf", "(inf", "x"],
            "I" => &["0", "1", "2", "-1", "-2", "-9", "9"],
            word => return word.to_owned(),
        };
        of[choices.next().unwrap_or(0) % of.len()].to_owned()
    });
    words.collect()
}

#[test]
fn commands_do_what_they_do_on_a_real_server() {
    let server = Server::start();
    let both = std::cell::RefCell::new(Both::new(&server));
    let steps = prop::collection::vec(any::<[u8; 7]>().prop_map(written), 1..30);
    super::for_each(&steps, |steps| {
        let both = &mut both.borrow_mut();
        both.begin();
        let mut said = String::new();
        for command in &steps {
            let real = both.ask_real(command);
            let now = both.now;
            let model = commands::run(&mut both.data, now, command);
            let _ = writeln!(said, "{command:?} -> {real:?}, {model:?}");
            // Errors are told apart by nobody.
            prop_assert_eq!(real.ok(), model.ok(), "{}", said);
        }
        both.compare_data(&said).map_err(TestCaseError::fail)
    });
}
