//! One request on its way through the balancer, and the records of its hops.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use galileo_wire::Hop;
use galileo_wire::clock::boot_ns;

use crate::HopSender;
use crate::cause::Cause;
use crate::headers::Forwarded;
use crate::routing::{Replica, Service};

/// How many requests are between the end of their head and the end of their answer.
#[derive(Debug, Default)]
pub(crate) struct InFlight(AtomicUsize);

impl InFlight {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// What is known of one request. It counts as in flight while it lives.
#[derive(Debug)]
pub(crate) struct Passage {
    in_flight: Arc<InFlight>,
    hops: HopSender,
    start_ns: u64,
    pub request_id: Option<String>,
    /// The service in the path, also if there is none of that name.
    pub service_name: String,
    pub service: Option<Arc<Service>>,
    /// Path and query for the replica.
    pub path: Vec<u8>,
    /// Host for a request that has none.
    pub host: Option<http::HeaderValue>,
    /// The replica to ask now.
    pub replica: Option<Arc<Replica>>,
    /// Those that could not be connected to before it.
    pub tried: Vec<Arc<Replica>>,
    /// A kept connection turned out to be dead, and a fresh one is made: once per request.
    pub reconnected: bool,
    pub forwarded: Option<Forwarded>,
    attempt: u32,
    connect_ns: Option<u64>,
    first_byte_ns: Option<u64>,
    /// Why the balancer answers by itself, once it does.
    pub cause: Option<Cause>,
    /// The status the client was given.
    pub status: Option<u16>,
    recorded: bool,
}

impl Passage {
    /// Of a request whose head has just been read.
    pub fn begin(in_flight: &Arc<InFlight>, hops: &HopSender) -> Self {
        in_flight.0.fetch_add(1, Ordering::AcqRel);
        Self {
            in_flight: Arc::clone(in_flight),
            hops: hops.clone(),
            start_ns: boot_ns(),
            request_id: None,
            service_name: String::new(),
            service: None,
            path: Vec::new(),
            host: None,
            replica: None,
            tried: Vec::new(),
            reconnected: false,
            forwarded: None,
            attempt: 1,
            connect_ns: None,
            first_byte_ns: None,
            cause: None,
            status: None,
            recorded: false,
        }
    }

    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    pub fn connected(&mut self) {
        self.connect_ns = Some(boot_ns());
    }

    pub fn first_byte(&mut self) {
        self.first_byte_ns.get_or_insert_with(boot_ns);
    }

    /// Gives this attempt up for another one at `replica`. Its record has the status that the failure alone would have
    /// had.
    pub fn retry(&mut self, cause: Cause, replica: Arc<Replica>) {
        self.record(cause.status().unwrap_or(0), Some(cause));
        self.replica = Some(replica);
        self.attempt += 1;
        self.connect_ns = None;
        self.first_byte_ns = None;
        self.forwarded = None;
    }

    /// Records the last attempt. A status of 0 says that the client was given none.
    pub fn end(&mut self) {
        self.recorded = true;
        self.record(self.status.unwrap_or(0), self.cause);
    }

    fn record(&self, status: u16, cause: Option<Cause>) {
        if !self.hops.wanted() {
            return;
        }
        self.hops.send(Hop {
            request_id: self.request_id.clone(),
            service: self.service_name.clone(),
            replica: self
                .replica
                .as_ref()
                .map(|replica| replica.host.to_string()),
            attempt: self.attempt,
            start_ns: self.start_ns,
            connect_ns: self.connect_ns,
            first_byte_ns: self.first_byte_ns,
            end_ns: boot_ns(),
            status,
            cause: cause.map(|cause| cause.as_str().to_owned()),
        });
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if !self.recorded {
            // Pingora ends every request it finishes; what ends without was cut off by the end of the balancer.
            self.cause = Some(Cause::Stopped);
            self.end();
        }
        self.in_flight.0.fetch_sub(1, Ordering::AcqRel);
    }
}
