//! Where the programs are that these tests run.
//!
//! Cargo builds programs for the integration tests of their own package only. With `cargo test --workspace` those are
//! built, too, and lie beside the folder of the test programs; with `cargo test -p galileo-tests` they are built here if
//! they are missing.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The program `galileo`.
#[must_use]
pub fn galileo() -> &'static Path {
    &programs().galileo
}

/// The server of the examples.
#[must_use]
pub fn server() -> &'static Path {
    &programs().server
}

/// The folder that programs of this profile are built into.
///
/// # Panics
///
/// If this is no test program that Cargo has built.
#[must_use]
pub fn folder() -> PathBuf {
    let own = env::current_exe().expect("a program has a path");
    let folder = own.parent().and_then(Path::parent);
    folder
        .expect("Cargo builds test programs into <profile>/deps")
        .to_owned()
}

struct Programs {
    galileo: PathBuf,
    server: PathBuf,
}

fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let programs = Programs {
            galileo: folder().join("galileo"),
            server: folder().join("galileo-example-server"),
        };
        if !programs.galileo.is_file() || !programs.server.is_file() {
            build();
        }
        programs
    })
}

fn build() {
    let folder = folder();
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        // The profile `dev` builds into `debug`.
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let target = folder.parent().expect("the profile's folder is in another");
    eprintln!("building galileo and galileo-example-server, which these tests run");
    let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--profile", profile])
        .args(["-p", "galileo", "-p", "galileo-example-server"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo can be started");
    assert!(
        built.success(),
        "these tests run galileo and galileo-example-server, which cannot be built: {built}"
    );
}
