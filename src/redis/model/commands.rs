//! The commands that the scripts use, as Redis 7 has them. What no script uses is not there, and is an error: whoever
//! writes a script that needs more sees the models fail.

use super::client::LONG;
use super::data::{Answer, Data, Entry, EntryId, Score, Value};

type Outcome = Result<Answer, String>;

/// Does one command at a time in µs.
pub(super) fn run(data: &mut Data, now: u64, command: &[String]) -> Outcome {
    let (name, arguments) = command.split_first().ok_or("ERR no command")?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ms = now / 1000;
    match (name.to_ascii_uppercase().as_str(), &*arguments) {
        ("TIME", []) => Ok(Answer::List(vec![Answer::text(now / 1_000_000), Answer::text(now % 1_000_000)])),
        ("GET", [key]) => get(data, key),
        ("SET", [key, value, options @ ..]) => set(data, ms, key, value, options),
        ("DEL", keys) => Ok(number(keys.iter().filter(|key| data.keys.remove(**key).is_some()).count())),
        ("EXISTS", keys) => Ok(number(keys.iter().filter(|key| data.keys.contains_key(**key)).count())),
        ("PEXPIRE", [key, term]) => expire(data, ms, key, term),
        ("HGET", [key, field]) => Ok(optional(fields(data, key)?.and_then(|fields| fields.get(*field).cloned()))),
        ("HMGET", [key, names @ ..]) => {
            let there = fields(data, key)?.cloned().unwrap_or_default();
            Ok(Answer::List(names.iter().map(|name| optional(there.get(*name).cloned())).collect()))
        }
        ("HSET", [key, rest @ ..]) => hset(data, key, rest),
        ("ZADD", [key, rest @ ..]) => zadd(data, key, rest),
        ("ZREM", [key, members @ ..]) => zrem(data, key, members),
        ("ZSCORE", [key, member]) => {
            let members = sorted(data, key)?;
            score_of(members, member).map_or(Ok(Answer::Nil), |at| formatted(members[at].0).map(Answer::Text))
        }
        ("ZPOPMIN", [key]) => zpopmin(data, key),
        ("ZRANGE", [key, start, stop, options @ ..]) => zrange(data, key, start, stop, options),
        ("ZCOUNT", [key, min, max]) => {
            let (min, max) = (Bound::parse(min)?, Bound::parse(max)?);
            Ok(number(sorted(data, key)?.iter().filter(|(score, _)| within(*score, min, max)).count()))
        }
        ("XADD", [key, "MAXLEN", "~", _, "*", entry @ ..]) => xadd(data, ms, key, entry),
        ("XREVRANGE", [key, "+", "-", "COUNT", count]) => xrevrange(data, key, count),
        _ => Err(format!("ERR the model has no such command: {command:?}")),
    }
}

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const SYNTAX: &str = "ERR syntax error";

fn number(count: usize) -> Answer {
    Answer::Number(count as i64)
}

fn optional(text: Option<String>) -> Answer {
    text.map_or(Answer::Nil, Answer::Text)
}

fn integer<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "ERR value is not an integer or out of range".to_owned())
}

fn get(data: &Data, key: &str) -> Outcome {
    match data.value(key) {
        None => Ok(Answer::Nil),
        Some(Value::Text(text)) => Ok(Answer::text(text)),
        Some(_) => Err(WRONG_TYPE.to_owned()),
    }
}

/// When a key goes that is kept so long. What outlives every history is the same whenever it was written.
fn end(ms: u64, term: &str) -> Result<u64, String> {
    let term = integer::<u64>(term)?;
    Ok(if term >= LONG { u64::MAX } else { ms + term })
}

fn set(data: &mut Data, ms: u64, key: &str, value: &str, options: &[&str]) -> Outcome {
    let (only_new, wants_old, options) = match options {
        ["NX", "GET", options @ ..] => (true, true, options),
        ["NX", options @ ..] => (true, false, options),
        options => (false, false, options),
    };
    if only_new && data.keys.contains_key(key) {
        return if wants_old { get(data, key) } else { Ok(Answer::Nil) };
    }
    let expires = match options {
        [] => None,
        ["PX", term] => Some(end(ms, term)?),
        ["KEEPTTL"] => data.keys.get(key).and_then(|entry| entry.expires),
        _ => return Err(SYNTAX.to_owned()),
    };
    data.keys.insert(key.to_owned(), Entry { value: Value::Text(value.to_owned()), expires });
    Ok(if wants_old { Answer::Nil } else { Answer::Status("OK".to_owned()) })
}

fn expire(data: &mut Data, ms: u64, key: &str, term: &str) -> Outcome {
    let expires = Some(end(ms, term)?);
    Ok(match data.keys.get_mut(key) {
        None => Answer::Number(0),
        Some(entry) => {
            entry.expires = expires;
            Answer::Number(1)
        }
    })
}

