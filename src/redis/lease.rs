//! Leases and bindings, as the server has them.

use std::fmt;
use std::str::FromStr;

use super::keys::NodeText;
use crate::id::JobId;
use crate::job::JobState;

/// Tells the leases of one slot of a node apart: a later one has a larger fence, also when the server has been lost
/// meanwhile. A node that keeps the largest fence it has seen for each slot, and refuses smaller ones, runs no job whose
/// lease another has by now.
///
/// As text 32 hexadecimal digits, which sort as fences do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    epoch: u64,
    count: u64,
}

impl Fence {
    pub(super) const fn new(epoch: u64, count: u64) -> Self {
        Self { epoch, count }
    }

    /// As one number, which sorts as fences do.
    pub const fn to_u128(self) -> u128 {
        (self.epoch as u128) << 64 | self.count as u128
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.to_u128())
    }
}

/// Which instance: what tells the schedulers that share a server apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Instance(pub(super) u64);

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A slot of a node, taken for one attempt of a job: `<job>:<attempt>:<instance>:<slot>:<fence>:<epoch>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Lease {
    pub(super) job: JobId,
    pub(super) attempt: u32,
    /// Whose it was to begin with.
    pub(super) instance: Instance,
    pub(super) slot: u32,
    pub(super) fence: Fence,
}

/// Text that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) String);

impl Malformed {
    pub(super) fn new(text: impl fmt::Display) -> Self {
        Self(text.to_string().chars().take(200).collect())
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { job, attempt, instance, slot, fence: Fence { epoch, count } } = self;
        write!(f, "{job}:{attempt}:{instance}:{slot}:{count}:{epoch}")
    }
}

impl FromStr for Lease {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let parse = || {
            let mut parts = text.split(':');
            let job = parts.next()?.parse().ok()?;
            let attempt = parts.next()?.parse().ok()?;
            let instance = Instance(u64::from_str_radix(parts.next()?, 16).ok()?);
            let slot = parts.next()?.parse().ok()?;
            let count = parts.next()?.parse().ok()?;
            let epoch = parts.next()?.parse().ok()?;
            let fence = Fence { epoch, count };
            parts.next().is_none().then_some(Self { job, attempt, instance, slot, fence })
        };
        parse().ok_or_else(|| Malformed::new(format_args!("not a lease: {text}")))
    }
}

/// What a request is bound to: `<fingerprint> <state> <lease> <node> <earlier node>...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) fingerprint: Fingerprint,
    pub(super) state: JobState,
    pub(super) lease: Lease,
    pub(super) node: NodeText,
    /// Nodes of earlier attempts, the latest first.
    pub(super) earlier: Vec<NodeText>,
}

/// What a job needs, told apart by 128 bits: the same in every process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint(pub(super) u128);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.fingerprint, self.state, self.lease, self.node.0)?;
        self.earlier.iter().try_for_each(|node| write!(f, " {}", node.0))
    }
}

impl FromStr for Binding {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let parse = || {
            let mut words = text.split(' ');
            let fingerprint = Fingerprint(u128::from_str_radix(words.next()?, 16).ok()?);
            let state = state(words.next()?)?;
            let lease = words.next()?.parse().ok()?;
            let node = NodeText(words.next()?.to_owned());
            let earlier = words.map(|word| NodeText(word.to_owned())).collect();
            Some(Self { fingerprint, state, lease, node, earlier })
        };
        parse().ok_or_else(|| Malformed::new(format_args!("not a binding: {text}")))
    }
}

/// The state of this name.
pub(super) fn state(name: &str) -> Option<JobState> {
    JobState::ALL.into_iter().find(|state| state.as_str() == name)
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    fn lease() -> Lease {
        let fence = Fence::new(1_763_700_000, 1_763_700_000_000_001);
        Lease { job: JobId::from_u128(42), attempt: 2, instance: Instance(7), slot: 3, fence }
    }

    #[test]
    fn leases_and_bindings_come_back_from_their_text() {
        let lease = lease();
        let text = "0000000000000000000000000000002a:2:0000000000000007:3:1763700000000001:1763700000";
        assert_eq!((lease.to_string().as_str(), text.parse()), (text, Ok(lease)));
        for earlier in [vec![], vec![NodeText::of("a b"), NodeText::of("c")]] {
            let (fingerprint, node) = (Fingerprint(5), NodeText::of("gpu 7"));
            let binding = Binding { fingerprint, state: JobState::Running, lease, node, earlier };
            assert_eq!(binding.to_string().parse(), Ok(binding));
        }
    }

    #[test]
    fn what_is_cut_short_or_has_too_much_is_refused() {
        let lease = lease().to_string();
        for cut in 0..lease.len() {
            let text = &lease[..cut];
            // The last number may lose digits and be one yet.
            assert!(text.parse::<Lease>().is_err() || cut > lease.rfind(':').unwrap() + 1, "{text}");
        }
        assert!(format!("{lease}:1").parse::<Lease>().is_err());
        assert!(format!("05 {lease} gpu").parse::<Binding>().is_err());
        assert!(format!("05 going {lease} gpu").parse::<Binding>().is_err());
    }

    #[test]
    fn fences_are_told_apart_by_the_epoch_first() {
        let fences = [Fence::new(1, 9), Fence::new(2, 1), Fence::new(2, 2)];
        assert!(fences.is_sorted() && fences.map(Fence::to_u128).is_sorted());
        assert!(fences.map(|fence| fence.to_string()).is_sorted());
    }
}
