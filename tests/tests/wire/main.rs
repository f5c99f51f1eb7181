//! The probes on the running kernel, against segments that the test makes itself.

mod cases;
mod differential;
mod hostile;
