//! The data of a server: keys, what is under them, and until when. A value, so that a state of the server can be kept and
//! gone back to.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

/// What a command answers, or a script.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Nil,
    Number(i64),
    Text(String),
    Status(String),
    List(Vec<Answer>),
}

impl Answer {
    pub(super) fn text(text: impl ToString) -> Self {
        Self::Text(text.to_string())
    }
}

impl From<Answer> for redis::Value {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Nil => Self::Nil,
            Answer::Number(number) => Self::Int(number),
            Answer::Text(text) => Self::BulkString(text.into_bytes()),
            Answer::Status(text) => Self::SimpleString(text),
            Answer::List(items) => Self::Array(items.into_iter().map(Into::into).collect()),
        }
    }
}

/// A score, which is never NaN.
#[derive(Debug, Clone, Copy)]
pub(super) struct Score(pub(super) f64);

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Score {}

impl Hash for Score {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// The id of an entry of a stream.
pub(super) type EntryId = (u64, u64);

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Value {
    Text(String),
    Fields(BTreeMap<String, String>),
    /// By score, and by member where scores are equal.
    Sorted(Vec<(Score, String)>),
    /// Each entry with its fields and values by turns.
    Stream(Vec<(EntryId, Vec<String>)>),
}

/// A key's value, and the time in ms from which on it is not there any more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) expires: Option<u64>,
}

/// All that a server has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Data {
    pub(super) keys: BTreeMap<String, Entry>,
}

impl Data {
    /// Without what has expired by this time, in ms.
    pub(super) fn forget_expired(&mut self, now: u64) {
        self.keys.retain(|_, entry| entry.expires.is_none_or(|expires| now <= expires));
    }

    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).map(|entry| &entry.value)
    }

    pub(super) fn field(&self, key: &str, field: &str) -> Option<&str> {
        match self.value(key) {
            Some(Value::Fields(fields)) => fields.get(field).map(String::as_str),
            _ => None,
        }
    }

    /// Members and their scores.
    pub(super) fn sorted(&self, key: &str) -> &[(Score, String)] {
        match self.value(key) {
            Some(Value::Sorted(members)) => members,
            _ => &[],
        }
    }
}
