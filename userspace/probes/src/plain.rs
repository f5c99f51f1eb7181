//! The one place that makes typed values of the kernel side's bytes.

use std::{mem::MaybeUninit, ptr};

use galileo_ebpf_abi as abi;

/// Types for which every pattern of bits is a value.
///
/// # Safety
///
/// To be implemented for integers, and for arrays and `#[repr(C)]` structures of these, only.
pub(crate) unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($kind:ty),* $(,)?) => {
        // SAFETY: integers, arrays of them, and `#[repr(C)]` structures of these, see galileo-ebpf-abi.
        $(unsafe impl Plain for $kind {})*
    };
}

plain!(
    abi::CgroupCounters,
    abi::CgroupTraffic,
    abi::ConnectionRecord,
    abi::CpuInterrupts,
    abi::CpuLine,
    abi::CpuState,
    abi::ExchangeRecord,
    abi::HttpCounters,
    abi::InterfaceTraffic,
    abi::Owner,
    abi::PairSet,
    abi::SlotLedger,
    abi::TcpCounters,
    u8,
    u16,
    u32,
    u64,
    [u8; 16],
    [u64; 8],
);

/// The value that these bytes are the first of, and zeros the rest; bytes beyond its size are left out.
#[inline]
pub(crate) fn from_bytes<T: Plain>(bytes: &[u8]) -> T {
    let mut value = MaybeUninit::<T>::zeroed();
    let used = bytes.len().min(size_of::<T>());
    // SAFETY: both are at least that long, and a local variable overlaps with nothing else.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), value.as_mut_ptr().cast::<u8>(), used) };
    // SAFETY: all bytes were set, by `zeroed` at the latest, and every pattern is a value (`Plain`).
    unsafe { value.assume_init() }
}

/// The value that consists of these words, of which `word` is asked in their order.
pub(crate) fn from_words<T: Plain>(mut word: impl FnMut(usize) -> u64) -> T {
    const { assert!(size_of::<T>().is_multiple_of(8)) };
    let mut value = MaybeUninit::<T>::uninit();
    let words = value.as_mut_ptr().cast::<u64>();
    for at in 0..size_of::<T>() / 8 {
        // SAFETY: within the value, whose size is a multiple of eight. It may be aligned to less, as one of 32-bit integers is.
        unsafe { words.add(at).write_unaligned(word(at)) };
    }
    // SAFETY: every word was written, which is all there is of it, and every pattern is a value (`Plain`).
    unsafe { value.assume_init() }
}

/// The word that these two numbers are in memory, in their order.
pub(crate) fn word([first, second]: [u32; 2]) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// The two 32-bit numbers that lie in this word in memory, in their order.
pub(crate) fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    ]
}

#[cfg(test)]
mod tests {
    use galileo_ebpf_abi::Owner;

    use super::*;

    #[test]
    fn what_is_missing_of_a_value_is_zero_and_what_is_too_much_is_left_out() {
        let bytes: Vec<u8> = (1..=40).collect();
        let short: Owner = from_bytes(&bytes[..9]);
        assert_eq!(short.cgroup_id.to_ne_bytes(), bytes[..8]);
        assert_eq!(short.generation.to_ne_bytes(), [9, 0, 0, 0]);
        let long: Owner = from_bytes(&bytes);
        assert_eq!(long.reserved.to_ne_bytes(), bytes[12..16]);
        assert_eq!(from_bytes::<Owner>(&[]).cgroup_id, 0);
    }

    #[test]
    fn a_value_is_made_of_its_words_in_their_order() {
        let owner: Owner = from_words(|at| 7 + at as u64);
        assert_eq!(owner.cgroup_id, 7);
        assert_eq!(
            [owner.generation.to_ne_bytes(), owner.reserved.to_ne_bytes()].concat(),
            8_u64.to_ne_bytes()
        );
    }
}
