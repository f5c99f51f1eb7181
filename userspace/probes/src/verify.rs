//! What a kernel's verifier says to each program, one by one and at any length: for those who change the programs, and for
//! kernels that refuse one.

use std::{fs, path::Path};

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    programs::{Program, ProgramError},
};
use rustix::{
    io::Errno,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use crate::{
    Error,
    attach::undisturbed,
    error::{chain, root_cause},
};

/// What the verifier says to one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Name of the program.
    pub program: String,
    /// Instructions that the verifier walked, of the million that it allows; none if it does not say.
    pub walked: Option<u32>,
    /// Why it is refused, with the verifier's log of the path that led there; none if it is taken.
    pub refused: Option<String>,
}

/// Asks the verifier about every program of the object at `path`, and attaches none.
///
/// Kernels tell how far they walked only since 5.16, except in the log of a load that fails. So the process is left
/// without free file descriptors meanwhile: a program that passes the verifier then fails for want of one. No other thread
/// may need a descriptor during this call.
///
/// # Errors
///
/// If the object cannot be read, or its maps cannot be made.
pub fn verify(path: &Path) -> Result<Vec<Verdict>, Error> {
    let object = fs::read(path).map_err(|source| Error::Object {
        path: path.to_owned(),
        source,
    })?;
    let mut brief = load(&object, VerifierLogLevel::STATS)?;
    let mut verdicts: Vec<Verdict> = brief
        .programs_mut()
        .map(|(name, program)| verdict(name, program))
        .collect();
    if verdicts.iter().any(|verdict| verdict.refused.is_some()) {
        // Once more, with the path.
        let mut full = load(&object, VerifierLogLevel::DEBUG | VerifierLogLevel::STATS)?;
        for verdict in &mut verdicts {
            if verdict.refused.is_some()
                && let Some(program) = full.program_mut(&verdict.program)
            {
                *verdict = self::verdict(&verdict.program, program);
            }
        }
    }
    Ok(verdicts)
}

fn load(object: &[u8], level: VerifierLogLevel) -> Result<Ebpf, Error> {
    EbpfLoader::new()
        .btf(None)
        .verifier_log_level(level)
        .load(object)
        .map_err(|error| Error::Load(chain(&error)))
}

fn verdict(name: &str, program: &mut Program) -> Verdict {
    let answer = without_descriptors(|| undisturbed(|| load_program(program)));
    let (walked, refused) = match answer {
        // Not for want of a descriptor: the limit does not bind here.
        Ok(()) => {
            let info = program.info().ok();
            (
                info.and_then(|info| info.verified_instruction_count()),
                None,
            )
        }
        Err(error) => {
            let log = match &error {
                ProgramError::LoadError { verifier_log, .. } => verifier_log.to_string(),
                _ => String::new(),
            };
            let taken = root_cause(&error)
                .downcast_ref::<std::io::Error>()
                .and_then(Errno::from_io_error)
                == Some(Errno::MFILE);
            (walked(&log), (!taken).then(|| chain(&error)))
        }
    };
    Verdict {
        program: name.to_owned(),
        walked,
        refused,
    }
}

/// Calls `what` while no file descriptor can be made.
fn without_descriptors<T>(what: impl FnOnce() -> T) -> T {
    let before = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(0),
        ..before
    };
    if let Err(error) = setrlimit(Resource::Nofile, none) {
        tracing::debug!(%error, "the limit of open files stays");
    }
    let result = what();
    if let Err(error) = setrlimit(Resource::Nofile, before) {
        tracing::warn!(%error, "the limit of open files cannot be restored");
    }
    result
}

fn load_program(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::RawTracePoint(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        Program::SockOps(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// The number in `processed 123 insns (limit 1000000) …`.
fn walked(log: &str) -> Option<u32> {
    let (_, rest) = log.rsplit_once("processed ")?;
    rest.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_count_in_a_log_is_the_verifiers() {
        let log = "processed nothing\n0: (b7) r0 = 0\nprocessed 77 insns (limit 1000000) max_states_per_insn 0\n";
        assert_eq!(walked(log), Some(77));
        assert_eq!(walked("R1 type=scalar expected=fp\n"), None);
    }
}
