//! Real Redis servers for tests, benchmarks and examples: each on a free port of the loopback, in a folder of its own, and
//! gone with the value that stands for it. And what goes wrong with them: servers that die, stop or lose their data, slots
//! that move, masters that change, connections that break at the worst moment.
//!
//! `redis-server` must be installed; `SLOTYARD_REDIS_SERVER` names another program that understands the same, such as
//! `valkey-server`. What does not work panics and says why, with the server's log: this is for tests.
//!
//! ```no_run
//! use slotyard_servers::{Proxy, Server};
//!
//! let server = Server::start();
//! assert_eq!(server.command(&["SET", "key", "value"]), "OK");
//! let proxy = Proxy::to(server.address());
//! proxy.swallow_replies(true); // whoever uses proxy.url() now does not learn what has come of a request
//! ```

mod cluster;
mod port;
mod process;
mod program;
mod proxy;
mod resp;
mod sentinel;
mod server;
mod wait;

pub use cluster::{Cluster, SLOTS};
pub use program::Program;
pub use proxy::Proxy;
pub use resp::{Connection, Reply};
pub use sentinel::Sentinel;
pub use server::Server;
pub use wait::wait_until;
