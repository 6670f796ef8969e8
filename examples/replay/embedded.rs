//! The workload that is replayed where no file is given: half an hour of a speech translation fleet.

use rand::seq::IndexedRandom;

use crate::input::{Arrival, CLASSES, Curve, GPU_CLASSES, Languages, Locale, Machine, Pairs, Perf, Point};
use crate::random::{Purpose, exponential, stream};

/// How long requests arrive, in seconds.
const SPAN: f64 = 1800.0;
/// Requests a second while it is calm, and how long that lasts on average, in seconds.
const CALM: (f64, f64) = (230.0, 100.0);
/// The same in a burst: more than the fleet can serve.
const BURST: (f64, f64) = (560.0, 15.0);
/// Machines of the fleet.
const MACHINES: usize = 800;

/// Clips and their mean length in seconds, from the statistics of Common Voice 17.0 (MPL-2.0), rounded.
const LANGUAGES: [(&str, u64, f64); 16] = [
    ("ar", 135_000, 4.2),
    ("ca", 2_426_000, 5.5),
    ("cs", 212_000, 4.6),
    ("de", 979_000, 5.2),
    ("en", 2_413_000, 5.2),
    ("es", 1_640_000, 4.9),
    ("fr", 822_000, 5.0),
    ("it", 264_000, 5.5),
    ("ja", 357_000, 4.7),
    ("nl", 99_000, 4.4),
    ("pl", 140_000, 4.5),
    ("pt", 185_000, 4.3),
    ("ru", 191_000, 5.2),
    ("sv-SE", 55_000, 4.3),
    ("tr", 119_000, 3.9),
    ("zh-CN", 840_000, 5.2),
];

/// Prompt tokens, ms for the prompt and ms for each token after it, by class: means of the rows of splitwise-sim's
/// perf_model.csv (MIT) for llama2-70b at batch size 1.
const TIMES: [[(f64, f64, f64); 4]; CLASSES.len()] = [
    [(128.0, 55.3, 30.0), (1024.0, 78.3, 29.8), (4096.0, 378.6, 30.6), (8192.0, 848.4, 31.4)],
    [(128.0, 48.9, 28.4), (1024.0, 106.3, 29.3), (4096.0, 466.4, 29.5), (8192.0, 943.3, 29.6)],
    [(128.0, 49.2, 37.2), (1024.0, 157.8, 37.4), (4096.0, 642.0, 37.5), (8192.0, 1339.2, 37.8)],
    [(128.0, 65.1, 43.0), (1024.0, 154.6, 44.8), (4096.0, 651.3, 46.5), (8192.0, 1544.4, 46.4)],
    [(128.0, 66.6, 42.4), (1024.0, 230.1, 44.9), (4096.0, 969.7, 46.4), (8192.0, 2333.4, 45.9)],
    [(128.0, 81.1, 53.7), (1024.0, 377.3, 54.8), (4096.0, 1481.4, 55.8), (8192.0, 2990.3, 57.3)],
];

/// Requests that come in bursts: a Poisson process whose rate changes between calm and burst at random.
pub(crate) fn arrivals(seed: u64) -> Vec<Arrival> {
    let mut random = stream(seed, Purpose::Arrivals);
    let mut draw = |mean| exponential(mean, &mut random);
    let mut arrivals = vec![Arrival { at: 0, tokens: None }];
    let (mut now, mut phase, mut until) = (0.0, CALM, 0.0);
    while now < SPAN {
        if now >= until {
            phase = if phase == CALM && until > 0.0 { BURST } else { CALM };
            until = now + draw(phase.1);
        }
        now += draw(1.0 / phase.0);
        arrivals.push(Arrival { at: (now * 1e6) as u64, tokens: None });
    }
    arrivals
}

/// Machines of every size and model.
pub(crate) fn machines(seed: u64) -> Vec<Machine> {
    let mut random = stream(seed, Purpose::Machines);
    let mut machine = |number: usize| {
        let gpus = [1, 2, 4, 8].choose(&mut random).copied()?;
        let model = GPU_CLASSES.choose(&mut random)?.0;
        Machine::new(&format!("worker-{number:03}"), gpus, model)
    };
    (0..MACHINES).filter_map(&mut machine).collect()
}

/// Sixteen languages, as unevenly spoken as they are.
pub(crate) fn languages() -> Languages {
    let locale = |(tag, clips, clip_seconds): (&str, u64, f64)| Locale { tag: tag.to_owned(), clips, clip_seconds };
    Languages(LANGUAGES.map(locale).into())
}

/// Translations between English and every other language, and directly between two pairs of neighbours.
pub(crate) fn pairs() -> Pairs {
    let others = || LANGUAGES.iter().map(|(tag, ..)| *tag).filter(|tag| *tag != "en");
    let direct = [("es", "pt"), ("pt", "es")];
    Pairs::new(others().flat_map(|tag| [(tag, "en"), ("en", tag)]).chain(direct))
}

/// Every class with its times.
pub(crate) fn perf() -> Perf {
    let point = |(prompt_size, prompt_ms, token_ms)| Point { prompt_size, prompt_ms, token_ms };
    Perf::new(TIMES.map(|points| Curve::new(points.map(point).into())))
}
