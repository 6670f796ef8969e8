//! A proxy in front of a server, which lets connections break where a test wants them to.

mod controls;
mod link;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use controls::Controls;

/// A proxy on a port of 127.0.0.1, which passes on what comes. All can be changed while connections are open. Dropping it
/// closes them, and ends its threads.
///
/// What it passes on are chunks: what one read of a socket has given. A client that writes a command in one piece, less than
/// 16 KiB, and waits for its answer before the next, makes it one chunk a command.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    controls: Arc<Controls>,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy in front of what listens, or will listen, at an address. A connection for which nothing does is closed.
    ///
    /// # Panics
    /// When the system gives no port or no thread.
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let controls = Arc::new(Controls::default());
        let accept = {
            let controls = Arc::clone(&controls);
            move || accept(&listener, server, &controls)
        };
        let accepting = thread::Builder::new().name("proxy".to_owned()).spawn(accept).expect("a thread can be started");
        Self { address, controls, accepting: Some(accepting) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as a client wants to have it.
    pub fn url(&self) -> String {
        format!("redis://{}/", self.address)
    }

    /// Lets everything take so much longer, in each direction: a round trip takes twice that more. However much is under way
    /// at a time, no chunk waits for another's delay. What has come before the call keeps the delay that was.
    pub fn delay(&self, delay: Duration) {
        self.controls.set(|state| state.delay = delay);
    }

    /// Closes all connections that are open. What has not passed is lost. One that a client has just opened, and has not used
    /// yet, may be spared.
    pub fn cut(&self) {
        self.controls.cut();
    }

    /// Whether new connections are closed at once. Those that are open stay.
    pub fn refuse(&self, refuse: bool) {
        self.controls.set(|state| state.refuse = refuse);
    }

    /// Whether what the server sends is dropped: it does what it is asked, and nobody learns of it. What is dropped does not
    /// come later.
    pub fn swallow_replies(&self, swallow: bool) {
        self.controls.set(|state| state.swallow = swallow);
    }

    /// Whether nothing passes, in either direction, until told otherwise; then all goes on, and nothing is lost. New
    /// connections come about, and nothing passes on them.
    pub fn hold(&self, hold: bool) {
        self.controls.set(|state| state.hold = hold);
    }

    /// Passes so many more chunks to the server, of whichever connections, and closes that of the last of them before
    /// anything of its answer passes. With 0, that of the next chunk, which does not reach the server. Then all is as before.
    ///
    /// The client sees its connection closed once the server has answered, or after three seconds if it does not: who has one
    /// request under way at a time knows that the server has done it.
    pub fn cut_after_request(&self, requests: u32) {
        self.controls.set(|state| state.requests_left = Some(requests));
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.controls.connections()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.controls.end();
        // So that it sees that it is to end. If it could not be woken it is not waited for either.
        if TcpStream::connect(self.address).is_ok()
            && let Some(accepting) = self.accepting.take()
        {
            // One of its threads has panicked, which was shown.
            let _ = accepting.join();
        }
    }
}

/// Until the proxy is dropped. Returns when the threads of all connections have ended.
fn accept(listener: &TcpListener, server: SocketAddr, controls: &Controls) {
    thread::scope(|scope| {
        for client in listener.incoming() {
            if controls.has_ended() {
                break;
            }
            // A connection that was closed before it was accepted is no reason to end.
            let Ok(client) = client else { continue };
            if !controls.refuses() {
                scope.spawn(move || link::serve(client, server, controls));
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::Due;
    use crate::{Connection, Server};

    #[test]
    fn a_delay_is_that_of_each_direction_at_least() {
        const DELAY: Duration = Duration::from_millis(60);
        let server = Server::start();
        let proxy = Proxy::to(server.address());
        let mut connection = Connection::open(proxy.address(), Duration::from_secs(10)).unwrap();
        connection.call(&["PING"]).unwrap();
        proxy.delay(DELAY);
        for _ in 0..3 {
            let back = Due::after(2 * DELAY);
            connection.call(&["PING"]).unwrap();
            assert!(back.left().is_zero(), "{:?} too early", back.left());
        }
        // Less again, and at once.
        proxy.delay(Duration::from_secs(3_600));
        proxy.delay(Duration::ZERO);
        connection.call(&["PING"]).unwrap();
    }
}
