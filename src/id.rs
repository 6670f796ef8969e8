//! Identifiers, and how they are hashed.

use std::borrow::Borrow;
use std::cmp;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use crate::sync::PlainOnceLock;
use crate::text::Text;

/// The id of a node, as the node gave it: unique, 1 to [`max_id_len`](crate::SchedulerConfig::max_id_len) bytes. Cheap to
/// clone.
#[derive(Clone)]
pub struct NodeId(Text);

impl NodeId {
    /// The id as text.
    #[inline]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl<T: AsRef<str>> From<T> for NodeId {
    fn from(id: T) -> Self {
        Self(id.as_ref().into())
    }
}

impl std::ops::Deref for NodeId {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl PartialEq for NodeId {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for NodeId {}

impl PartialOrd for NodeId {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NodeId {
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for NodeId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// A map by node is looked up by the text, too.
impl Borrow<str> for NodeId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for NodeId {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for NodeId {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

/// The id of a job: 128 bits, unique among schedulers that are not given the same seed.
///
/// The low half names a number that leads to the job and how often that was used, so finding a job costs
/// no hashing; the high half names the scheduler.
///
/// ```
/// use slotyard::JobId;
///
/// let id = JobId::from_u128(0x2a);
/// assert_eq!(id.to_string(), "0000000000000000000000000000002a");
/// assert_eq!(id.to_string().parse::<JobId>()?, id);
/// # Ok::<(), slotyard::ParseJobIdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u128);

/// Text that is not a job id: 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a job id, which has 32 hexadecimal digits")]
pub struct ParseJobIdError {
    text: String,
}

impl JobId {
    /// The id with these bits.
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits.
    pub const fn to_u128(self) -> u128 {
        self.0
    }

    pub(crate) const fn new(scheduler: u64, number: u32, uses: u32) -> Self {
        Self((scheduler as u128) << 64 | (uses as u128) << 32 | number as u128)
    }

    pub(crate) const fn number(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for JobId {
    type Err = ParseJobIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let refuse = || ParseJobIdError { text: text.chars().take(64).collect() };
        if hex { u128::from_str_radix(text, 16).map(Self).map_err(|_| refuse()) } else { Err(refuse()) }
    }
}

/// A hasher whose keys are drawn once a process: the same value hashes alike in every scheduler of the process, and
/// nobody outside can construct collisions.
pub(crate) fn fixed_hasher() -> &'static ahash::RandomState {
    static HASHER: PlainOnceLock<ahash::RandomState> = PlainOnceLock::new();
    // In the models the same in every run, so that their executions are.
    let seeded = || ahash::RandomState::with_seeds(1, 2, 3, 4);
    HASHER.get_or_init(|| if cfg!(any(slotyard_loom, slotyard_shuttle)) { seeded() } else { ahash::RandomState::new() })
}

/// A hash that is the same in every process, for what people see or other processes have to agree on. Not for maps.
pub(crate) fn stable_hash(text: impl AsRef<[u8]>) -> u64 {
    // FNV-1a, then a finaliser, because its high bits are poor.
    let bytes = text.as_ref().iter();
    let fnv =
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    mix(fnv)
}

/// A bijection that spreads every bit over all (the finaliser of SplitMix64).
pub(crate) fn mix(bits: u64) -> u64 {
    let bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// An id of up to 23 bytes as three words, little-endian: its bytes, zeros, and in the last byte how many there are. Longer
/// ids have no name: all is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) [u64; 3]);

impl Name {
    const NONE: Self = Self([0; 3]);

    #[inline(always)]
    pub(crate) fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let len = bytes.len();
        let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
        // What goes beyond whole words comes out of the last eight bytes, less those that are in a word already: `len % 8` of
        // them are left. In two steps, for it may be none.
        let rest = || word(bytes.last_chunk()) >> (8 * (7 - len % 8)) >> 8;
        let length = (len as u64) << 56;
        match len {
            0..8 => {
                let mut few = [0; 8];
                few[..len].copy_from_slice(bytes);
                Self([u64::from_le_bytes(few), 0, length])
            }
            8..16 => Self([word(bytes.first_chunk()), rest(), length]),
            16..24 => Self([word(bytes.first_chunk()), word(bytes[8..].first_chunk()), rest() | length]),
            _ => Self::NONE,
        }
    }

    pub(crate) fn is_kept(self) -> bool {
        self.0[2] != 0
    }
}

/// The id of a node that is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeKey<'a> {
    pub(crate) hash: u64,
    pub(crate) name: Name,
    pub(crate) text: &'a str,
}

impl<'a> NodeKey<'a> {
    #[inline(always)]
    pub(crate) fn new(hasher: &ahash::RandomState, text: &'a str) -> Self {
        let name = Name::of(text);
        let hash = if name.is_kept() {
            // Of its words, which costs less than of text whose length is not known.
            let [first, second, third] = name.0;
            let mut hash = hasher.build_hasher();
            hash.write_u128(u128::from(second) << 64 | u128::from(first));
            hash.write_u64(third);
            hash.finish()
        } else {
            hasher.hash_one(text)
        };
        Self { hash, name, text }
    }
}

/// A string that has been hashed once, for a map that is picked by the hash and then looked up by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prehashed<S> {
    pub(crate) hash: u64,
    pub(crate) text: S,
}

pub(crate) type PrehashedKey = Prehashed<Arc<str>>;

impl<'a> Prehashed<&'a str> {
    pub(crate) fn new(hasher: &ahash::RandomState, text: &'a str) -> Self {
        Self { hash: hasher.hash_one(text), text }
    }

