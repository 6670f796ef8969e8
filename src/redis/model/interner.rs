//! Things that are kept once, and told apart by a number.

use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

/// The number of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(u32);

impl Place {
    pub(super) fn of(index: usize) -> Self {
        Self(u32::try_from(index).expect("fewer than 4 billion"))
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// See the module's documentation.
pub(super) struct Interner<T> {
    places: HashMap<Rc<T>, Place>,
    items: Vec<Rc<T>>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { places: HashMap::new(), items: Vec::new() }
    }
}

impl<T: Eq + Hash> Interner<T> {
    pub(super) fn place(&mut self, item: T) -> Place {
        if let Some(&place) = self.places.get(&item) {
            return place;
        }
        let (place, item) = (Place::of(self.items.len()), Rc::new(item));
        self.items.push(item.clone());
        self.places.insert(item, place);
        place
    }

    pub(super) fn at(&self, place: Place) -> Rc<T> {
        self.items[place.index()].clone()
    }
}
