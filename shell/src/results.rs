//! From what is stored of a run to what is shown of it: the one path for fresh and for old runs.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, anyhow};
use galileo_analysis::{Insight, RunResult, analyse, insight};
use galileo_expdb::{Database, Status};
use galileo_report::{html, terminal};
use galileo_wire::{Capture, Sample};

use crate::failure::Advise;
use crate::session::Session;

/// Name of the report in the folder of a run.
pub const REPORT: &str = "report.html";

/// The results of a run and what they are made from.
pub struct Results {
    /// What the run was.
    pub capture: Capture,
    /// The documented results.
    pub result: RunResult,
    insight: Insight,
    samples: Vec<Sample>,
}

impl Results {
    /// Those of a stored run.
    pub async fn load(database: &Database, id: &str) -> anyhow::Result<Self> {
        match database.get_metadata::<Capture>(id).await? {
            Some(capture) => Self::of(database, capture).await,
            None => {
                let status = database.experiment(id).await?.status;
                let (why, help) = match status {
                    Status::Queued | Status::Running => (
                        "it is in progress, or was killed",
                        "`galileo clean` finds out and marks it",
                    ),
                    Status::Finished | Status::Failed | Status::Aborted => (
                        "it ended before anything was measured",
                        "`galileo export` gives what was recorded",
                    ),
                };
                Err(anyhow!("the run {id} has no results: {why}")).help(help)
            }
        }
    }

    /// Those of a run that was captured; its records are in the database.
    pub async fn of(database: &Database, capture: Capture) -> anyhow::Result<Self> {
        let id = &capture.id;
        let traces = database.traces(id).await?;
        let hops = database.hops(id).await?;
        let exchanges = database.exchanges(id).await?;
        let samples = database.samples(id).await?;
        let result = analyse(&capture, &traces, &hops, &exchanges);
        let insight = insight(&capture, &traces, &hops, &exchanges);
        Ok(Self {
            capture,
            result,
            insight,
            samples,
        })
    }

    /// The summary for a terminal.
    pub fn summary(&self, width: usize, colour: bool) -> String {
        terminal::summary(&self.result, &self.insight, &self.capture, width, colour)
    }

    /// The report.
    pub fn page(&self) -> String {
        html::page(&self.result, &self.insight, &self.capture, &self.samples)
    }

    /// Writes the report; who opens it meanwhile sees the old one or the new one.
    pub fn write_page(&self, path: &Path) -> anyhow::Result<()> {
        write_whole(path, self.page().as_bytes())
            .with_context(|| format!("cannot write the report {}", path.display()))
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    fs::create_dir_all(folder)?;
    if path.exists() && !path.is_file() {
        // A device such as /dev/stdout or a pipe cannot be replaced.
        return fs::write(path, bytes);
    }
    let mut file = tempfile::Builder::new()
        .prefix(".report-")
        // As any other file that a user makes: the umask decides who may read it.
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// Finds out early whether a report can be written there.
pub fn check_writable(path: &Path) -> anyhow::Result<()> {
    let folder = folder_of(path);
    if path.is_dir() {
        return Err(anyhow!("the report {} is a folder", path.display())).help("name a file in it");
    }
    fs::create_dir_all(folder)
        .and_then(|()| tempfile::tempfile_in(folder).map(drop))
        .with_context(|| format!("the report cannot be written to {}", folder.display()))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Deletes a run that is over: first its folder, so that one that cannot be removed still has a row that names it.
pub async fn delete_run(database: &Database, session: &Session, id: &str) -> anyhow::Result<()> {
    let folder = session.run_folder(id)?;
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", folder.display()));
        }
        _ => {}
    }
    Ok(database.delete(id).await?)
}

/// What came of deleting several runs: one that fails does not keep the others.
#[derive(Debug, Default)]
pub struct Deletion {
    problems: Vec<String>,
}

impl Deletion {
    /// Takes note of what came of a run; says whether it is gone.
    pub fn did(&mut self, id: &str, outcome: anyhow::Result<()>) -> bool {
        match outcome {
            Ok(()) => true,
            Err(error) => {
                self.problems.push(format!("{id} ({error:#})"));
                false
            }
        }
    }

    /// An error that names all that are left.
    pub fn end(self) -> anyhow::Result<()> {
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(anyhow!("not deleted: {}", self.problems.join("; ")))
            .help("they are still listed; delete them again when that is mended")
    }
}
