//! Whether what both show is the same.

use std::collections::BTreeMap;

use slotyard::{
    Counters, ExclusionMode, Gauges, JobState, JobView, NodeState, NodeView, PoolKind, PoolView, Reason, Service,
};

use super::super::ability::{Needs, bits, service_name};
use super::super::difference::{Difference, holds, same};
use super::super::model::{Job, Wish, node_id, request_id, session_id};
use super::super::step::{Ask, REQUESTS};
use super::{Outcome, Pair, number};

/// What is asked in turns, so that a history asks for all of it: plain and with everything.
fn questions() -> [Ask; 13] {
    let plain = |services| Ask::of(Needs { services, ..Needs::default() });
    let translated = |source, target| Needs { services: 8, pair: Some((source, target)), ..Needs::default() };
    let zone = |zone, tenant| Needs { zone, tenant, ..Needs::default() };
    [
        plain(0),
        plain(1),
        plain(2),
        plain(3),
        plain(4),
        plain(8),
        Ask { needs: translated(0, 1), ..plain(0) },
        Ask { needs: translated(1, 1), ..plain(0) },
        Ask { needs: zone(1, false), ..plain(0) },
        Ask { needs: zone(0, true), ..plain(0) },
        Ask { key: Some(2), ..plain(0) },
        Ask { excluded: 0b111, ..plain(0) },
        Ask { excluded: 0b11, exclusion: ExclusionMode::Soft, key: Some(1), ..plain(1) },
    ]
}

