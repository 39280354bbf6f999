//! The pool of producer ids that this broker may give out.
//!
//! Ids come from the controller in blocks. The next block is fetched when the present one is half used, so that producers
//! start while the object store is away for a while. Ids that are left when the process ends are never used: there are
//! enough.

use super::handle::Controller;
use super::plan::AllocateProducerIds;
use crate::config::BrokerId;
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::Notify;

/// Ids in a block.
pub const PRODUCER_ID_BLOCK: u32 = 1000;

/// Gives out producer ids; cheap to clone.
#[derive(Clone, Debug)]
pub struct ProducerIdPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    broker: BrokerId,
    state: Mutex<State>,
    /// Told when a fetch has ended, in whichever way.
    fetched: Notify,
}

#[derive(Debug, Default)]
struct State {
    current: Range<u64>,
    ahead: Option<Range<u64>>,
    fetching: bool,
}

impl State {
    fn take(&mut self) -> Option<u64> {
        if self.current.is_empty() {
            self.current = self.ahead.take()?;
        }
        self.current.next()
    }

    /// Whether it is time to fetch the block ahead.
    fn is_low(&self) -> bool {
        let left = self.current.end.saturating_sub(self.current.start);
        self.ahead.is_none() && left <= u64::from(PRODUCER_ID_BLOCK / 2)
    }
}

impl ProducerIdPool {
    /// The pool of broker `broker`, empty. The first id waits for the first block unless [`ProducerIdPool::fill`] came
    /// before.
    pub fn new(broker: BrokerId) -> ProducerIdPool {
        ProducerIdPool { shared: Arc::new(Shared { broker, state: Mutex::default(), fetched: Notify::new() }) }
    }

    /// Starts to fetch a block, if one is due.
    pub fn fill(&self, controller: &Controller) {
        {
            let mut state = self.shared.state.lock();
            if state.fetching || !state.is_low() {
                return;
            }
            state.fetching = true;
        }
        let (shared, controller) = (Arc::clone(&self.shared), controller.clone());
        let env = controller.env().clone();
        // A task of its own: whoever asks for an id may give up, the block is for everybody.
        env.spawn_background("producer-ids", async move {
            let command = AllocateProducerIds { broker: shared.broker, count: PRODUCER_ID_BLOCK };
            let block = controller.submit(command, None).await;
            {
                let mut state = shared.state.lock();
                state.fetching = false;
                match block {
                    Ok(settled) => state.ahead = Some(settled.answer).filter(|block| !block.is_empty()),
                    Err(error) => tracing::debug!(%error, "no block of producer ids"),
                }
            }
            shared.fetched.notify_waiters();
        });
    }

    /// An id that nobody else has. `None` if there is none within `metadata.commit.timeout.ms`.
    pub async fn next(&self, controller: &Controller) -> Option<u64> {
        let wait = async {
            loop {
                // Registered before looking: a fetch that ends in between is not missed.
                let fetched = self.shared.fetched.notified();
                tokio::pin!(fetched);
                fetched.as_mut().enable();
                let taken = self.shared.state.lock().take();
                self.fill(controller);
                if taken.is_some() {
                    return taken;
                }
                fetched.await;
                // One fetch failed for everybody who waited; the next to ask starts another.
                let state = self.shared.state.lock();
                if state.current.is_empty() && state.ahead.is_none() && !state.fetching {
                    return None;
                }
            }
        };
        controller.env().timeout(controller.default_limit(), wait).await.ok().flatten()
    }
}
