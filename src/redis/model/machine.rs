//! What all states of a model share: scripts and what they did to data, histories of clients and what these did. Each is
//! worked out once, for a script depends on nothing but data, arguments and time, and a client on nothing but what it was
//! told.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::checks::Ghost;
use super::client::{Histories, LEASE, LONG, Request, Said, hello, read, run_id};
use super::data::{Answer, Data};
use super::interner::{Interner, Place};
use super::lua::{Given, Interpreter};
use super::scenario::Scenario;
use super::view::View;
use super::worker::{Site, Worker};
use super::world::{Client, Phase, ServerState, World};
use super::{commands, programs};
use crate::id::JobId;
use crate::redis::call::{Call, Create, Creation, Standing};
use crate::redis::keys::NodeText;
use crate::redis::lease::{Fingerprint, Instance};
use crate::redis::node_call::{Kept, Register, Registered};
use crate::redis::script;

/// The server's clock when a model begins, in ms.
const BEGIN: u64 = 1_700_000_000_000;

/// The incarnation that nodes have from the beginning: of when they were registered.
pub(super) const FIRST: u64 = (BEGIN - LEASE) * 1000 + 1;
pub(super) const KEPT: Kept = Kept { node: LONG, slots: LONG };

/// See the module's documentation.
pub(super) struct Machine {
    pub(super) scenario: Scenario,
    pub(super) clients: Vec<Histories>,
    pub(super) said: Said,
    pub(super) seen: BTreeSet<&'static str>,
    pub(super) ghosts: Interner<Ghost>,
    pub(super) sites: Interner<Site>,
    interpreter: Interpreter,
    data: Interner<Data>,
    views: HashMap<Place, Rc<View>>,
    done: HashMap<(Place, Place, u64), (Place, Place)>,
    /// States of the server that have been seen to have lost no slot.
    whole: BTreeSet<(Place, u32)>,
}

impl Machine {
    /// With the state that the scenario begins in.
    pub(super) fn new(scenario: Scenario) -> (Self, World) {
        let mut machine = Self {
            clients: Vec::new(),
            said: Said::default(),
            seen: BTreeSet::new(),
            ghosts: Interner::default(),
            sites: Interner::default(),
            interpreter: Interpreter::new(),
            data: Interner::default(),
            views: HashMap::new(),
            done: HashMap::new(),
            whole: BTreeSet::new(),
            scenario,
        };
        let world = machine.begin();
        (machine, world)
    }

    fn begin(&mut self) -> World {
        let empty = self.data.place(Data::default());
        // So long ago that the server is warm, and no incarnation begins twice in a microsecond.
        let earlier = BEGIN - LEASE;
        let (standing, mut data) = self.ask(empty, &hello(&run_id(0), 0), Standing::default(), earlier);
        for (node, capacity) in self.scenario.nodes.clone() {
            let node = NodeText::of(node);
            let register = Register { node: &node, replace: false, capacity, state: "ready", kept: KEPT, fields: &[] };
            let (registered, after) = self.ask(data, &register, standing, earlier);
            assert_eq!(registered, Registered::Registered(FIRST));
            data = after;
        }
        for (request, number, node) in self.scenario.jobs.clone() {
            let candidates = [NodeText::of(self.scenario.nodes[node].0)];
            let create = create(request, number, &candidates);
            let (created, after) = self.ask(data, &create, standing, BEGIN);
            assert!(matches!(created, Creation::Created(..)), "{created:?}");
            data = after;
        }
        let keys = self.scenario.keys.clone();
        let programs = std::mem::take(&mut self.scenario.programs).into_iter();
        let instances = programs
            .zip(1..)
            .map(|(program, number)| Histories::new(program, keys.clone(), Instance(number), standing));
        self.clients = instances.collect();
        let server = ServerState { data, before: Vec::new(), run: 0, ahead: BEGIN };
        let clients = vec![Client { history: None, phase: Phase::Paused }; self.clients.len()];
        let workers = vec![Worker::default(); self.scenario.nodes.len()];
        let site = self.sites.place(Site { workers, wire: Vec::new() });
        let (left, ghost) = (self.scenario.bounds, self.ghosts.place(Ghost::default()));
        World { time: 0, server, clients, late: Vec::new(), site, left, ghost }
    }

