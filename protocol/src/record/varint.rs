//! Zigzag variable-length integers, as records use them: seven bits per byte, the lowest first.
//!
//! Almost every one of them is a single byte (attributes aside, a record has six), so that case is tested first and the
//! rest is kept out of line.

/// The value that zigzag encodes as `raw`.
const fn unzigzag32(raw: u32) -> i32 {
    ((raw >> 1) as i32) ^ -((raw & 1) as i32)
}

/// The value that zigzag encodes as `raw`.
const fn unzigzag64(raw: u64) -> i64 {
    ((raw >> 1) as i64) ^ -((raw & 1) as i64)
}

/// Reads an i32 at `*at` and moves `*at` behind it; `None` if the bytes end first or the number exceeds 32 bits.
#[inline(always)]
pub(super) fn read_i32(bytes: &[u8], at: &mut usize) -> Option<i32> {
    let first = *bytes.get(*at)?;
    if first < 0x80 {
        *at += 1;
        return Some(unzigzag32(u32::from(first)));
    }
    // Two bytes reach 8191: the lengths of records up to 8 KiB.
    let second = *bytes.get(*at + 1)?;
    if second < 0x80 {
        *at += 2;
        return Some(unzigzag32(u32::from(first & 0x7f) | u32::from(second) << 7));
    }
    let long = read_raw(bytes, at, 5)?;
    u32::try_from(long).ok().map(unzigzag32)
}

/// Reads an i64 at `*at` and moves `*at` behind it; `None` if the bytes end first or the number exceeds 64 bits.
#[inline(always)]
pub(super) fn read_i64(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let first = *bytes.get(*at)?;
    if first < 0x80 {
        *at += 1;
        return Some(unzigzag64(u64::from(first)));
    }
    read_raw(bytes, at, 10).map(unzigzag64)
}

/// The general case: at most `longest` bytes.
#[inline(never)]
fn read_raw(bytes: &[u8], at: &mut usize, longest: usize) -> Option<u64> {
    let mut value = 0u64;
    for index in 0..longest {
        let byte = *bytes.get(*at + index)?;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has one bit left.
        if index == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * index);
        if byte < 0x80 {
            *at += index + 1;
            return Some(value);
        }
    }
    None
}

/// Appends `value` to `out`.
pub(super) fn write_i32(out: &mut Vec<u8>, value: i32) {
    write_i64(out, i64::from(value));
}

/// Appends `value` to `out`. A number has one encoding, whether it is read as an i32 or as an i64.
pub(super) fn write_i64(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(value: i64) {
            let mut out = Vec::new();
            write_i64(&mut out, value);
            let mut at = 0;
            prop_assert_eq!(read_i64(&out, &mut at), Some(value));
            prop_assert_eq!(at, out.len());
        }

        #[test]
        fn small_numbers_come_back(value: i32) {
            let mut out = Vec::new();
            write_i32(&mut out, value);
            let mut at = 0;
            prop_assert_eq!(read_i32(&out, &mut at), Some(value));
            prop_assert_eq!(at, out.len());
            prop_assert_eq!(read_i32(&out[..out.len() - 1], &mut 0), None);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, start in 0usize..40) {
            let mut at = start;
            let _ = read_i32(&bytes, &mut at);
            let mut at = start;
            let _ = read_i64(&bytes, &mut at);
        }
    }

    #[test]
    fn too_long_numbers_are_refused() {
        assert_eq!(read_i32(&[0xff, 0xff, 0xff, 0xff, 0x0f], &mut 0), Some(i32::MIN));
        assert_eq!(read_i32(&[0xff, 0xff, 0xff, 0xff, 0x10], &mut 0), None);
        assert_eq!(read_i32(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00], &mut 0), None);
        let mut longest = [0xff; 10];
        longest[9] = 0x01;
        assert_eq!(read_i64(&longest, &mut 0), Some(i64::MIN));
        longest[9] = 0x02;
        assert_eq!(read_i64(&longest, &mut 0), None);
    }
}