fn fields<'d>(data: &'d Data, key: &str) -> Result<Option<&'d std::collections::BTreeMap<String, String>>, String> {
    match data.value(key) {
        None => Ok(None),
        Some(Value::Fields(fields)) => Ok(Some(fields)),
        Some(_) => Err(WRONG_TYPE.to_owned()),
    }
}

/// The value of a key, which is made if it is not there.
fn made<'d>(data: &'d mut Data, key: &str, empty: Value) -> &'d mut Value {
    &mut data.keys.entry(key.to_owned()).or_insert(Entry { value: empty, expires: None }).value
}

fn hset(data: &mut Data, key: &str, rest: &[&str]) -> Outcome {
    if rest.is_empty() || rest.len() % 2 == 1 {
        return Err("ERR wrong number of arguments for 'hset' command".to_owned());
    }
    let Value::Fields(fields) = made(data, key, Value::Fields(Default::default())) else {
        return Err(WRONG_TYPE.to_owned());
    };
    let new = rest.chunks(2).filter(|pair| fields.insert(pair[0].to_owned(), pair[1].to_owned()).is_none()).count();
    Ok(number(new))
}

fn sorted<'d>(data: &'d Data, key: &str) -> Result<&'d [(Score, String)], String> {
    match data.value(key) {
        None => Ok(&[]),
        Some(Value::Sorted(members)) => Ok(members),
        Some(_) => Err(WRONG_TYPE.to_owned()),
    }
}

fn score_of(members: &[(Score, String)], member: &str) -> Option<usize> {
    members.iter().position(|(_, other)| other == member)
}

fn parse_score(text: &str) -> Result<Score, String> {
    let invalid = || "ERR value is not a valid float".to_owned();
    let number: f64 = text.parse().map_err(|_| invalid())?;
    if number.is_nan() { Err(invalid()) } else { Ok(Score(number)) }
}

/// As Redis writes scores, and numbers that a script hands to a command. There are none but whole ones here.
pub(super) fn formatted(Score(number): Score) -> Result<String, String> {
    if number.is_infinite() {
        return Ok(if number > 0.0 { "inf" } else { "-inf" }.to_owned());
    }
    if number.fract() != 0.0 || number.abs() >= 1e17 {
        return Err(format!("ERR the model writes no such number: {number:e}"));
    }
    Ok(format!("{number:.0}"))
}

fn insert(members: &mut Vec<(Score, String)>, score: Score, member: String) {
    let entry = (score, member);
    let at = members.partition_point(|other| *other < entry);
    members.insert(at, entry);
}

