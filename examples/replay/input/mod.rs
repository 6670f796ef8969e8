//! Input files: read whole, unpacked if need be, and refused with the place of what is wrong.

mod fleet;
mod languages;
mod perf;
mod table;
mod trace;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

pub(crate) use fleet::{CLASSES, GPU_CLASSES, Machine};
pub(crate) use languages::{Languages, Locale, PIVOT, Pairs, primary};
pub(crate) use perf::{Curve, Perf, Point};
pub(crate) use trace::{Arrival, MAX_SPAN, Tokens};

/// No input is larger than this, unpacked: 4 GiB.
const MAX_BYTES: u64 = 4 << 30;

/// What is wrong with an input, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InputError {
    file: String,
    place: Option<(usize, usize)>,
    message: String,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for InputError {}

/// The text of an input file, and the name to call it by.
#[derive(Debug)]
pub(crate) struct Source {
    name: String,
    text: String,
}

impl Source {
    /// Reads a file; see [`Source::of`].
    pub(crate) fn read(path: &Path) -> Result<Self, InputError> {
        let unreadable = |error: std::io::Error| InputError {
            file: path.display().to_string(),
            place: None,
            message: format!("cannot be read: {error}"),
        };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        Self::of(path, bytes)
    }

    /// The content of a file; what starts like gzip is unpacked, whatever the file's name.
    pub(crate) fn of(path: &Path, mut bytes: Vec<u8>) -> Result<Self, InputError> {
        let mut source = Self { name: path.display().to_string(), text: String::new() };
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let packed = std::mem::take(&mut bytes);
            let unpacked = MultiGzDecoder::new(&packed[..]).take(MAX_BYTES + 1).read_to_end(&mut bytes);
            unpacked.map_err(|error| source.error(1, 1, format!("expected a whole gzip stream: {error}")))?;
        } else if path.extension().is_some_and(|extension| extension == "gz") {
            return Err(source.error(1, 1, "expected gzip, as the name says, found something else"));
        }
        if bytes.len() as u64 > MAX_BYTES {
            return Err(source.error(1, 1, format!("expected at most {MAX_BYTES} bytes, found more")));
        }
        source.text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                source.text = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
                return Err(source.error_at(valid, "expected UTF-8 text, found other bytes"));
            }
        };
        if let Some(text) = source.text.strip_prefix('\u{feff}') {
            source.text = text.to_owned();
        }
        Ok(source)
    }

    /// Text that is in memory already.
    #[cfg(test)]
    pub(crate) fn named(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.to_owned() }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// An error at a line and a column, both from 1; columns count characters.
    pub(crate) fn error(&self, line: usize, column: usize, message: impl Into<String>) -> InputError {
        InputError { file: self.name.clone(), place: Some((line, column)), message: message.into() }
    }

    /// An error at a byte offset.
    pub(crate) fn error_at(&self, offset: usize, message: impl Into<String>) -> InputError {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        self.error(1 + before.matches('\n').count(), 1 + before[line_start..].chars().count(), message)
    }

    /// What serde_json found wrong, whose message says what was expected; `lines_before` lines precede its text.
    pub(crate) fn json_error(&self, lines_before: usize, error: &serde_json::Error) -> InputError {
        let text = error.to_string();
        let message = match text.rfind(" at line ") {
            Some(end) => &text[..end],
            None => &text,
        };
        self.error(lines_before + error.line().max(1), error.column().max(1), format!("JSON: {message}"))
    }
}

/// A value as an error message quotes it: not longer than a line.
fn quoted(value: &str) -> String {
    const LONGEST: usize = 60;
    match value.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{:?}...", &value[..cut]),
        None => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters() {
        let source = Source::named("f", "äb\r\ncd\n");
        assert_eq!(source.error_at(0, "x").to_string(), "f:1:1: x");
        assert_eq!(source.error_at(2, "x").to_string(), "f:1:2: x");
        assert_eq!(source.error_at(6, "x").to_string(), "f:2:2: x");
        assert_eq!(source.error_at(99, "x").to_string(), "f:3:1: x");
    }
}
