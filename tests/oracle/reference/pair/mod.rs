//! A scheduler and its model, to which the same is done.

mod jobs;
mod nodes;
mod views;
mod wrong;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use slotyard::{
    Event, EventReceiver, Job, JobId, JobState, NoNode, NodeHandle, PreparedDemand, Reservation, Scheduler,
};

use super::ability::{Ability, Needs};
use super::difference::{Difference, holds, same};
use super::model::{Birth, Legal, Model, Wish, node_id};
use super::setup::Setup;
use super::step::{Ask, Step};

/// The clock is not moved beyond: a job's end is kept with 44 bits of milliseconds.
const LATEST: u64 = 1 << 43;
/// A queue that no history fills between two looks at it.
const LONG_QUEUE: usize = 1 << 12;

type Outcome = Result<(), Difference>;

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// See the module's documentation.
pub(crate) struct Pair<'s> {
    scheduler: &'s Scheduler,
    model: Model,
    events: EventReceiver,
    short_queue: Option<ShortQueue>,
    /// Events that queues of earlier subscribers and of the present one had to drop.
    dropped: u64,
    /// In the order of the model's.
    reservations: Vec<Reservation<'s>>,
    prepared: Vec<(Ask, PreparedDemand)>,
    /// Of nodes that have been replaced or have gone.
    ended: BTreeMap<u8, NodeHandle>,
    handles: BTreeMap<u8, NodeHandle>,
    /// The latest job of each request, forgotten or not, and the state that it was last in.
    jobs: BTreeMap<u8, (Job, JobState)>,
    /// Names of what has come of calls, and of what was told.
    pub(crate) reached: BTreeSet<String>,
    /// How often both were compared; what is looked at in turns follows it.
    compared: usize,
}

/// A queue of events that overflows, and what it is to hold.
struct ShortQueue {
    queue: EventReceiver,
    length: usize,
    held: VecDeque<Event>,
    dropped: u64,
}

impl<'s> Pair<'s> {
    /// Of a scheduler just built as this says.
    pub(crate) fn new(scheduler: &'s Scheduler, setup: &Setup) -> Self {
        Self {
            scheduler,
            model: Model::new(setup),
            events: scheduler.subscribe(LONG_QUEUE),
            short_queue: None,
            dropped: 0,
            reservations: Vec::new(),
            prepared: Vec::new(),
            ended: BTreeMap::new(),
            handles: BTreeMap::new(),
            jobs: BTreeMap::new(),
            reached: BTreeSet::new(),
            compared: 0,
        }
    }

    /// Registers the nodes that are there from the beginning, and takes their slots.
    pub(crate) fn begin(&mut self) -> Outcome {
        for node in 0..self.model.setup.fleet {
            let ability = Ability { services: 7, ..Ability::default() };
            self.take(&Step::Register { node, capacity: 2, weight: 100, ability, ready: true, replace: false })?;
        }
        let ability = Ability { services: 1, ..Ability::default() };
        let ask = Ask::of(Needs { services: 1, ..Needs::default() });
        for number in 0..self.model.setup.crowd {
            // Numbers that no step names.
            let node = 100 + number;
            self.take(&Step::Register { node, capacity: 1, weight: 100, ability, ready: true, replace: false })?;
            self.take(&Step::Reserve { ask, prepared: true })?;
        }
        Ok(())
    }

    /// Does the step to both; says whether what it gives, or tells of, differs.
    pub(crate) fn take(&mut self, step: &Step) -> Outcome {
        match *step {
            Step::Register { node, capacity, weight, ability, ready, replace } => {
                self.register(node, (capacity, weight, ability), ready, replace)?;
            }
            Step::Deregister(named) => self.deregister(named)?,
            Step::Beat(named, beat) => self.beat(named, beat)?,
            Step::BeatAll(beat) => self.beat_all(beat)?,
            Step::Drain(named, drain) => self.drain(named, drain)?,
            Step::Capacity(named, capacity) => self.set_capacity(named, capacity)?,
            Step::Weight(named, weight) => self.set_weight(named, weight)?,
            Step::Update(named, ability) => self.update(named, ability)?,
            Step::Unavailable(named, service, time) => self.mark_unavailable(named, service, time)?,
            Step::Create(request, ask) => self.create(request, &ask)?,
            Step::CreateMany(from, count, ask) => self.create_many(from, count, &ask)?,
            Step::Move(request, which, how) => self.move_on(request, which, how)?,
            Step::CompleteMany(from, count) => self.complete_many(from, count)?,
            Step::Retry(request, which) => self.retry(request, which)?,
            Step::Select { ask, prepared } => self.select(&ask, prepared)?,
            Step::Reserve { ask, prepared } => self.reserve(&ask, prepared)?,
            Step::GiveBack(which) => self.give_back(which),
            Step::Subscribe(length) => self.subscribe(length),
            Step::Receive(count) => self.receive(count)?,
            Step::Tick(time) => self.tick(self.model.now + time)?,
            Step::TickDue(which, off) => {
                let due = self.model.times_due().into_iter().nth(which.into());
                self.tick(due.unwrap_or(self.model.now).saturating_add_signed(off))?;
            }
            Step::TickBack(time) => self.tick(self.model.now.saturating_sub(time))?,
            Step::Malformed(which) => self.malformed(which)?,
        }
        self.settle()
    }

