//! The example that `galileo init` writes.

/// An experiment that runs on any machine with `python3`: two replicas of a web server on two parts of the machine, one
/// workload through the balancer. Every key that most people want is there, the others are one comment away.
pub const TEMPLATE: &str = include_str!("template.yaml");
