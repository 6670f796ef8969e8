//! Which steps may be taken in a state, and what comes of them.

use std::collections::BTreeSet;

use super::checks::{Done, Ghost, Rest, Said};
use super::client::{Event, LEASE, News, Request, Told, Waits};
use super::interner::Place;
use super::machine::Machine;
use super::scenario::Replacements;
use super::worker::{Arrival, Site};
use super::world::{Client, Phase, Step, Time, World, clock_of};

impl Machine {
    /// All that may happen next.
    pub(super) fn steps(&mut self, world: &World) -> Vec<Step> {
        let mut steps = Vec::new();
        let go_on = |client: usize, lost: bool| {
            let may_crash = world.left.crashes > 0;
            let goes_on = Step::GoOn { client, lost, crashes: false };
            [Some(goes_on), may_crash.then_some(Step::GoOn { client, lost, crashes: true })].into_iter().flatten()
        };
        let may_lose = world.left.losses > 0;
        if let Some(client) = self.who_cannot_wait(world) {
            return go_on(client, false).collect();
        }
        for (number, client) in world.clients.iter().enumerate() {
            match client.phase {
                Phase::Paused => steps.extend(go_on(number, false)),
                Phase::Asks(_) => {
                    steps.push(Step::Do(number));
                    if may_lose {
                        steps.extend(go_on(number, true));
                    }
                }
                Phase::Answered(_, run) => {
                    steps.extend(go_on(number, false));
                    if may_lose || run != world.server.run {
                        steps.extend(go_on(number, true));
                    }
                }
                Phase::Broken => steps.extend(go_on(number, true)),
                Phase::Done | Phase::Crashed => {}
            }
        }
        steps.extend((0..world.late.len()).map(Step::DoLate));
        steps.extend((0..self.sites.at(world.site).wire.len()).map(Step::Arrive));
        if world.is_quiet() {
            return steps;
        }
        if world.left.jumps > 0 {
            steps.extend(self.instants(world).into_iter().map(Step::Pass));
        }
        if world.left.servers > 0 {
            self.replacements(world, &mut steps);
        }
        steps
    }

    /// A client that can go on, and for which nothing else can come of it later than now; nor for others. So nothing is missed
    /// if it does before anything else happens.
    fn who_cannot_wait(&mut self, world: &World) -> Option<usize> {
        if world.left.losses > 0 || world.left.servers > 0 {
            return None;
        }
        (0..world.clients.len()).find(|&number| {
            let Client { history, phase } = world.clients[number];
            let Phase::Answered(_, run) = phase else { return false };
            let news = news(phase, false);
            run == world.server.run && {
                let next = self.clients[number].go_on(history, told(world, number, news), &mut self.said);
                self.clients[number].is_private(next)
            }
        })
    }

    fn replacements(&self, world: &World, steps: &mut Vec<Step>) {
        let Replacements { empty, behind, skews } = self.scenario.replacements;
        let behind = behind.map(|most| 0..=most.min(world.server.before.len()));
        for skew in skews {
            let ahead = world.server.ahead.wrapping_add_signed(*skew);
            steps.extend(empty.then_some(Step::Replace { behind: None, ahead }));
            steps.extend(behind.clone().into_iter().flatten().map(|lost| Step::Replace { behind: Some(lost), ahead }));
        }
    }

    /// Times at which something changes by itself: a lease runs out, half of one has passed since it was asked for, and a
    /// moment more, all leases have run out that a lost server may have given, a binding goes.
    fn instants(&mut self, world: &World) -> BTreeSet<Time> {
        let view = self.view(world.server.data);
        let lost = view.nodes.iter().flat_map(|node| node.lost.iter().copied());
        let mut at_server: Vec<_> = view.leases().map(|(.., ends)| ends).chain(lost).chain([view.warm_until]).collect();
        if self.scenario.bindings_expire {
            at_server.extend(view.bindings.iter().filter_map(|bound| bound.expires.checked_add(1)));
        }
        let by_server = at_server.into_iter().filter_map(|then| then.checked_sub(world.server.ahead));
        let mut instants: BTreeSet<Time> = by_server.collect();
        for (number, client) in world.clients.iter().enumerate() {
            let Some(history) = client.history else { continue };
            for read in &self.clients[number].burst(history).reads {
                let half = read.saturating_sub(clock_of(number)) + LEASE / 2;
                instants.extend(self.scenario.by_the_moment.then_some(half));
                instants.insert(half + 1);
            }
        }
        instants.retain(|instant| *instant > world.time);
        instants
    }

