//! Connections one end of which is a socket of the kernel and the other a TCP written by hand, so that a test decides about
//! every segment: where it is cut, when it comes, and whether it comes twice.
//!
//! [`home`] puts the test's sockets into a cgroup of their own, to which probes can be attached so that they see nothing else;
//! [`place`] makes a network namespace whose only neighbour is the test; [`packet`] makes and reads IP packets, and [`offload`] what tells the
//! kernel that they were cut; [`peer`] is
//! the TCP; [`play`] carries a conversation of `galileo-oracle` and tells what was seen of it.

pub mod home;
pub mod offload;
pub mod packet;
pub mod peer;
pub mod place;
pub mod play;
