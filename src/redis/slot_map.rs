//! Which server of a cluster has which hash slot.

use redis::Value;

/// So many there are.
pub(super) const SLOTS: u16 = 16_384;

/// The hash slot of a key: that of what is in its first braces, if there is something.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = || {
        let (_, after) = key.split_at(1 + key.iter().position(|byte| *byte == b'{')?);
        let tag = &after[..after.iter().position(|byte| *byte == b'}')?];
        (!tag.is_empty()).then_some(tag)
    };
    crc16::State::<crc16::XMODEM>::calculate(tag().unwrap_or(key)) % SLOTS
}

/// As one of the servers sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct SlotMap {
    /// Addresses of masters, as `host:port`, and their ids.
    masters: Vec<Master>,
    /// For each slot which of them has it; empty: nothing is known.
    slots: Vec<Option<u16>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Master {
    address: String,
    id: String,
}

impl SlotMap {
    /// What `CLUSTER SLOTS` is answered by a server at this host.
    pub(super) fn read(answer: Value, asked: &str) -> Option<Self> {
        let mut map = Self { masters: Vec::new(), slots: vec![None; usize::from(SLOTS)] };
        let ranges: Vec<Vec<Value>> = redis::from_redis_value(answer).ok()?;
        for range in ranges {
            let mut parts = range.into_iter();
            let mut slot = || parts.next().and_then(|value| redis::from_redis_value::<usize>(value).ok());
            let (first, last) = (slot()?, slot()?);
            let mut master = redis::from_redis_value::<Vec<Value>>(parts.next()?).ok()?.into_iter();
            // It may not know how others reach it: then as we have.
            let host: Option<String> = redis::from_redis_value(master.next()?).ok()?;
            let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| asked.to_owned());
            let port: u16 = redis::from_redis_value(master.next()?).ok()?;
            let id: String = redis::from_redis_value(master.next()?).ok()?;
            let place = map.place(&format!("{host}:{port}"), &id);
            map.slots.get_mut(first..=last)?.fill(Some(place));
        }
        Some(map)
    }

    fn place(&mut self, address: &str, id: &str) -> u16 {
        let place = self.masters.iter().position(|master| master.address == address).unwrap_or_else(|| {
            self.masters.push(Master { address: address.to_owned(), id: id.to_owned() });
            self.masters.len() - 1
        });
        u16::try_from(place).expect("no cluster has more masters than slots")
    }

    /// The address of the master that has this slot.
    pub(super) fn owner(&self, slot: u16) -> Option<&str> {
        let place = (*self.slots.get(usize::from(slot))?)?;
        Some(&self.masters[usize::from(place)].address)
    }

    /// Whether the slot is that of the master with this id.
    pub(super) fn is_of(&self, slot: u16, id: &str) -> bool {
        let place = self.slots.get(usize::from(slot)).copied().flatten();
        place.is_some_and(|place| self.masters[usize::from(place)].id == id)
    }

    /// A slot has been found to be elsewhere.
    pub(super) fn moved(&mut self, slot: u16, address: &str) {
        self.slots.resize(usize::from(SLOTS), None);
        let place = self.place(address, "");
        self.slots[usize::from(slot)] = Some(place);
    }

    /// The addresses of the masters that have one of these slots.
    pub(super) fn masters(&self, slots: impl Iterator<Item = u16>) -> std::collections::BTreeSet<String> {
        slots.filter_map(|slot| self.owner(slot)).map(str::to_owned).collect()
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    fn answer() -> Value {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let node = |host: Value, port, id: &str| Value::Array(vec![host, Value::Int(port), text(id)]);
        let range =
            |first, last, nodes: Vec<Value>| Value::Array([vec![Value::Int(first), Value::Int(last)], nodes].concat());
        Value::Array(vec![
            range(0, 99, vec![node(text("a"), 1, "ida"), node(text("replica"), 2, "idr")]),
            range(100, 199, vec![node(Value::Nil, 3, "idb")]),
        ])
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        // From the cluster specification, and `CLUSTER KEYSLOT` of a server.
        assert_eq!(slot_of(b"123456789"), 12739);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16::State::<crc16::XMODEM>::calculate(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"{open"), crc16::State::<crc16::XMODEM>::calculate(b"{open") % SLOTS);
    }

    #[test]
    fn a_map_says_who_has_a_slot() {
        let mut map = SlotMap::read(answer(), "asked").unwrap();
        assert_eq!(
            [0, 99, 100, 199, 200].map(|slot| map.owner(slot)),
            [Some("a:1"), Some("a:1"), Some("asked:3"), Some("asked:3"), None]
        );
        assert!(map.is_of(5, "ida") && !map.is_of(5, "idb") && !map.is_of(300, "ida"));
        map.moved(5, "c:9");
        assert_eq!((map.owner(5), map.owner(6)), (Some("c:9"), Some("a:1")));
        assert_eq!(map.masters(0..SLOTS).into_iter().collect::<Vec<_>>(), ["a:1", "asked:3", "c:9"]);
    }

    #[test]
    fn what_is_no_map_is_refused() {
        assert!(SlotMap::read(Value::Int(1), "asked").is_none());
        let beyond = Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(99_999)])]);
        assert!(SlotMap::read(beyond, "asked").is_none());
        assert_eq!(SlotMap::default().owner(3), None);
    }
}
