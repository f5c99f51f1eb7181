//! Messages to user space about what is rare and asks for a reason. Compiled in by `cargo xtask ebpf --debug` only.

use aya_ebpf::programs::SkBuffContext;
use aya_log_ebpf::{debug, warn};
use galileo_ebpf_abi::Ledger;

/// Tells that something was counted, and of which packet; what is counted for every exchange is not told.
#[inline(always)]
pub fn counted(ctx: &SkBuffContext, kind: Ledger) {
    if !matches!(kind, Ledger::ExchangesAttempted | Ledger::ExchangesSeen) {
        galileo_tell(kind as u32, ctx.len());
    }
}

/// Writes the message. A global function, so that the verifier walks it once and not once per call; those take numbers
/// only, and aya-log asks for a context without looking at it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn galileo_tell(kind: u32, length: u32) -> u32 {
    let ctx = &();
    if kind == Ledger::Unparsable as u32 {
        warn!(
            ctx,
            "a message goes on otherwise than HTTP/1.x, in a packet of {} bytes", length
        );
    } else if kind == Ledger::Reordered as u32 {
        warn!(
            ctx,
            "bytes are missing before a packet of {} bytes: the place is lost", length
        );
    } else if kind == Ledger::JoinedLate as u32 {
        debug!(
            ctx,
            "an answer without its request ends in a packet of {} bytes", length
        );
    } else if kind == Ledger::ClosedWithoutAnswer as u32 {
        debug!(
            ctx,
            "a connection ends without an answer, by a packet of {} bytes", length
        );
    } else if kind == Ledger::NotHttp as u32 {
        debug!(
            ctx,
            "a connection is no HTTP/1.x, by a packet of {} bytes", length
        );
    } else {
        warn!(
            ctx,
            "ledger entry {} counts one more, by a packet of {} bytes", kind, length
        );
    }
    0
}
