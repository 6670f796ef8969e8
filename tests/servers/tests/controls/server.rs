//! One server.

use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, panic, thread};

use slotyard_servers::{Connection, Reply, Server, wait_until};

/// How long nothing must come for it to be nothing. More would not make a wrong test fail later, only a right one slower.
const SHORT: Duration = Duration::from_millis(150);

#[test]
fn a_server_does_what_it_is_told_and_is_gone_with_its_value() {
    let server = Server::start();
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}/", server.port()));
    assert_eq!(server.command(&["SET", "key", "a value"]), "OK");
    assert_eq!(server.command(&["GET", "key"]), "a value");
    assert_eq!(server.command(&["GET", "other"]), "(nil)");
    assert_eq!(server.command(&["INCR", "key"]), "-ERR value is not an integer or out of range");
    assert_eq!(server.command(&["RPUSH", "list", "a", "b"]), "2");
    assert_eq!(server.command(&["LRANGE", "list", "0", "-1"]), "a\nb");
    assert_eq!(server.try_command(&["GET", "key"]).unwrap(), Reply::Bulk(b"a value".to_vec()));
    server.flush();
    assert_eq!(server.command(&["DBSIZE"]), "0");
    let address = server.address();
    drop(server);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn nothing_is_saved_unless_told_to_and_directives_win_over_the_defaults() {
    let server = Server::start();
    assert_eq!(server.command(&["CONFIG", "GET", "save"]), "save\n");
    assert_eq!(server.command(&["CONFIG", "GET", "appendonly"]), "appendonly\nno");
    let folder = server.command(&["CONFIG", "GET", "dir"]);
    let other = Server::with(&[("save", "60 1"), ("maxmemory", "3mb"), ("notify-keyspace-events", "")]);
    assert_eq!(other.command(&["CONFIG", "GET", "save"]), "save\n60 1");
    assert_eq!(other.command(&["CONFIG", "GET", "maxmemory"]), "maxmemory\n3145728");
    assert_ne!(other.command(&["CONFIG", "GET", "dir"]), folder);
    assert_ne!(other.port(), server.port());
}

#[test]
fn a_password_is_in_the_url_and_sent_with_commands() {
    let server = Server::with(&[("requirepass", "secret")]);
    assert_eq!(server.url(), format!("redis://:secret@127.0.0.1:{}/", server.port()));
    assert_eq!(server.command(&["PING"]), "PONG");
    let mut stranger = Connection::open(server.address(), Duration::from_secs(10)).unwrap();
    assert_eq!(stranger.call(&["PING"]).unwrap(), Reply::Error("NOAUTH Authentication required.".to_owned()));
    let replica = Server::replica_of(&server);
    assert_eq!(replica.info("replication", "master_link_status").unwrap(), "up");
}

#[test]
fn who_cannot_start_says_why() {
    let failed = panic::catch_unwind(|| Server::with(&[("no-such-directive", "1")])).unwrap_err();
    let message = failed.downcast_ref::<String>().unwrap();
    assert!(message.contains("has ended") && message.contains("no-such-directive"), "{message}");
}

#[test]
fn a_server_that_was_killed_comes_back_where_it_was_and_without_data() {
    let server = Server::start();
    server.command(&["SET", "key", "value"]);
    let port = server.port();
    let mut connection = server.connect(Duration::from_secs(10)).unwrap();
    server.kill();
    connection.call(&["PING"]).unwrap_err();
    assert_eq!(server.try_command(&["PING"]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    server.kill();
    server.restart();
    assert_eq!(server.port(), port);
    assert_eq!(server.command(&["GET", "key"]), "(nil)");
    // One that runs is killed before.
    server.command(&["SET", "key", "value"]);
    server.restart();
    assert_eq!(server.command(&["GET", "key"]), "(nil)");
}

#[test]
fn what_was_written_to_files_is_kept_when_asked_for() {
    let server = Server::with(&[("appendonly", "yes"), ("appendfsync", "always")]);
    server.command(&["SET", "key", "value"]);
    server.restart_keeping_data();
    assert_eq!(server.command(&["GET", "key"]), "value");
    server.restart();
    assert_eq!(server.command(&["GET", "key"]), "(nil)");
}

#[test]
fn a_server_that_is_stopped_answers_when_it_goes_on() {
    let server = Server::start();
    let mut hasty = server.connect(SHORT).unwrap();
    let mut patient = server.connect(Duration::from_secs(10)).unwrap();
    for _ in 0..2 {
        hasty.call(&["PING"]).unwrap();
        server.pause();
        hasty.send(&["INCR", "counter"]).unwrap();
        assert_eq!(hasty.receive().unwrap_err().kind(), ErrorKind::TimedOut);
        // It can be connected to, all the same.
        let mut new = server.connect(SHORT).unwrap();
        assert_eq!(new.call(&["PING"]).unwrap_err().kind(), ErrorKind::TimedOut);
        patient.send(&["PING"]).unwrap();
        server.resume();
        assert_eq!(patient.receive().unwrap(), Reply::Simple("PONG".to_owned()));
        // That of before was not lost.
        hasty.receive().unwrap();
    }
    assert_eq!(server.command(&["GET", "counter"]), "2");
    server.pause();
    server.restart();
    assert_eq!(server.command(&["PING"]), "PONG");
    server.pause();
}

/// This program, to run one test that is ignored otherwise.
fn again(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).stdin(Stdio::piped());
    command
}

#[test]
fn a_missing_program_is_named() {
    // What is in the environment holds for all tests of a process: so in one of its own.
    let run = |program: Option<&str>| {
        let mut command = again("server::starting_a_server");
        match program {
            Some(program) => command.env("SLOTYARD_REDIS_SERVER", program),
            None => command.env_remove("SLOTYARD_REDIS_SERVER"),
        };
        let output = command.env("PATH", "/nowhere").output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let printed = run(None);
    assert!(printed.contains("redis-server was not found: apt-get install redis-server"), "{printed}");
    let printed = run(Some("no-such-server"));
    assert!(printed.contains("no-such-server could not be started"), "{printed}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_server_does_not_outlive_the_process_that_started_it() {
    // Its folder does.
    let folder = tempfile::tempdir().unwrap();
    let mut command = again("server::starting_a_server");
    let mut process = command.stdout(Stdio::piped()).env("TMPDIR", folder.path()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("listens at ")).unwrap();
    let address: SocketAddr = line.split_once("listens at ").unwrap().1.parse().unwrap();
    TcpStream::connect(address).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    wait_until("the server is gone", || TcpStream::connect(address).is_err());
}

#[test]
#[ignore = "other tests run it in a process of its own"]
fn starting_a_server() {
    // In a thread that does not live as long as the server.
    let server = thread::spawn(Server::start).join().unwrap();
    println!("listens at {}", server.address());
    // Until the other ends, or kills us.
    io::stdin().read_line(&mut String::new()).unwrap();
    assert_eq!(server.command(&["PING"]), "PONG");
}
