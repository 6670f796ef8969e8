//! Arrivals: when each request comes, and how long it is.

use jiff::civil::DateTime;
use serde::Deserialize;

use super::{InputError, Source, table};

/// A trace is not longer than this, in microseconds: 31 days.
pub(crate) const MAX_SPAN: u64 = 31 * 24 * 3600 * 1_000_000;
/// No request has more tokens than this, of either kind.
const MAX_TOKENS: u32 = 1_000_000;

/// One request of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Microseconds since the first request.
    pub(crate) at: u64,
    /// How long it is; without, it is as long as a clip of speech in its language.
    pub(crate) tokens: Option<Tokens>,
}

/// The length of a request for a language model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) prompt: u32,
    pub(crate) generated: u32,
}

impl Arrival {
    /// Reads a trace in the Azure CSV format, or as JSON lines; sorted by time, and counted from its first request.
    pub(crate) fn read(source: &Source) -> Result<Vec<Self>, InputError> {
        let stamped = match source.text().trim_start().starts_with('{') {
            true => json_lines(source)?,
            false => azure_csv(source)?,
        };
        let Some(first) = stamped.iter().map(|row| row.at).min() else {
            return Err(source.error(1, 1, "expected at least one request after the header, found none"));
        };
        if let Some(late) = stamped.iter().find(|row| row.at - first > i128::from(MAX_SPAN)) {
            return Err(source.error_at(late.start, "expected a time within 31 days of the first request's"));
        }
        let mut arrivals: Vec<Self> =
            stamped.iter().map(|row| Self { at: (row.at - first) as u64, tokens: row.tokens }).collect();
        arrivals.sort_by_key(|arrival| arrival.at);
        Ok(arrivals)
    }
}

/// A request as it stands in the file.
struct Stamped {
    /// Microseconds since some epoch of the file's.
    at: i128,
    /// Where in the file it stands.
    start: usize,
    tokens: Option<Tokens>,
}

fn azure_csv(source: &Source) -> Result<Vec<Stamped>, InputError> {
    let mut rows: Vec<Stamped> = Vec::new();
    table::read(source, &["TIMESTAMP", "ContextTokens", "GeneratedTokens"], |row| {
        let stamp: DateTime = row.parse(0, "a time like 2023-11-16 18:15:46.6805900", |_| true)?;
        let tokens = |column| row.parse(column, "a whole number of tokens, 0 to 1000000", |n| *n <= MAX_TOKENS);
        let tokens = Tokens { prompt: tokens(1)?, generated: tokens(2)? };
        let at = stamp.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0)).as_micros();
        rows.push(Stamped { at, start: row.start(), tokens: Some(tokens) });
        Ok(())
    })?;
    Ok(rows)
}

/// A line of a JSON trace; the names are those in common use.
#[derive(Deserialize)]
struct Line {
    #[serde(alias = "timestamp_ms", alias = "ts")]
    timestamp: Milliseconds,
    #[serde(alias = "context_tokens", alias = "prompt_tokens", alias = "ContextTokens")]
    input_length: Option<Count>,
    #[serde(alias = "generated_tokens", alias = "completion_tokens", alias = "GeneratedTokens")]
    output_length: Option<Count>,
}

#[derive(Deserialize)]
#[serde(try_from = "f64")]
struct Milliseconds(i128);

impl TryFrom<f64> for Milliseconds {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        // Up to the year 5138; what is larger is not in milliseconds.
        let known = (0.0..=1e14).contains(&value);
        if known { Ok(Self((value * 1e3).round() as i128)) } else { Err("expected a time in ms, 0 to 1e14".to_owned()) }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "f64")]
struct Count(u32);

impl TryFrom<f64> for Count {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        let whole = value.fract() == 0.0 && (0.0..=f64::from(MAX_TOKENS)).contains(&value);
        if whole { Ok(Self(value as u32)) } else { Err("expected a whole number of tokens, 0 to 1000000".to_owned()) }
    }
}

fn json_lines(source: &Source) -> Result<Vec<Stamped>, InputError> {
    let mut start = 0;
    let lines = source.text().split_inclusive('\n').enumerate().map(|(number, text)| {
        start += text.len();
        (number, start - text.len(), text)
    });
    lines
        .filter(|(.., text)| !text.trim().is_empty())
        .map(|(number, start, text)| {
            let line: Line =
                serde_json::from_str(text.trim_end()).map_err(|error| source.json_error(number, &error))?;
            let count = |count: Option<Count>| count.map_or(0, |count| count.0);
            let tokens = match (line.input_length, line.output_length) {
                (None, None) => None,
                (prompt, generated) => Some(Tokens { prompt: count(prompt), generated: count(generated) }),
            };
            Ok(Stamped { at: line.timestamp.0, start, tokens })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Arrival>, String> {
        Arrival::read(&Source::named("t", text)).map_err(|error| error.to_string())
    }

    const HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n";

    #[test]
    fn azure_rows_count_from_the_first() {
        let rows = format!("{HEADER}2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50.9951690,396,109");
        let [first, second] = read(&rows).unwrap()[..] else { panic!("two rows") };
        assert_eq!(first, Arrival { at: 0, tokens: Some(Tokens { prompt: 374, generated: 44 }) });
        assert_eq!(second, Arrival { at: 4_314_579, tokens: Some(Tokens { prompt: 396, generated: 109 }) });
    }

    #[test]
    fn json_lines_are_sorted_and_may_lack_tokens() {
        let text = "{\"timestamp\": 20.5}\n\n{\"ts\": 10, \"input_length\": 5, \"hash_ids\": [1]}\n";
        let [first, second] = read(text).unwrap()[..] else { panic!("two rows") };
        assert_eq!(first, Arrival { at: 0, tokens: Some(Tokens { prompt: 5, generated: 0 }) });
        assert_eq!(second, Arrival { at: 10_500, tokens: None });
    }

    #[test]
    fn errors_name_their_place() {
        let error = |text: &str| read(text).unwrap_err();
        let csv = |rows: &str| error(&format!("{HEADER}{rows}"));
        assert!(error("").starts_with("t:1:1: expected a header"));
        assert!(csv("").starts_with("t:1:1: expected at least one request"));
        assert!(csv("yesterday,1,1\r\n").starts_with("t:2:1: expected a time like"));
        assert!(csv("2023-11-16 18:15:46,1,1\r\n2023-11-16 18:15:46,1,-4").starts_with("t:3:23: expected a whole"));
        assert!(csv("2023-11-16 18:15:46,NaN,1").starts_with("t:2:21: expected a whole"));
        assert!(csv("2023-11-16 18:15:46,1,99999999999999999999").starts_with("t:2:23: expected a whole"));
        assert!(csv("2023-11-16 18:15:46,1,1\r\n2024-11-16 18:15:46,1,1").starts_with("t:3:1: expected a time within"));
        assert_eq!(error("{\"ts\": 1}\n{\"ts\": -1}"), "t:2:10: JSON: expected a time in ms, 0 to 1e14");
        assert_eq!(error("{\"timestamp\": 1"), "t:1:15: JSON: EOF while parsing an object");
        assert_eq!(error("{\"when\": 1}"), "t:1:11: JSON: missing field `timestamp`");
        let tokens = "JSON: expected a whole number of tokens, 0 to 1000000";
        assert_eq!(error("{\"ts\": 1, \"input_length\": 1e9}"), format!("t:1:30: {tokens}"));
        assert_eq!(error("{\"ts\": 1, \"output_length\": 0.5}"), format!("t:1:31: {tokens}"));
    }
}