impl Pair<'_> {
    /// Holds the whole visible state of the scheduler against the model's.
    pub(crate) fn compare(&mut self) -> Outcome {
        self.compare_nodes()?;
        self.compare_pools()?;
        self.compare_jobs()?;
        let questions = questions();
        for turn in 0..3 {
            let ask = questions[(self.compared * 3 + turn) % questions.len()];
            self.explain(&ask)?;
            self.select(&ask, turn == 0)?;
        }
        self.compared += 1;
        self.compare_stats()
    }

    fn compare_nodes(&self) -> Outcome {
        let views = self.scheduler.nodes();
        let ids: Vec<String> = views.iter().map(|view| view.id.to_string()).collect();
        same!(ids, self.model.nodes.keys().map(|node| node_id(*node)).collect::<Vec<_>>(), "the nodes");
        for view in &views {
            self.compare_node(view)?;
            same!(self.scheduler.node(&view.id).as_ref(), Some(view), "a node by its id");
        }
        Ok(())
    }

    fn compare_node(&self, view: &NodeView) -> Outcome {
        let (model, id) = (&self.model, number(&view.id)?);
        let node = &model.nodes[&id];
        let shown = (view.incarnation, view.state, view.capacity, view.in_flight, view.external, view.weight);
        let expected = (node.incarnation, node.state(), node.capacity, model.in_flight(id), node.external, node.weight);
        same!(shown, expected, "incarnation, state, capacity, in flight, external, weight of {}", view.id);
        let (mut pools, mut homes) = (view.pools.clone(), Vec::new());
        pools.sort();
        homes.extend(node.homes.iter().map(|home| model.pools[home].name.clone()));
        homes.sort();
        same!(pools, homes, "the pools of {}", view.id);
        same!(view.capabilities, node.declared.capabilities(), "what {} can do", view.id);
        let mut off: Vec<Service> = bits(node.services_off()).map(service_name).map(Service::from).collect();
        off.sort();
        same!(view.services_off, off, "the services of {} that are off", view.id);
        let (cpu, gpu) = node.usage;
        let near = |shown: f32, said: f32| (shown - said).abs() <= 1.0 / 65_535.0;
        let resources = view.resources;
        let as_said = near(resources.cpu, cpu) && near(resources.gpu, gpu) && resources.memory == 0.0;
        holds!(as_said, "{} uses {resources:?}, not {:?}", view.id, node.usage);
        Ok(())
    }

    fn compare_pools(&self) -> Outcome {
        let model = &self.model;
        let by_name: BTreeMap<&str, u64> = model.pools.iter().map(|(birth, pool)| (&*pool.name, *birth)).collect();
        let mut views = self.scheduler.pools();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        let names: Vec<&str> = views.iter().map(|view| &*view.name).collect();
        same!(names, by_name.keys().copied().collect::<Vec<_>>(), "the pools");
        for view in &views {
            self.compare_pool(view, by_name[&*view.name])?;
        }
        let mut of_snapshot: Vec<PoolView> = self.scheduler.snapshot().pools().collect();
        of_snapshot.sort_by(|a, b| a.name.cmp(&b.name));
        same!(of_snapshot, views, "the pools of the snapshot");
        Ok(())
    }

    fn compare_pool(&self, view: &PoolView, birth: u64) -> Outcome {
        let (model, pool) = (&self.model, &self.model.pools[&birth]);
        let ready = model.count(birth, NodeState::Ready);
        let shown = (view.kind, view.nodes, view.ready, view.capacity, view.free, view.tenant.is_some());
        let members = model.members(birth).count();
        let expected = (pool.kind, members, ready, model.capacity(birth), model.free(birth), pool.tenant);
        same!(shown, expected, "kind, nodes, ready, capacity, free, tenant of pool {}", view.name);
        let free = model.members(birth).any(|id| model.is_free(id));
        same!(view.available, free, "whether pool {} has somebody to choose", view.name);
        holds!(view.kind != PoolKind::Automatic || members > 0, "pool {} is deserted", view.name);
        Ok(())
    }

    fn compare_jobs(&self) -> Outcome {
        for request in 0..REQUESTS {
            let shown = self.scheduler.job_by_request(&request_id(request));
            match (&shown, self.model.jobs.get(&request)) {
                (Some(view), Some(job)) => compare_job(request, view, job)?,
                (shown, known) => {
                    same!(shown.is_some(), known.is_some(), "whether request {request} is known: {shown:?}, {known:?}");
                }
            }
            let Some((job, state)) = self.jobs.get(&request) else { continue };
            same!(self.scheduler.job(job.id()), shown, "request {request} by its job's id");
            same!(job.state(), *state, "the state of request {request}, as its creator sees it");
        }
        Ok(())
    }

    fn explain(&self, ask: &Ask) -> Outcome {
        let explanation = self.scheduler.explain(&ask.demand());
        let (mut all, mut pools) = (BTreeMap::new(), BTreeMap::<String, BTreeMap<_, Vec<String>>>::new());
        for (id, node) in &self.model.nodes {
            let reason = self.model.reason(*id, ask);
            all.entry(reason).or_insert_with(Vec::new).push(node_id(*id));
            for home in &node.homes {
                let pool = pools.entry(self.model.pools[home].name.clone()).or_default();
                pool.entry(reason).or_default().push(node_id(*id));
            }
        }
        let tallied = |reasons: &slotyard::Reasons| -> BTreeMap<Reason, (usize, Vec<String>)> {
            let examples = |tallied: &slotyard::Tallied| tallied.examples.iter().map(ToString::to_string).collect();
            reasons.iter().map(|(reason, tallied)| (*reason, (tallied.count, examples(tallied)))).collect()
        };
        let counted = |reasons: BTreeMap<Reason, Vec<String>>| -> BTreeMap<Reason, (usize, Vec<String>)> {
            let count = |ids: Vec<String>| (ids.len(), ids.into_iter().take(3).collect());
            reasons.into_iter().map(|(reason, ids)| (reason, count(ids))).collect()
        };
        same!(tallied(&explanation.nodes), counted(all), "the explanation of {ask:?}");
        let shown: BTreeMap<String, _> =
            explanation.pools.iter().map(|(name, reasons)| (name.to_string(), tallied(reasons))).collect();
        let expected: BTreeMap<String, _> = pools.into_iter().map(|(name, reasons)| (name, counted(reasons))).collect();
        same!(shown, expected, "the explanation of {ask:?} by pools");
        // What is explained is what is done, unless demands keep to one of the pools that could do it.
        let (available, legal) = (explanation.count(Reason::Available) > 0, self.model.legal(&Wish::of(ask)));
        let soft = ask.excluded != 0 && ask.exclusion == ExclusionMode::Soft;
        let agreed = !self.model.setup.fallback || soft || available != legal.choices.is_empty();
        holds!(agreed, "available by the explanation: {available}, to be chosen: {:?}", legal.choices);
        Ok(())
    }

    fn compare_stats(&self) -> Outcome {
        let (stats, model) = (self.scheduler.stats(), &self.model);
        let mut counters: Counters = model.counted;
        counters.selected += counters.reserved;
        // How well routes are kept is no promise; more are not computed than are asked for.
        let Counters { routes_computed, routes_not_kept, .. } = stats.counters;
        let asked = counters.selected + counters.refused_busy + counters.refused_gone + counters.refused_unsupported;
        holds!(routes_not_kept <= routes_computed && routes_computed <= asked, "{:?}", stats.counters);
        (counters.routes_computed, counters.routes_not_kept) = (routes_computed, routes_not_kept);
        same!(stats.counters, counters, "the counters");
        let held = counters.reserved - counters.released;
        same!(held, model.slots_held(), "the slots held");
        let mut gauges = Gauges::default();
        gauges.nodes = model.nodes.len();
        gauges.pools = model.pools.len();
        gauges.jobs = model.jobs.len();
        gauges.finished_jobs = model.finished().len();
        gauges.sessions = model.sessions.len();
        gauges.routes = stats.now.routes;
        gauges.snapshot_version = model.version;
        gauges.events_dropped = self.dropped;
        same!(stats.now, gauges, "the gauges");
        same!(self.scheduler.snapshot().version(), model.version, "the version of the snapshot");
        same!(stats.dispatch_latency.count, model.dispatched, "how many were dispatched");
        if let Some(short) = &self.short_queue {
            same!(short.queue.dropped(), short.dropped, "events that the short queue dropped");
        }
        Ok(())
    }
}

fn compare_job(request: u8, view: &JobView, job: &Job) -> Outcome {
    let (node, incarnation) = *job.nodes.last().expect("a job has a node");
    let shown = (view.id, &*view.request_id, &view.session_id, view.state, view.attempt);
    let expected = (job.id, &*request_id(request), &job.ask.session.map(session_id), job.state, job.attempt);
    same!(shown, expected, "a job by its request");
    let shown = (view.node_id.to_string(), view.incarnation, &*view.pool);
    same!(shown, (node_id(node), incarnation, &*job.pool), "the node of request {request}");
    holds!(view.state != JobState::Orphaned || job.state == JobState::Orphaned, "request {request}");
    Ok(())
}
