//! A cluster.

use slotyard_servers::{Cluster, SLOTS};

#[test]
fn three_masters_answer_for_all_keys_and_slots_move_with_theirs() {
    let cluster = Cluster::start(3);
    let servers = cluster.servers();
    assert_eq!(cluster.urls().len(), 3);
    assert_eq!([0, 5_461, 10_922, SLOTS - 1].map(|slot| cluster.owner_of(slot)), [0, 1, 2, 2]);
    let mut keys = [0; 3];
    for n in 0..60 {
        let key = format!("key-{n}");
        let owner = cluster.owner_of(cluster.slot_of(&key));
        keys[owner] += 1;
        assert_eq!(servers[owner].command(&["SET", &key, "value"]), "OK");
        let other = servers[(owner + 1) % 3].command(&["GET", &key]);
        assert_eq!(other, format!("-MOVED {} 127.0.0.1:{}", cluster.slot_of(&key), servers[owner].port()));
    }
    assert!(keys.iter().all(|&count| count > 0), "{keys:?}");
    moves(&cluster);
    outlasts_its_data(&cluster);
}

/// A slot with more keys than are moved at a time.
fn moves(cluster: &Cluster) {
    let servers = cluster.servers();
    let slot = cluster.slot_of("{tag}");
    let from = cluster.owner_of(slot);
    let to = (from + 1) % 3;
    let key = |n: usize| format!("{{tag}}-{n}");
    for n in 0..250 {
        servers[from].command(&["SET", &key(n), &n.to_string()]);
    }
    cluster.begin_move(slot, from, to);
    assert_eq!(servers[from].command(&["GET", &key(7)]), "7");
    cluster.move_keys(slot, from, to);
    assert_eq!(servers[from].command(&["GET", &key(7)]), format!("-ASK {slot} 127.0.0.1:{}", servers[to].port()));
    assert_eq!(cluster.owner_of(slot), from);
    cluster.end_move(slot, from, to);
    assert_eq!(cluster.owner_of(slot), to);
    for n in 0..250 {
        assert_eq!(servers[to].command(&["GET", &key(n)]), n.to_string());
    }
    let moved = format!("-MOVED {slot} 127.0.0.1:{}", servers[to].port());
    for other in [from, 3 - from - to] {
        assert_eq!(servers[other].command(&["GET", &key(7)]), moved);
    }
    cluster.move_slot(slot, to, from);
    assert_eq!(servers[from].command(&["GET", &key(249)]), "249");
}

/// A master that is restarted has no keys, and is who it was.
fn outlasts_its_data(cluster: &Cluster) {
    let server = &cluster.servers()[0];
    let before = (server.command(&["CLUSTER", "MYID"]), cluster.owner_of(0));
    server.restart();
    cluster.wait_until_ok();
    assert_eq!((server.command(&["CLUSTER", "MYID"]), cluster.owner_of(0)), before);
    assert_eq!(server.command(&["DBSIZE"]), "0");
}
