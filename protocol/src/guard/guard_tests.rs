use super::shape::Shape;
use super::{Fault, Limits, check, fill};
use crate::api::{APIS, Api, ApiKey};
use crate::body;
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

const SEEDS: u64 = 60;

fn limits() -> Limits {
    Limits::default()
}

/// Every accepted version of every API.
fn versions() -> impl Iterator<Item = (&'static Api, i16)> {
    APIS.iter().flat_map(|api| (api.accepted_from..=api.newest).map(move |version| (api, version)))
}

/// What the guard says of `bytes` and of all its beginnings.
fn assert_guarded(shape: &Shape, api: &Api, version: i16, bytes: &[u8]) {
    let flexible = api.is_flexible(version);
    assert_eq!(check(shape, version, flexible, bytes, &limits()), Ok(()), "{} v{version} {bytes:?}", api.name);
    for end in 0..bytes.len() {
        assert!(check(shape, version, flexible, &bytes[..end], &limits()).is_err(), "{} v{version} {end}", api.name);
    }
    let longer = [bytes, &[0]].concat();
    let left_over = check(shape, version, flexible, &longer, &limits()).unwrap_err();
    assert_eq!((left_over.fault, left_over.position), (Fault::LeftOver, bytes.len()), "{} v{version}", api.name);
}

/// What the crate made of a full message, as its structs show themselves: every field that can be null was told to us
/// as such, and no tagged field was unknown to the crate.
fn assert_complete(api: &Api, version: i16, shown: &str, nullable: usize) {
    let count = |text: &str| shown.matches(text).count();
    // Fields that the version lacks may be empty by default.
    let present = count("Some(") - count("Some(\"\")") - count("Some([])") - count("Some(b\"\")");
    assert_eq!(present, nullable, "{} v{version}: {shown}", api.name);
    assert_eq!(count("unknown_tagged_fields: {"), count("unknown_tagged_fields: {}"), "{} v{version}", api.name);
}

#[test]
fn the_crate_decodes_what_the_request_shapes_say() {
    for (api, version) in versions() {
        for seed in 0..SEEDS {
            let flexible = api.is_flexible(version);
            let (bytes, nullable) = if seed % 2 == 0 {
                (fill::some(api.request, version, flexible, seed), None)
            } else {
                let (bytes, nullable) = fill::full_counted(api.request, version, flexible, seed);
                (bytes, Some(nullable))
            };
            assert_guarded(api.request, api, version, &bytes);
            let mut rest = Bytes::from(bytes);
            let request = body::decode_request(api.key, &mut rest, version).unwrap();
            assert!(rest.is_empty(), "{} v{version}: {} bytes left", api.name, rest.len());
            if let Some(nullable) = nullable {
                assert_complete(api, version, &format!("{request:?}"), nullable);
            }

            let mut encoded = BytesMut::new();
            body::encode_request(api.key, &request, &mut encoded, version).unwrap();
            assert_guarded(api.request, api, version, &encoded);
            let again = body::decode_request(api.key, &mut encoded.freeze(), version).unwrap();
            assert_eq!(again, request, "{} v{version}", api.name);
        }
    }
}

#[test]
fn the_crate_decodes_what_the_response_shapes_say() {
    for (api, version) in versions() {
        for seed in 0..SEEDS {
            let flexible = api.is_flexible(version);
            let (bytes, nullable) = if seed % 2 == 0 {
                (fill::some(api.response, version, flexible, seed), None)
            } else {
                let (bytes, nullable) = fill::full_counted(api.response, version, flexible, seed);
                (bytes, Some(nullable))
            };
            assert_guarded(api.response, api, version, &bytes);
            let mut rest = Bytes::from(bytes);
            let response = body::decode_response(api.key, &mut rest, version).unwrap();
            assert!(rest.is_empty(), "{} v{version}: {} bytes left", api.name, rest.len());
            if let Some(nullable) = nullable {
                assert_complete(api, version, &format!("{response:?}"), nullable);
            }

            let mut encoded = BytesMut::new();
            body::encode_response(api.key, &response, &mut encoded, version).unwrap();
            assert_guarded(api.response, api, version, &encoded);
            let again = body::decode_response(api.key, &mut encoded.freeze(), version).unwrap();
            assert_eq!(again, response, "{} v{version}", api.name);
        }
    }
}

fn refused(key: ApiKey, version: i16, body: &[u8]) -> Fault {
    let api = Api::of(key).unwrap();
    check(api.request, version, api.is_flexible(version), body, &limits()).unwrap_err().fault
}

