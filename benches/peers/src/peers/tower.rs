//! `tower`: `Balance`, which chooses the less loaded of two services when it is polled for readiness, alone and behind
//! the `Buffer` that it takes to share one.
//!
//! The services behind it answer at once; their nodes come and go through a channel, as discovery does it.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use tokio::runtime::Runtime;
use tower::balance::p2c::Balance;
use tower::buffer::Buffer;
use tower::discover::Change;
use tower::load::{CompleteOnResponse, Load, PeakEwma, PendingRequests};
use tower::{BoxError, Service, ServiceExt};

use crate::peer::{ANY_SIZE, Does, Entry, Operation, Peer};

/// What one waits for an answer before any was seen, and how long an answer counts: those of tower's documentation.
const DEFAULT_RTT: Duration = Duration::from_millis(30);
const DECAY_NANOS: f64 = 1e9;
/// Requests that may wait in the buffer; only one ever does here.
const BOUND: usize = 1024;
const BUFFERED_MOST: (u32, &str) = (100_000, "the buffer adds the same to every size");

pub(super) fn entries() -> Vec<Entry> {
    fn alone<L: Loaded>(name: &'static str, lacks: &'static str) -> Entry {
        let has = &[Operation::Change];
        let build = |nodes| -> Result<Box<dyn Peer>, _> { Ok(Box::new(Alone::<L>::new(nodes))) };
        Entry { name, does: Does::Reserve, lacks, has, most: ANY_SIZE, build }
    }
    fn buffered<L: Loaded>(name: &'static str, lacks: &'static str) -> Entry {
        let build = |nodes| -> Result<Box<dyn Peer>, _> { Ok(Box::new(Buffered::<L>::new(nodes))) };
        Entry { name, does: Does::Reserve, lacks, has: &[], most: BUFFERED_MOST, build }
    }
    vec![
        alone::<PendingRequests<Node>>(
            "tower p2c PendingRequests",
            "counts requests but knows no slots, never refuses; one caller at a time (`&mut self`); no capabilities",
        ),
        alone::<PeakEwma<Node>>(
            "tower p2c PeakEwma",
            "as PendingRequests; the load is the latency that it measures itself, with a clock read at each end",
        ),
        buffered::<PendingRequests<Node>>(
            "tower Buffer + PendingRequests",
            "many callers, all served by one task (here on the caller's own thread, the fastest way); the rest as alone",
        ),
        buffered::<PeakEwma<Node>>("tower Buffer + PeakEwma", "as the two above"),
    ]
}

/// A node that has done each job at once.
struct Node;

impl Service<()> for Node {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

/// A node with its load.
trait Loaded:
    Service<(), Response = (), Error = Infallible, Future: Send> + Load<Metric: std::fmt::Debug> + Send + Unpin + 'static
{
    fn of(node: Node) -> Self;
}

impl Loaded for PendingRequests<Node> {
    fn of(node: Node) -> Self {
        Self::new(node, CompleteOnResponse::default())
    }
}

impl Loaded for PeakEwma<Node> {
    fn of(node: Node) -> Self {
        Self::new(node, DEFAULT_RTT, DECAY_NANOS, CompleteOnResponse::default())
    }
}

type Found<L> = Result<Change<u32, L>, Infallible>;
type Balanced<L> = Balance<UnboundedReceiver<Found<L>>, ()>;

/// A balancer that has taken in so many nodes.
fn balance<L: Loaded>(nodes: u32) -> (Balanced<L>, UnboundedSender<Found<L>>) {
    let (sender, receiver) = unbounded();
    for number in 0..nodes {
        sender.unbounded_send(Ok(Change::Insert(number, L::of(Node)))).expect("the balancer is there");
    }
    let mut balance = Balance::new(receiver);
    poll_ready(&mut balance);
    assert_eq!(balance.len(), nodes as usize, "not all nodes were taken in");
    (balance, sender)
}

#[inline(always)]
fn poll_ready<L: Loaded>(balance: &mut Balanced<L>) {
    let ready = balance.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ready, Poll::Ready(Ok(()))), "the nodes are always ready");
}

struct Alone<L: Loaded> {
    balance: Balanced<L>,
    discovery: UnboundedSender<Found<L>>,
    nodes: u32,
}

impl<L: Loaded> Alone<L> {
    fn new(nodes: u32) -> Self {
        let (balance, discovery) = balance(nodes);
        Self { balance, discovery, nodes }
    }

    /// Tells of a change, and lets the balancer see it.
    #[inline(always)]
    fn tell(&mut self, change: Change<u32, L>) {
        self.discovery.unbounded_send(Ok(change)).expect("the balancer is there");
        poll_ready(&mut self.balance);
    }
}

impl<L: Loaded> Peer for Alone<L> {
    fn select(&mut self, count: u32) -> Duration {
        let start = Instant::now();
        for _ in 0..count {
            poll_ready(&mut self.balance);
            let answer = pin!(self.balance.call(()));
            let answer = answer.poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(black_box(answer), Poll::Ready(Ok(()))), "the nodes answer at once");
        }
        start.elapsed()
    }

    fn change(&mut self, count: u32) -> Duration {
        let new: Vec<L> = (0..count).map(|_| L::of(Node)).collect();
        let start = Instant::now();
        for node in new {
            self.tell(Change::Insert(self.nodes, node));
            self.tell(Change::Remove(self.nodes));
        }
        start.elapsed()
    }

    fn load(&mut self, _: u32) -> Duration {
        unreachable!("it sees the load itself")
    }
}

struct Buffered<L: Loaded> {
    runtime: Runtime,
    buffer: Buffer<(), <Balanced<L> as Service<()>>::Future>,
    /// Or the balancer would know that no more nodes come, which is not how it is used.
    _discovery: UnboundedSender<Found<L>>,
}

impl<L: Loaded> Buffered<L> {
    fn new(nodes: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
        let (balance, discovery) = balance::<L>(nodes);
        let buffer = {
            let _inside = runtime.enter();
            Buffer::new(balance, BOUND)
        };
        Self { runtime, buffer, _discovery: discovery }
    }
}

impl<L: Loaded> Peer for Buffered<L> {
    fn select(&mut self, count: u32) -> Duration {
        let buffer = &mut self.buffer;
        let all = async {
            let start = Instant::now();
            for _ in 0..count {
                buffer.ready().await?.call(()).await?;
            }
            Ok::<_, BoxError>(start.elapsed())
        };
        self.runtime.block_on(all).expect("the nodes answer at once")
    }

    fn change(&mut self, _: u32) -> Duration {
        unreachable!("measured without the buffer")
    }

    fn load(&mut self, _: u32) -> Duration {
        unreachable!("it sees the load itself")
    }
}
