//! The probes on the running kernel, against segments that the test makes itself.

mod differential;
