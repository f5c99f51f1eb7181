//! Copies in the size of a register.

use galileo_ebpf_abi::{ExchangeRecord, Request};

use crate::{socket::Carry, window::CARRY};

/// What consists of words of eight bytes, and can be copied as such.
///
/// # Safety
///
/// It consists of integers, without padding: reading padding as a number is undefined. That its size and alignment are those of
/// words is asserted where it is copied.
pub unsafe trait Words: Copy {}

// SAFETY: integers.
unsafe impl<const N: usize> Words for [u64; N] {}

// SAFETY: integers, whose sizes add up to its own, as is asserted next to it.
unsafe impl Words for Request {}

// SAFETY: as of `Request`.
unsafe impl Words for ExchangeRecord {}

const _: () = assert!(size_of::<Carry>() == size_of::<Request>() + 8 + CARRY);

// SAFETY: a `Request` and integers, whose sizes add up to its own, as asserted above.
unsafe impl Words for Carry {}

/// Copies a value word by word. For a plain assignment of a large value the compiler calls its `memmove`, which goes byte by
/// byte: 0.3 µs for a request, more than all else that is done with it.
#[inline(always)]
pub fn copy_words<T: Words>(target: &mut T, source: &T) {
    const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8) };
    let (target, source) = (
        core::ptr::from_mut(target).cast::<u64>(),
        core::ptr::from_ref(source).cast::<u64>(),
    );
    for word in 0..size_of::<T>() / 8 {
        // SAFETY: within the value, as `word` is less than the words it has.
        let from = unsafe { source.add(word) };
        // SAFETY: as above.
        let to = unsafe { target.add(word) };
        // SAFETY: a word of a value without padding, aligned as the value is. Volatile, because the compiler makes a call of
        // `memmove` from a plain loop as well.
        let value = unsafe { from.read_volatile() };
        // SAFETY: as above, through an exclusive reference; all values of integers are valid.
        unsafe { to.write_volatile(value) };
    }
}

/// What one instruction writes.
pub trait Integer: Copy {}

impl Integer for u8 {}
impl Integer for u32 {}
impl Integer for u64 {}

/// Sets a word by itself. Of several that are set to zero one after the other, the compiler makes a call of its `memset`, which
/// costs more, and which a program that makes tail calls may not make on arm64 before 6.0.
#[inline(always)]
pub fn set<T: Integer>(word: &mut T, value: T) {
    // SAFETY: an exclusive reference to an integer.
    unsafe { core::ptr::from_mut(word).write_volatile(value) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_copied() {
        let source = [1_u64, 2, 3, u64::MAX];
        let mut target = [0; 4];
        copy_words(&mut target, &source);
        assert_eq!(target, source);
    }
}
