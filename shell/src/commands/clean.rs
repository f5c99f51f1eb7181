//! `galileo clean`: what dead runs left, and old runs.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use galileo_expdb::{Database, Experiment, Status};
use galileo_experiment::file::TimeSpan;
use galileo_experiment::local;

use crate::exit::Exit;
use crate::output;
use crate::results::{Deletion, delete_run};
use crate::session::Session;

/// A run makes its experiment and, a moment later, its folder: one younger than this may be between the two.
const YOUNG: Duration = Duration::from_secs(60);

/// Remove what killed runs left behind: processes, cgroups; on request old runs, too
///
/// A run that is killed cleans up after itself as a rule; this is for what is left if its guard was killed as well. Runs in
/// progress are left alone. Runs that the database takes for running although they are dead are marked ABORTED.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  galileo clean
  galileo clean --older-than 30d
  galileo clean --older-than 12h --dry-run")]
pub struct Args {
    /// Delete runs older than this from the database, with their output and reports, e.g. 90d, 12h
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,

    /// Change nothing; say what would be done to runs of this database
    #[arg(long, short = 'n')]
    dry_run: bool,

    /// Look for cgroups below this one, as in `galileo run`
    #[arg(long, value_name = "DIR")]
    cgroup_parent: Option<PathBuf>,
}

/// Does it.
pub async fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let mut exit = Exit::Success;
    let mut told = Vec::new();
    let mut deletion = Deletion::default();
    let runs = session.runs_folder()?;
    let living = if args.dry_run {
        let found = local::remains(&runs)?;
        let left = |run| format!("would remove what is left of run {run}");
        told.extend(found.dead.iter().map(left));
        found.living
    } else {
        let report = local::clean(&runs, args.cgroup_parent.as_deref())?;
        if report.removed.iter().any(|run| !run.problems.is_empty()) {
            exit = Exit::Failure;
        }
        told.extend(report.removed.iter().map(ToString::to_string));
        report.living
    };
    told.extend(living.iter().map(|run| format!("run {run} is in progress")));
    if let Some(database) = session.database_if_any().await? {
        told.extend(mark(&database, &living, args.dry_run, session).await?);
        if let Some(age) = args.older_than {
            let old = old(&database, age, &living).await?;
            if args.dry_run {
                told.extend(old.iter().map(|id| format!("would delete run {id}")));
            } else {
                for id in &old {
                    if deletion.did(id, delete_run(&database, session, id).await) {
                        told.push(format!("deleted run {id}"));
                    }
                }
            }
        }
        database.close().await;
    }
    if told.is_empty() {
        told.push("Nothing to clean.".to_owned());
    }
    told.push(String::new());
    output::print(told.join("\n"))?;
    deletion.end()?;
    Ok(exit)
}

/// Marks the runs that are dead and not ended.
async fn mark(
    database: &Database,
    living: &[String],
    dry_run: bool,
    session: &Session,
) -> anyhow::Result<Vec<String>> {
    let now = unix_seconds();
    let runs = session.runs_folder()?;
    let is_dead = |experiment: &Experiment| {
        let age = now - experiment.clock.unix_seconds(experiment.created_ns);
        matches!(experiment.status, Status::Queued | Status::Running)
            && !living.contains(&experiment.id)
            // One that stores its last records has let go of its folder. It will overrule the mark when it ends.
            && (age > YOUNG.as_secs_f64() || runs.join(&experiment.id).is_dir())
    };
    let dead: Vec<String> = database
        .list()
        .await?
        .into_iter()
        .filter(is_dead)
        .map(|experiment| experiment.id)
        .collect();
    if !dry_run {
        database.mark_interrupted(&dead).await?;
    }
    let verb = if dry_run { "would mark" } else { "marked" };
    Ok(dead
        .iter()
        .map(|id| format!("{verb} run {id} as aborted"))
        .collect())
}

/// The runs that are older than that and over, the oldest first.
async fn old(database: &Database, age: Duration, living: &[String]) -> anyhow::Result<Vec<String>> {
    let limit = unix_seconds() - age.as_secs_f64();
    let is_old = |experiment: &Experiment| {
        !matches!(experiment.status, Status::Queued | Status::Running)
            && !living.contains(&experiment.id)
            && experiment.clock.unix_seconds(experiment.created_ns) < limit
    };
    let runs = database.list().await?.into_iter().rev();
    Ok(runs
        .filter(is_old)
        .map(|experiment| experiment.id)
        .collect())
}

fn unix_seconds() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// `30d`, or a time as experiment files have it.
fn age(text: &str) -> anyhow::Result<Duration> {
    if let Some(days) = text.strip_suffix('d') {
        let days: u32 = days
            .parse()
            .map_err(|_| anyhow!("'{text}' is no age; write for example 30d or 12h"))?;
        return Ok(Duration::from_secs(u64::from(days) * 24 * 3600));
    }
    Ok(text.parse::<TimeSpan>()?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_days_or_times() {
        assert_eq!(age("90d").ok(), Some(Duration::from_secs(90 * 86_400)));
        assert_eq!(age("12h").ok(), Some(Duration::from_secs(12 * 3600)));
        for text in ["d", "-1d", "1.5d", "30"] {
            assert!(age(text).is_err(), "{text}");
        }
    }
}
