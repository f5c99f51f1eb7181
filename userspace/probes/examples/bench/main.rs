//! The measuring half of `cargo xtask bench probes`, which starts server and load around it. Prints one line of JSON.
//!
//! * `bench kept PORT SECONDS SETS`: attaches and detaches the probes, set of features by set (`network,all`), beside a load
//!   that runs all the time, and tells what part of the server's throughput was kept: see [`kept`].
//! * `bench recall PORT`: counts the exchanges of the server on that port, and has nginx count them: see [`recall`].
//!
//! The server is an nginx on 127.0.0.1 of the network namespace that this runs in; `/status` has its count of requests.

use std::error::Error;

#[path = "../bootstrap/mod.rs"]
mod bootstrap;
mod floor;
mod kept;
mod recall;
mod status;

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let told = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["kept", port, seconds, sets] => {
            let sets: Vec<_> = sets.split(',').map(str::parse).collect::<Result<_, _>>()?;
            kept::measure(port.parse()?, seconds.parse()?, &sets).await?
        }
        ["recall", port] => recall::count(port.parse()?).await?,
        _ => return Err("usage: bench kept PORT SECONDS SETS | bench recall PORT".into()),
    };
    println!("{told}");
    Ok(())
}
