//! What the kernel's verifier asks for that the compiler would leave out.

use core::arch::asm;

/// The same value, of which the compiler knows nothing: a check of it is then made where it stands, for the verifier,
/// which cannot follow the compiler's reasons to leave it out.
#[inline(always)]
pub fn opaque(mut value: usize) -> usize {
    // SAFETY: moves a register to itself. An instruction is needed: without one, two entries of the line table would name
    // the same place, which the kernel refuses.
    unsafe { asm!("{value} = {value}", value = inout(reg) value, options(pure, nomem, nostack)) };
    value
}
