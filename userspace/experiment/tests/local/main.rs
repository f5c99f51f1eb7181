//! The local platform on the real kernel: real cgroups, real processes, real signals.
//!
//! A test that needs root says so and passes without. They run one after the other, because opening a platform moves
//! the whole test process into a cgroup, and because CPU time is measured.

mod accounting;
mod ending;
mod ground;
mod readiness;
mod remains;
mod starting;
mod unprivileged;
