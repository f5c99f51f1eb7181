//! The records that the parts of Galileo hand to one another: what a worker saw ([`Trace`]), what the balancer
//! saw ([`Hop`]), what the kernel saw ([`Exchange`]), what was counted meanwhile ([`Capture`]).
//!
//! This crate knows no component and does no I/O. Times are nanoseconds on `CLOCK_BOOTTIME`, the clock that the
//! probes stamp with; [`clock::WallClock`] turns them into unix seconds where a file format asks for those.
//!
//! Reading order: [`clock`], [`records`], [`histogram`], [`capture`].

pub mod capture;
pub mod clock;
pub mod histogram;
pub mod records;

pub use capture::Capture;
pub use clock::WallClock;
pub use histogram::Histogram;
pub use records::{Exchange, FailureKind, Hop, Outcome, Phase, Role, Sample, Trace};
