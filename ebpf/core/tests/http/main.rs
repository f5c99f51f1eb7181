//! Whole connections, cut into segments at any byte, through the state machines that the eBPF object compiles in.
//!
//! [`driver`] plays the object's part; [`traffic`] makes legal messages and derives what must be seen of them.
//! [`fuzz`] takes both from elsewhere: random conversations, and a reader of its own.

mod cases;
mod cuts;
mod driver;
mod fuzz;
mod older;
mod parts;
mod traffic;