    /// What follows from every step: finished jobs that are too many are forgotten, and events are told.
    fn settle(&mut self) -> Outcome {
        let scheduler = self.scheduler;
        self.model.forget_beyond(&|job| scheduler.job(job).is_none())?;
        for (request, (_, state)) in &mut self.jobs {
            // One that is forgotten stays as it ended.
            let state_now = self.model.jobs.get(request).map(|job| job.state);
            *state = state_now.or(self.model.endings.get(request).copied()).unwrap_or(*state);
        }
        let told: Vec<Event> = self.events.collect();
        told.iter().for_each(|event| self.reach("", event));
        let mut left = told.iter();
        for group in self.model.events.drain(..) {
            let mut expected = group.clone();
            for event in left.by_ref().take(group.len()) {
                let place = expected.iter().position(|expected| expected == event);
                let place = place.ok_or_else(|| {
                    Difference::new(format!("{event:?} was told of, where one of {expected:?} was to be: {told:?}"))
                })?;
                expected.swap_remove(place);
            }
            holds!(expected.is_empty(), "{expected:?} was not told of: {told:?}");
        }
        same!(left.next(), None::<&Event>, "further events");
        if let Some(short) = &mut self.short_queue {
            for event in told {
                if short.held.len() < short.length {
                    short.held.push_back(event);
                } else {
                    short.dropped += 1;
                    self.dropped += 1;
                    self.reached.insert("dropped event".into());
                }
            }
        }
        Ok(())
    }

    /// Notes the name of what has come of a call.
    fn reach(&mut self, call: &str, outcome: &dyn fmt::Debug) {
        let text = format!("{outcome:?}");
        let name = text.split(|c: char| !c.is_alphanumeric()).find(|name| !["", "Some", "Err"].contains(name));
        self.reached.insert(format!("{call}{}", name.unwrap_or_default()));
    }

    /// The one before is dropped.
    fn subscribe(&mut self, length: u8) {
        self.short_queue = None;
        let queue = self.scheduler.subscribe(length.into());
        // A queue of no length is none.
        let length = usize::from(length).max(1);
        self.short_queue = Some(ShortQueue { queue, length, held: VecDeque::new(), dropped: 0 });
    }

    fn receive(&mut self, count: u8) -> Outcome {
        let Some(short) = &mut self.short_queue else { return Ok(()) };
        for _ in 0..count {
            same!(short.queue.try_recv(), short.held.pop_front(), "the next event of a short queue");
        }
        Ok(())
    }

    fn tick(&mut self, to: u64) -> Outcome {
        let to = to.min(LATEST);
        self.scheduler.tick(ms(to));
        let views = self.scheduler.nodes();
        let mut externals = BTreeMap::new();
        for view in &views {
            let node = number(&view.id)?;
            externals.insert(node, view.external);
            self.model.learn_hash_pool(node, &view.pools);
        }
        let scheduler = self.scheduler;
        self.model.tick(to, &|job| scheduler.job(job).is_none(), &externals)
    }