#[test]
fn counts_that_no_bytes_back_are_refused() {
    // Metadata: the array of topics is the first field.
    assert_eq!(refused(ApiKey::Metadata, 1, &[0x7f, 0xff, 0xff, 0xff]), Fault::CountBeyondEnd);
    assert_eq!(refused(ApiKey::Metadata, 1, &[0, 0, 0, 2, 0, 0]), Fault::CountBeyondEnd);
    assert_eq!(refused(ApiKey::Metadata, 1, &[0x80, 0, 0, 0]), Fault::NegativeLength);
    assert_eq!(refused(ApiKey::Metadata, 12, &[0xff, 0xff, 0xff, 0xff, 0x0f]), Fault::CountBeyondEnd);
    assert_eq!(refused(ApiKey::Metadata, 12, &[0xff, 0xff, 0xff, 0xff, 0xff, 0]), Fault::LongVarint);
    assert_eq!(refused(ApiKey::DescribeGroups, 0, &[0xff, 0xff, 0xff, 0xff]), Fault::Null);
    assert_eq!(refused(ApiKey::DescribeGroups, 5, &[0, 0, 0]), Fault::Null);
    assert_eq!(refused(ApiKey::Heartbeat, 0, &[0x80, 0]), Fault::NegativeLength);
    // Tagged fields: a count, a size beyond the end, a size that is not the field's.
    assert_eq!(refused(ApiKey::DescribeCluster, 0, &[1, 0xff, 0xff, 0xff, 0xff, 0x0f]), Fault::Truncated);
    assert_eq!(refused(ApiKey::DescribeCluster, 0, &[1, 1, 9, 0xff, 0xff, 0xff, 0xff, 0x0f]), Fault::Truncated);
    // Found by the fuzzer: the decoder takes the tag for -2147483648, and what it writes again lacks it.
    assert_eq!(refused(ApiKey::DescribeCluster, 0, &[1, 1, 0x80, 0x80, 0x80, 0x80, 8, 0]), Fault::LongTag);
    let fetch = fill::full(Api::of(ApiKey::Fetch).unwrap().request, 18, true, 3);
    assert_eq!(fetch[fetch.len() - 15..][..3], [1, 13, fetch[fetch.len() - 13]]);
    let mut longer_tag = fetch.clone();
    longer_tag[fetch.len() - 14] = 12;
    assert_eq!(refused(ApiKey::Fetch, 18, &longer_tag), Fault::WrongTagSize);
    assert_eq!(refused(ApiKey::DescribeTopicPartitions, 0, &[1, 0, 0, 0, 0, 7, 0]), Fault::NeitherPresentNorAbsent);
}

#[test]
fn elements_are_counted_over_all_arrays_and_unknown_tags() {
    let api = Api::of(ApiKey::DescribeGroups).unwrap();
    let few = Limits { max_array_elements: 3 };
    let groups = |count: u8, tags: &[u8]| [&[count + 1][..], &vec![1; count.into()], &[0], tags].concat();
    let check = |body: &[u8]| check(api.request, 5, true, body, &few).map_err(|error| error.fault);
    assert_eq!(check(&groups(3, &[0])), Ok(()));
    assert_eq!(check(&groups(4, &[0])), Err(Fault::TooManyElements));
    assert_eq!(check(&groups(2, &[1, 9, 0])), Ok(()));
    assert_eq!(check(&groups(2, &[2, 9, 0, 9, 0])), Err(Fault::TooManyElements));
}

proptest! {
    /// Whatever passes the guard, the crate decodes to its end or refuses as a whole, and never panics.
    #[test]
    fn damaged_messages_never_panic(
        which in any::<prop::sample::Index>(),
        seed: u64,
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(0xff), Just(0x7f), Just(0)]), 1..4),
    ) {
        let versions: Vec<_> = versions().collect();
        let (api, version) = *which.get(&versions);
        let mut bytes = fill::some(api.request, version, api.is_flexible(version), seed);
        for (place, byte) in damage {
            let place = place.index(bytes.len().max(1));
            if let Some(damaged) = bytes.get_mut(place) {
                *damaged = byte;
            }
        }
        if check(api.request, version, api.is_flexible(version), &bytes, &limits()).is_ok() {
            let mut rest = Bytes::from(bytes);
            if body::decode_request(api.key, &mut rest, version).is_ok() {
                prop_assert!(rest.is_empty(), "{} v{version}", api.name);
            }
        }
    }
}
