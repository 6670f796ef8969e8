//! The programs of examples, as their users run them.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

/// Where an example is built, beside the tests.
pub(crate) fn path(name: &str) -> PathBuf {
    let profile = profile();
    profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// Builds an example, with what cargo is told besides, for the profile that the tests have.
pub(crate) fn build(name: &str, more: &[&str]) {
    let profile = profile();
    let of_profile = profile.file_name().and_then(OsStr::to_str).expect("the name of the profile");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--example", name, "--profile", if of_profile == "debug" { "dev" } else { of_profile }])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "--target-dir"])
        .arg(profile.parent().expect("the target directory"))
        .args(more)
        .status();
    assert!(built.is_ok_and(|status| status.success()), "cargo build --example {name} {more:?}");
}

fn profile() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    test.ancestors().nth(2).expect("target/<profile>/deps/<test>").to_owned()
}
