//! A real server that answers every request alike.

use tempfile::TempDir;

use crate::{
    free_port,
    pod::{Pod, Process},
};

/// nginx with one worker in a pod of its own, which ends when this is dropped.
pub struct Nginx {
    _process: Process,
    /// Where it runs.
    pub pod: Pod,
    /// The port of 127.0.0.1 that it listens on.
    pub port: u16,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it, and waits until it answers: 200, with a short body.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    #[must_use]
    pub fn start() -> Self {
        let pod = Pod::new("nginx");
        let folder = tempfile::tempdir().expect("a folder for its files");
        let port = free_port();
        let process = pod.nginx(
            folder.path(),
            port,
            "location / { return 200 \"fine\\n\"; }",
        );
        Self {
            _process: process,
            pod,
            port,
            _folder: folder,
        }
    }
}
