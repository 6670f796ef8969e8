//! A proxy, before a real server.

use std::io::ErrorKind;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use slotyard_servers::{Connection, Proxy, Reply, Server, wait_until};

/// How long nothing must come for it to be nothing. More would not make a wrong test fail later, only a right one slower.
const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(10);

fn started() -> (Server, Proxy) {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    assert_eq!(proxy.url(), format!("redis://{}/", proxy.address()));
    (server, proxy)
}

fn connect(proxy: &Proxy, timeout: Duration) -> Connection {
    Connection::open(proxy.address(), timeout).unwrap()
}

/// A connection that has been used, so that the proxy has it.
fn used(proxy: &Proxy, timeout: Duration) -> Connection {
    let mut connection = connect(proxy, timeout);
    assert_eq!(connection.call(&["PING"]).unwrap().to_string(), "PONG");
    connection
}

fn counted(server: &Server) -> String {
    server.command(&["GET", "counter"])
}

fn wait_until_counted(server: &Server, count: &str) {
    wait_until("the server has counted", || counted(server) == count);
}

#[test]
fn all_passes_in_both_directions_however_much_it_is() {
    let (server, proxy) = started();
    let mut connection = connect(&proxy, LONG);
    let large = "x".repeat(5_000_000);
    assert_eq!(connection.call(&["SET", "key", &large]).unwrap().to_string(), "OK");
    assert_eq!(connection.call(&["GET", "key"]).unwrap(), Reply::Bulk(large.into_bytes()));
    assert_eq!(server.command(&["STRLEN", "key"]), "5000000");
    assert_eq!(proxy.connections(), 1);
    drop(connection);
    wait_until("it is closed", || proxy.connections() == 0);
}

