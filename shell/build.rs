//! Tells the program which commit it was built from.

use std::path::Path;
use std::process::Command;

fn main() {
    // Grows with every commit. Absent outside a checkout, where naming it would run this script at every build.
    let log = "../.git/logs/HEAD";
    println!("cargo::rerun-if-changed=build.rs");
    if Path::new(log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    let commit = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |commit| commit.trim().to_owned());
    println!("cargo::rustc-env=GALILEO_COMMIT={commit}");
}
