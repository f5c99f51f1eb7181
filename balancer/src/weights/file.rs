//! Weights in a file that others write.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{WeightSource, Weights};
use crate::Error;

/// How often the file is looked at.
const PERIOD: Duration = Duration::from_millis(500);

/// A file of weights, `{"<service>": {"ips": ["host:port", …], "weights": [1, …]}}`, read again twice a second.
///
/// Its content is compared, not its times: two changes can fall into one tick of the file system's clock, and what is
/// behind a symbolic link (as in a mounted `ConfigMap`) is exchanged without touching it. A file that is missing or not
/// usable changes nothing: the last good table stays and the reason is logged, once per content.
#[derive(Debug)]
pub struct FileWeights {
    path: PathBuf,
    period: Duration,
    /// What was read last, so that the same is neither parsed nor logged again; none if it could not be read.
    content: Option<Vec<u8>>,
    current: Weights,
    /// The current table was not handed out yet.
    fresh: bool,
}

impl FileWeights {
    /// Reads the file for the first time.
    ///
    /// # Errors
    ///
    /// [`Error::ReadWeights`] and [`Error::ParseWeights`]: at the start there is no good table to stay with.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let content = std::fs::read(&path).map_err(|error| Error::ReadWeights {
            path: path.clone(),
            error,
        })?;
        let current = parse(&path, &content)?;
        Ok(Self {
            path,
            period: PERIOD,
            content: Some(content),
            current,
            fresh: true,
        })
    }

    /// Takes in what was read; true if the table is another now.
    fn take(&mut self, read: std::io::Result<Vec<u8>>) -> bool {
        let content = match read {
            Ok(content) => content,
            Err(error) => {
                if self.content.take().is_some() {
                    self.keep(&Error::ReadWeights {
                        path: self.path.clone(),
                        error,
                    });
                }
                return false;
            }
        };
        if self.content.as_ref() == Some(&content) {
            return false;
        }
        let parsed = parse(&self.path, &content);
        self.content = Some(content);
        match parsed {
            Ok(weights) if weights == self.current => false,
            Ok(weights) => {
                self.current = weights;
                true
            }
            Err(error) => {
                self.keep(&error);
                false
            }
        }
    }

    fn keep(&self, error: &Error) {
        tracing::warn!(file = %self.path.display(), "{error}; the last good weights stay in force");
    }
}

impl WeightSource for FileWeights {
    async fn next(&mut self) -> Option<Weights> {
        while !std::mem::take(&mut self.fresh) {
            tokio::time::sleep(self.period).await;
            let read = tokio::fs::read(&self.path).await;
            self.fresh = self.take(read);
        }
        Some(self.current.clone())
    }
}

fn parse(path: &Path, content: &[u8]) -> Result<Weights, Error> {
    Weights::from_json(content).map_err(|reason| Error::ParseWeights {
        path: path.to_owned(),
        reason,
    })
}
