//! The publisher: this broker's newest image, and the news of it.
//!
//! Readers on the hot path load the image without a lock. Whoever acts on changes subscribes: a subscriber that is slow
//! skips images, never changes, since its changes are counted from the image it saw last.
//!
//! One subscriber is waited for: whoever opens this broker's partitions takes the [`Applier`] and says what it has acted
//! on, so that a topic is answered for only when it can be produced to.

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
    /// The version that was acted on; `u64::MAX` while nobody is waited for.
    applied: watch::Sender<u64>,
}

/// Says up to which version this broker has acted on the metadata. Dropped, nobody is waited for any more.
#[derive(Debug)]
pub struct Applier {
    publisher: Weak<Publisher>,
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
        let (applied, _) = watch::channel(u64::MAX);
        Arc::new(Publisher { image: ArcSwap::new(image), version, applied })
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

    /// From here on, [`Publisher::wait_applied`] waits for what this applier says.
    pub fn applier(self: &Arc<Self>) -> Applier {
        self.applied.send_replace(0);
        Applier { publisher: Arc::downgrade(self) }
    }

    /// Waits until this broker has acted on `version`; at once if nobody said that it would.
    pub async fn wait_applied(&self, version: u64) {
        // An error means that the publisher is gone, which this borrow rules out.
        let _ = self.applied.subscribe().wait_for(|applied| *applied >= version).await;
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

impl Applier {
    /// This broker has acted on `version` and all before it.
    pub fn applied(&self, version: u64) {
        if let Some(publisher) = self.publisher.upgrade() {
            publisher.applied.send_if_modified(|applied| {
                let risen = version > *applied;
                *applied = version.max(*applied);
                risen
            });
        }
    }
}

impl Drop for Applier {
    fn drop(&mut self) {
        self.applied(u64::MAX);
    }
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
    fn only_an_applier_is_waited_for() {
        let publisher = Publisher::new(image(3));
        assert!(publisher.wait_applied(3).now_or_never().is_some());
        let applier = publisher.applier();
        assert!(publisher.wait_applied(3).now_or_never().is_none());
        applier.applied(3);
        applier.applied(2);
        assert!(publisher.wait_applied(3).now_or_never().is_some());
        assert!(publisher.wait_applied(4).now_or_never().is_none());
        drop(applier);
        assert!(publisher.wait_applied(4).now_or_never().is_some());
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
