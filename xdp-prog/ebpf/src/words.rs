//! Memory on the stack, written in whole words.
//!
//! For a process without CAP_PERFMON, the verifier of Linux 6.1 (not that of 6.12) refuses to write a part of an 8-byte word of
//! the stack where it keeps track of a number: "attempt to corrupt spilled pointer on stack". It does so for every number that
//! was written at the word's beginning and is known not to be just anything, and the compiler puts several variables, one
//! after the other, in the same place. So keys of maps, and what helpers write to, are words here: a whole one may always be
//! written, and of one that was set to 0 also parts.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

use aya_ebpf::helpers::bpf_map_lookup_elem;

/// Room on the stack for so many words.
pub type Words<const N: usize> = MaybeUninit<[u64; N]>;

/// Eight bytes as they lie in memory.
#[inline(always)]
pub const fn word(bytes: [u8; 8]) -> u64 {
    u64::from_ne_bytes(bytes)
}

/// Writes the words to their place, which the caller has, so that nothing is copied to another one.
#[inline(always)]
pub fn write<const N: usize>(place: &mut Words<N>, words: [u64; N]) -> &mut [u64; N] {
    let start = place.as_mut_ptr().cast::<u64>();
    let mut index = 0;
    while index < N {
        // SAFETY: a word of the array. Volatile: neither split, nor joined, nor left out.
        unsafe { ptr::write_volatile(start.add(index), words[index]) };
        index += 1;
    }
    // SAFETY: every word was written.
    unsafe { place.assume_init_mut() }
}

/// The element of a map with keys of 32 bits; a null pointer when there is none.
#[inline(always)]
pub fn element<M, V>(map: &'static M, index: u32) -> *mut V {
    let mut place = Words::uninit();
    // Little-endian, as the target is: the key is the word's beginning.
    let key = write(&mut place, [index.into()]);
    let map = ptr::from_ref(map).cast_mut().cast::<c_void>();
    // SAFETY: `map` is a map, `key` is as long as its keys, which the verifier checks.
    unsafe { bpf_map_lookup_elem(map, key.as_ptr().cast()).cast() }
}
