//! Whole runs: the real program, real probes, real servers.
//!
//! They need what the program needs to see anything (root, cgroups); where the kernel lets no probes be loaded they do
//! nothing and say so.

mod answers;
mod certainty;
mod experiments;
mod failing;
mod interrupted;
mod interrupts;
mod neighbours;
mod networks;
mod observing;
mod pages;
mod refused;
mod schedule;
mod throttled;
mod unprivileged;
