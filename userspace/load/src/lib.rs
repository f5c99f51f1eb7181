//! Open-loop HTTP load on an absolute schedule.
#![forbid(unsafe_code)]

pub mod rate;
pub mod schedule;
