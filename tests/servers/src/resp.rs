//! As much of a client as it takes to ask a server something: one connection, one answer after the other, RESP2.

use std::fmt;
use std::io::{self, BufRead, BufReader, Error, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What a server answers.
///
/// As text: an error is its line from the `-` on (`-ERR unknown command`), nothing is `(nil)`, bytes that are no UTF-8 are
/// replaced, and the elements of an array are lines, those of arrays in it as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A line, such as `OK`.
    Simple(String),
    /// The line of an error, without the `-`: `ERR unknown command`.
    Error(String),
    /// A number.
    Integer(i64),
    /// Bytes.
    Bulk(Vec<u8>),
    /// No value, or no array.
    Nil,
    /// Several answers.
    Array(Vec<Reply>),
}

impl Reply {
    /// The elements of an array; nothing for anything else.
    pub fn elements(&self) -> &[Reply] {
        if let Self::Array(elements) = self { elements } else { &[] }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simple(line) => f.write_str(line),
            Self::Error(line) => write!(f, "-{line}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Bulk(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
            Self::Nil => f.write_str("(nil)"),
            Self::Array(elements) => {
                for (n, element) in elements.iter().enumerate() {
                    write!(f, "{}{element}", if n > 0 { "\n" } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

/// A connection to a server or a proxy.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects. Each read and write may take as long as `timeout`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`receive`](Self::receive). That the server refuses the command is not one, but an answer.
    pub fn call(&mut self, command: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
        self.send(command)?;
        self.receive()
    }

    /// Sends a command, in one piece.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(&mut self, command: &[impl AsRef<[u8]>]) -> io::Result<()> {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for argument in command.iter().map(AsRef::as_ref) {
            bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            bytes.extend_from_slice(argument);
            bytes.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&bytes)
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    /// [`TimedOut`](ErrorKind::TimedOut) when there is none in time, after which the connection is of no more use;
    /// [`UnexpectedEof`](ErrorKind::UnexpectedEof) or another when it is broken;
    /// [`InvalidData`](ErrorKind::InvalidData) when what comes is no RESP2.
    pub fn receive(&mut self) -> io::Result<Reply> {
        // A read that timed out has a name of its own on some systems.
        let named =
            |error: Error| if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error };
        read(&mut self.stream).map_err(named)
    }
}

fn read(stream: &mut impl BufRead) -> io::Result<Reply> {
    let line = read_line(stream)?;
    let (kind, rest) = line.split_at_checked(1).ok_or_else(|| malformed(&line))?;
    let number = || rest.parse::<i64>().map_err(|_| malformed(&line));
    // A length below nothing stands for nothing at all.
    match kind {
        "+" => Ok(Reply::Simple(rest.to_owned())),
        "-" => Ok(Reply::Error(rest.to_owned())),
        ":" => number().map(Reply::Integer),
        "$" => usize::try_from(number()?).map_or(Ok(Reply::Nil), |length| read_bytes(stream, length)),
        "*" => usize::try_from(number()?).map_or(Ok(Reply::Nil), |length| {
            (0..length).map(|_| read(stream)).collect::<io::Result<_>>().map(Reply::Array)
        }),
        _ => Err(malformed(&line)),
    }
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    // Without its end it was the last that came.
    line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

fn read_bytes(stream: &mut impl BufRead, length: usize) -> io::Result<Reply> {
    let mut bytes = vec![0; length + 2];
    stream.read_exact(&mut bytes)?;
    bytes.truncate(length);
    Ok(Reply::Bulk(bytes))
}

fn malformed(line: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("no RESP2 begins with `{line}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(bytes: &[u8]) -> Result<Reply, ErrorKind> {
        read(&mut &*bytes).map_err(|error| error.kind())
    }

    #[test]
    fn each_kind_of_answer_is_read_and_shown() {
        let answers: [(&[u8], Reply, &str); 7] = [
            (b"+OK\r\n", Reply::Simple("OK".into()), "OK"),
            (b"-ERR no\r\n", Reply::Error("ERR no".into()), "-ERR no"),
            (b":-12\r\n", Reply::Integer(-12), "-12"),
            (b"$4\r\na\r\nb\r\n", Reply::Bulk(b"a\r\nb".into()), "a\r\nb"),
            (b"$-1\r\n", Reply::Nil, "(nil)"),
            (b"*-1\r\n", Reply::Nil, "(nil)"),
            (b"*0\r\n", Reply::Array(Vec::new()), ""),
        ];
        for (bytes, reply, text) in answers {
            assert_eq!(parsed(bytes), Ok(reply.clone()));
            assert_eq!(reply.to_string(), text);
        }
        let nested = parsed(b"*3\r\n:1\r\n*2\r\n$1\r\na\r\n$-1\r\n+z\r\n").unwrap();
        assert_eq!(nested.to_string(), "1\na\n(nil)\nz");
        assert_eq!(nested.elements()[0], Reply::Integer(1));
        assert_eq!(nested.elements()[0].elements(), []);
    }

    #[test]
    fn what_is_cut_short_or_no_answer_is_an_error() {
        for bytes in [&b""[..], b"+OK", b"$3\r\nab", b"*2\r\n:1\r\n"] {
            assert_eq!(parsed(bytes), Err(ErrorKind::UnexpectedEof), "{bytes:?}");
        }
        for bytes in [&b"\r\n"[..], b"OK\r\n", b":x\r\n", b"$\r\n"] {
            assert_eq!(parsed(bytes), Err(ErrorKind::InvalidData), "{bytes:?}");
        }
    }
}