    /// The state after a step; or what is wrong with it.
    pub(super) fn take(&mut self, world: &World, step: Step) -> Result<World, String> {
        let mut next = world.clone();
        match step {
            Step::GoOn { client, lost, crashes } => self.go_on(&mut next, client, lost, crashes)?,
            Step::Do(client) => {
                let Phase::Asks(request) = next.clients[client].phase else { unreachable!("it does not ask") };
                let answer = self.perform_in(&mut next, request, false)?;
                next.clients[client].phase = Phase::Answered(answer, next.server.run);
            }
            Step::DoLate(place) => {
                let request = next.late.remove(place);
                self.perform_in(&mut next, request, true)?;
            }
            Step::Arrive(place) => self.arrive(&mut next, place)?,
            Step::Pass(then) => {
                next.left.jumps -= 1;
                next.time = then;
                self.ghost(&mut next, |ghost| ghost.pass(then));
            }
            Step::Replace { behind, ahead } => self.replace(&mut next, behind, ahead),
        }
        if next.is_quiet() {
            self.rest(&next)?;
        }
        Ok(next)
    }

    fn go_on(&mut self, next: &mut World, client: usize, lost: bool, crashes: bool) -> Result<(), String> {
        let phase = next.clients[client].phase;
        match phase {
            // A broken connection loses what it likes to.
            Phase::Answered(_, run) if lost => next.left.losses -= u8::from(run == next.server.run),
            Phase::Asks(request) => {
                next.left.losses -= 1;
                // Else it is lost on its way: what the server did, and the client does not learn of, is lost as an answer.
                if self.scenario.may_be_late {
                    next.be_late(request);
                }
            }
            _ => {}
        }
        let news = news(phase, lost);
        self.tell(next, client, news)?;
        if crashes {
            next.left.crashes -= 1;
            if let Phase::Asks(request) = next.clients[client].phase {
                next.be_late(request);
            }
            next.clients[client] = Client { history: None, phase: Phase::Crashed };
            self.ghost(next, |ghost| ghost.forget(client));
        }
        Ok(())
    }

    /// Changes what the checks remember.
    fn ghost<T>(&mut self, world: &mut World, change: impl FnOnce(&mut Ghost) -> T) -> T {
        let mut ghost = (*self.ghosts.at(world.ghost)).clone();
        let outcome = change(&mut ghost);
        world.ghost = self.ghosts.place(ghost);
        outcome
    }

    fn site<T>(&mut self, world: &mut World, change: impl FnOnce(&mut Site) -> T) -> T {
        let mut site = (*self.sites.at(world.site)).clone();
        let outcome = change(&mut site);
        world.site = self.sites.place(site);
        outcome
    }

    fn perform_in(&mut self, world: &mut World, request: Place, late: bool) -> Result<Place, String> {
        let (data, now) = (world.server.data, world.server_time());
        let (answer, after) = self.perform(data, request, now)?;
        if after != data {
            world.server.data = after;
            let (before, after) = (self.view(data), self.view(after));
            let Request { script, arguments, .. } = &*self.said.requests.at(request);
            let run = world.server.run;
            let done = Done { script, arguments, before: &before, after: &after, now, run, late };
            self.ghost(world, |ghost| ghost.after(&done))?;
            if world.left.servers > 0 {
                world.server.before.insert(0, data);
                world.server.before.truncate(self.scenario.replacements.behind.unwrap_or(0));
            }
        }
        Ok(answer)
    }

