//! What is said of jobs that are created slowly.

use std::fmt::Debug;
use std::sync::Mutex;
use std::time::Duration;

use slotyard::{Demand, JobRequest, SharedScheduler};
use slotyard_servers::{Proxy, Server};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::{PATIENCE, ready_node};

/// What was said, of the whole program.
static SAID: Mutex<Vec<Said>> = Mutex::new(Vec::new());

#[derive(Debug, Clone)]
struct Said {
    level: Level,
    fields: Vec<(&'static str, String)>,
}

impl Said {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find_map(|(field, value)| (*field == name).then_some(&**value))
    }

    fn ms(&self, name: &str) -> f64 {
        let text = self.field(name).unwrap_or_else(|| panic!("no {name}: {self:?}"));
        let units = [("ms", 1.0), ("µs", 0.001), ("ns", 1e-6), ("s", 1000.0)];
        let (number, unit) = units.iter().find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, ms))).unwrap();
        number.parse::<f64>().unwrap() * unit
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.push((field.name(), format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push((field.name(), value.to_owned()));
    }
}

/// Keeps what is a warning or worse.
struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, of: &Metadata<'_>) -> bool {
        *of.level() <= Level::WARN && of.target().starts_with("slotyard")
    }

    fn event(&self, event: &Event<'_>) {
        let mut said = Said { level: *event.metadata().level(), fields: Vec::new() };
        event.record(&mut said);
        SAID.lock().unwrap().push(said);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn said_of(request: &str) -> Said {
    let said = SAID.lock().unwrap();
    said.iter().find(|said| said.field("request") == Some(request)).unwrap_or_else(|| panic!("{said:?}")).clone()
}

#[test]
fn a_slow_create_is_warned_of_and_one_much_too_slow_is_an_error_with_where_the_time_went() {
    // The library's own threads are to be heard, so it is that of the whole program.
    tracing::subscriber::set_global_default(Listener).unwrap();
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let builder = SharedScheduler::builder(proxy.url()).call_timeout(PATIENCE).connect_timeout(PATIENCE);
    let shared = builder.build().unwrap();
    shared.blocking().wait_connected(PATIENCE).unwrap();
    ready_node(&shared, "node", 2);
    for (request, delay) in [("slow", 80), ("much too slow", 300)] {
        // In each direction.
        proxy.delay(Duration::from_millis(delay));
        shared.blocking().create_job(&JobRequest::new(request, Demand::new().service("embed"))).unwrap();
        let said = said_of(request);
        let (took, asking, choosing) = (said.ms("took"), said.ms("asking"), said.ms("choosing"));
        assert_eq!(said.level, if took > 500.0 { Level::ERROR } else { Level::WARN }, "{said:?}");
        assert!(asking >= 2.0 * delay as f64 && (took - asking - choosing).abs() < 0.1, "{said:?}");
        assert!(said.field("rounds").is_some() && said.field("message").is_some(), "{said:?}");
    }
    assert_eq!(said_of("much too slow").level, Level::ERROR);
}
