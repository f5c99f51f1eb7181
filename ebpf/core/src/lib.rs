//! The pure state machines of Galileo's probes: what they decide, without the kernel they run in.
//!
//! The eBPF object compiles these functions in, and the host tests them. So they are written for the verifier as much
//! as for the reader: loops have constant bounds, positions are masked where they are used, and state that changes
//! within a loop lies in memory, not in registers, so that the verifier walks one path and not one per value.
//!
//! Reading order: [`histogram`], [`runqueue`], [`tcp`] (how a connection ended); [`socket`] (what is kept), [`connection`] (the
//! steps), [`order`] (what comes early), [`opening`], [`http`] (framing), [`lines`], `chunks` (those passed over at one go), [`head`], [`exchange`] (which answer
//! belongs to which request), [`loopback`] (connections with both ends here), [`plain`] (the same for the message that most are), [`window`], [`number`], [`words`].

#![no_std]

mod chunks;
pub mod connection;
pub mod exchange;
pub mod head;
pub mod histogram;
pub mod http;
pub mod lines;
pub mod loopback;
pub mod number;
pub mod opening;
pub mod order;
pub mod plain;
pub mod runqueue;
pub mod socket;
pub mod tcp;
pub mod window;
pub mod words;
