//! Measures how an application really behaves under load, from inside the kernel.

fn main() {}
