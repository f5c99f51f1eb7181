//! The measuring half of `cargo xtask corpus`, which starts servers and clients around it: tells, as JSON lines, every
//! exchange in which the server has one of the ports that are its arguments.
//!
//! It obeys the lines of its standard input: `sync` and ids of cgroups (answers with all exchanges so far, then `{"synced": …}`
//! with what the ledger counts of these cgroups, and of none), `pause` and `resume` (detach and attach the probes). It ends with its input.

use std::{
    collections::{BTreeMap, HashSet},
    error::Error,
    io::{BufRead, Write},
};

use galileo_probes::{
    Config, Exchange, Probes, Role,
    cgroup::{self, CgroupId},
};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let ports: HashSet<u16> = std::env::args()
        .skip(1)
        .map(|argument| argument.parse())
        .collect::<Result<_, _>>()?;
    let mut probes = Probes::load(&Config {
        // What is held against the truth is what each end sees by itself.
        each_end: true,
        ..Config::default()
    })?;
    let mut stream = probes.exchanges()?;
    let mount = cgroup::mount_point().ok_or("no cgroup2 is mounted")?;
    say(&json!({"ready": mount}))?;

    let (send, mut orders) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if send.blocking_send(line).is_err() {
                break;
            }
        }
    });
    let mut seen = Vec::new();
    loop {
        let order = tokio::select! {
            batch = stream.next_batch() => {
                seen.extend(batch?.iter().filter(|exchange| ports.contains(&server_port(exchange))));
                continue;
            }
            order = orders.recv() => order,
        };
        let mut words = order.as_deref().map(str::split_whitespace);
        match words.as_mut().map(|words| words.next().unwrap_or_default()) {
            Some("pause") => {
                probes.pause();
                say(&json!({"ready": mount}))?;
            }
            Some("resume") => {
                probes.resume()?;
                say(&json!({"ready": mount}))?;
            }
            Some("sync") => {
                loop {
                    let batch = stream.drain();
                    if batch.is_empty() {
                        break;
                    }
                    seen.extend(
                        batch
                            .iter()
                            .filter(|exchange| ports.contains(&server_port(exchange))),
                    );
                }
                for exchange in seen.drain(..) {
                    say(&told(&exchange))?;
                }
                let ids = words
                    .into_iter()
                    .flatten()
                    .map(|id| id.parse().map(CgroupId));
                let ids = ids.collect::<Result<Vec<_>, _>>()?;
                let counts: BTreeMap<_, _> = probes
                    .snapshot()?
                    .losses_of(&ids)
                    .into_iter()
                    .filter(|(_, count)| *count > 0)
                    .map(|(kind, count)| (kind.as_str(), count))
                    .collect();
                say(&json!({"synced": counts}))?;
            }
            Some(other) => return Err(format!("no such order: {other}").into()),
            None => return Ok(()),
        }
    }
}

fn server_port(exchange: &Exchange) -> u16 {
    match exchange.role {
        Role::Server => exchange.local.port(),
        Role::Client => exchange.remote.port(),
    }
}

fn told(exchange: &Exchange) -> Value {
    json!({
        "role": if exchange.role == Role::Server { "server" } else { "client" },
        "cgroup": exchange.cgroup.0,
        "local": exchange.local,
        "remote": exchange.remote,
        "method": exchange.method.as_str(),
        "path": exchange.path.as_str(),
        "status": exchange.status,
        "interim": exchange.interim,
        "request_bytes": exchange.request_bytes,
        "request_head_bytes": exchange.request_head_bytes,
        "request_body_bytes": exchange.request_body_bytes(),
        "response_bytes": exchange.response_bytes,
        "response_head_bytes": exchange.response_head_bytes,
        "response_body_bytes": exchange.response_body_bytes(),
        "id": exchange.request_id.as_deref(),
        "traceparent": exchange.traceparent.as_deref(),
        "flags": exchange.flag_names().collect::<Vec<_>>(),
        "start_ns": exchange.start_ns,
        "request_end_ns": exchange.request_end_ns,
        "first_byte_ns": exchange.first_byte_ns,
        "end_ns": exchange.end_ns,
    })
}

fn say(what: &Value) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{what}")?;
    output.flush()
}
