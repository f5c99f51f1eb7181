//! The plan of a command that is only watched.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::{Host, Plan, ReplicaPlan, ServicePlan, resolved};
use crate::file::name::sanitised;
use crate::file::spec::{DEFAULT_STORED_EXCHANGES, Limits, Telemetry};
use crate::local::{Health, Port};

/// Why a command cannot be recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// There is no command.
    #[error(
        "there is no command to record; write it behind '--', as in 'galileo record -- ./server --port 8080'"
    )]
    NoCommand,
    /// A word of it, or the working directory, cannot be passed on.
    #[error("'{0}' is not UTF-8; only commands and folders that are can be recorded")]
    NotText(String),
}

/// The plan of `galileo record -- COMMAND…`: one service without port and load, named after the program, watched for
/// `duration` or until it ends. The experiment has the service's name if `name` is none. Relative paths count from
/// `cwd`, which is also where the command runs.
///
/// # Errors
///
/// There is no command, or it is not UTF-8.
pub fn record_plan(
    command: &[OsString],
    duration: Option<Duration>,
    name: Option<String>,
    telemetry: Telemetry,
    cwd: &Path,
    host: &Host,
) -> Result<Plan, RecordError> {
    let as_text = |word: &OsString| {
        word.to_str()
            .map(str::to_owned)
            .ok_or_else(|| RecordError::NotText(word.to_string_lossy().into_owned()))
    };
    let mut argv = command.iter().map(as_text).collect::<Result<Vec<_>, _>>()?;
    let program = argv
        .first_mut()
        .filter(|program| !program.is_empty())
        .ok_or(RecordError::NoCommand)?;
    let file_name = program.rsplit('/').next().unwrap_or_default();
    let service = sanitised(file_name).unwrap_or_else(|| "app".to_owned());
    *program = resolved(program, cwd)
        .ok_or_else(|| RecordError::NotText(cwd.to_string_lossy().into_owned()))?;
    let replica = ReplicaPlan {
        name: format!("{service}-0"),
        node: host.name.clone(),
        cpus: None,
        port: Port::None,
        weight: 1,
    };
    Ok(Plan {
        name: name.unwrap_or_else(|| service.clone()),
        nodes: BTreeMap::from([(host.name.clone(), host.cpus.iter().copied().collect())]),
        services: vec![ServicePlan {
            name: service,
            replicas: vec![replica],
            argv,
            cwd: cwd.to_owned(),
            env: BTreeMap::new(),
            health: Health::Tcp,
            ready_timeout: Duration::from_secs(30),
            limits: Limits::default(),
        }],
        workloads: Vec::new(),
        warmup: Duration::ZERO,
        observe: duration,
        telemetry,
        stored_exchanges: DEFAULT_STORED_EXCHANGES,
        file: String::new(),
    })
}
