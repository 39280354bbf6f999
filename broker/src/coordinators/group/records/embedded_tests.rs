use super::*;

/// As Kafka's clients write it: version 3, two topics, user data, one owned partition, generation, rack.
#[test]
fn a_subscription_of_every_version_is_read() {
    let v0 = b"\x00\x00\x00\x00\x00\x02\x00\x01b\x00\x01a\x00\x00\x00\x01u";
    let owned = b"\x00\x00\x00\x01\x00\x01a\x00\x00\x00\x01\x00\x00\x00\x02";
    let tail = b"\x00\x00\x00\x07\x00\x01r";
    let newest: Vec<u8> = [b"\x00\x03".as_slice(), &v0[2..], owned, tail].concat();
    let read = Subscription::decode(&newest).unwrap();
    let topics = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    assert_eq!((read.version, &read.topics, read.rack.as_deref()), (3, &topics, Some("r")));
    assert_eq!(read.owned, NamedPartitions::from([("a".to_owned(), BTreeSet::from([2]))]));
    let read = Subscription::decode(v0).unwrap();
    assert_eq!((read.version, &read.topics, read.rack, read.owned), (0, &topics, None, NamedPartitions::new()));
    // A version to come is read as far as it is known.
    let future: Vec<u8> = [b"\x00\x09".as_slice(), &newest[2..], b"more"].concat();
    assert_eq!(Subscription::decode(&future).unwrap().version, 3);
    for cut in 0..newest.len() {
        assert!(Subscription::decode(&newest[..cut]).is_err(), "{cut}");
    }
    assert!(Subscription::decode(b"\x00\x03\x7f\xff\xff\xff").is_err());
    assert!(Subscription::decode(b"\xff\xff").is_err());
}

#[test]
fn an_assignment_is_written_and_read() {
    let assigned = NamedPartitions::from([("t".to_owned(), BTreeSet::from([0, 3]))]);
    let bytes = encode_assignment(1, &assigned).unwrap();
    assert_eq!(
        bytes.as_ref(),
        b"\x00\x01\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x03\xff\xff\xff\xff"
    );
    let read = |partitions, has_user_data| Ok(Assignment { partitions, has_user_data });
    assert_eq!(Assignment::decode(&bytes), read(assigned.clone(), false));
    assert_eq!(Assignment::decode(b""), read(NamedPartitions::new(), false));
    assert!(Assignment::decode(b"\x00\x01\x00\x00\x00\x05").is_err());
    let (partitions, _) = bytes.split_at(bytes.len() - 4);
    assert_eq!(Assignment::decode(&[partitions, b"\0\0\0\0"].concat()), read(assigned.clone(), false));
    assert_eq!(Assignment::decode(&[partitions, b"\0\0\0\x01u"].concat()), read(assigned, true));
    for cut in [partitions, &[partitions, b"\0\0\0\x02u"].concat()] {
        assert!(Assignment::decode(cut).is_err(), "{cut:?}");
    }
}
