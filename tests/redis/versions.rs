//! Servers of other versions, and other versions of their protocol.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use slotyard::{CoordinatorError, Demand, JobRequest, SharedError, SharedScheduler};
use slotyard_servers::Server;

use crate::{PATIENCE, instance_with, life, ready_node};

/// As much of an old server as is needed to be asked its version. It ends with the program.
fn old_server(version: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            std::thread::spawn(move || serve(client.unwrap(), version));
        }
    });
    url
}

fn serve(client: TcpStream, version: &str) -> Option<()> {
    let mut requests = BufReader::new(&client);
    loop {
        let words = number(&mut requests, '*')?;
        let words: Option<Vec<_>> = (0..words).map(|_| word(&mut requests)).collect();
        let info = format!("# Server\r\nredis_version:{version}\r\nrun_id:0123456789abcdef\r\n");
        let answer = match &*words?.first()?.to_uppercase() {
            "INFO" => format!("${}\r\n{info}\r\n", info.len()),
            "ROLE" => "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n".to_owned(),
            _ => "+OK\r\n".to_owned(),
        };
        (&client).write_all(answer.as_bytes()).ok()?;
    }
}

fn number(requests: &mut impl BufRead, kind: char) -> Option<usize> {
    let mut line = String::new();
    requests.read_line(&mut line).ok()?;
    line.trim_end().strip_prefix(kind)?.parse().ok()
}

fn word(requests: &mut impl BufRead) -> Option<String> {
    let mut bytes = vec![0; number(requests, '$')? + 2];
    requests.read_exact(&mut bytes).ok()?;
    String::from_utf8(bytes).ok().map(|text| text.trim_end().to_owned())
}

#[test]
fn a_server_that_is_too_old_is_refused_with_its_version() {
    for version in ["6.2.14", "5.0"] {
        let builder = SharedScheduler::builder(old_server(version)).call_timeout(Duration::from_millis(200));
        let shared = builder.build().unwrap();
        let expected = CoordinatorError::WrongVersion { found: version.to_owned() };
        assert_eq!(shared.blocking().wait_connected(Duration::from_secs(1)), Err(expected.clone()));
        assert!(!expected.is_transient() && !expected.outcome_is_unknown());
        // Whoever goes on all the same is told, and does not wait for longer than a call may take.
        let refused = shared.blocking().job_by_request("one").unwrap_err();
        assert_eq!(refused, expected);
        let refused = shared.blocking().create_job(&JobRequest::new("one", Demand::new())).unwrap_err();
        assert!(matches!(&refused, SharedError::Coordinator(error) if *error == expected), "{refused:?}");
    }
    let of_late = SharedScheduler::builder(old_server("7.0.0")).build().unwrap();
    let error = of_late.blocking().wait_connected(Duration::from_millis(500)).unwrap_err();
    assert!(!matches!(error, CoordinatorError::WrongVersion { .. }), "{error:?}");
}

#[test]
fn jobs_live_by_the_later_protocol_too_also_as_a_user_of_few_permissions() {
    let server = Server::start();
    let page = include_str!("../../src/docs/redis.md");
    let line = page.lines().find(|line| line.starts_with("ACL SETUSER ")).unwrap();
    assert_eq!(server.command(&line.split(' ').collect::<Vec<_>>()), "OK");
    for user in ["", "gateway:secret@"] {
        let url = format!("redis://{user}127.0.0.1:{}/?protocol=resp3", server.port());
        let builder = SharedScheduler::builder(&url).call_timeout(PATIENCE).poll_interval(Duration::from_millis(5));
        let shared = builder.build().unwrap();
        shared.blocking().wait_connected(PATIENCE).unwrap();
        let clients = server.command(&["CLIENT", "LIST"]);
        assert!(clients.contains("resp=3"), "{clients}");
        life(&shared, &url);
        // What the other says and sees is the same.
        let other = instance_with(&server, |builder| builder);
        let node = ready_node(&other, "others", 1);
        slotyard_servers::wait_until("the node is known", || shared.node("others").is_some());
        other.blocking().deregister(&node).unwrap();
        slotyard_servers::wait_until("it is known to be gone", || shared.node("others").is_none());
    }
}

#[cfg(not(feature = "redis-tls"))]
#[test]
fn a_url_that_this_was_not_built_for_says_what_is_missing() {
    for builder in [
        SharedScheduler::builder("rediss://127.0.0.1/"),
        SharedScheduler::builder("redis://127.0.0.1/").sentinels(["rediss://127.0.0.1/"], "master"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains("cargo feature `redis-tls`"), "{error}");
    }
}