    pub(crate) fn owned(&self) -> PrehashedKey {
        Prehashed { hash: self.hash, text: self.text.into() }
    }
}

impl<S> Hash for Prehashed<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl equivalent::Equivalent<PrehashedKey> for Prehashed<&str> {
    fn equivalent(&self, key: &PrehashedKey) -> bool {
        self.hash == key.hash && *self.text == *key.text
    }
}

/// Passes on the hash that a [`Prehashed`] carries.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CarriedHash(u64);

impl Hasher for CarriedHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only a Prehashed is hashed with this, and it writes one u64");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl BuildHasher for CarriedHash {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_bytes_and_how_many() {
        for len in 0..40 {
            let text: String = ('a'..='z').cycle().take(len).collect();
            let mut bytes = [0; 24];
            if len < 24 {
                bytes[..len].copy_from_slice(text.as_bytes());
                bytes[23] = len as u8;
            }
            let name = Name::of(&text);
            assert_eq!(name.0.map(u64::to_le_bytes).concat(), bytes);
            assert_eq!(name.is_kept(), (1..24).contains(&len));
        }
    }

    #[test]
    fn the_stable_hash_is_what_is_published() {
        // FNV-1a of draft-eastlake-fnv, and the first numbers of SplitMix64 with the seed 0.
        let published = [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)];
        for (text, fnv) in published {
            assert_eq!(stable_hash(text), mix(fnv), "{text}");
        }
        let step = 0x9e37_79b9_7f4a_7c15_u64;
        let drawn = [1, 2, 3].map(|n| mix(step.wrapping_mul(n)));
        assert_eq!(drawn, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }

    #[test]
    fn a_key_is_that_of_its_text_and_not_of_all_with_its_hash() {
        use equivalent::Equivalent;
        let key = |hash, text| Prehashed { hash, text };
        let owned = key(7, "a").owned();
        assert!(key(7, "a").equivalent(&owned));
        assert!(!key(7, "b").equivalent(&owned) && !key(8, "a").equivalent(&owned) && !key(8, "b").equivalent(&owned));
        // As each is in a map: by the hash that it carries.
        assert_eq!(CarriedHash(0).hash_one(&owned), 7);
        assert_eq!(CarriedHash(0).hash_one(key(1 << 63, "a")), 1 << 63);
    }
}
