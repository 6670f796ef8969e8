//! CSV read by column name, with the place of every field.

use std::str::FromStr;

use csv::{ReaderBuilder, StringRecord, Trim};

use super::{InputError, Source, quoted};

/// One row: the wanted columns in the order in which they were asked for.
pub(super) struct Row<'a> {
    source: &'a Source,
    record: &'a StringRecord,
    columns: &'a [usize],
    start: usize,
}

impl<'a> Row<'a> {
    pub(super) fn text(&self, column: usize) -> &'a str {
        self.record.get(self.columns[column]).unwrap_or_default()
    }

    /// The value of a column, when it can be parsed and `accept` takes it.
    pub(super) fn parse<T: FromStr>(
        &self,
        column: usize,
        expected: &str,
        accept: impl FnOnce(&T) -> bool,
    ) -> Result<T, InputError> {
        self.text(column).parse().ok().filter(accept).ok_or_else(|| self.expected(column, expected))
    }

    /// Where in the file it begins.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// An error at a column.
    pub(super) fn expected(&self, column: usize, expected: &str) -> InputError {
        let message = format!("expected {expected}, found {}", quoted(self.text(column)));
        self.source.error_at(field_start(self.source.text(), self.start, self.columns[column]), message)
    }
}

/// Calls `take` with every row of a table that has a header with these columns, among others and in any order.
pub(super) fn read(
    source: &Source,
    wanted: &[&str],
    mut take: impl FnMut(Row<'_>) -> Result<(), InputError>,
) -> Result<(), InputError> {
    let mut reader =
        ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(source.text().as_bytes());
    let mut record = StringRecord::new();
    let mut next = |record: &mut StringRecord| match reader.read_record(record) {
        Ok(true) => Ok(record.position().map(|position| record_start(source.text(), position.byte() as usize))),
        Ok(false) => Ok(None),
        Err(error) => {
            let at = error.position().map_or(0, |position| position.byte() as usize);
            Err(source.error_at(record_start(source.text(), at), format!("expected CSV: {error}")))
        }
    };
    let header = format!("a header with the columns {}", wanted.join(", "));
    if next(&mut record)?.is_none() {
        return Err(source.error(1, 1, format!("expected {header}, found an empty file")));
    }
    let fields = record.len();
    let column = |name: &&str| {
        let found = record.iter().position(|field| field == *name);
        found.ok_or_else(|| source.error(1, 1, format!("expected {header}, found no column {name:?}")))
    };
    let columns = wanted.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    while let Some(start) = next(&mut record)? {
        if record.len() != fields {
            let message = format!("expected {fields} fields as in the header, found {}", record.len());
            return Err(source.error_at(field_start(source.text(), start, fields.min(record.len())), message));
        }
        take(Row { source, record: &record, columns: &columns, start })?;
    }
    Ok(())
}

/// Where a record begins: the reader's positions stand before line ends that it has yet to skip.
fn record_start(text: &str, position: usize) -> usize {
    let rest = text.as_bytes().get(position..).unwrap_or_default();
    position + rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

/// Where a field of the record at `start` begins; the record's end when it has fewer.
fn field_start(text: &str, start: usize, field: usize) -> usize {
    let (mut before, mut in_quotes) = (field, false);
    for (at, byte) in text.bytes().enumerate().skip(start) {
        match byte {
            _ if before == 0 => return at,
            b'"' => in_quotes = !in_quotes,
            b',' if !in_quotes => before -= 1,
            b'\r' | b'\n' if !in_quotes => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Result<Vec<u32>, String> {
        let mut all = Vec::new();
        let source = Source::named("t", text);
        let rows = read(&source, &["n"], |row| {
            all.push(row.parse(0, "a number below 10", |n| *n < 10)?);
            Ok(())
        });
        rows.map(|()| all).map_err(|error| error.to_string())
    }

    #[test]
    fn columns_are_found_by_name_whatever_the_line_ends() {
        assert_eq!(numbers("a,n\r\nx,1\r\ny,2"), Ok(vec![1, 2]));
        assert_eq!(numbers("n,a\n 3 ,\n"), Ok(vec![3]));
        assert_eq!(numbers("n\n"), Ok(vec![]));
    }

    #[test]
    fn errors_name_their_place() {
        let error = |text| numbers(text).unwrap_err();
        assert_eq!(error(""), "t:1:1: expected a header with the columns n, found an empty file");
        assert_eq!(error("a,b\n"), "t:1:1: expected a header with the columns n, found no column \"n\"");
        assert_eq!(error("a,n\r\nx,1\r\n\"y,\",z"), "t:3:6: expected a number below 10, found \"z\"");
        assert_eq!(error("a,n\r\n\r\nx,-1\r\n"), "t:3:3: expected a number below 10, found \"-1\"");
        assert_eq!(error("a,n\nx\n"), "t:2:2: expected 2 fields as in the header, found 1");
        assert_eq!(error("a,n\nx,1,2\n"), "t:2:5: expected 2 fields as in the header, found 3");
    }
}
