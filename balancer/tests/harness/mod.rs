//! What the tests share: real servers and clients that show every byte, and waiting for conditions.

// Every test binary uses a part of it.
#![allow(dead_code)]

mod client;
pub mod upstream;

use std::time::{Duration, Instant};

use galileo_balancer::{Config, HopReceiver, Host, InProcessWeights, Running, hop_channel, start};
use galileo_wire::Hop;

use client::get;
pub use client::{Client, Response};
pub use upstream::Upstream;

/// Nothing here takes as long; it ends a test that would hang.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a future to its end.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, future).await })
        .expect("it ends in time")
}

/// A balancer with weights set by the test, and its hop records.
pub struct Front {
    pub balancer: Running,
    pub weights: InProcessWeights,
    pub hops: HopReceiver,
}

impl Front {
    pub fn start(services: &[(&str, &[(&Upstream, u32)])]) -> Self {
        Self::start_with(services, |_| {})
    }

    pub fn start_with(
        services: &[(&str, &[(&Upstream, u32)])],
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        let weights = InProcessWeights::new();
        for (service, replicas) in services {
            set(&weights, service, replicas);
        }
        let (sender, hops) = hop_channel(10_000);
        let mut config = Config::new("127.0.0.1:0".parse().expect("an address"), "n1");
        config.threads = 2;
        configure(&mut config);
        let balancer = start(config, weights.source(), sender).expect("the balancer starts");
        Self {
            balancer,
            weights,
            hops,
        }
    }

    pub fn client(&self) -> Client {
        Client::connect(self.balancer.addr())
    }

    pub fn get(&self, path: &str) -> Response {
        get(self.balancer.addr(), path)
    }

    pub fn set(&self, service: &str, replicas: &[(&Upstream, u32)]) {
        set(&self.weights, service, replicas);
    }

    /// The next hop record.
    pub fn hop(&mut self) -> Hop {
        block_on(self.hops.recv()).expect("the balancer runs")
    }

    pub fn stop(self, deadline: Duration) -> (usize, HopReceiver) {
        let drained = block_on(self.balancer.stop(deadline));
        (drained.left_in_flight, self.hops)
    }
}

fn set(weights: &InProcessWeights, service: &str, replicas: &[(&Upstream, u32)]) {
    let replicas = replicas
        .iter()
        .map(|(upstream, weight)| (Host::from(upstream.addr()), *weight));
    weights.set(service, replicas).expect("a service");
}
