//! Runs a command as a replica on this machine and tells about it in lines of JSON.
//!
//! ```sh
//! cargo run --example replica -- --cpu 0.5 --cpus 1 -- ./server --verbose
//! cargo run --example replica -- --clean
//! ```
//!
//! It ends with the command, or on Ctrl-C or SIGTERM. The state folder is `--state`, else `./galileo-runs`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use galileo_experiment::local::{Error, LocalPlatform, Options, ReplicaSpec, clean, helper_main};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    if let Some(code) = helper_main() {
        return code;
    }
    let done = arguments(std::env::args().skip(1)).and_then(|arguments| {
        if arguments.clean {
            return remove_remains(&arguments.options);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        runtime
            .map_err(|error| error.to_string())?
            .block_on(run(arguments))
            .map_err(|error| error.to_string())
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    options: Options,
    spec: ReplicaSpec,
    clean: bool,
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        options: Options::new(format!("example-{}", std::process::id()), "galileo-runs"),
        spec: ReplicaSpec {
            name: "command-0".to_owned(),
            ..ReplicaSpec::default()
        },
        clean: false,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--run" => arguments.options.run_id = value()?,
            "--state" => arguments.options.state_dir = value()?.into(),
            "--parent" => arguments.options.cgroup_parent = Some(PathBuf::from(value()?)),
            "--cpu" => {
                arguments.spec.cpu_limit =
                    Some(value()?.parse().map_err(|_| "--cpu takes CPUs, e.g. 0.5")?);
            }
            "--cpus" => {
                let cpus: Result<Vec<u32>, _> = value()?.split(',').map(str::parse).collect();
                arguments.spec.cpus = cpus.map_err(|_| "--cpus takes numbers of CPUs, e.g. 0,1")?;
            }
            "--clean" => arguments.clean = true,
            "--" => break,
            _ => {
                return Err(format!(
                    "{word} is unknown; see the head of examples/replica.rs"
                ));
            }
        }
    }
    arguments.spec.argv = words.collect();
    Ok(arguments)
}

async fn run(arguments: Arguments) -> Result<(), Error> {
    let stopping = |source| Error::Io {
        doing: "listen for signals".to_owned(),
        source,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(stopping)?;
    let mut platform = LocalPlatform::open(arguments.options)?;
    let replica = platform.start(arguments.spec)?;
    let started = json!({
        "event": "started",
        "pid": replica.pid(),
        "cgroup": replica.cgroup().map(|cgroup| &cgroup.folder),
        "unseen": platform.visibility(),
    });
    println!("{started}");
    tokio::select! {
        _ = replica.wait() => {}
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    let own_cpu_ns = platform.own_usage()?.cpu_ns;
    let report = platform.stop(Duration::from_secs(5)).await;
    for stopped in &report.replicas {
        let ended = json!({
            "event": "ended",
            "exit": stopped.exit.map(|exit| exit.to_string()),
            "cpu_ns": stopped.usage.map(|usage| usage.cpu_ns),
            "own_cpu_ns": own_cpu_ns,
            "problems": report.problems,
        });
        println!("{ended}");
    }
    Ok(())
}

fn remove_remains(options: &Options) -> Result<(), String> {
    let report = clean(&options.state_dir, options.cgroup_parent.as_deref())
        .map_err(|error| error.to_string())?;
    for removed in &report.removed {
        println!(
            "{}",
            json!({"event": "removed", "run": removed.run_id, "problems": removed.problems})
        );
    }
    for run in &report.living {
        println!("{}", json!({"event": "living", "run": run}));
    }
    Ok(())
}