    /// Has the server do a request, at this time in ms: the answer, and the data after it.
    pub(super) fn perform(&mut self, data: Place, request: Place, now: u64) -> Result<(Place, Place), String> {
        let key = (data, request, now);
        if let Some(done) = self.done.get(&key) {
            return Ok(*done);
        }
        let Request { script, keys, arguments, beside } = &*self.said.requests.at(request);
        let (mut after, now) = ((*self.data.at(data)).clone(), now * 1000);
        let mut answer = Answer::Nil;
        if let Some(command) = beside {
            after.forget_expired(now / 1000);
            answer = commands::run(&mut after, now, command)?;
        }
        if !script.is_empty() {
            let source = match self.scenario.scripts.get(script) {
                Some(source) => source,
                None => script::ALL.iter().find(|known| known.name == *script).expect("it is listed").source,
            };
            let done = self.interpreter.run(source, Given { keys, arguments, now }, after);
            (answer, after) = done.map_err(|error| format!("{script} fails: {error}"))?;
        }
        let done = (self.said.answers.place(answer), self.data.place(after));
        self.done.insert(key, done);
        Ok(done)
    }

    /// Asks outside of any execution.
    fn ask<C: Call>(&mut self, data: Place, call: &C, standing: Standing, now: u64) -> (C::Answer, Place) {
        let request = self.said.requests.place(Request::of(&self.scenario.keys, call, standing));
        let (answer, after) = self.perform(data, request, now).expect("no script fails");
        (read::<C>(&self.said.answers.at(answer)), after)
    }

    pub(super) fn empty(&mut self) -> Place {
        self.data.place(Data::default())
    }

    pub(super) fn view(&mut self, data: Place) -> Rc<View> {
        let keys = &self.scenario.keys;
        let slots: Vec<_> = self.scenario.nodes.iter().map(|(node, _)| keys.slots(&NodeText::of(node))).collect();
        let read = || Rc::new(View::of(&self.data.at(data), &slots));
        self.views.entry(data).or_insert_with(read).clone()
    }

    pub(super) fn node(&self, name: &str) -> usize {
        self.scenario.nodes.iter().position(|(node, _)| *node == name).expect("a node of the scenario")
    }

    /// E: when every lease has run out, each slot of each node can be taken, and no more.
    pub(super) fn nothing_is_lost(&mut self, world: &World) -> Result<(), String> {
        let ServerState { data, run, .. } = world.server;
        if !self.whole.insert((data, run)) {
            return Ok(());
        }
        let view = self.view(data);
        let lost = view.nodes.iter().flat_map(|node| node.lost.iter().copied());
        let ends = view.leases().map(|(_, _, ends)| ends).chain(lost).chain([view.warm_until, world.server_time()]);
        let then = ends.max().unwrap_or(0) + 1;
        let (standing, mut data) = self.ask(data, &hello(&run_id(run), 0), Standing::default(), then);
        let then = then.max(standing.warm_until);
        for (place, node) in view.nodes.iter().enumerate() {
            let Some(there) = node.there.filter(|_| !node.closed) else { continue };
            let candidates = [NodeText::of(self.scenario.nodes[place].0)];
            let mut taken = 0;
            loop {
                let request = format!("at rest {place} {taken}");
                let create = create(&request, programs::AT_REST + taken, &candidates);
                let (created, after) = self.ask(data, &create, standing, then);
                data = after;
                match created {
                    Creation::Created(..) => taken += 1,
                    _ => break,
                }
            }
            let slots = self.view(data).nodes[place].slots.len();
            if (taken as usize, slots) != (there.capacity, there.capacity) {
                return Err(format!("E: of {} slots, {taken} can be taken, and {slots} are there", there.capacity));
            }
        }
        Ok(())
    }
}

/// As a client that is not in the model creates a job.
fn create<'a>(request: &'a str, job: u128, candidates: &'a [NodeText]) -> Create<'a> {
    let (fingerprint, job, instance) = (Fingerprint(0), JobId::from_u128(job), Instance(0));
    Create { request, note: "", fingerprint, job, instance, lease: LEASE, kept: LONG, candidates }
}