fn zadd(data: &mut Data, key: &str, rest: &[&str]) -> Outcome {
    let (only_there, rest) = match rest {
        ["XX", "GT", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if rest.is_empty() || rest.len() % 2 == 1 {
        return Err(SYNTAX.to_owned());
    }
    let scores = rest.chunks(2).map(|pair| Ok((parse_score(pair[0])?, pair[1])));
    let scores = scores.collect::<Result<Vec<_>, String>>()?;
    if only_there && sorted(data, key)?.is_empty() {
        return Ok(Answer::Number(0));
    }
    let Value::Sorted(members) = made(data, key, Value::Sorted(Vec::new())) else { return Err(WRONG_TYPE.to_owned()) };
    let mut added = 0;
    for (score, member) in scores {
        match score_of(members, member) {
            Some(at) if only_there && score <= members[at].0 => {}
            Some(at) => {
                members.remove(at);
                insert(members, score, member.to_owned());
            }
            None if only_there => {}
            None => {
                insert(members, score, member.to_owned());
                added += 1;
            }
        }
    }
    Ok(Answer::Number(added))
}

/// A sorted set, to take members out of; one that is empty is not there.
fn taking<T>(
    data: &mut Data,
    key: &str,
    take: impl FnOnce(&mut Vec<(Score, String)>) -> T,
) -> Result<Option<T>, String> {
    let members = match data.keys.get_mut(key).map(|entry| &mut entry.value) {
        None => return Ok(None),
        Some(Value::Sorted(members)) => members,
        Some(_) => return Err(WRONG_TYPE.to_owned()),
    };
    let taken = take(members);
    if members.is_empty() {
        data.keys.remove(key);
    }
    Ok(Some(taken))
}

fn zrem(data: &mut Data, key: &str, gone: &[&str]) -> Outcome {
    let taken = taking(data, key, |members| {
        let before = members.len();
        members.retain(|(_, member)| !gone.contains(&&**member));
        before - members.len()
    });
    Ok(number(taken?.unwrap_or(0)))
}

fn zpopmin(data: &mut Data, key: &str) -> Outcome {
    match taking(data, key, |members| members.remove(0))? {
        None => Ok(Answer::List(Vec::new())),
        Some((score, member)) => Ok(Answer::List(vec![Answer::Text(member), Answer::Text(formatted(score)?)])),
    }
}

/// Where a range of scores begins or ends.
#[derive(Debug, Clone, Copy)]
struct Bound {
    score: Score,
    exclusive: bool,
}

impl Bound {
    fn parse(text: &str) -> Result<Self, String> {
        let (exclusive, text) = text.strip_prefix('(').map_or((false, text), |text| (true, text));
        let score = parse_score(text).map_err(|_| "ERR min or max is not a float".to_owned())?;
        Ok(Self { score, exclusive })
    }
}

fn within(score: Score, min: Bound, max: Bound) -> bool {
    let above = if min.exclusive { score > min.score } else { score >= min.score };
    let below = if max.exclusive { score < max.score } else { score <= max.score };
    above && below
}

fn names<'m>(members: impl Iterator<Item = &'m (Score, String)>) -> Answer {
    Answer::List(members.map(|(_, member)| Answer::text(member)).collect())
}

fn zrange(data: &Data, key: &str, start: &str, stop: &str, options: &[&str]) -> Outcome {
    let members = sorted(data, key)?;
    match options {
        [] => {
            let place = |text: &str| {
                let place: i64 = integer(text)?;
                Ok::<_, String>(if place < 0 { place + members.len() as i64 } else { place })
            };
            let (start, stop) = (place(start)?.max(0) as usize, place(stop)?);
            let count = (stop + 1).max(0) as usize;
            Ok(names(members.iter().take(count).skip(start)))
        }
        ["BYSCORE", limit @ ..] => {
            let (min, max) = (Bound::parse(start)?, Bound::parse(stop)?);
            let (offset, count) = match limit {
                [] => (0, usize::MAX),
                ["LIMIT", offset, count] => (integer(offset)?, integer(count)?),
                _ => return Err(SYNTAX.to_owned()),
            };
            let there = members.iter().filter(|(score, _)| within(*score, min, max));
            Ok(names(there.skip(offset).take(count)))
        }
        _ => Err(SYNTAX.to_owned()),
    }
}

fn entry_id((ms, sequence): EntryId) -> Answer {
    Answer::Text(format!("{ms}-{sequence}"))
}

/// Nothing is let go: `~` lets a server keep more than it is told to, and no model has so many entries.
fn xadd(data: &mut Data, ms: u64, key: &str, entry: &[&str]) -> Outcome {
    let Value::Stream(entries) = made(data, key, Value::Stream(Vec::new())) else { return Err(WRONG_TYPE.to_owned()) };
    let last = entries.last().map_or((0, 0), |(id, _)| *id);
    let id = if ms > last.0 { (ms, 0) } else { (last.0, last.1 + 1) };
    entries.push((id, entry.iter().map(|&text| text.to_owned()).collect()));
    Ok(entry_id(id))
}

fn xrevrange(data: &Data, key: &str, count: &str) -> Outcome {
    let entries = match data.value(key) {
        None => &[][..],
        Some(Value::Stream(entries)) => entries,
        Some(_) => return Err(WRONG_TYPE.to_owned()),
    };
    let shown = |(id, fields): &(EntryId, Vec<String>)| {
        let fields = fields.iter().map(Answer::text).collect();
        Answer::List(vec![entry_id(*id), Answer::List(fields)])
    };
    Ok(Answer::List(entries.iter().rev().take(integer(count)?).map(shown).collect()))
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    fn done(data: &mut Data, ms: u64, command: &str) -> Outcome {
        data.forget_expired(ms);
        let words: Vec<_> = command.split(' ').map(str::to_owned).collect();
        run(data, ms * 1000, &words)
    }

    #[test]
    fn a_key_is_there_until_its_time_and_not_longer() {
        let mut data = Data::default();
        for command in ["SET a x PX 10", "HSET b f v", "PEXPIRE b 10", "SET a y KEEPTTL"] {
            done(&mut data, 100, command).unwrap();
        }
        assert_eq!(done(&mut data, 110, "EXISTS a b"), Ok(Answer::Number(2)));
        assert_eq!(done(&mut data, 111, "EXISTS a b"), Ok(Answer::Number(0)));
        assert_eq!(done(&mut data, 111, "SET a z KEEPTTL"), Ok(Answer::Status("OK".to_owned())));
        assert_eq!(done(&mut data, 9_000, "GET a"), Ok(Answer::text("z")));
    }

    #[test]
    fn what_no_script_uses_is_refused() {
        for command in ["FLUSHALL", "SET a x XX", "ZADD a 1.5 x", "ZRANGE a 0 1 REV"] {
            let mut data = Data::default();
            let outcome = done(&mut data, 1, command).and_then(|_| done(&mut data, 1, "ZSCORE a x"));
            assert!(outcome.is_err(), "{command}: {outcome:?}");
        }
    }
}
