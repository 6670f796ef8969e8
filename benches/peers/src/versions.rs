//! Which versions of the peers were measured: those that this package's lock file names.

const LOCK: &str = include_str!("../Cargo.lock");
const PEERS: [&str; 5] = ["dynamo-kv-router", "tower", "pingora-load-balancing", "loadwise", "dashmap"];

/// `slotyard 0.1.0, beside tower 0.5.3, ...`
pub(crate) fn listed() -> String {
    let named = |name| format!("{name} {}", version(LOCK, name).unwrap_or("of unknown version"));
    format!("{}, beside {}", named("slotyard"), PEERS.map(named).join(", "))
}

/// The version that this package uses: named with the dependency where there are several, else the only one.
fn version<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let ours = package(lock, env!("CARGO_PKG_NAME"))?;
    let dependency = |line: &'a str| line.trim_start().strip_prefix('"')?.split('"').next();
    let named = ours.lines().filter_map(dependency).find(|words| words.split(' ').next() == Some(name))?;
    named.split(' ').nth(1).or_else(|| field(package(lock, name)?, "version"))
}

/// What the lock file says of the first package of this name.
fn package<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    lock.split("[[package]]").find(|text| field(text, "name") == Some(name))
}

fn field<'a>(package: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(" = \"")?.strip_suffix('"');
    package.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_is_in_the_lock_file() {
        for name in PEERS.into_iter().chain(["slotyard"]) {
            assert!(version(LOCK, name).is_some(), "{name}");
        }
        assert_eq!(version(LOCK, "tow"), None);
    }

    #[test]
    fn of_several_versions_ours_is_told() {
        let lock = |dependency: &str| {
            format!(
                "version = 4\n\n[[package]]\nname = \"map\"\nversion = \"5.0.0\"\n\n\
                 [[package]]\nname = \"{}\"\nversion = \"0.1.0\"\ndependencies = [\n \"{dependency}\",\n]\n",
                env!("CARGO_PKG_NAME")
            )
        };
        assert_eq!(version(&lock("map 6.0.0"), "map"), Some("6.0.0"));
        assert_eq!(version(&lock("map"), "map"), Some("5.0.0"));
        assert_eq!(version(&lock("other"), "map"), None);
    }
}
