//! A timer that is kept while it suffices.
//!
//! A timer of a runtime costs more than it seems: it is allocated and registered, and if it comes before all others the
//! runtime is woken to take note, by a system call. A loop that waits again and again, and most of the time for
//! something else that comes first, sets an **alarm** instead, and leaves it set when it stops waiting.

use super::{Env, Monotonic};
use futures_util::future::BoxFuture;

/// A kept timer; not set at first.
#[derive(Default)]
pub struct Alarm {
    set: Option<(Monotonic, BoxFuture<'static, ()>)>,
}

impl Alarm {
    /// Ends at `at`, or before that if it was once set for an earlier time: whoever waits looks again what time it is.
    pub async fn by(&mut self, env: &Env, at: Monotonic) {
        let (_, sleep) = match &mut self.set {
            Some(set) if set.0 <= at => set,
            set => set.insert((at, env.sleep(at.since(env.now())))),
        };
        sleep.await;
        self.set = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{Clock, RealDisk, RealRandom, RealTasks, Timestamp};
    use futures_util::FutureExt;
    use parking_lot::Mutex;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::oneshot;

    /// A clock whose timers are ended by hand.
    #[derive(Default)]
    struct ByHand(Mutex<Vec<(Duration, oneshot::Sender<()>)>>);

    impl Clock for ByHand {
        fn now(&self) -> Monotonic {
            Monotonic::default()
        }

        fn wall(&self) -> Timestamp {
            Timestamp::default()
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            let (end, ended) = oneshot::channel();
            self.0.lock().push((duration, end));
            Box::pin(async move { drop(ended.await) })
        }
    }

    #[test]
    fn one_timer_serves_until_it_ends_or_comes_too_late() {
        let clock = Arc::new(ByHand::default());
        let env = Env {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            random: Arc::new(RealRandom::seeded().unwrap()),
            tasks: Arc::new(RealTasks::start(1).unwrap()),
            disk: Arc::new(RealDisk),
        };
        let at = |millis| Monotonic::default().plus(Duration::from_millis(millis));
        let mut alarm = Alarm::default();
        for _ in 0..3 {
            assert!(alarm.by(&env, at(100)).now_or_never().is_none());
        }
        assert!(alarm.by(&env, at(200)).now_or_never().is_none());
        assert_eq!(clock.0.lock().len(), 1);
        assert!(alarm.by(&env, at(50)).now_or_never().is_none());
        assert_eq!(clock.0.lock().last().map(|timer| timer.0), Some(Duration::from_millis(50)));
        clock.0.lock().pop().map(|timer| timer.1.send(()));
        assert!(alarm.by(&env, at(200)).now_or_never().is_some(), "it may ring early");
        assert!(alarm.by(&env, at(200)).now_or_never().is_none(), "and is set anew then");
        assert_eq!(clock.0.lock().len(), 2);
    }
}
