//! Experiments as files for other programs.
//!
//! The files are data: every value stands in them as it was recorded. A path or a service's name came from outside, and
//! a spreadsheet takes a CSV cell that begins with `=`, `+`, `-` or `@` for a formula. Such a cell is not altered, because
//! programs, which these files are for, would then read what nobody recorded: import them as text, or use NDJSON.

mod rows;
mod sink;

use std::fs;
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt;
use galileo_wire::{Exchange, Hop, Trace};

use crate::Database;
use crate::error::{Error, Result};
use rows::Exportable;
use sink::Sink;

/// What the files of an export look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object on each line; what is absent is `null`.
    Ndjson,
    /// A line of names, then one line for each record (RFC 4180); what is absent is empty, several flags are joined by `|`.
    Csv,
}

impl Format {
    /// The files' extension.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }
}

/// The files of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Traces, hops, exchanges, in this order.
    pub files: Vec<ExportedFile>,
}

/// A file of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedFile {
    /// The file.
    pub path: PathBuf,
    /// How many records it has.
    pub rows: u64,
}

impl Database {
    /// Writes `traces`, `hops` and `exchanges` of an experiment, with the format's extension, into `folder`, which is made
    /// if it does not exist. Times are nanoseconds on `CLOCK_BOOTTIME`; the fields are those of the records.
    ///
    /// All three show the database as it was at one moment. Memory is bounded whatever their size. A file appears under
    /// its name when it is complete; files that exist are replaced only if `overwrite` says so, and otherwise nothing is
    /// written at all.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::FileExists`], [`Error::Export`] if a file cannot be written.
    pub async fn export(
        &self,
        id: &str,
        format: Format,
        folder: &Path,
        overwrite: bool,
    ) -> Result<Exported> {
        self.experiment(id).await?;
        fs::create_dir_all(folder).map_err(|source| Error::Export {
            path: folder.to_owned(),
            source,
        })?;
        let path = |name: &str| folder.join(name).with_extension(format.extension());
        let paths = [path(Trace::FILE), path(Hop::FILE), path(Exchange::FILE)];
        if let Some(path) = paths
            .iter()
            .find(|path| !overwrite && path.symlink_metadata().is_ok())
        {
            return Err(Error::FileExists(path.clone()));
        }

        let [traces, hops, exchanges] = paths;
        let mut snapshot = self.pool.begin().await.map_err(|error| self.error(error))?;
        let sinks = [
            self.fill::<Trace>(&mut snapshot, id, Sink::new(traces, format, Trace::FIELDS)?)
                .await?,
            self.fill::<Hop>(&mut snapshot, id, Sink::new(hops, format, Hop::FIELDS)?)
                .await?,
            self.fill::<Exchange>(
                &mut snapshot,
                id,
                Sink::new(exchanges, format, Exchange::FIELDS)?,
            )
            .await?,
        ];
        let files = sinks
            .into_iter()
            .map(|sink| sink.finish(overwrite))
            .collect::<Result<_>>()?;
        Ok(Exported { files })
    }

    async fn fill<T: Exportable>(
        &self,
        snapshot: &mut sqlx::SqliteConnection,
        id: &str,
        mut sink: Sink,
    ) -> Result<Sink> {
        let mut records = self.stream_on::<T>(snapshot, id);
        while let Some(record) = records.try_next().await? {
            sink.put(&record)?;
        }
        Ok(sink)
    }
}
