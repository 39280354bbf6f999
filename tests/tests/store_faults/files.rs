//! A directory store whose directory is gone, or whose files are not what was written.
#![allow(clippy::disallowed_methods, reason = "tests look at files")]

use crate::{A_WHILE, KAFKA_STORAGE_ERROR, MIB, Story, objects};
use esker_tests::harness::Options;
use std::path::{Path, PathBuf};

#[tokio::test]
async fn a_directory_that_is_not_mounted_is_a_store_that_is_away() {
    let mut story = Story::begin(Options::new(), 1_000).await;
    let (here, away) = (story.broker.store_folder(), story.broker.store_folder().with_extension("unmounted"));
    let before = story.anonymous();
    for place_taken in [false, true] {
        std::fs::rename(&here, &away).unwrap();
        if place_taken {
            // What a mount leaves behind.
            std::fs::create_dir(&here).unwrap();
        }
        let first = story.log.sent;
        story.log.produce(40).await;
        tokio::time::sleep(A_WHILE).await;
        story.log.all_is_there(first, "who reads the tail").await;
        story.is_small(before, 48 * MIB, "a directory that is not mounted");
        assert_eq!(objects(&here), Vec::<PathBuf>::new(), "nothing is written beside the store");
        if place_taken {
            std::fs::remove_dir(&here).unwrap();
        }
        std::fs::rename(&away, &here).unwrap();
        story.log.caught_up().await;
    }
    story.log.all_is_there(0, "in the end").await;
}

/// Spoils a file that has these bytes.
type Spoil = fn(&Path, &[u8]);

#[tokio::test]
async fn a_file_of_a_directory_store_that_is_gone_cut_or_rotten_is_an_error_and_nothing_worse() {
    let mut story = Story::begin(Options::new(), 1_000).await;
    story.broker.announce("a tiered read failed");
    let spoils: [(&str, Spoil); 3] = [
        ("gone", |file, _| std::fs::remove_file(file).unwrap()),
        ("cut short", |file, whole| std::fs::write(file, &whole[..whole.len() / 3]).unwrap()),
        ("rotten", |file, whole| {
            let rotten: Vec<u8> = whole.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at % 100 == 60)).collect();
            std::fs::write(file, rotten).unwrap();
        }),
    ];
    for (name, spoil) in spoils {
        story.restart().await;
        let data = objects(&story.broker.store_folder().join("data"));
        let whole: Vec<(PathBuf, Vec<u8>)> =
            data.into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect();
        whole.iter().for_each(|(file, bytes)| spoil(file, bytes));
        story
            .log
            .oldest(name, |told| match told {
                Err(error) => error.code() == KAFKA_STORAGE_ERROR,
                // A file that is cut short may be on its way: it is waited for.
                Ok(records) => *records == 0 && name == "cut short",
            })
            .await;
        let first = story.log.sent;
        story.log.produce(40).await;
        story.log.all_is_there(first, "who reads the tail").await;
        whole.iter().for_each(|(file, bytes)| std::fs::write(file, bytes).unwrap());
        story.log.caught_up().await;
        story.log.oldest("what is whole again", |told| told.as_ref().is_ok_and(|records| *records > 0)).await;
    }
    story.log.all_is_there(0, "in the end").await;
}
