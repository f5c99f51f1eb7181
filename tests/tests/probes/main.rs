//! The probes on the running kernel, against what is known of real processes and connections.

mod churn;
mod cpu;
mod headers;
mod http;
mod lifecycle;
mod listener;
mod loopback;
mod losses;
mod memory;
mod network;
mod older;
mod parts;
mod resets;
mod restart;
mod servers;
mod strangers;
mod tcp;
mod uring;
mod waits;
mod wakeups;
mod wires;
