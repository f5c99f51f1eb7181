//! `galileo list`: the experiments in the database.

use galileo_expdb::Experiment;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use crate::exit::Exit;
use crate::output::{self, Form};
use crate::session::Session;
use crate::text::{Side, columns, printable};

/// List the runs in the database, the newest first
///
/// Times are local. A run with status ABORTED was interrupted or killed; one that stays RUNNING although nothing runs is
/// found and marked by `galileo clean`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  galileo list
  galileo list --output json | jq -r '.[].id'")]
pub struct Args {
    /// Print a table or JSON
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    output: Form,
}

/// An experiment as JSON has it.
#[derive(Debug, Serialize)]
struct Listed<'e> {
    id: &'e str,
    name: &'e str,
    creator: &'e str,
    status: &'static str,
    /// RFC 3339 in UTC, as the other two.
    created: Option<String>,
    started: Option<String>,
    ended: Option<String>,
}

/// Does it.
pub async fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let database = if session.database_is_named() {
        Some(session.existing_database().await?)
    } else {
        session.database_if_any().await?
    };
    let experiments = match &database {
        Some(database) => database.list().await?,
        None => Vec::new(),
    };
    match args.output {
        Form::Json => {
            output::print_json(&experiments.iter().map(listed).collect::<Vec<_>>())?;
        }
        Form::Text if experiments.is_empty() => {
            output::print("No runs yet; `galileo run FILE` makes one.\n")?;
        }
        Form::Text => output::print(table(&experiments))?,
    }
    Ok(Exit::Success)
}

fn listed(experiment: &Experiment) -> Listed<'_> {
    let utc = |at_ns| time(experiment, at_ns).map(|time| format!("{time:.3}"));
    Listed {
        id: &experiment.id,
        name: &experiment.name,
        creator: &experiment.creator,
        status: experiment.status.as_str(),
        created: utc(experiment.created_ns),
        started: experiment.started_ns.and_then(utc),
        ended: experiment.ended_ns.and_then(utc),
    }
}

fn table(experiments: &[Experiment]) -> String {
    let zone = TimeZone::system();
    let heading = ["ID", "STARTED", "TOOK", "STATUS", "NAME"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heading)
        .chain(experiments.iter().map(|experiment| {
            let started_ns = experiment.started_ns.unwrap_or(experiment.created_ns);
            let started = time(experiment, started_ns).map_or_else(
                || "–".to_owned(),
                |time| {
                    time.to_zoned_datetime(zone.clone())
                        .strftime("%Y-%m-%d %H:%M:%S")
                        .to_string()
                },
            );
            let took = experiment.started_ns.zip(experiment.ended_ns).map_or_else(
                || "–".to_owned(),
                |(start, end)| length(end.saturating_sub(start)),
            );
            [
                printable(&experiment.id),
                started,
                took,
                experiment.status.as_str().to_owned(),
                printable(&experiment.name),
            ]
        }))
        .collect();
    columns(
        [Side::Left, Side::Left, Side::Right, Side::Left, Side::Left],
        &rows,
    )
}

fn time(experiment: &Experiment, at_ns: u64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(experiment.clock.unix_ns(at_ns))).ok()
}

/// `4.2 s`, `25 s`, `3 min 5 s`, `2 h 10 min`.
fn length(ns: u64) -> String {
    let seconds = ns as f64 / 1e9;
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_the_unit_that_suits_them() {
        let told = |seconds: f64| length((seconds * 1e9) as u64);
        assert_eq!(told(4.2), "4.2 s");
        assert_eq!(told(9.96), "10 s");
        assert_eq!(told(185.0), "3 min 5 s");
        assert_eq!(told(7_800.0), "2 h 10 min");
    }
}
