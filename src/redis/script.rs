//! The scripts that run on the server: each with the pieces that it shares with others before it.

use std::sync::LazyLock;

/// A script, and the hash that the server knows it by.
pub(super) struct Script {
    pub(super) name: &'static str,
    pub(super) source: &'static str,
    pub(super) hash: LazyLock<String>,
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $shown:literal, $head:literal, [$($file:literal),*];)*) => {
        $(
            $(#[$doc])*
            pub(super) static $name: Script = Script {
                name: $shown,
                source: concat!($head, "\n", $(include_str!($file)),*),
                hash: LazyLock::new(|| redis::Script::new($name.source).get_hash().to_owned()),
            };
        )*

        /// All of them.
        #[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
        pub(super) const ALL: &[&Script] = &[$(&$name),*];
    };
}

// What takes memory for what is new is refused by a server that has reached its limit; what lets go of some, or keeps
// what there is alive, is not.
scripts! {
    HELLO = "hello", "#!lua flags=allow-oom", ["hello.lua"];
    CREATE = "create", "#!lua", ["reserve.lua", "time.lua", "create.lua"];
    CREATES = "creates", "#!lua", ["reserve.lua", "time.lua", "once.lua", "create.lua", "many.lua"];
    RETRY = "retry", "#!lua", ["lease.lua", "reserve.lua", "time.lua", "retry.lua"];
    ADVANCE = "advance", "#!lua flags=allow-oom", ["lease.lua", "time.lua", "advance.lua"];
    FINISH = "finish", "#!lua flags=allow-oom", ["lease.lua", "finish.lua"];
    RENEW = "renew", "#!lua flags=allow-oom", ["lease.lua", "time.lua", "renew.lua"];
    REGISTER = "register", "#!lua", ["slots.lua", "register.lua"];
    UPDATE = "update", "#!lua", ["time.lua", "slots.lua", "update.lua"];
    BEAT = "beat", "#!lua flags=allow-oom", ["time.lua", "beat.lua"];
    GLANCE = "glance", "#!lua flags=no-writes", ["time.lua", "glance.lua"];
    DEREGISTER = "deregister", "#!lua flags=allow-oom", ["slots.lua", "deregister.lua"];
    TAKE = "take", "#!lua", ["reserve.lua", "time.lua", "take.lua"];
    GIVE = "give", "#!lua flags=allow-oom", ["lease.lua", "give.lua"];
    MOVE = "move", "#!lua flags=allow-oom", ["lease.lua", "move.lua"];
    REBIND = "rebind", "#!lua", ["lease.lua", "rebind.lua"];
    ANNOUNCE = "announce", "#!lua flags=allow-oom", ["slots.lua", "time.lua", "announce.lua"];
    RESTORE = "restore", "#!lua", ["time.lua", "slots.lua", "restore.lua"];
}
