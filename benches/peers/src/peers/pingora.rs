//! `pingora-load-balancing`: discovery hands over the whole set of backends, from which a selector is built anew.

use std::any::Any;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::FutureExt;
use http::Extensions;
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::selection::{BackendIter, BackendSelection, Consistent, Random, RoundRobin};
use pingora_load_balancing::{Backend, Backends, LoadBalancer};

use crate::peer::{Does, Entry, Operation, Peer, Refusal};

/// What its selectors count backends with.
const NUMBERS: usize = 1 << 16;
/// Selections by which it is seen whether all backends are chosen from.
const PROBES: u32 = 4_000;
/// Backends that it looks at before it gives up; all are healthy, so the first will do.
const LOOKS: usize = 256;
/// A fleet on which it has failed at a tenth of the size need not be set up.
const MOST: (u32, &str) = (100_000, "larger fleets than the one it fails on are not set up");

pub(super) fn entries() -> Vec<Entry> {
    fn entry<S: Selector>(name: &'static str, lacks: &'static str) -> Entry {
        Entry {
            name,
            does: Does::Select,
            lacks,
            has: &[Operation::Change],
            most: MOST,
            build: |nodes| Ok(Box::new(Pingora::<S>::new(nodes)?)),
        }
    }
    vec![
        entry::<Random>(
            "pingora Random",
            "knows no load and no slots, never refuses; a change of one node rebuilds all",
        ),
        entry::<RoundRobin>("pingora RoundRobin", "as Random"),
        entry::<Consistent>("pingora Consistent", "as Random; chooses by the key of the request"),
    ]
}

/// Static bounds that pingora asks for.
trait Selector: BackendSelection<Iter: BackendIter> + Send + Sync + 'static {}
impl<S: BackendSelection<Iter: BackendIter> + Send + Sync + 'static> Selector for S {}

struct Pingora<S: Selector> {
    balancer: LoadBalancer<S>,
    backends: BTreeSet<Backend>,
    found: Arc<Found>,
    request: u64,
}

/// A discovery that finds what it is told to find, and so costs nothing itself.
#[derive(Default)]
struct Found(Mutex<VecDeque<BTreeSet<Backend>>>);

struct Discovery(Arc<Found>);

#[async_trait]
impl ServiceDiscovery for Discovery {
    async fn discover(&self) -> pingora_core::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let next = self.0.0.lock().expect("nobody panics with it").pop_front();
        Ok((next.expect("a set was put there before"), HashMap::new()))
    }
}

fn backend(number: u32) -> Backend {
    let address = SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + number), 8080));
    Backend { addr: pingora_core::protocols::l4::socket::SocketAddr::Inet(address), weight: 1, ext: Extensions::new() }
}

impl<S: Selector> Pingora<S> {
    fn new(nodes: u32) -> Result<Self, Refusal> {
        let found = Arc::new(Found::default());
        let balancer = LoadBalancer::from_backends(Backends::new(Box::new(Discovery(found.clone()))));
        let mut peer = Self { balancer, backends: (0..nodes).map(backend).collect(), found, request: 0 };
        peer.find(peer.backends.clone());
        quietly(|| peer.update()).map_err(|reason| Refusal { word: "panics", reason: format!("panics: {reason}") })?;
        peer.check()?;
        Ok(peer)
    }

    /// Makes discovery find this next.
    fn find(&self, backends: BTreeSet<Backend>) {
        self.found.0.lock().expect("nobody panics with it").push_back(backends);
    }

    fn update(&self) {
        let updated = self.balancer.update().now_or_never().expect("this discovery does not wait");
        updated.expect("this discovery does not fail");
    }

    #[inline(always)]
    fn choose(&mut self) -> Backend {
        self.request += 1;
        self.balancer.select(&self.request.to_le_bytes(), LOOKS).expect("there are backends")
    }

    /// Whether backends after the first 65,536, in its order, are chosen at all.
    fn check(&mut self) -> Result<(), Refusal> {
        let Some(first_beyond) = self.backends.iter().nth(NUMBERS).cloned() else { return Ok(()) };
        let beyond = (0..PROBES).filter(|_| self.choose() >= first_beyond).count();
        let share = (self.backends.len() - NUMBERS) * 100 / self.backends.len();
        if beyond > 0 {
            return Ok(());
        }
        let reason = format!(
            "wrong: of {PROBES} selections none was of the backends after the first {NUMBERS}, which are {share} % of all"
        );
        Err(Refusal { word: "wrong", reason })
    }
}

/// Runs it; if it panics, says why, without a word to standard error.
fn quietly<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let outcome = catch_unwind(AssertUnwindSafe(run));
    std::panic::set_hook(hook);
    outcome.map_err(|payload: Box<dyn Any + Send>| match payload.downcast_ref::<&str>() {
        Some(text) => (*text).to_owned(),
        None => payload.downcast_ref::<String>().cloned().unwrap_or_else(|| "no reason given".to_owned()),
    })
}

impl<S: Selector> Peer for Pingora<S> {
    fn select(&mut self, count: u32) -> Duration {
        let start = Instant::now();
        for _ in 0..count {
            black_box(self.choose());
        }
        start.elapsed()
    }

    fn change(&mut self, count: u32) -> Duration {
        let mut more = self.backends.clone();
        more.insert(backend(self.backends.len() as u32));
        for _ in 0..count {
            self.find(more.clone());
            self.find(self.backends.clone());
        }
        let start = Instant::now();
        for _ in 0..2 * count {
            self.update();
        }
        start.elapsed()
    }

    fn load(&mut self, _: u32) -> Duration {
        unreachable!("it knows no load")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<S: Selector>(nodes: u32) -> &'static str {
        Pingora::<S>::new(nodes).err().map_or("not", |refusal| refusal.word)
    }

    #[test]
    fn sizes_that_it_cannot_serve_are_found_out() {
        assert_eq!(refused::<Random>(1_000), "not");
        assert_eq!(refused::<Random>(70_000), "panics");
        assert_eq!(refused::<RoundRobin>(70_000), "panics");
        assert_eq!(refused::<Consistent>(70_000), "wrong");
    }

    #[test]
    fn the_reason_of_a_panic_is_kept() {
        assert_eq!(quietly(|| panic!("plain")), Err::<(), _>("plain".to_owned()));
        assert_eq!(quietly(|| panic!("with {}", 1)), Err::<(), _>("with 1".to_owned()));
        assert_eq!(quietly(|| 1), Ok(1));
    }
}
