//! Loads Galileo's eBPF probes and hands out typed snapshots and streams.
