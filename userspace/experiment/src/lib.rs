//! The experiment file, its plan, the platforms and the runner.
//!
//! Reading order: [`mod@file`] (what the user wrote), [`plan`] (what the runner carries out),
//! [`local`] (where replicas run), [`runner`] (carries the plan out).

#![forbid(unsafe_code)]

pub mod file;
pub mod local;
pub mod plan;
pub mod runner;
