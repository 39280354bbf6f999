//! The publisher: this broker's newest image, and the news of it.
//!
//! Readers on the hot path load the image without a lock. Whoever acts on changes subscribes: a subscriber that is slow
//! skips images, never changes, since its changes are counted from the image it saw last.

use super::changes::Changes;
use super::image::Image;
use arc_swap::ArcSwap;
use std::sync::{Arc, Weak};
use tokio::sync::watch;

/// Holds the newest image.
#[derive(Debug)]
pub struct Publisher {
    image: ArcSwap<Image>,
    version: watch::Sender<u64>,
}

/// What a subscriber is told.
#[derive(Clone, Debug)]
pub struct Published {
    /// The newest image.
    pub image: Arc<Image>,
    /// What differs from the image that the subscriber was told before.
    pub changes: Changes,
}

impl Publisher {
    /// A publisher whose first image is `image`.
    pub fn new(image: Arc<Image>) -> Arc<Publisher> {
        let (version, _) = watch::channel(image.version());
        Arc::new(Publisher { image: ArcSwap::new(image), version })
    }

    /// The newest image.
    pub fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    /// The newest image, borrowed: for a look-up on the hot path.
    pub fn load(&self) -> arc_swap::Guard<Arc<Image>> {
        self.image.load()
    }

    /// Makes `image` the newest, unless there is a newer one; its one caller is whoever replays the log.
    pub fn publish(&self, image: Arc<Image>) {
        let version = image.version();
        if version > self.image.load().version() {
            self.image.store(image);
            // After the store: who is woken finds at least this version.
            self.version.send_replace(version);
        }
    }

    /// The newest image as soon as it has `version` or a later one. `None` if the publisher goes away before.
    pub async fn wait_for(&self, version: u64) -> Option<Arc<Image>> {
        self.version.subscribe().wait_for(|newest| *newest >= version).await.ok()?;
        Some(self.image())
    }

    /// A subscription that counts changes from `seen`: usually [`Image::empty`], so that the first news is everything.
    pub fn subscribe(self: &Arc<Self>, seen: Arc<Image>) -> Subscription {
        Subscription { versions: self.version.subscribe(), publisher: Arc::downgrade(self), seen }
    }
}

/// One reader of changes.
#[derive(Debug)]
pub struct Subscription {
    publisher: Weak<Publisher>,
    versions: watch::Receiver<u64>,
    seen: Arc<Image>,
}

impl Subscription {
    /// The next news: waits until there is an image newer than the one seen last. `None` once the publisher is gone.
    pub async fn next(&mut self) -> Option<Published> {
        let seen = self.seen.version();
        self.versions.wait_for(|newest| *newest > seen).await.ok()?;
        let image = self.publisher.upgrade()?.image();
        let changes = Changes::between(&self.seen, &image);
        self.seen = Arc::clone(&image);
        Some(Published { image, changes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Delta, FormatCluster, Record};
    use futures_util::FutureExt;

    fn image(version: u64) -> Arc<Image> {
        let mut delta = Delta::new(Arc::new(Image::empty()));
        delta
            .apply(&Record::FormatCluster(FormatCluster { cluster_id: uuid::Uuid::from_u128(version.into()) }))
            .unwrap();
        delta.finish(version).0
    }

    #[test]
    fn waiters_see_what_they_waited_for() {
        let publisher = Publisher::new(Arc::new(Image::empty()));
        let mut subscription = publisher.subscribe(Arc::new(Image::empty()));
        assert!(publisher.wait_for(0).now_or_never().unwrap().is_some());
        let waiting = Arc::clone(&publisher);
        let mut waiter = Box::pin(async move { waiting.wait_for(2).await });
        assert!(waiter.as_mut().now_or_never().is_none());
        assert!(subscription.next().now_or_never().is_none());
        publisher.publish(image(1));
        publisher.publish(image(3));
        publisher.publish(image(2));
        assert_eq!(publisher.image().version(), 3);
        assert_eq!(waiter.now_or_never().unwrap().unwrap().version(), 3);
        assert_eq!(subscription.next().now_or_never().unwrap().unwrap().image.version(), 3);
        assert!(subscription.next().now_or_never().is_none());
        drop(publisher);
        assert!(subscription.next().now_or_never().unwrap().is_none());
    }
}