    fn tell(&mut self, world: &mut World, number: usize, news: News) -> Result<(), String> {
        let before = world.clients[number].history;
        let history = self.clients[number].go_on(before, told(world, number, news), &mut self.said);
        let burst = self.clients[number].burst(history);
        let phase = match burst.waits {
            Waits::ToGoOn => Phase::Paused,
            Waits::ForAnswer(request) => Phase::Asks(request),
            Waits::ForNothing => Phase::Done,
        };
        // What it was told makes no difference any more.
        let history = Some(history).filter(|_| phase != Phase::Done);
        world.clients[number] = Client { history, phase };
        for event in &burst.events {
            self.hear(world, number, event)?;
        }
        Ok(())
    }

    fn hear(&mut self, world: &mut World, client: usize, event: &Event) -> Result<(), String> {
        match event {
            Event::Starts { granted } if self.scenario.nodes_run => {
                let node = self.node(&granted.node.0);
                self.site(world, |site| site.send(node, granted.lease));
            }
            Event::Restarts { node } => self.site(world, |site| site.workers[*node].restart()),
            Event::LetsGo { job, attempt, ended: true } => {
                self.site(world, |site| site.workers.iter_mut().for_each(|worker| worker.end(*job, *attempt)));
            }
            Event::Saw(what) => {
                self.seen.insert(what);
            }
            _ => {}
        }
        let view = self.view(world.server.data);
        let (now, run, server) = (world.time, world.server.run, world.server.ahead);
        let bindings_go = self.scenario.bindings_expire;
        let said = Said { client, now, clock: clock_of(client), server, view: &view, run, bindings_go };
        let mut ghost = (*self.ghosts.at(world.ghost)).clone();
        ghost.hear(event, |node| self.node(node), &said)?;
        world.ghost = self.ghosts.place(ghost);
        Ok(())
    }

    fn arrive(&mut self, world: &mut World, place: usize) -> Result<(), String> {
        let fences = self.scenario.fences;
        let (node, lease, arrival) = self.site(world, |site| {
            let (node, lease) = site.wire.remove(place);
            (node, lease, site.workers[node].arrive(lease, fences))
        });
        match arrival {
            Arrival::Runs => Ok(()),
            Arrival::Second => Err(format!("C: {lease} is the second job in its slot")),
            Arrival::Refused => {
                self.seen.insert("a node refused a smaller fence");
                let ends = self.view(world.server.data).nodes[node].end_of(&lease);
                match ends.filter(|ends| world.server_time() < *ends) {
                    None => Ok(()),
                    Some(_) => Err(format!("C: the node refuses {lease}, to which the server has given the slot")),
                }
            }
        }
    }

    fn replace(&mut self, world: &mut World, behind: Option<usize>, ahead: u64) {
        let data = match behind {
            None => self.empty(),
            Some(0) => world.server.data,
            Some(lost) => world.server.before[lost - 1],
        };
        world.left.servers -= 1;
        (world.server.data, world.server.ahead) = (data, ahead);
        world.server.run += 1;
        world.server.before.clear();
        world.late.clear();
        for client in &mut world.clients {
            if matches!(client.phase, Phase::Asks(_)) {
                client.phase = Phase::Broken;
            }
        }
    }

    /// When all is quiet.
    fn rest(&mut self, world: &World) -> Result<(), String> {
        let crashed: Vec<_> = world.clients.iter().map(|client| client.phase == Phase::Crashed).collect();
        let (view, bindings_go) = (self.view(world.server.data), self.scenario.bindings_expire);
        let rest = Rest { run: world.server.run, view: &view, crashed: &crashed, bindings_go };
        self.ghosts.at(world.ghost).at_rest(&rest)?;
        self.nothing_is_lost(world)
    }
}

/// What a client is told now.
fn told(world: &World, client: usize, news: News) -> Told {
    Told { news, now: Some(world.time + clock_of(client)), run: world.server.run }
}

fn news(phase: Phase, lost: bool) -> News {
    match phase {
        Phase::Answered(answer, _) if !lost => News::Answered(answer),
        Phase::Paused => News::Go,
        _ => News::Lost,
    }
}

impl World {
    fn be_late(&mut self, request: Place) {
        self.late.push(request);
        self.late.sort();
    }
}
