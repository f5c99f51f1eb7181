//! When something was read, and what that leaves open of a rate.

/// When something was read, by both clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Acquisition {
    /// Begin by `CLOCK_BOOTTIME`.
    pub begin_ns: u64,
    /// End by `CLOCK_BOOTTIME`.
    pub end_ns: u64,
    /// Begin as unix time. It may go backwards, as people set it.
    pub begin_unix_ns: u64,
    /// End as unix time.
    pub end_unix_ns: u64,
}

/// A rate and its bounds, in events a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// For the middle of the bounds of time.
    pub per_second: f64,
    /// At least.
    pub low: f64,
    /// At most; infinite if the readings overlap.
    pub high: f64,
}
