//! Streams as other clients write them, and streams that are not what they seem.

use super::super::compress::compress;
use super::*;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use proptest::prelude::*;
use std::io::Write;

const XERIAL_HEADER: &[u8] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

fn decode(codec: Compression, input: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let mut decoders = Decoders::default();
    let mut out = Vec::new();
    Decoder::new(codec, input, &mut decoders, limit)?.read_to_end(&mut out)?;
    Ok(out)
}

fn encode(codec: Compression, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress(codec.into(), input, &mut out).unwrap();
    out
}

const LIMIT: u64 = 1 << 30;
const REAL: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_compressed_comes_back(input: Vec<u8>, repeat in 1usize..3000) {
        let input = input.repeat(repeat);
        for codec in Compression::ALL {
            prop_assert_eq!(&decode(codec, &encode(codec, &input), LIMIT).unwrap(), &input);
        }
    }

    #[test]
    fn any_bytes_are_decoded_without_panic(input: Vec<u8>, start in 0usize..4) {
        let magics: [&[u8]; 4] = [b"", XERIAL_HEADER, &[4, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82], &[0x28, 0xb5, 0x2f, 0xfd]];
        let input = [magics[start], &input].concat();
        for codec in Compression::ALL {
            let _ = decode(codec, &input, 1 << 20);
        }
    }
}

#[test]
fn every_cut_and_every_extra_byte_is_found() {
    let content: Vec<u8> = (0..3000u32).flat_map(|n| (n / 7).to_be_bytes()).collect();
    for codec in REAL {
        let whole = encode(codec, &content);
        for end in 0..whole.len() {
            let cut = decode(codec, &whole[..end], LIMIT);
            // Framed snappy may end between two blocks: what lacks then is whole records, which their count shows.
            assert!(cut.is_err() || cut.unwrap().len() < content.len(), "{codec:?} cut at {end} of {}", whole.len());
        }
        for extra in [0, 1, 0xff] {
            let longer = decode(codec, &[&whole[..], &[extra]].concat(), LIMIT);
            assert!(longer.is_err() || longer.unwrap().len() > content.len(), "{codec:?} and {extra}");
        }
    }
}

#[test]
fn snappy_is_read_framed_and_raw() {
    let content = b"snappy snappy snappy snappy snappy".repeat(5000);
    let raw = snap::raw::Encoder::new().compress_vec(&content).unwrap();
    assert_eq!(decode(Compression::Snappy, &raw, LIMIT).unwrap(), content);
    // One framed block of any size, and other versions, as go-xerial-snappy writes.
    let framed = [b"\x82SNAPPY\0\0\0\0\x02\0\0\0\x01", &(raw.len() as u32).to_be_bytes()[..], &raw].concat();
    assert_eq!(decode(Compression::Snappy, &framed, LIMIT).unwrap(), content);
    // A record as Kafka's Java client compressed it.
    let java = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x0f\x0d\x30\x18\0\0\0\x01\x0csdfdsf\0";
    assert_eq!(decode(Compression::Snappy, java, LIMIT).unwrap(), b"\x18\0\0\0\x01\x0csdfdsf\0");
}

#[test]
fn a_snappy_length_that_nothing_backs_is_refused() {
    // 2^32 - 1 bytes, says the preamble.
    let lie = [0xff, 0xff, 0xff, 0xff, 0x0f, 0xfe, 0x01, 0x00];
    assert!(decode(Compression::Snappy, &lie, LIMIT).is_err());
    let mut decoders = Decoders::default();
    let mut decoder = Decoder::new(Compression::Snappy, &lie, &mut decoders, u64::MAX).unwrap();
    assert!(decoder.read(&mut [0; 10]).is_err());
    drop(decoder);
    assert_eq!(decoders.block.capacity(), 0);
    // A real one stays below the greatest expansion.
    let zeros = snap::raw::Encoder::new().compress_vec(&vec![0; 10 << 20]).unwrap();
    assert_eq!(decode(Compression::Snappy, &zeros, LIMIT).unwrap().len(), 10 << 20);
    assert_eq!(decode(Compression::Snappy, &zeros, 1 << 20).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
}

#[test]
fn lz4_frames_are_read_as_any_client_writes_them() {
    let content: Vec<u8> = (0..100_000u32).flat_map(|n| (n / 3).to_be_bytes()).collect();
    let frame = |info: FrameInfo| {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&content).unwrap();
        encoder.finish().unwrap()
    };
    for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
        for checksums in [false, true] {
            let info = FrameInfo::new()
                .block_size(size)
                .block_mode(BlockMode::Independent)
                .block_checksums(checksums)
                .content_checksum(checksums)
                .content_size(checksums.then_some(content.len() as u64));
            let whole = frame(info);
            assert_eq!(decode(Compression::Lz4, &whole, LIMIT).unwrap(), content);
            assert!(decode(Compression::Lz4, &whole[..whole.len() - 1], LIMIT).is_err());
        }
    }
    let two = frame(FrameInfo::new().block_mode(BlockMode::Independent)).repeat(2);
    assert!(decode(Compression::Lz4, &two, LIMIT).is_err(), "the Java client reads one frame");
    let linked = frame(FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Linked));
    assert!(decode(Compression::Lz4, &linked, LIMIT).is_err(), "the Java client refuses linked blocks");
    let legacy = [&0x184c_2102_u32.to_le_bytes(), &content[..100]].concat();
    assert!(decode(Compression::Lz4, &legacy, LIMIT).is_err());
}

#[test]
fn an_empty_lz4_block_does_not_hide_what_follows() {
    let content = b"visible".to_vec();
    let whole = encode(Compression::Lz4, &content);
    let end_mark = whole.len() - 4;
    // One compressed block of a single empty sequence.
    let hidden = [&whole[..end_mark], &[1, 0, 0, 0, 0], &whole[end_mark..]].concat();
    assert!(decode(Compression::Lz4, &hidden, LIMIT).is_err());
}

#[test]
fn concatenated_gzip_members_and_zstd_frames_are_one_stream() {
    for codec in [Compression::Gzip, Compression::Zstd] {
        let both = [encode(codec, b"one "), encode(codec, b"two")].concat();
        assert_eq!(decode(codec, &both, LIMIT).unwrap(), b"one two");
    }
}

#[test]
fn a_decoder_is_as_new_after_an_error() {
    let mut decoders = Decoders::default();
    let good = encode(Compression::Zstd, b"good");
    for _ in 0..3 {
        let mut out = Vec::new();
        let cut = &good[..good.len() - 2];
        let mut decoder = Decoder::new(Compression::Zstd, cut, &mut decoders, LIMIT).unwrap();
        assert!(decoder.read_to_end(&mut out).is_err());
        drop(decoder);
        out.clear();
        let mut decoder = Decoder::new(Compression::Zstd, &good, &mut decoders, LIMIT).unwrap();
        decoder.read_to_end(&mut out).unwrap();
        assert_eq!(out, b"good");
    }
}
