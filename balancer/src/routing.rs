//! The table of services that all requests share, and the task that keeps it equal to a source of weights.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::sync::oneshot;

use crate::selector::Selector;
use crate::weights::{Host, WeightSource, Weights};

/// How long a name may take to be resolved.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);
/// When names that could not be resolved are tried again.
const RESOLVE_AGAIN: Duration = Duration::from_secs(5);

/// One place that answers requests of a service.
#[derive(Debug)]
pub(crate) struct Replica {
    pub host: Host,
    /// `host` as the value of a header.
    pub header: HeaderValue,
    /// Where it is; none if its name could not be resolved. Such a replica is not picked.
    pub addr: Option<SocketAddr>,
}

/// Replicas are the same if they have the same name, wherever it leads.
impl PartialEq for Replica {
    fn eq(&self, other: &Self) -> bool {
        self.host == other.host
    }
}

impl Replica {
    async fn new(host: Host) -> Self {
        let addr = resolve(&host).await;
        // A host is made of visible ASCII characters only, so that the empty value never stands here.
        let header = HeaderValue::from_str(host.as_str()).unwrap_or(HeaderValue::from_static(""));
        Self { host, header, addr }
    }
}

/// A service and where it is in the cycle of its weights.
#[derive(Debug, Default)]
pub(crate) struct Service {
    selector: Mutex<Selector<Arc<Replica>>>,
}

impl Service {
    /// The replica whose turn it is among those not yet `tried` for this request.
    pub fn pick(&self, tried: &[Arc<Replica>]) -> Option<Arc<Replica>> {
        self.selector()
            .pick(|replica| replica.addr.is_some() && !tried.contains(replica))
            .cloned()
    }

    /// Why nothing could be picked, for people.
    pub fn why_none(&self) -> &'static str {
        let selector = self.selector();
        let mut replicas = selector.members().peekable();
        if replicas.peek().is_none() {
            "it has no replicas"
        } else if replicas.all(|replica| replica.addr.is_none()) {
            "the names of its replicas cannot be resolved"
        } else {
            "the weights of its replicas are zero"
        }
    }

    /// Held for the time of one pick or update, tens of nanoseconds to microseconds.
    fn selector(&self) -> MutexGuard<'_, Selector<Arc<Replica>>> {
        // What a panic left behind is numbers in some state, and every state is a valid one.
        self.selector.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The services by name. Readers never wait; a service keeps its state for as long as it stays in the table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    services: ArcSwap<HashMap<String, Arc<Service>>>,
}

impl Table {
    pub fn service(&self, name: &str) -> Option<Arc<Service>> {
        self.services.load().get(name).cloned()
    }

    /// Follows a source until it ends; `ready` is dropped once the first table is in force.
    pub async fn follow(&self, mut source: impl WeightSource, ready: oneshot::Sender<()>) {
        let mut ready = Some(ready);
        let mut weights = None;
        let mut unresolved = false;
        loop {
            tokio::select! {
                next = source.next() => match next {
                    Some(next) => weights = Some(next),
                    None => return,
                },
                () = tokio::time::sleep(RESOLVE_AGAIN), if unresolved => {}
            }
            if let Some(weights) = &weights {
                unresolved = !self.apply(weights).await;
                tracing::info!(services = weights.services().len(), "weights are in force");
            }
            drop(ready.take());
        }
    }

    /// Puts weights in force; false if a name could not be resolved.
    async fn apply(&self, weights: &Weights) -> bool {
        let before = self.services.load_full();
        let mut services = HashMap::with_capacity(weights.services().len());
        let mut resolved = true;
        for (name, replicas) in weights.services() {
            let mut members = Vec::with_capacity(replicas.len());
            for (host, weight) in replicas {
                let replica = Replica::new(host.clone()).await;
                resolved &= replica.addr.is_some();
                members.push((Arc::new(replica), *weight));
            }
            let service = before.get(name).cloned().unwrap_or_default();
            service.selector().update(members);
            services.insert(name.clone(), service);
        }
        self.services.store(Arc::new(services));
        resolved
    }
}

/// Names are resolved when weights come in, never on the way of a request.
async fn resolve(host: &Host) -> Option<SocketAddr> {
    if let Ok(addr) = host.as_str().parse() {
        return Some(addr);
    }
    let problem =
        match tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(host.as_str())).await {
            Ok(Ok(addrs)) => {
                let addrs: Vec<_> = addrs.collect();
                // `localhost` is ::1 first on many machines, and most servers listen on 127.0.0.1 only.
                match addrs.iter().find(|addr| addr.is_ipv4()).or(addrs.first()) {
                    Some(addr) => return Some(*addr),
                    None => "it has no address".to_owned(),
                }
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {RESOLVE_TIMEOUT:?}"),
        };
    tracing::warn!(replica = %host, "the name cannot be resolved: {problem}; the replica is left out until it can");
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(services: &[(&str, &[(&str, u32)])]) -> Weights {
        let mut weights = Weights::default();
        for (name, replicas) in services {
            let replicas = replicas
                .iter()
                .map(|(host, weight)| (host.parse().expect("a host"), *weight))
                .collect();
            weights.set(name, replicas).expect("a service");
        }
        weights
    }

    fn picks(table: &Table, service: &str, count: usize) -> Vec<String> {
        let service = table.service(service).expect("the service is there");
        (0..count)
            .filter_map(|_| service.pick(&[]))
            .map(|replica| replica.host.to_string())
            .collect()
    }

    #[tokio::test]
    async fn a_service_keeps_its_place_in_the_cycle_when_others_come_and_go() {
        let table = Table::default();
        table
            .apply(&weights(&[(
                "web",
                &[("127.0.0.1:1", 9), ("127.0.0.1:2", 1)],
            )]))
            .await;
        let mut picked = Vec::new();
        for round in 0..100 {
            picked.extend(picks(&table, "web", 3));
            let other = format!("other-{round}");
            table
                .apply(&weights(&[
                    ("web", &[("127.0.0.1:1", 9), ("127.0.0.1:2", 1)]),
                    (&other, &[]),
                ]))
                .await;
        }
        assert_eq!(
            picked.iter().filter(|host| *host == "127.0.0.1:2").count(),
            30
        );
        assert!(table.service("other-98").is_none());
        assert!(table.service("other-99").is_some());
    }

    #[tokio::test]
    async fn a_replica_whose_name_leads_nowhere_is_left_out() {
        let table = Table::default();
        let resolved = table
            .apply(&weights(&[
                (
                    "web",
                    &[("no-such-name.invalid:80", 5), ("localhost:80", 1)],
                ),
                ("gone", &[("no-such-name.invalid:80", 1)]),
            ]))
            .await;
        assert!(!resolved);
        assert_eq!(picks(&table, "web", 3), ["localhost:80"; 3]);
        assert_eq!(picks(&table, "gone", 3), [""; 0]);
        assert_eq!(
            table.service("gone").expect("it is there").why_none(),
            "the names of its replicas cannot be resolved"
        );
    }

    #[tokio::test]
    async fn replicas_already_tried_are_not_picked_again() {
        let table = Table::default();
        table
            .apply(&weights(&[(
                "web",
                &[("127.0.0.1:1", 1), ("127.0.0.1:2", 1)],
            )]))
            .await;
        let service = table.service("web").expect("it is there");
        let first = service.pick(&[]).expect("two are there");
        let second = service
            .pick(std::slice::from_ref(&first))
            .expect("one is left");
        assert_ne!(first.host, second.host);
        assert!(service.pick(&[first, second]).is_none());
    }
}
