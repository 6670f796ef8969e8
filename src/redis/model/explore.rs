//! Every execution of a scenario, up to its bounds.
//!
//! What is explored is the graph of states: a state that two orders of steps lead to is gone on from once. So few states
//! stand for very many executions, which are counted all the same: an execution is a way from the first state to one in which
//! nothing can happen any more.

use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};

use super::client::Request;
use super::machine::Machine;
use super::scenario::Scenario;
use super::world::{Phase, Step, World};

/// No execution takes so many steps: a model that does not end is a mistake.
const MOST_STEPS: usize = 500;

/// What came of exploring.
#[derive(Debug)]
pub(super) struct Explored {
    pub(super) states: usize,
    pub(super) executions: f64,
}

/// What was found wrong, and the steps that lead there, one a line.
#[derive(Debug)]
pub(super) struct Violation {
    pub(super) what: String,
    pub(super) schedule: String,
}

struct Explorer {
    machine: Machine,
    /// Fingerprints of states, each with how many executions go on from there.
    states: HashMap<u128, f64>,
    way: Vec<Step>,
}

/// Explores a scenario. Every one of `outcomes` must have been seen in some execution.
pub(super) fn explore(scenario: Scenario, outcomes: &[&str]) -> Explored {
    let (explored, seen) = match run(scenario) {
        Ok(explored) => explored,
        Err(Violation { what, schedule }) => panic!("{what}\n{schedule}"),
    };
    for outcome in outcomes {
        assert!(seen.contains(outcome), "no execution in which {outcome}; there were: {seen:?}");
    }
    let model = std::thread::current().name().unwrap_or("a model").to_owned();
    eprintln!("{model}: {:.3e} executions over {} states", explored.executions, explored.states);
    explored
}

/// Explores a scenario that is to go wrong, and says how it did.
pub(super) fn violation(scenario: Scenario) -> Violation {
    match run(scenario) {
        Err(violation) => violation,
        Ok((explored, seen)) => panic!("nothing is wrong with it: {explored:?}, {seen:?}"),
    }
}

/// What models have come to.
type Seen = BTreeSet<&'static str>;

fn run(scenario: Scenario) -> Result<(Explored, Seen), Violation> {
    let (machine, world) = Machine::new(scenario);
    let mut explorer = Explorer { machine, states: HashMap::new(), way: Vec::new() };
    match explorer.go_on(&world) {
        Ok(executions) => Ok((Explored { states: explorer.states.len(), executions }, explorer.machine.seen)),
        Err(what) => Err(Violation { what, schedule: explorer.schedule(world) }),
    }
}

/// Two hashes at once: so many bits that no two states of a model share them.
#[derive(Clone, Copy)]
struct Mixer(u64, u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        let fold = |product: u128| (product >> 64) as u64 ^ product as u64;
        self.0 = fold(u128::from(self.0 ^ number) * 0x9e37_79b9_7f4a_7c15);
        self.1 = fold(u128::from(self.1.rotate_left(23) ^ number) * 0xbf58_476d_1ce4_e5b9);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn fingerprint(world: &World) -> u128 {
    let mut mixer = Mixer(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344);
    world.hash(&mut mixer);
    u128::from(mixer.0) << 64 | u128::from(mixer.1)
}

impl Explorer {
    /// How many executions there are from here on.
    fn go_on(&mut self, world: &World) -> Result<f64, String> {
        let fingerprint = fingerprint(world);
        if let Some(executions) = self.states.get(&fingerprint) {
            return Ok(*executions);
        }
        assert!(self.way.len() < MOST_STEPS, "an execution does not end");
        assert!(self.states.len() < self.machine.scenario.most_states, "there are more states than the model may have");
        let mut executions = 0.0;
        let steps = self.machine.steps(world);
        let last = steps.is_empty();
        for step in steps {
            self.way.push(step);
            let next = self.machine.take(world, step)?;
            executions += self.go_on(&next)?;
            self.way.pop();
        }
        if last {
            assert!(world.is_quiet(), "somebody waits for what does not come");
            executions = 1.0;
        }
        self.states.insert(fingerprint, executions);
        Ok(executions)
    }

    /// The way to where it went wrong.
    fn schedule(&mut self, mut world: World) -> String {
        let mut lines = String::new();
        for step in std::mem::take(&mut self.way) {
            let before = world.clone();
            let next = self.machine.take(&world, step);
            world = next.unwrap_or(world);
            lines += &format!("{:>6}  {}\n", before.time, self.described(step, &before, &world));
        }
        lines
    }

    fn described(&self, step: Step, before: &World, after: &World) -> String {
        let said = &self.machine.said;
        let request = |place| {
            let Request { beside, script, keys, arguments } = &*said.requests.at(place);
            match beside {
                Some(command) if script.is_empty() => command.join(" "),
                _ => format!("{script} {} | {}", keys.join(" "), arguments.join(" ")),
            }
        };
        match step {
            Step::GoOn { client, lost, crashes } => {
                let news = match before.clients[client].phase {
                    _ if lost => "is told that its request or the answer to it is lost",
                    Phase::Answered(..) => "gets its answer",
                    _ => "goes on",
                };
                format!("client {client} {news}{}", if crashes { ", and crashes" } else { "" })
            }
            Step::Do(client) => match (before.clients[client].phase, after.clients[client].phase) {
                (Phase::Asks(asked), Phase::Answered(answer, _)) => {
                    format!("the server does for client {client}: {} -> {:?}", request(asked), said.answers.at(answer))
                }
                (Phase::Asks(asked), _) => format!("the server does for client {client}: {}", request(asked)),
                _ => unreachable!("it did not ask"),
            },
            Step::DoLate(place) => format!("the server does late: {}", request(before.late[place])),
            Step::Arrive(place) => {
                let (node, lease) = self.machine.sites.at(before.site).wire[place];
                format!("node {node} gets {lease}")
            }
            Step::Pass(then) => format!("time passes until {then}"),
            Step::Replace { behind: None, .. } => "the server is lost, and an empty one takes its place".to_owned(),
            Step::Replace { behind: Some(lost), .. } => {
                format!("the server is lost, and one that lacks {lost} commands takes its place")
            }
        }
    }
}
