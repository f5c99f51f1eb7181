//! The fields of exported records.

use std::net::IpAddr;

use galileo_wire::{Exchange, Hop, Trace};
use serde::Serialize;

use crate::tables::{Stored, outcome_words};

/// A record that has a file in an export.
pub(crate) trait Exportable: Stored {
    /// The file's name without extension.
    const FILE: &'static str;
    /// The names of the fields, in order.
    const FIELDS: &'static [&'static str];

    /// The record's fields for a format that has lists.
    fn fields(&self) -> impl Serialize;

    /// The record's fields for a format that has none.
    fn flat_fields(&self) -> impl Serialize {
        self.fields()
    }
}

#[derive(Serialize)]
struct TraceFields<'a> {
    request_id: &'a str,
    client: &'a str,
    service: &'a str,
    workload: u32,
    phase: &'static str,
    created_ns: u64,
    sent_ns: Option<u64>,
    first_byte_ns: Option<u64>,
    done_ns: Option<u64>,
    outcome: &'static str,
    failure: Option<&'static str>,
    status: Option<u16>,
    server: Option<&'a str>,
    response_bytes: u64,
}

impl Exportable for Trace {
    const FILE: &'static str = "traces";
    const FIELDS: &'static [&'static str] = &[
        "request_id",
        "client",
        "service",
        "workload",
        "phase",
        "created_ns",
        "sent_ns",
        "first_byte_ns",
        "done_ns",
        "outcome",
        "failure",
        "status",
        "server",
        "response_bytes",
    ];

    fn fields(&self) -> impl Serialize {
        let (outcome, failure) = outcome_words(self.outcome);
        TraceFields {
            request_id: &self.request_id,
            client: &self.client,
            service: &self.service,
            workload: self.workload,
            phase: self.phase.as_str(),
            created_ns: self.created_ns,
            sent_ns: self.sent_ns,
            first_byte_ns: self.first_byte_ns,
            done_ns: self.done_ns,
            outcome,
            failure,
            status: self.status,
            server: self.server.as_deref(),
            response_bytes: self.response_bytes,
        }
    }
}

impl Exportable for Hop {
    const FILE: &'static str = "hops";
    const FIELDS: &'static [&'static str] = &[
        "request_id",
        "service",
        "replica",
        "attempt",
        "start_ns",
        "connect_ns",
        "first_byte_ns",
        "end_ns",
        "status",
        "cause",
    ];

    fn fields(&self) -> impl Serialize {
        self
    }
}

#[derive(Serialize)]
struct ExchangeFields<'a, F> {
    role: &'static str,
    service: Option<&'a str>,
    replica: Option<&'a str>,
    cgroup: &'a str,
    phase: &'static str,
    method: &'a str,
    path: &'a str,
    status: u16,
    local_addr: IpAddr,
    local_port: u16,
    remote_addr: IpAddr,
    remote_port: u16,
    start_ns: u64,
    request_end_ns: Option<u64>,
    first_byte_ns: u64,
    end_ns: u64,
    request_bytes: u64,
    request_head_bytes: Option<u64>,
    request_body_bytes: Option<u64>,
    response_bytes: u64,
    response_head_bytes: Option<u64>,
    response_body_bytes: Option<u64>,
    request_id: Option<&'a str>,
    flags: F,
}

impl<'a, F> ExchangeFields<'a, F> {
    fn of(exchange: &'a Exchange, flags: F) -> Self {
        Self {
            role: exchange.role.as_str(),
            service: exchange.service.as_deref(),
            replica: exchange.replica.as_deref(),
            cgroup: &exchange.cgroup,
            phase: exchange.phase.as_str(),
            method: &exchange.method,
            path: &exchange.path,
            status: exchange.status,
            local_addr: exchange.local_addr,
            local_port: exchange.local_port,
            remote_addr: exchange.remote_addr,
            remote_port: exchange.remote_port,
            start_ns: exchange.start_ns,
            request_end_ns: exchange.request_end_ns,
            first_byte_ns: exchange.first_byte_ns,
            end_ns: exchange.end_ns,
            request_bytes: exchange.request_bytes,
            request_head_bytes: exchange.request_head_bytes,
            request_body_bytes: exchange.request_body_bytes(),
            response_bytes: exchange.response_bytes,
            response_head_bytes: exchange.response_head_bytes,
            response_body_bytes: exchange.response_body_bytes(),
            request_id: exchange.request_id.as_deref(),
            flags,
        }
    }
}

impl Exportable for Exchange {
    const FILE: &'static str = "exchanges";
    const FIELDS: &'static [&'static str] = &[
        "role",
        "service",
        "replica",
        "cgroup",
        "phase",
        "method",
        "path",
        "status",
        "local_addr",
        "local_port",
        "remote_addr",
        "remote_port",
        "start_ns",
        "request_end_ns",
        "first_byte_ns",
        "end_ns",
        "request_bytes",
        "request_head_bytes",
        "request_body_bytes",
        "response_bytes",
        "response_head_bytes",
        "response_body_bytes",
        "request_id",
        "flags",
    ];

    fn fields(&self) -> impl Serialize {
        ExchangeFields::of(self, self.flags.as_slice())
    }

    fn flat_fields(&self) -> impl Serialize {
        ExchangeFields::of(self, self.flags.join("|"))
    }
}
