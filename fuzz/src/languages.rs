//! Language tags: what parses stays what it is, and what matches does so from both sides and in a scheduler, too.

use std::cell::RefCell;

use slotyard::limits::MAX_TAG_LEN;
use slotyard::{Capabilities, Demand, Language, LanguageError, NodeSpec, Scheduler};

/// More tags of one input are not held against one another.
const MOST: usize = 4;

/// Takes the bytes as one tag, and each of their lines as one.
pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    parse(&text);
    let languages: Vec<Language> = text.lines().take(MOST).flat_map(|tag| parse(tag).into_iter().flatten()).collect();
    for one in &languages {
        for other in &languages {
            check_match(one, other);
        }
    }
    check_in_a_scheduler(&languages);
}

/// The tag as a language of both kinds, if it is one.
fn parse(tag: &str) -> Option<[Language; 2]> {
    let (loose, exact) = (Language::new(tag), Language::exact(tag));
    assert_eq!(loose.is_ok(), exact.is_ok(), "{tag:?}");
    match (loose, exact) {
        (Ok(loose), Ok(exact)) => {
            check_language(tag, &loose);
            check_language(tag, &exact);
            assert!(!loose.is_exact() && exact.is_exact() && loose.tag() == exact.tag());
            Some([loose, exact])
        }
        (Err(error), _) | (_, Err(error)) => {
            check_error(tag, &error);
            None
        }
    }
}

fn check_error(tag: &str, error: &LanguageError) {
    assert!(tag.starts_with(&error.tag) && error.tag.len() <= MAX_TAG_LEN, "{error}");
    assert!(error.tag == tag || tag.len() > MAX_TAG_LEN, "{error}");
    assert!(!error.reason.is_empty() && error.to_string().contains(&error.reason));
    assert!(Demand::new().target(tag).validate().is_err() && Capabilities::new().asr([tag]).validate().is_err());
}

fn check_language(tag: &str, language: &Language) {
    assert!((1..=MAX_TAG_LEN).contains(&tag.len()), "{tag:?}");
    assert!(language.tag().eq_ignore_ascii_case(tag), "{tag:?} became {language}");
    assert_eq!(language.to_string(), language.tag());
    let again = |tag: &str| if language.is_exact() { Language::exact(tag) } else { Language::new(tag) };
    for same in [tag.to_ascii_lowercase(), tag.to_ascii_uppercase(), language.to_string()] {
        assert_eq!(again(&same).as_ref(), Ok(language), "{tag:?}");
    }
    let primary = language.primary();
    let rest = language.tag().strip_prefix(primary).expect("the primary subtag is the first");
    assert!(!primary.is_empty() && (rest.is_empty() || rest.starts_with('-')), "{language}: {primary:?}");
    let family = Language::new(primary).expect("a primary subtag is a tag");
    assert_eq!(family.primary(), primary, "{language}");
    assert!(language.is_exact() || family.matches(language), "{language}");
}

fn check_match(one: &Language, other: &Language) {
    let expected = match one.is_exact() || other.is_exact() {
        true => one.tag() == other.tag(),
        false => one.primary() == other.primary(),
    };
    assert_eq!(one.matches(other), expected, "{one:?} {other:?}");
    assert_eq!(other.matches(one), expected, "{other:?} {one:?}");
}

/// A node that serves the first of them is found for the others just when these match it.
fn check_in_a_scheduler(languages: &[Language]) {
    let Some((served, wanted)) = languages.split_first() else { return };
    let scheduler = scheduler();
    let spec = NodeSpec::new("n").capabilities(Capabilities::new().service_in("work", [served])).ready();
    let node = scheduler.register(spec).expect("the node is valid");
    for wanted in wanted.iter().chain([served]) {
        let demand = Demand::new().service("work").target(wanted);
        assert_eq!(scheduler.select(&demand).is_ok(), served.matches(wanted), "{served:?} for {wanted:?}");
        let from = Demand::new().service("work").source_language(wanted.clone());
        assert_eq!(scheduler.select(&from).is_ok(), served.matches(wanted), "{served:?} from {wanted:?}");
    }
    scheduler.deregister(&node).expect("it is registered");
}

/// A scheduler without nodes: the same one a few times, for making it takes as long as a hundred inputs.
fn scheduler() -> Scheduler {
    thread_local!(static LAST: RefCell<(usize, Option<Scheduler>)> = const { RefCell::new((0, None)) });
    /// Not for ever: an input that is found is to fail by itself.
    const TURNS: usize = 24;
    LAST.with_borrow_mut(|(turns, last)| {
        *turns += 1;
        if *turns % TURNS == 0 {
            *last = None;
        }
        let make = || Scheduler::builder().manual_maintenance().seed(7).build().expect("the configuration is valid");
        last.get_or_insert_with(make).clone()
    })
}
