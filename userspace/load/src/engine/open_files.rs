//! Room for connections among the files that the process may have open.

use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::Error;

/// Open files left to the rest of the process.
const OTHERS: u64 = 256;

/// Connections that the running workloads of this process may have open, all together.
static RESERVED: Mutex<u64> = Mutex::new(0);

/// A share of the process' open files, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation(u64);

impl Reservation {
    /// Makes sure that so many connections can be open, raising the soft limit as far as that takes.
    pub(super) fn new(connections: u64) -> Result<Self, Error> {
        let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
        let needed = reserved.saturating_add(connections).saturating_add(OTHERS);
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        if current.is_some_and(|current| current < needed) {
            if let Some(limit) = maximum.filter(|maximum| *maximum < needed) {
                return Err(Error::OpenFiles { needed, limit });
            }
            setrlimit(
                Resource::Nofile,
                Rlimit {
                    current: Some(needed),
                    maximum,
                },
            )
            .map_err(|error| Error::System {
                doing: "raise the limit of open files",
                source: error.into(),
            })?;
        }
        *reserved += connections;
        Ok(Self(connections))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        *RESERVED.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_hard_limit_is_refused_with_what_to_do() {
        let Some(limit) = getrlimit(Resource::Nofile).maximum else {
            return;
        };
        let refused = Reservation::new(limit).unwrap_err().to_string();
        assert!(
            refused.contains(&format!(
                "the limit of this process is {limit}: raise it (`ulimit -n "
            )),
            "{refused}"
        );
    }

    #[test]
    fn a_soft_limit_is_raised_for_the_connections_to_come() {
        let first = Reservation::new(10).unwrap();
        let second = Reservation::new(20).unwrap();
        assert!(
            getrlimit(Resource::Nofile)
                .current
                .is_none_or(|current| current >= 30 + OTHERS)
        );
        drop((first, second));
    }
}
