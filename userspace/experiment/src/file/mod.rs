//! The experiment file: what runs where, and under which load.
//!
//! A file is read once, into [`ExperimentFile`]: typed, checked, with defaults filled in. Whatever is wrong with it comes
//! back as one [`FileError`] that names every problem by line and column. `docs/experiment-file.md` is its reference.
//!
//! ```
//! use galileo_experiment::file::ExperimentFile;
//!
//! let text = "duration: 1s\nservices: {web: {command: ./server, replica: 2}}";
//! let error = ExperimentFile::parse("quickstart.yaml".as_ref(), text).unwrap_err();
//! assert!(error.to_string().starts_with("quickstart.yaml:2:37: unknown key 'replica'; did you mean 'replicas'?"));
//! ```
//!
//! Reading order: [`spec`] (the types), `tree` (text to nodes), `decode` (nodes to values, with every problem noted),
//! `document`, `service` and `workload` (the sections), `problem` (how problems are told), `mask` (the text without
//! secrets).

mod decode;
mod document;
mod keys;
mod mask;
pub(crate) mod name;
pub(crate) mod nearest;
mod problem;
mod secret;
mod service;
pub mod spec;
mod template;
mod tree;
mod units;
mod workload;

use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use problem::{FileError, Problem, Problems};
pub use secret::{MASK, Secret};
pub use spec::ExperimentFile;
pub use template::TEMPLATE;
pub use units::{Memory, TimeSpan, UnitError};

/// An experiment file of a thousand services is smaller; what is larger is another kind of file.
const MAX_BYTES: u64 = 1 << 20;

impl ExperimentFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, is larger than 1 MiB, is no UTF-8 text, or is wrong; in the last case the error holds
    /// everything that is wrong with it.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let failed = |source| FileError::Read {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
            .map_err(failed)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(FileError::TooLarge {
                path: path.to_owned(),
            });
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let sound = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = sound.iter().filter(|byte| **byte == b'\n').count() + 1;
            FileError::NotText {
                path: path.to_owned(),
                line,
            }
        })?;
        Self::parse(path, &text)
    }

    /// Checks a text. `path` is where it is from: it is named in problems, its folder is what relative paths in the text
    /// count from, and its stem is the experiment's name if the text has none. Nothing is read from disk.
    ///
    /// # Errors
    ///
    /// As [`ExperimentFile::read`], but for those of reading.
    pub fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        if text.len() as u64 > MAX_BYTES {
            return Err(FileError::TooLarge {
                path: path.to_owned(),
            });
        }
        document::read(path, text)
    }

    /// The file's text with the values of environment variables, and of request headers that carry credentials, as
    /// `***`: what may be stored with a run and shown in its report. Comments stay as they are.
    ///
    /// It is still a valid experiment file, equal to this one but for those values.
    #[must_use]
    pub fn masked_source(&self) -> &str {
        &self.masked_source
    }
}
