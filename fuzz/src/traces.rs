//! The files that the replay reads: any bytes are taken, or refused with the place of what is wrong.

#[path = "../../examples/replay/input/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the replay uses the rest")]
mod input;

use std::collections::BTreeSet;
use std::path::Path;

use input::{Arrival, CLASSES, InputError, Languages, MAX_SPAN, Machine, Pairs, Perf, Source, Tokens, primary};
use slotyard::limits::MAX_CAPACITY;

/// Gives the bytes to every reader, as the content of a file: most are refused by all but one for their header.
pub fn check(bytes: &[u8]) {
    let file = Path::new("file");
    if let Err(error) = Source::of(Path::new("file.gz"), bytes.to_vec()) {
        assert!(error.to_string().starts_with("file.gz:"), "{error}");
    }
    let source = match Source::of(file, bytes.to_vec()) {
        Ok(source) => source,
        // The place is in what was unpacked, which nobody but the reader has.
        Err(error) => return check_error(None, &error),
    };
    let refused = [
        Arrival::read(&source).map(|arrivals| check_arrivals(&arrivals)).err(),
        Machine::read(&source).map(|machines| check_machines(&machines)).err(),
        Languages::read(&source).map(|languages| check_languages(&languages)).err(),
        Pairs::read(&source).map(|pairs| check_pairs(&pairs)).err(),
        Perf::read(&source).map(|perf| check_perf(&source, &perf)).err(),
    ];
    refused.iter().flatten().for_each(|error| check_error(Some(source.text()), error));
}

/// `file:line:column: message`, with a place that is there.
fn check_error(text: Option<&str>, error: &InputError) {
    let shown = error.to_string();
    let mut parts = shown.splitn(4, ':');
    let place = [parts.next(), parts.next(), parts.next()];
    let message = parts.next().unwrap_or_default();
    let [Some("file"), Some(line), Some(column)] = place else { panic!("no place in {shown:?}") };
    let number = |text: &str| text.parse::<usize>().unwrap_or_else(|_| panic!("no place in {shown:?}"));
    let (line, column) = (number(line), number(column));
    assert!(line > 0 && column > 0 && !message.trim().is_empty(), "{shown:?}");
    // JSON counts bytes, and the end of a line as one more.
    if let Some(text) = text {
        let lines = text.split('\n').count();
        let longest = text.split('\n').nth(line - 1).map_or(0, str::len);
        assert!(line <= lines && column <= longest + 2, "{shown:?} in {lines} lines, {longest} bytes");
    }
}

fn check_arrivals(arrivals: &[Arrival]) {
    assert_eq!(arrivals.first().map(|arrival| arrival.at), Some(0));
    assert!(arrivals.is_sorted_by_key(|arrival| arrival.at) && arrivals.iter().all(|arrival| arrival.at <= MAX_SPAN));
    let few = |Tokens { prompt, generated }: Tokens| prompt <= 1_000_000 && generated <= 1_000_000;
    assert!(arrivals.iter().filter_map(|arrival| arrival.tokens).all(few));
}

fn check_machines(machines: &[Machine]) {
    let names: BTreeSet<&str> = machines.iter().map(|machine| machine.name.as_str()).collect();
    assert!(names.len() == machines.len() && !machines.is_empty() && names.iter().all(|name| !name.is_empty()));
    for machine in machines {
        assert!((1..=MAX_CAPACITY).contains(&machine.slots) && machine.class < CLASSES.len(), "{machine:?}");
        // Copies are other machines, whose ids a scheduler takes.
        let copy = machine.copy(usize::MAX);
        assert!(!names.contains(copy.name.as_str()) && copy.name.len() <= 256, "{copy:?}");
    }
}

fn check_languages(languages: &Languages) {
    let locales = &languages.0;
    assert!(!locales.is_empty() && locales.len() <= 1000 && locales.is_sorted_by(|a, b| a.tag < b.tag));
    for locale in locales {
        assert!(locale.clips > 0 && locale.clip_seconds > 0.0 && locale.clip_seconds <= 3600.0, "{locale:?}");
        assert!(slotyard::Language::new(&locale.tag).is_ok(), "{locale:?}");
        assert!(slotyard::Language::new(primary(&locale.tag)).is_ok(), "{locale:?}");
    }
}

fn check_pairs(pairs: &Pairs) {
    let tags = ["en", "de", "zh", "pt", "sv", "zt", "pb", "x"];
    for from in tags {
        assert!(!pairs.translates(from, from));
        for to in tags {
            let through = pairs.translates(from, "en") && pairs.translates("en", to);
            assert!(from == to || !through || pairs.translates(from, to), "{from} to {to}");
        }
    }
}

fn check_perf(source: &Source, perf: &Perf) {
    for class in 0..CLASSES.len() {
        for (prompt, generated) in [(0, 0), (1, 1), (1000, 100), (1_000_000, 1_000_000)] {
            let ms = perf.tokens_ms(class, Tokens { prompt, generated });
            assert!(ms.is_finite() && ms >= 0.0, "{ms} ms for {prompt} + {generated} tokens");
        }
        let slowness = perf.slowness(class);
        assert!(slowness.is_finite() && slowness > 0.0, "slowness {slowness}");
        let machine = Machine { name: "n".to_owned(), slots: 1, class };
        if let Err(error) = perf.check(source, &[machine]) {
            check_error(Some(source.text()), &error);
        }
    }
}
