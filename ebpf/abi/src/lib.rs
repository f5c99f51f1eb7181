//! The types that cross the line between Galileo's eBPF object and user space.
//!
//! All are `#[repr(C)]` with fixed widths and no padding that a reader could see: the assertions at the end of each
//! module hold the sizes. Nothing else lives here, so that both sides can depend on it.

#![no_std]
#![forbid(unsafe_code)]

mod cpu;
mod http;
mod ledger;
mod slots;
mod tcp;
mod traffic;

pub use cpu::{
    BUCKET_FIRST_EXPONENT, BUCKET_LAST_EXPONENT, BUCKET_SUB_BITS, BUCKETS, CgroupCounters,
    CpuInterrupts, CpuLine, CpuState, EVICTED, HISTORY, PAIR_SETS, PAIR_WAYS, Pair, PairSet, Run,
    TASK_PLACES, TASK_PLACES_MAX, TASK_WAYS, Task, WAITERS, Waiter, pair_key, pair_of, step,
    task_state,
};
pub use http::{
    CarryKey, ExchangeRecord, HttpCounters, METHOD_BYTES, PATH_BYTES, PendingKey, REQUEST_ID_BYTES,
    Request, TRACE_BYTES, flags, role,
};
pub use ledger::Ledger;
pub use slots::{
    GENERATIONS, Owner, SLOT_BITS, SLOT_IDLE, SLOT_KINDS, SLOT_UNKNOWN, SLOTS_MAX, SlotLedger,
    slot_at, slot_generation, slot_index,
};
pub use tcp::{
    ConnectionRecord, Segments, TcpCounters, TcpSocket, connection_end, connection_state,
};
pub use traffic::{CgroupTraffic, InterfaceKey, InterfaceTraffic, LOOPBACK, Traffic, recent};
