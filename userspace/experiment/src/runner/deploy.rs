//! Starting the replicas of a plan.

use tokio_util::sync::CancellationToken;

use super::{Error, Live, Stage};
use crate::{
    local::{self, LocalPlatform, Port, Replica},
    plan::{Plan, ReplicaPlan, ServicePlan},
};

/// A replica that runs, and what it was planned as.
pub(crate) struct Deployed {
    pub service: String,
    pub plan: ReplicaPlan,
    pub cpu_limit: Option<f64>,
    pub replica: Replica,
}

/// Starts all replicas, service by service, and waits until they are ready.
///
/// Replicas of services without a port start last: they are what shares the node with the others, and readiness of
/// those should not depend on them.
pub(crate) async fn deploy(
    platform: &mut LocalPlatform,
    plan: &Plan,
    live: &Live,
    cancel: &CancellationToken,
) -> Result<Vec<Deployed>, Error> {
    let mut deployed = Vec::new();
    let silent = |service: &&ServicePlan| {
        service
            .replicas
            .iter()
            .all(|replica| replica.port == Port::None)
    };
    let (silent, serving): (Vec<_>, Vec<_>) = plan.services.iter().partition(silent);
    for service in serving.into_iter().chain(silent) {
        for replica in &service.replicas {
            live.enter(Stage::Starting {
                replica: replica.name.clone(),
            });
            let running = platform.start(service.spec(replica))?;
            deployed.push(Deployed {
                service: service.name.clone(),
                plan: replica.clone(),
                cpu_limit: service.limits.cpu,
                replica: running,
            });
        }
        // Replicas of one service come up side by side.
        let first = deployed.len() - service.replicas.len();
        for Deployed { plan, replica, .. } in &deployed[first..] {
            live.enter(Stage::Starting {
                replica: plan.name.clone(),
            });
            replica
                .wait_ready(&service.health, service.ready_timeout, cancel)
                .await
                .map_err(cancelled)?;
        }
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
    }
    Ok(deployed)
}

fn cancelled(error: local::Error) -> Error {
    match error {
        local::Error::Cancelled => Error::Cancelled,
        error => Error::Platform(error),
    }
}
