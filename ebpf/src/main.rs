//! The kernel side of Galileo's probes: one object, for every kernel from 5.10 on, without kernel BTF.
//!
//! | file | hooks | what it tells |
//! |---|---|---|
//! | [`cpu`] | raw tracepoints of the scheduler | who ran, who waited, who held the CPU meanwhile |
//! | [`irq`] | raw tracepoints of interrupts | how long interrupts and softirqs took |
//! | [`steps`] | the same, cut off | what each step of [`cpu`] costs |
//! | [`net`] | `cgroup_skb`, both directions | finds the socket and its segment |
//! | [`http`] | tail-called from [`net`] | HTTP/1.x exchanges of both roles |
//! | [`outside`] | called by [`http`] and [`net`] | the packet's bytes, and what is kept of a connection between its segments |
//! | [`records`] | called by [`outside`] | a record of each exchange, and counts by cgroup |
//! | [`headers`] | called by [`net`] | what the headers of a packet say |
//! | [`loopback`] | called by [`net`], [`outside`] and [`records`] | connections over loopback, which one end looks at for both |
//! | [`tcp`] | `sock_ops` | connections: opened, failed, ended, retransmissions, round trips |
//! | [`firsts`] | called by [`net`] and [`http`] | what comes on a listener's socket |
//! | [`spaces`] | called by [`net`] and [`http`] | work spaces of a CPU |
//! | [`guard`] | called by [`net`] and [`firsts`] | one CPU at a time for what a socket receives |
//! | [`busy`] | called by [`guard`] and [`spaces`] | a word that keeps something to one run |
//! | [`traffic`] | called by [`net`] | bytes and packets by interface |
//! | [`slots`] | – | the dense slot of a cgroup |
//! | [`clock`] | – | the time |
//! | [`ledger`] | – | what could not be kept, by kind |
//! | `messages` | – | the same in words, in objects for debugging |

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod busy;
mod clock;
mod cpu;
mod firsts;
mod guard;
mod headers;
mod http;
mod irq;
mod ledger;
mod loopback;
#[cfg(feature = "log")]
mod messages;
mod net;
mod outside;
mod records;
mod slots;
mod spaces;
mod steps;
mod tcp;
mod traffic;
mod verifier;

/// Kernel helpers such as `bpf_ktime_get_boot_ns` are for programs under the GPL only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: nothing here panics, and this lets the compiler leave the checks out. What a check would have caught, an access beyond
    // a map value, the stack or the packet, the verifier refuses by itself; arithmetic wraps, as the release profile has it.
    unsafe { core::hint::unreachable_unchecked() }
}
