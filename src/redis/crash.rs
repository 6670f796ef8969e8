//! Where a test has a process die or stop in the midst of a call.
//!
//! `SLOTYARD_TEST_CRASH` says where: `<script>:<before or after>:<which time>`, such as `create:after:2`, once the answer to
//! the second create has come and before it is read. With `:stop` at its end the process is stopped, until somebody has it
//! go on. That is in the build of this package's own tests only: they alone name the feature, as a dependency of the package on
//! itself. A profile would not do, since users build with debug assertions, too; nor would `cfg(test)`, which is not set where the
//! library is built for an integration test.

/// On which side of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Nothing of it was sent.
    Before,
    /// It was answered.
    After,
}

/// This is where it may happen: at a call of this script, or of `plain` commands.
#[cfg(not(feature = "_crash-points"))]
pub(super) fn crash_point(_: &str, _: When) {}

#[cfg(feature = "_crash-points")]
pub(super) use planned::crash_point;

#[cfg(feature = "_crash-points")]
mod planned {
    use std::process::Command;
    use std::sync::LazyLock;

    use super::When;
    use crate::sync::{Ordering, Sequence};

    struct Plan {
        script: String,
        when: When,
        time: u64,
        signal: &'static str,
        /// Times that there were.
        passed: Sequence,
    }

    static PLAN: LazyLock<Option<Plan>> = LazyLock::new(|| {
        let text = std::env::var("SLOTYARD_TEST_CRASH").ok()?;
        Some(plan(&text).unwrap_or_else(|| panic!("SLOTYARD_TEST_CRASH is not understood: {text}")))
    });

    fn plan(text: &str) -> Option<Plan> {
        let mut words = text.split(':');
        let script = words.next()?.to_owned();
        let when = match words.next()? {
            "before" => When::Before,
            "after" => When::After,
            _ => return None,
        };
        let time = words.next()?.parse().ok()?;
        let signal = match words.next() {
            None => "KILL",
            Some("stop") => "STOP",
            Some(_) => return None,
        };
        Some(Plan { script, when, time, signal, passed: Sequence::new(0) })
    }

    pub(in crate::redis) fn crash_point(script: &str, when: When) {
        let Some(plan) = &*PLAN else { return };
        // Relaxed: it only counts.
        if plan.script == script && plan.when == when && plan.passed.fetch_add(1, Ordering::Relaxed) + 1 == plan.time {
            // By the shell, whose own command it is: there is no safe function for it, and nothing is to be left that could
            // tidy up. A signal takes effect after it was sent, and this thread is not to go on before.
            let kill = format!("kill -{} {} && sleep 0.2", plan.signal, std::process::id());
            let sent = Command::new("sh").args(["-c", &kill]).status();
            assert!(sent.is_ok_and(|status| status.success()), "`{kill}` failed");
        }
    }

    #[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
    mod tests {
        use super::*;

        #[test]
        fn what_is_planned_is_understood_or_refused() {
            let kill = plan("create:after:2").unwrap();
            assert_eq!((&*kill.script, kill.when, kill.time, kill.signal), ("create", When::After, 2, "KILL"));
            assert_eq!(plan("plain:before:1:stop").unwrap().signal, "STOP");
            for text in ["", "create", "create:then:1", "create:after:x", "create:after:1:wait"] {
                assert!(plan(text).is_none(), "{text}");
            }
        }
    }
}
