//! How a command ended, as the exit code tells.

use std::process::ExitCode;

/// The exit codes of the program. `galileo --help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for is done; a run is valid.
    Success,
    /// It could not be done.
    Failure,
    /// The command line or an experiment file is wrong.
    Usage,
    /// It was done with reservations: a run is partial or not valid, a machine not fully fit.
    Reservations,
    /// It was interrupted by a signal.
    Interrupted,
}

impl Exit {
    /// Its number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Reservations => 3,
            // 128 + SIGINT, as shells have it.
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}
