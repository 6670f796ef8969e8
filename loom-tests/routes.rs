//! **Route cache**: of routes that are kept for the same requirements, however many at once, one is found from then on,
//! by everybody; one kept for others does not hide it; and no more are kept than there is room for.
//!
//! Nothing is taken out of a cache, so these models do not pin.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | two threads keep a route for the same requirements, and one for others between them | 2 | 4 |
//! | three routes, room for two | 3 | 3 |
//!
//! What is in a route is memory that loom does not look at; that a value is whole when it is found is `publication`'s.
//!
//! Seen to fail by `cargo xtask mutants-loom routes`.

use loom::thread;

use super::*;
use crate::Demand;
use crate::capability::Requirements;
use crate::select::{Route, RouteCache};

fn requirements(service: Service) -> Arc<Requirements> {
    Demand::new().service(service).requirements
}

fn route(core: &Core, requirements: &Arc<Requirements>) -> Arc<Route> {
    Arc::new(Route::compute(requirements, &core.layout, std::iter::empty()))
}

/// Keeps a route and looks for it; says where the one is that was found, `None` if there was no room.
fn keep(cache: &RouteCache, route: &Arc<Route>) -> Option<*const Route> {
    let kept: *const Route = cache.keep(route, unpinned())?.get();
    // Requirements that are equal, not the same: both have to be read.
    let asked = Arc::new(Requirements::clone(&route.requirements));
    let found = cache.get(&asked, unpinned()).expect("it is kept").get();
    assert!(std::ptr::eq(kept, found), "another route is found than was kept");
    Some(kept)
}

#[test]
fn two_keep_a_route_for_the_same() {
    // Of a few pairs, some want the same slot.
    for between in [Service::TTS, Service::NMT, Service::SEMANTIC] {
        explore(4, &["mine was kept", "the other's was kept"], move |seen| {
            let core = scheduler(|builder| builder);
            let cache = Arc::new(RouteCache::new(2));
            let [mine, same] = [(); 2].map(|()| route(&core, &requirements(Service::ASR)));
            let between = route(&core, &requirements(between.clone()));
            let other = thread::spawn({
                let cache = cache.clone();
                move || {
                    let between = keep(&cache, &between).is_some();
                    (between, keep(&cache, &same).map(|at| at as usize))
                }
            });
            let kept = keep(&cache, &mine);
            let (between, same) = other.join().unwrap();
            // Who takes room for a route that is there gives it back, but somebody may have lacked it.
            let found: Vec<usize> = kept.map(|at| at as usize).into_iter().chain(same).collect();
            assert!(between || !found.is_empty(), "nothing was kept");
            assert!(found.iter().all(|at| *at == found[0]), "two routes for the same");
            assert_eq!(cache.len(), usize::from(between) + usize::from(!found.is_empty()));
            if let Some(kept) = kept {
                seen.note(if std::ptr::eq(kept, &*mine) { "mine was kept" } else { "the other's was kept" });
            }
        });
    }
}

#[test]
fn no_more_are_kept_than_there_is_room_for() {
    explore(3, &["the first was not kept", "the last was not kept"], |seen| {
        let core = scheduler(|builder| builder);
        let cache = Arc::new(RouteCache::new(2));
        let services = [Service::ASR, Service::TTS, Service::NMT];
        let others: Vec<_> = services[1..]
            .iter()
            .map(|service| {
                let (cache, route) = (cache.clone(), route(&core, &requirements(service.clone())));
                thread::spawn(move || keep(&cache, &route).is_some())
            })
            .collect();
        let mut kept = vec![keep(&cache, &route(&core, &requirements(services[0].clone()))).is_some()];
        for other in others {
            kept.push(other.join().unwrap());
        }
        assert_eq!((kept.iter().filter(|kept| **kept).count(), cache.len()), (2, 2));
        if !kept[0] {
            seen.note("the first was not kept");
        }
        if !kept[2] {
            seen.note("the last was not kept");
        }
    });
}
