//! A file that appears when it is complete.

use std::fs::Permissions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::rows::Exportable;
use super::{ExportedFile, Format};
use crate::error::{Error, Result};

/// Where the rows of one file go: a temporary file beside the final one.
pub(super) struct Sink {
    path: PathBuf,
    rows: u64,
    writer: Writer,
}

enum Writer {
    Ndjson(BufWriter<NamedTempFile>),
    // It has a buffer of its own.
    Csv(Box<csv::Writer<NamedTempFile>>),
}

impl Sink {
    pub(super) fn new(path: PathBuf, format: Format, fields: &[&str]) -> Result<Self> {
        let open = || -> io::Result<Writer> {
            let file = tempfile::Builder::new()
                .prefix(".galileo-export-")
                // As a file made in the ordinary way: the umask takes away what it must.
                .permissions(Permissions::from_mode(0o666))
                .tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
            Ok(match format {
                Format::Ndjson => Writer::Ndjson(BufWriter::new(file)),
                Format::Csv => {
                    // The names are written here, so that a file without records has them too.
                    let mut csv = csv::WriterBuilder::new()
                        .has_headers(false)
                        .from_writer(file);
                    csv.write_record(fields)?;
                    Writer::Csv(Box::new(csv))
                }
            })
        };
        match open() {
            Ok(writer) => Ok(Self {
                path,
                rows: 0,
                writer,
            }),
            Err(source) => Err(Error::Export { path, source }),
        }
    }

    pub(super) fn put<T: Exportable>(&mut self, record: &T) -> Result<()> {
        let put = match &mut self.writer {
            Writer::Ndjson(file) => serde_json::to_writer(&mut *file, &record.fields())
                .map_err(io::Error::from)
                .and_then(|()| file.write_all(b"\n")),
            Writer::Csv(csv) => csv.serialize(record.flat_fields()).map_err(io::Error::from),
        };
        put.map_err(|source| self.error(source))?;
        self.rows += 1;
        Ok(())
    }

    /// Gives the file its name.
    pub(super) fn finish(self, overwrite: bool) -> Result<ExportedFile> {
        let Self { path, rows, writer } = self;
        let file = match writer {
            Writer::Ndjson(file) => file.into_inner().map_err(io::IntoInnerError::into_error),
            Writer::Csv(csv) => csv.into_inner().map_err(csv::IntoInnerError::into_error),
        };
        let named = file.and_then(|file| {
            file.as_file().sync_all()?;
            if overwrite {
                file.persist(&path)
            } else {
                file.persist_noclobber(&path)
            }
            .map_err(|error| error.error)
        });
        match named {
            Ok(_) => Ok(ExportedFile { path, rows }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::FileExists(path))
            }
            Err(source) => Err(Error::Export { path, source }),
        }
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Export {
            path: self.path.clone(),
            source,
        }
    }
}
