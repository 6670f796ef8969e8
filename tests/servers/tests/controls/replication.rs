//! A master and its replica.

use slotyard_servers::Server;

#[test]
fn a_replica_has_the_data_and_can_become_a_master() {
    let master = Server::start();
    master.command(&["SET", "key", "value"]);
    let replica = Server::replica_of(&master);
    assert_eq!(replica.command(&["GET", "key"]), "value");
    master.command(&["SET", "key", "later"]);
    replica.catch_up_with(&master);
    assert_eq!(replica.command(&["GET", "key"]), "later");
    assert!(replica.command(&["SET", "key", "own"]).starts_with("-READONLY"));
    master.kill();
    replica.promote();
    assert_eq!(replica.command(&["SET", "key", "own"]), "OK");
    assert_eq!(replica.info("replication", "role").unwrap(), "master");
}
