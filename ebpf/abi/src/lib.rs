//! The types that cross the line between Galileo's eBPF object and user space.
