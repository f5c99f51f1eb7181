//! `galileo`: see `galileo --help`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Before there are threads: a run starts this program again as the helper that becomes a replica, and as its guard.
    if let Some(code) = galileo_experiment::local::helper_main() {
        return code;
    }
    galileo::run(galileo::Cli::parse()).into()
}
