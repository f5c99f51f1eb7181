//! What a replica prints: files of the run.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// At most this much of the end of a file is read for a message.
const TAIL_BYTES: u64 = 8 * 1024;

/// The files that a replica's output is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: PathBuf,
    /// Standard error.
    pub stderr: PathBuf,
}

impl Output {
    pub(crate) fn of(run_folder: &Path, name: &str) -> Self {
        Self {
            stdout: run_folder.join(format!("{name}.out")),
            stderr: run_folder.join(format!("{name}.err")),
        }
    }

    pub(crate) fn create(&self) -> io::Result<(File, File)> {
        // Appending, so that a file that is cut short (logrotate, an impatient user) is not filled up with zeros.
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        Ok((open(&self.stdout)?, open(&self.stderr)?))
    }

    /// The last lines of standard error, or of standard output if there is nothing; empty if nothing was printed.
    #[must_use]
    pub fn last_lines(&self, count: usize) -> String {
        [&self.stderr, &self.stdout]
            .into_iter()
            .filter_map(|path| tail(path, count).ok())
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    }
}

fn tail(path: &Path, count: usize) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    Ok(lines[lines.len().saturating_sub(count)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn last_lines_are_those_of_standard_error_if_there_are_any() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let output = Output::of(folder.path(), "web-0");
        assert_eq!(output.last_lines(3), "");
        fs::write(&output.stdout, "ready\n").expect("the folder is there");
        assert_eq!(output.last_lines(3), "ready");
        fs::write(&output.stderr, "1\n2\n3\n4\n\n").expect("the folder is there");
        assert_eq!(output.last_lines(3), "2\n3\n4");
    }

    #[test]
    fn long_output_is_read_from_its_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let output = Output::of(folder.path(), "web-0");
        fs::write(&output.stderr, format!("{}\nend", "x".repeat(100_000)))
            .expect("the folder is there");
        assert_eq!(output.last_lines(1), "end");
        assert!(output.last_lines(9).len() as u64 <= TAIL_BYTES);
    }
}
