//! A small HTTP/1.1 server with a known amount of work per request, for the examples.
//!
//! Each of its threads serves its connections one request at a time, as an event loop does: a request that waits for
//! another's work is a wait inside the application. `SIGTERM` ends it at once, by the signal's default action.
//!
//! In reading order: [`options`], [`server`], [`connection`], [`head`] and [`body`] (what a request is), [`work`].

#![forbid(unsafe_code)]

mod body;
mod connection;
mod head;
mod options;
mod server;
mod work;

use std::process::ExitCode;

use clap::Parser;

use options::Options;

fn main() -> ExitCode {
    match server::run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
