//! The build tool of Galileo: ebpf, demo, test, bench.

fn main() {}
