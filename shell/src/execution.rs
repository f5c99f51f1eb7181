//! A run from its plan to its report, as `galileo run` and `galileo record` have it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use galileo_experiment::plan::Plan;
use galileo_experiment::runner::{self, Options, Runner};
use galileo_wire::Capture;
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::failure::advised;
use crate::interrupt::Interrupts;
use crate::live;
use crate::output::{self, Form, tell};
use crate::results::{self, Results};
use crate::session::Session;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("GALILEO_COMMIT"), ")");
/// Between two looks at the run for those who watch it.
const FRAME: Duration = Duration::from_millis(200);

/// How a run is shown, and where its report goes.
pub struct Presentation {
    /// What the results are printed as.
    pub form: Form,
    /// Results only.
    pub quiet: bool,
    /// Path of the report; none for the folder of the run.
    pub report: Option<PathBuf>,
}

/// Carries a plan out and presents its results.
pub async fn execute(
    plan: Plan,
    cgroup_parent: Option<PathBuf>,
    presentation: Presentation,
    session: &Session,
) -> anyhow::Result<Exit> {
    if let Some(report) = &presentation.report {
        // Better to know now than after the run.
        results::check_writable(report)?;
    }
    let database = session.database().await?;
    if !presentation.quiet {
        tell(plan.plan_line());
    }
    let options = Options {
        data_dir: session.runs_folder()?,
        cgroup_parent,
        helper: std::env::current_exe().context("this program cannot find itself")?,
        command: command_line(),
        version: VERSION.to_owned(),
    };
    let runner = Runner::new(plan, options);
    let id = runner.id().to_owned();
    let folder = session.run_folder(&id)?;

    let interrupts = Interrupts::listen(session.screen())?;
    let ended = CancellationToken::new();
    let view = live::View::new(runner.live(), presentation.quiet, session);
    let shown = tokio::spawn(view.show(FRAME, ended.clone()));
    let outcome = runner.run(&database, interrupts.token()).await;
    ended.cancel();
    shown.await.context("the live view failed")?;

    let capture = match outcome {
        Ok(capture) => capture,
        Err(runner::Error::Cancelled) if interrupts.came() => {
            tell("Interrupted before anything was measured.");
            return Ok(Exit::Interrupted);
        }
        Err(error) => return Err(explained(error, &folder)),
    };
    interrupts.run_is_over();
    let results = Results::of(&database, capture).await?;
    database.close().await;
    // The results first: they are there even if the report cannot be written.
    match presentation.form {
        Form::Text => output::print(results.summary(session.width(), session.colour()))?,
        Form::Json => output::print_json(&results.result)?,
    }
    let report = presentation
        .report
        .unwrap_or_else(|| folder.join(results::REPORT));
    results.write_page(&report)?;
    let place = format!("Report: {}", report.display());
    match presentation.form {
        Form::Text if has_output(&folder) => {
            output::print(format!("\nOutput: {}\n{place}\n", folder.display()))?;
        }
        Form::Text => output::print(format!("\n{place}\n"))?,
        Form::Json if presentation.quiet => {}
        Form::Json => tell(place),
    }
    Ok(verdict(
        &results.capture,
        results.result.valid,
        interrupts.came(),
    ))
}

fn verdict(capture: &Capture, valid: bool, interrupted: bool) -> Exit {
    match (interrupted && capture.partial, valid && !capture.partial) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Success,
        (false, false) => Exit::Reservations,
    }
}

/// What the programs printed may tell most about a run that did not come about.
fn explained(error: runner::Error, folder: &Path) -> anyhow::Error {
    let failed = match error {
        runner::Error::Cancelled => anyhow!("the run ended before anything could be measured"),
        error => anyhow::Error::new(error).context("the run has measured nothing"),
    };
    if has_output(folder) {
        let help = format!("what its programs printed is in {}", folder.display());
        return advised(failed, help);
    }
    failed
}

/// Whether a program printed anything; the platform keeps that in files of these extensions.
fn has_output(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let extension = entry.path().extension().map(ToOwned::to_owned);
        extension.is_some_and(|extension| extension == "out" || extension == "err")
            && entry.metadata().is_ok_and(|metadata| metadata.len() > 0)
    })
}

/// The command line that repeats this run.
fn command_line() -> String {
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    shell_words::join(words)
}
