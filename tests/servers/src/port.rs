//! Ports of the loopback that nobody else takes as long as they are held, also while the server on them is down.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

/// The lowest port that is given out, and how many there are. Together with their bus ports they lie below those that the
/// system gives to whoever asks for any: else a client that reconnects to a server that is down could get the server's own
/// port, and be connected to itself, and the server could not come back.
const LOWEST: u16 = 10_000;
const COUNT: u16 = 12_768;
/// Where the nodes of a cluster talk to each other, above the port for clients.
const BUS: u16 = 10_000;
/// So many are looked at. If all of them are taken, so is almost everything.
const LOOKS: u32 = 1_000;

/// A port, held for the server that is to listen there.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// The same numbers for UDP, which a server has no use for: others that take ports in this way, be it in another
    /// process, see that they are held, and they are free again when the process dies.
    _held: Vec<UdpSocket>,
}

impl Port {
    /// A port on which nobody listens. Whether that is still so when the server starts, only the server can tell.
    ///
    /// # Panics
    /// When none is found.
    pub(crate) fn free(has_bus: bool) -> Self {
        (0..LOOKS).find_map(|_| Self::hold(drawn(), has_bus)).expect("no free port was found on the loopback")
    }

    fn hold(number: u16, has_bus: bool) -> Option<Self> {
        let numbers = [Some(number), has_bus.then_some(number + BUS)];
        let hold = |number| {
            let held = UdpSocket::bind(address(number)).ok()?;
            TcpListener::bind(address(number)).is_ok().then_some(held)
        };
        let held = numbers.into_iter().flatten().map(hold).collect::<Option<_>>()?;
        Some(Self { number, _held: held })
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn address(&self) -> SocketAddr {
        address(self.number)
    }
}

fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Chance from the keys of a hash map: several processes must not look at the same ports one after the other.
fn drawn() -> u16 {
    let offset = RandomState::new().hash_one(()) % u64::from(COUNT);
    LOWEST + u16::try_from(offset).expect("less than the count")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait;

    #[test]
    fn what_is_held_is_not_given_out_again_and_nor_is_where_somebody_listens() {
        let port = Port::free(true);
        let number = port.number();
        assert!(Port::hold(number, false).is_none() && Port::hold(number + BUS, false).is_none());
        drop(port);
        // A program that another test starts has, for a moment, what we have just closed.
        let listener = wait::poll(|| TcpListener::bind(address(number + BUS)).ok()).unwrap();
        assert!(Port::hold(number, true).is_none());
        assert!(wait::poll(|| Port::hold(number, false)).is_some());
        drop(listener);
    }

    #[test]
    fn all_ports_are_below_those_that_the_system_gives_out() {
        let highest = LOWEST + COUNT - 1 + BUS;
        assert_eq!(highest, 32_767);
    }
}
