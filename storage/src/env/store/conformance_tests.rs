//! What every [`Store`] must do, run against each that needs no server.

use super::testing::{block_on, env};
use super::*;
use futures_util::future::join_all;
use std::sync::Arc;

fn each(test: impl AsyncFn(Arc<dyn Store>)) {
    let env = env(1);
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}/a%20store", directory.path().display());
    for url in ["memory://", &url] {
        let store = open(url, &env).unwrap();
        block_on(test(store));
    }
}

#[test]
fn an_object_is_read_as_it_was_written() {
    each(async |store| {
        store.put("a/b/one", Bytes::from_static(b"0123456789")).await.unwrap();
        assert_eq!(store.get("a/b/one").await.unwrap(), "0123456789");
        assert_eq!(store.get_range("a/b/one", 2..5).await.unwrap(), "234");
        assert_eq!(store.get("a/b/two").await, Err(StoreError::NotFound { key: "a/b/two".to_owned() }));
        assert_eq!(store.get_range("x", 0..1).await, Err(StoreError::NotFound { key: "x".to_owned() }));
        assert!(matches!(store.get_range("a/b/one", 8..12).await, Err(StoreError::Indefinite { .. })));
    });
}

#[test]
fn only_the_first_create_wins() {
    each(async |store| {
        store.put_if_absent("n/1", Bytes::from_static(b"first")).await.unwrap();
        let second = store.put_if_absent("n/1", Bytes::from_static(b"second")).await;
        assert_eq!(second, Err(StoreError::AlreadyExists { key: "n/1".to_owned() }));
        assert_eq!(store.get("n/1").await.unwrap(), "first");
        for round in 0..20 {
            let key = format!("race/{round}");
            let racers = (0..16).map(|racer| store.put_if_absent(&key, Bytes::from(format!("{racer}"))));
            let outcomes = join_all(racers).await;
            let winners: Vec<usize> = (0..16).filter(|&racer| outcomes[racer].is_ok()).collect();
            assert_eq!(winners.len(), 1, "round {round}");
            assert_eq!(store.get(&key).await.unwrap(), format!("{}", winners[0]));
        }
    });
}

#[test]
fn listings_are_ordered_and_paged() {
    each(async |store| {
        for key in ["log/3", "log/1", "log/2", "logs/9", "z", "log/deep/4"] {
            store.put(key, Bytes::from_static(b"x")).await.unwrap();
        }
        let keys = async |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
            store.list(prefix, after, limit).await.unwrap().into_iter().map(|entry| entry.key).collect()
        };
        assert_eq!(keys("log/", None, 9).await, ["log/1", "log/2", "log/3", "log/deep/4"]);
        assert_eq!(keys("log/", Some("log/1"), 2).await, ["log/2", "log/3"]);
        assert_eq!(keys("log", None, 9).await.len(), 5);
        assert_eq!(keys("", None, 2).await, ["log/1", "log/2"]);
        assert_eq!(keys("none/", None, 9).await, Vec::<String>::new());
        let entry = store.list("z", None, 1).await.unwrap().remove(0);
        assert!(entry.size == 1 && entry.modified.millis() > 1_600_000_000_000);
    });
}

#[test]
fn deleting_twice_is_no_error() {
    each(async |store| {
        store.put("d/1", Bytes::from_static(b"x")).await.unwrap();
        store.delete("d/1").await.unwrap();
        store.delete("d/1").await.unwrap();
        assert!(store.list("d/", None, 9).await.unwrap().is_empty());
        store.put_if_absent("d/1", Bytes::from_static(b"y")).await.unwrap();
    });
}

#[test]
fn an_upload_appears_when_it_is_complete() {
    each(async |store| {
        let part = Bytes::from(vec![7u8; 5 << 20]);
        let mut upload = store.upload("u/big").await.unwrap();
        for _ in 0..6 {
            upload.part(part.clone()).await.unwrap();
        }
        upload.part(Bytes::from_static(b"end")).await.unwrap();
        assert!(store.list("u/", None, 9).await.unwrap().is_empty(), "a part is not an object");
        upload.complete().await.unwrap();
        assert_eq!(store.list("u/", None, 9).await.unwrap()[0].size, 6 * (5 << 20) + 3);
        assert_eq!(store.get_range("u/big", 6 * (5 << 20)..6 * (5 << 20) + 3).await.unwrap(), "end");

        let mut given_up = store.upload("u/none").await.unwrap();
        given_up.part(part.clone()).await.unwrap();
        given_up.abort().await.unwrap();
        let mut forgotten = store.upload("u/none").await.unwrap();
        forgotten.part(part.clone()).await.unwrap();
        drop(forgotten);
        assert_eq!(store.list("u/", None, 9).await.unwrap().len(), 1);
    });
}

#[test]
fn a_url_that_names_no_store_is_refused() {
    let env = env(1);
    for url in ["ftp://x", "nonsense", "s3:///no-bucket", "file:relative"] {
        assert!(matches!(open(url, &env), Err(StoreError::Refused { .. })), "{url}");
    }
}
