//! CRC-32C, and how it changes when only the head of a batch does.
//!
//! A CRC is linear: for two messages of equal length that differ in their first part only, the difference of the
//! checksums is the difference of the first parts' checksums, moved over the length of the rest. So a patched header
//! costs two checksums of 40 bytes and some thirty shifts, and the payload is not read again. (`crc-fast` can combine
//! checksums too, but squares 64 by 64 bit matrices for every call: tens of microseconds. The powers below are
//! computed at compile time.)

/// Castagnoli's polynomial, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `POWERS[k]` is x^(8 * 2^k) modulo the polynomial: what moves a checksum over 2^k bytes.
const POWERS: [u32; 32] = powers();

const fn powers() -> [u32; 32] {
    // x^8: bit 31 stands for x^0.
    let mut power = 1u32 << (31 - 8);
    let mut table = [0; 32];
    let mut k = 0;
    while k < 32 {
        table[k] = power;
        power = multiply(power, power);
        k += 1;
    }
    table
}

/// `a * b` modulo the polynomial, both reflected.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 32;
    while bit > 0 {
        bit -= 1;
        product ^= b & 0u32.wrapping_sub((a >> bit) & 1);
        b = (b >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(b & 1));
    }
    product
}

/// The CRC-32C of `bytes`.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// The checksum of `new_head` followed by `tail_len` bytes, given `old`, the checksum of `old_head` followed by the
/// same bytes. Both heads have the same length.
pub(super) fn replace_head(old: u32, old_head: &[u8], new_head: &[u8], tail_len: u32) -> u32 {
    debug_assert_eq!(old_head.len(), new_head.len());
    let mut difference = crc32c(old_head) ^ crc32c(new_head);
    for (k, power) in POWERS.iter().enumerate() {
        if tail_len >> k & 1 == 1 {
            difference = multiply(*power, difference);
        }
    }
    old ^ difference
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_check_value_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    proptest! {
        #[test]
        fn two_implementations_agree(bytes: Vec<u8>) {
            prop_assert_eq!(crc32c(&bytes), ::crc32c::crc32c(&bytes));
        }

        #[test]
        fn a_replaced_head_equals_full_recomputation(old: [u8; 40], new: [u8; 40], tail: Vec<u8>, repeat in 0usize..300) {
            let tail = tail.repeat(repeat);
            let before = ::crc32c::crc32c(&[&old[..], &tail].concat());
            let after = ::crc32c::crc32c(&[&new[..], &tail].concat());
            prop_assert_eq!(replace_head(before, &old, &new, tail.len() as u32), after);
        }
    }
}
