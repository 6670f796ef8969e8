//! One connection through a proxy: two threads in each direction, one that reads and notes when that is to pass, one that
//! waits until then and writes. So however long that is, as much is under way as comes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use super::controls::{Controls, Link, Request};
use crate::wait::Due;

/// The most of one read.
const CHUNK: usize = 16 * 1024;
/// Under way in each direction, at most: who sends more waits.
const CHUNKS: usize = 4_096;
/// How long a server that is there may take to let one in.
const CONNECT: Duration = Duration::from_secs(5);

/// What was read, and when it is to pass. No bytes: nothing comes any more.
type Chunk = (Due, Vec<u8>);

/// Passes on what comes until both sides are closed. A client without a server behind the proxy is sent away.
pub(super) fn serve(client: TcpStream, server: SocketAddr, controls: &Controls) {
    let Ok(server) = TcpStream::connect_timeout(&server, CONNECT) else { return };
    let is_direct = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
    let link = Arc::new(Link { client, server });
    let (true, Some(number)) = (is_direct.is_ok(), controls.enter(&link)) else { return };
    thread::scope(|scope| {
        let (requests, passing) = mpsc::sync_channel(CHUNKS);
        scope.spawn(|| read(&link.client, requests, || controls.due()));
        scope.spawn(|| pass_requests(&link, passing, controls, number));
        let (replies, passing) = mpsc::sync_channel(CHUNKS);
        scope.spawn(|| read(&link.server, replies, || controls.answered(number)));
        pass_replies(&link, passing, controls, number);
    });
}

/// Reads until nothing comes any more, or nobody wants it.
fn read(mut from: &TcpStream, chunks: SyncSender<Chunk>, due: impl Fn() -> Due) {
    let mut buffer = vec![0; CHUNK];
    loop {
        // A connection that is broken ends as one that is closed.
        let length = from.read(&mut buffer).unwrap_or(0);
        if chunks.send((due(), buffer[..length].to_vec())).is_err() || length == 0 {
            return;
        }
    }
}

fn pass_requests(link: &Link, chunks: Receiver<Chunk>, controls: &Controls, number: u64) {
    for (due, bytes) in chunks {
        if !controls.wait(number, due) {
            return;
        }
        if bytes.is_empty() {
            // What is still to be answered is, and then the server closes its side.
            let _ = link.server.shutdown(Shutdown::Write);
            return;
        }
        let request = controls.request(number);
        if request == Request::Refuse || (&link.server).write_all(&bytes).is_err() {
            break;
        }
        if request == Request::PassLast {
            controls.wait_for_answer(number);
            break;
        }
    }
    controls.leave(number);
}

fn pass_replies(link: &Link, chunks: Receiver<Chunk>, controls: &Controls, number: u64) {
    for (due, bytes) in chunks {
        // A server that has closed its side does not listen either.
        if !controls.wait(number, due) || bytes.is_empty() {
            break;
        }
        if !controls.drops_reply(number) && (&link.client).write_all(&bytes).is_err() {
            break;
        }
    }
    controls.leave(number);
}