#[test]
fn what_is_closed_on_one_side_is_closed_on_the_other() {
    let (server, proxy) = started();
    let mut connection = used(&proxy, LONG);
    assert_eq!(connection.call(&["QUIT"]).unwrap().to_string(), "OK");
    assert_eq!(connection.receive().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    let mut connection = used(&proxy, LONG);
    server.kill();
    assert_eq!(connection.receive().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    // Nobody is there.
    connect(&proxy, LONG).call(&["PING"]).unwrap_err();
    server.restart();
    used(&proxy, LONG);
}

#[test]
fn cut_closes_what_is_open_and_new_connections_come_about() {
    let (_server, proxy) = started();
    let mut connections = [used(&proxy, LONG), used(&proxy, LONG)];
    proxy.cut();
    for connection in &mut connections {
        assert_eq!(connection.receive().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
    assert_eq!(proxy.connections(), 0);
    used(&proxy, LONG);
}

#[test]
fn refused_are_new_connections_and_not_those_that_are_open() {
    let (_server, proxy) = started();
    let mut open = used(&proxy, LONG);
    proxy.refuse(true);
    connect(&proxy, LONG).call(&["PING"]).unwrap_err();
    open.call(&["PING"]).unwrap();
    proxy.refuse(false);
    used(&proxy, LONG);
}

#[test]
fn a_reply_that_is_swallowed_is_to_a_request_that_was_done() {
    let (server, proxy) = started();
    let mut connection = used(&proxy, SHORT);
    proxy.swallow_replies(true);
    assert_eq!(connection.call(&["INCR", "counter"]).unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(counted(&server), "1");
    proxy.swallow_replies(false);
    assert_eq!(connection.call(&["INCR", "counter"]).unwrap(), Reply::Integer(2));
}

#[test]
fn what_is_held_passes_later_in_either_direction() {
    let (server, proxy) = started();
    let mut connection = used(&proxy, SHORT);
    proxy.hold(true);
    assert_eq!(connection.call(&["INCR", "counter"]).unwrap_err().kind(), ErrorKind::TimedOut);
    let mut new = connect(&proxy, LONG);
    new.send(&["INCR", "counter"]).unwrap();
    assert_eq!(counted(&server), "(nil)");
    proxy.hold(false);
    new.receive().unwrap();
    connection.receive().unwrap();
    assert_eq!(counted(&server), "2");
    // A reply: its request has passed, and waits in the server.
    new.send(&["BLPOP", "list", "0"]).unwrap();
    wait_until("it waits", || server.info("clients", "blocked_clients").is_some_and(|count| count == "1"));
    proxy.hold(true);
    server.command(&["RPUSH", "list", "element"]);
    let (got, reply) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || got.send(new.receive().unwrap()).unwrap());
        reply.recv_timeout(SHORT).unwrap_err();
        proxy.hold(false);
        assert_eq!(reply.recv().unwrap().to_string(), "list\nelement");
    });
    // And what is held may be cut.
    let mut connection = used(&proxy, LONG);
    proxy.hold(true);
    connection.send(&["INCR", "counter"]).unwrap();
    proxy.cut();
    connection.receive().unwrap_err();
    proxy.hold(false);
    assert_eq!(counted(&server), "2");
}

#[test]
fn a_connection_is_cut_between_a_request_and_its_answer() {
    let (server, proxy) = started();
    let mut other = used(&proxy, LONG);
    for done in [1, 2] {
        server.flush();
        let mut connection = used(&proxy, LONG);
        proxy.cut_after_request(done);
        for _ in 1..done {
            connection.call(&["INCR", "counter"]).unwrap();
        }
        assert_eq!(connection.call(&["INCR", "counter"]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        // Not sooner than it was done.
        assert_eq!(counted(&server), done.to_string());
        other.call(&["PING"]).unwrap();
    }
    server.flush();
    let mut connection = used(&proxy, LONG);
    proxy.cut_after_request(0);
    connection.call(&["INCR", "counter"]).unwrap_err();
    assert_eq!(counted(&server), "(nil)");
    other.call(&["PING"]).unwrap();
}

#[test]
fn a_connection_is_cut_although_the_server_does_not_answer() {
    let (server, proxy) = started();
    let mut connection = used(&proxy, LONG);
    server.pause();
    proxy.cut_after_request(1);
    assert_eq!(connection.call(&["INCR", "counter"]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    server.resume();
    wait_until_counted(&server, "1");
}

#[test]
fn a_connection_is_not_cut_before_the_server_has_answered() {
    let (server, proxy) = started();
    let mut connection = used(&proxy, LONG);
    proxy.cut_after_request(1);
    connection.send(&["BLPOP", "list", "0"]).unwrap();
    wait_until("it waits", || server.info("clients", "blocked_clients").is_some_and(|count| count == "1"));
    server.command(&["RPUSH", "list", "element"]);
    assert_eq!(connection.receive().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(server.command(&["LLEN", "list"]), "0");
}

#[test]
fn however_late_what_passes_is_much_may_be_under_way() {
    const MANY: usize = 40;
    let (_server, proxy) = started();
    let [mut one, mut other] = [used(&proxy, LONG), used(&proxy, LONG)];
    proxy.delay(Duration::from_millis(50));
    // Each is a chunk of its own, there and back, whatever comes together.
    let large = "x".repeat(16 * 1024);
    let (done, first) = mpsc::channel();
    thread::scope(|scope| {
        // Many that do not wait for one another are done before some that do.
        let many = done.clone();
        scope.spawn(move || {
            (0..MANY).for_each(|_| one.send(&["ECHO", &large]).unwrap());
            (0..MANY).for_each(|_| drop(one.receive().unwrap()));
            many.send("many at a time").unwrap();
        });
        scope.spawn(move || {
            (0..MANY / 4).for_each(|_| drop(other.call(&["PING"]).unwrap()));
            done.send("one after the other").unwrap();
        });
        assert_eq!(first.recv().unwrap(), "many at a time");
    });
}

#[test]
fn a_proxy_that_is_dropped_closes_its_connections_and_ends_its_threads() {
    let (server, proxy) = started();
    let mut connections = [used(&proxy, LONG), used(&proxy, LONG)];
    let address = proxy.address();
    proxy.hold(true);
    proxy.delay(LONG);
    connections[0].send(&["PING"]).unwrap();
    drop(proxy);
    for connection in &mut connections {
        connection.receive().unwrap_err();
    }
    // A server that another test starts has, for a moment, what we have just closed.
    wait_until("nobody listens", || {
        Connection::open(address, LONG).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    assert_eq!(server.command(&["PING"]), "PONG");
}