    fn gone(&self) -> impl Fn(JobId) -> bool + use<'s> {
        let scheduler = self.scheduler;
        move |job| scheduler.job(job).is_none()
    }

    /// The node that was chosen, which must be one of those that may be, in a pool in which it may be found.
    fn chosen(
        &self,
        legal: &Legal,
        node: &str,
        incarnation: u64,
        pool: Option<&str>,
    ) -> Result<(Birth, u8), Difference> {
        let is_it = |(birth, id): &&(Birth, u8)| {
            node_id(*id) == node && pool.is_none_or(|pool| self.model.pools[birth].name == pool)
        };
        let Some((birth, id)) = legal.choices.iter().find(is_it).copied() else {
            let names = |(birth, id): &(Birth, u8)| (node_id(*id), self.model.pools[birth].name.clone());
            let allowed: Vec<_> = legal.choices.iter().map(names).collect();
            return Err(Difference::new(format!("{node} of {pool:?} was chosen, allowed are {allowed:?}")));
        };
        same!(incarnation, self.model.nodes[&id].incarnation, "the incarnation of {node}");
        Ok((birth, id))
    }

    /// Where a demand with a routing key was led to.
    fn keyed(&mut self, ask: &Ask, wish: &Wish, legal: &Legal, chosen: Birth) -> Outcome {
        match ask.key {
            Some(key) => self.model.keeps_to_pool(wish, key, legal, chosen),
            None => Ok(()),
        }
    }

    fn refused(&mut self, legal: &Legal, needs: &Needs, no_node: &NoNode) -> Outcome {
        holds!(legal.may_refuse, "refused ({no_node}) though free are {:?}", legal.choices);
        let kind = self.model.kind_of_refusal(needs);
        same!(no_node.kind(), kind, "the kind of {no_node}");
        let refusal = no_node.refusal().expect("of a demand that is well-formed");
        same!(refusal.counts(), self.model.reasons_of_refusal(needs), "the counts of {no_node}");
        same!(refusal.retry_after().is_some(), kind == "busy", "whether {no_node} has a time to retry");
        holds!(refusal.retry_after().is_none_or(|time| time >= self.scheduler.config().tick_interval), "{no_node}");
        same!(refusal.missing().is_empty(), kind != "unsupported", "whether nothing is missing in {no_node}");
        self.model.refused(kind);
        if !legal.choices.is_empty() {
            self.reached.insert("refused by the pool that was drawn".into());
        }
        self.reached.insert(kind.into());
        Ok(())
    }

    fn with_prepared<R>(&mut self, ask: &Ask, use_it: impl FnOnce(&'s Scheduler, &PreparedDemand) -> R) -> R {
        let place = self.prepared.iter().position(|(known, _)| known == ask).unwrap_or_else(|| {
            self.prepared.push((*ask, self.scheduler.prepare(&ask.demand())));
            self.prepared.len() - 1
        });
        use_it(self.scheduler, &self.prepared[place].1)
    }

    fn select(&mut self, ask: &Ask, prepared: bool) -> Outcome {
        let legal = self.model.legal(&Wish::of(ask));
        let demand = ask.demand();
        let scheduler = self.scheduler;
        let result = if prepared {
            self.with_prepared(ask, |scheduler, prepared| scheduler.select_prepared(prepared))
        } else {
            scheduler.select(&demand)
        };
        match result {
            Ok(selection) => {
                let pool = selection.pool();
                let (birth, id) = self.chosen(&legal, selection.node_id(), selection.incarnation(), pool.as_deref())?;
                self.keyed(ask, &Wish::of(ask), &legal, birth)?;
                holds!(pool.is_some(), "a pool with a node in it is there");
                let expected = (self.model.in_flight(id), self.model.nodes[&id].capacity);
                same!((selection.in_flight(), selection.capacity()), expected, "how busy {selection:?} is");
                self.model.counted.selected += 1;
                Ok(())
            }
            Err(no_node) => self.refused(&legal, &ask.needs, &no_node),
        }
    }

    fn reserve(&mut self, ask: &Ask, prepared: bool) -> Outcome {
        let legal = self.model.legal(&Wish::of(ask));
        let result = if prepared {
            self.with_prepared(ask, |scheduler, prepared| scheduler.reserve_prepared(prepared))
        } else {
            self.scheduler.reserve(&ask.demand())
        };
        match result {
            Ok(reservation) => {
                let (node, pool) = (reservation.node(), reservation.pool());
                same!(*node.id(), reservation.node_id(), "the id of the node of a reservation");
                let (birth, id) = self.chosen(&legal, node.id(), node.incarnation(), pool.as_deref())?;
                self.keyed(ask, &Wish::of(ask), &legal, birth)?;
                holds!(pool.is_some(), "a pool with a node in it is there");
                self.model.reservations.push((id, node.incarnation()));
                self.reservations.push(reservation);
                self.model.counted.reserved += 1;
                Ok(())
            }
            Err(no_node) => self.refused(&legal, &ask.needs, &no_node),
        }
    }

    fn give_back(&mut self, which: u8) {
        if self.reservations.is_empty() {
            return;
        }
        let at = which as usize % self.reservations.len();
        drop(self.reservations.swap_remove(at));
        self.model.reservations.swap_remove(at);
        self.model.counted.released += 1;
    }

    /// Ends all that there is: reservations by hand, the rest in the course of time. Then no slot is held.
    pub(crate) fn finish(mut self) -> Outcome {
        while !self.reservations.is_empty() {
            self.give_back(0);
        }
        self.tick(LATEST)?;
        self.settle()?;
        self.compare()?;
        let counted = self.scheduler.stats().counters;
        same!((counted.reserved - counted.released, counted.double_released), (0, 0), "slots still held");
        Ok(())
    }
}

/// The number of a node of this id.
fn number(id: &str) -> Result<u8, Difference> {
    let number = id.strip_prefix('n').and_then(|number| number.parse().ok());
    number.ok_or_else(|| Difference::new(format!("there is a node {id}")))
}
