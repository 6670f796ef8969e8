//! Sentinels.

use slotyard_servers::Sentinel;

fn fails_over(sentinels: usize) {
    let sentinel = Sentinel::with("primary", sentinels);
    assert_eq!((sentinel.name(), sentinel.urls().len()), ("primary", sentinels));
    let [first, second] = sentinel.servers() else { panic!("two servers were expected") };
    assert_eq!(sentinel.master(), first.address());
    first.command(&["SET", "key", "value"]);
    second.catch_up_with(first);
    assert_eq!(sentinel.fail_over(), second.address());
    assert_eq!(sentinel.master(), second.address());
    assert_eq!(second.command(&["GET", "key"]), "value");
    assert_eq!(second.command(&["SET", "key", "later"]), "OK");
    first.try_command(&["PING"]).unwrap_err();
    // And back. There is nobody to fail over to until then.
    first.restart();
    first.wait_for_master();
    first.catch_up_with(second);
    assert_eq!(sentinel.fail_over(), first.address());
    assert_eq!(first.command(&["GET", "key"]), "later");
}

#[test]
fn a_sentinel_names_the_replica_when_the_master_is_killed() {
    fails_over(1);
}

#[test]
fn three_sentinels_agree_on_it() {
    fails_over(3);
}
