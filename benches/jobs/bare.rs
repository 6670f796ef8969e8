//! The floor of a job's life.

use std::collections::VecDeque;

use crate::harness::Operation;
use crate::life::request_id;

/// What a life of a job costs at least: its request id put into a concurrent map, a slot taken and given back, and the
/// oldest id removed from the map.
///
/// At its best: it owns the ids already, which a scheduler has to copy; and one guard of the map serves both calls,
/// which a gateway makes at different times.
pub(crate) struct BareLives<S> {
    map: papaya::HashMap<String, u32, ahash::RandomState>,
    /// Ids in the map, oldest first.
    remembered: VecDeque<String>,
    most: usize,
    slot: S,
    next: u64,
    /// Each twice: one for the map, one to find it by.
    ids: std::vec::IntoIter<(String, String)>,
    spent: Vec<String>,
}

impl<S: FnMut()> BareLives<S> {
    /// With as many ids remembered as there will be; `slot` takes a slot and gives it back.
    pub(crate) fn new(remembered: usize, slot: S) -> Self {
        let mut lives = Self {
            map: papaya::HashMap::default(),
            remembered: VecDeque::with_capacity(remembered + 1),
            most: remembered,
            slot,
            next: 0,
            ids: Vec::new().into_iter(),
            spent: Vec::new(),
        };
        for _ in 0..remembered.div_ceil(100) {
            lives.prepare(100);
            lives.run(100);
        }
        lives
    }
}

impl<S: FnMut()> Operation for BareLives<S> {
    fn prepare(&mut self, times: u32) {
        self.spent.clear();
        let first = self.next;
        self.next += u64::from(times);
        let twice = |number| (request_id(number), request_id(number));
        self.ids = (first..self.next).map(twice).collect::<Vec<_>>().into_iter();
        self.spent.reserve(times as usize);
    }

    fn run(&mut self, times: u32) {
        for (id, same) in self.ids.by_ref().take(times as usize) {
            let map = self.map.pin();
            map.insert(id, 1);
            (self.slot)();
            self.remembered.push_back(same);
            if self.remembered.len() > self.most {
                let oldest = self.remembered.pop_front().expect("one was just added");
                map.remove(&oldest);
                self.spent.push(oldest);
            }
        }
    }
}
