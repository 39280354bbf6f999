//! Levels, as they can be told from outside.

use super::*;

fn content() -> Vec<u8> {
    let one = |n: u32| {
        format!("{{\"order\":{n},\"customer\":\"c-{}\",\"total\":{}}}\n", n % 311, n.wrapping_mul(7919) % 9973)
    };
    (0..4000).flat_map(|n| one(n).into_bytes()).collect()
}

fn size(how: StoredAs) -> usize {
    let mut out = Vec::new();
    compress(how, &content(), &mut out).unwrap();
    out.len()
}

#[test]
fn a_higher_level_makes_it_smaller() {
    for levels in [
        [StoredAs::Gzip(1), StoredAs::Gzip(9)],
        [StoredAs::Lz4(1), StoredAs::Lz4(12)],
        [StoredAs::Zstd(1), StoredAs::Zstd(19)],
        [StoredAs::Zstd(-50), StoredAs::Zstd(1)],
    ] {
        let sizes = levels.map(size);
        assert!(sizes[0] > sizes[1], "{levels:?} {sizes:?}");
    }
    assert_eq!(size(StoredAs::Gzip(GZIP_DEFAULT)), size(StoredAs::Gzip(6)));
}

#[test]
fn levels_out_of_range_are_the_nearest() {
    assert_eq!(size(StoredAs::Gzip(99)), size(StoredAs::Gzip(9)));
    assert_eq!(size(StoredAs::Lz4(-3)), size(StoredAs::Lz4(1)));
    assert_eq!(size(StoredAs::Zstd(99)), size(StoredAs::Zstd(22)));
}

#[test]
fn a_codec_has_its_default_level() {
    for codec in Compression::ALL {
        assert_eq!(StoredAs::from(codec).codec(), codec);
    }
    assert_eq!(StoredAs::from(Compression::Gzip), StoredAs::Gzip(-1));
    assert_eq!(StoredAs::from(Compression::Lz4), StoredAs::Lz4(9));
    assert_eq!(StoredAs::from(Compression::Zstd), StoredAs::Zstd(3));
}
