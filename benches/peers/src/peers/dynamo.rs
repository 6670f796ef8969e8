//! `dynamo-kv-router`, its selection service: the one peer of our own field, that books jobs on workers and gives them
//! back. It chooses for language models, by the prompt that a worker may have cached.
//!
//! Measured as its own benchmark `selection_core` does, on a runtime of one thread: `select_and_reserve`, then
//! `free_reservation`. What differs is in its favour: the prompt is a single block, the index has as many threads as
//! by default, and the events about caches have a source that sends none, where its benchmark opens a socket for each
//! worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dynamo_kv_router::identity::RoutingPartitionId;
use dynamo_kv_router::plugins::RouterPluginRegistry;
use dynamo_kv_router::protocols::RoutingConstraints;
use dynamo_kv_router::services::indexer::backend::Indexer;
use dynamo_kv_router::services::indexer::registry::WorkerRegistry;
use dynamo_kv_router::services::selection::{
    KvEventIngress, KvIndexSource, PromptRequest, SelectAndReserveRequest, SelectionService, SelectionServiceBuilder,
    WorkerLifecycle, WorkerRequest,
};
use dynamo_kv_router::{KvRouterConfig, WorkerSelectionPolicy, WorkerType};
use tokio::runtime::Runtime;

use crate::peer::{Does, Entry, Operation, Peer};

/// Tokens of a block of a worker's cache, and of the prompt of each job.
const BLOCK: u32 = 16;
/// What a worker takes at once, as in its benchmark.
const BATCHED_TOKENS: u64 = 8192;
/// Its default; with one, each look into the index waits for another thread.
const INDEXER_THREADS: usize = 4;
const NAME: &str = "default";
const MOST: (u32, &str) = (100_000, "a tenth of them take tens of milliseconds a selection");

pub(super) fn entries() -> Vec<Entry> {
    vec![Entry {
        name: "dynamo-kv-router",
        does: Does::Reserve,
        lacks: "scores every worker for each job; no slots (token and block counts, queues when all are busy); load is \
                what it booked; a change of one worker copies the list of all",
        has: &[Operation::Change],
        most: MOST,
        build: |nodes| Ok(Box::new(Dynamo::new(nodes))),
    }]
}

struct Dynamo {
    /// Before the runtime that its tasks are on.
    service: SelectionService,
    runtime: Runtime,
    nodes: u32,
    request: u64,
}

/// An index of cached blocks that hears of none.
struct Silent;

impl KvEventIngress for Silent {
    fn open(&self, registry: &WorkerRegistry, key: &RoutingPartitionId, block_size: u32) -> Indexer {
        registry.get_or_create_indexer(key.clone(), block_size)
    }
}

fn worker(number: u32) -> WorkerRequest {
    WorkerRequest {
        worker_id: u64::from(number),
        model_name: NAME.to_owned(),
        routing_group: NAME.to_owned(),
        endpoint: Some(format!("http://worker-{number}:8000")),
        block_size: Some(BLOCK),
        max_num_batched_tokens: Some(BATCHED_TOKENS),
        ..WorkerRequest::default()
    }
}

fn job(id: String) -> SelectAndReserveRequest {
    SelectAndReserveRequest {
        model_name: NAME.to_owned(),
        routing_group: NAME.to_owned(),
        selection_id: Some(id),
        prompt: PromptRequest { token_ids: Some((1..=BLOCK).collect()), ..PromptRequest::default() },
        router_config_override: None,
        expected_output_tokens: None,
        priority_jump: None,
        strict_priority: None,
        session_id: None,
        session_context: None,
        affinity_target: None,
        pinned_worker: None,
        allowed_worker_ids: None,
        routing_constraints: RoutingConstraints::default(),
    }
}

impl Dynamo {
    fn new(nodes: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let service = runtime.block_on(async {
            let config = KvRouterConfig { router_queue_threshold: None, ..KvRouterConfig::default() };
            let builder = SelectionServiceBuilder::new(config, WorkerType::Aggregated, RouterPluginRegistry::default())
                .indexer_threads(INDEXER_THREADS)
                .kv_index(KvIndexSource::Owned(Arc::new(Silent)))
                .worker_selection_policy_factory(Arc::new(|config, role, _| {
                    WorkerSelectionPolicy::reference(config.clone(), role.default_selector_label())
                }));
            let service = builder.build().await.expect("the configuration is valid");
            for outcome in service.core().upsert_workers((0..nodes).map(worker).collect()).await {
                let record = outcome.expect("the worker is described well");
                assert_eq!(record.lifecycle, WorkerLifecycle::Schedulable, "{:?}", record.not_schedulable_reasons);
            }
            service
        });
        Self { service, runtime, nodes, request: 0 }
    }
}

impl Peer for Dynamo {
    fn select(&mut self, count: u32) -> Duration {
        let core = self.service.core();
        let first = self.request;
        self.request += u64::from(count);
        let jobs: Vec<_> =
            (first..self.request).map(|number| format!("job-{number}")).map(|id| (job(id.clone()), id)).collect();
        self.runtime.block_on(async {
            let start = Instant::now();
            for (job, id) in jobs {
                core.select_and_reserve(job).await.expect("nothing is ever full");
                core.free_reservation(&id).await.expect("it was just booked");
            }
            start.elapsed()
        })
    }

    /// Its scheduler hears of a change in a task of its own, which gets its turn before the next change.
    fn change(&mut self, count: u32) -> Duration {
        let core = self.service.core();
        let new: Vec<_> = (0..count).map(|_| worker(self.nodes)).collect();
        self.runtime.block_on(async {
            let start = Instant::now();
            for worker in new {
                let id = worker.worker_id;
                core.upsert_worker(worker).await.expect("the worker is described well");
                tokio::task::yield_now().await;
                core.delete_worker(id).await.expect("it was just added");
                tokio::task::yield_now().await;
            }
            start.elapsed()
        })
    }

    fn load(&mut self, _: u32) -> Duration {
        unreachable!("the load is what it booked")
    }
}
