//! Fetch (key 1): from what a consumer wants to slices of logs.
//!
//! ```text
//!  request -> session -> partitions in order -> first look: hot slices, at once and uncopied
//!                                            -> what is cold or tiered: read together, at most max_wait
//!                                            -> too little: wait for a high watermark to move, look again
//! ```
//!
//! [`session`] is KIP-227; `look` is one pass over the partitions; this module decides when to answer.

mod look;
pub mod session;

use self::look::{Look, Request};
use self::session::Plan;
use super::Handlers;
use crate::net::Client;
use crate::partition::Waiter;
use esker_protocol::error_code::ErrorCode;
use kafka_protocol::messages::fetch_request::FetchRequest;
use kafka_protocol::messages::fetch_response::{FetchResponse, FetchableTopicResponse, PartitionData};
use std::sync::Arc;
use std::time::Duration;

/// Answers `request`, after at most its `max_wait_ms`.
pub async fn handle(handlers: &Handlers, client: &Client, request: FetchRequest, version: i16) -> FetchResponse {
    // Only followers may name a replica, and there are none.
    if request.replica_id.0 >= 0 || request.replica_state.replica_id.0 >= 0 {
        return refuse(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    }
    let random = handlers.env.random.next();
    let now = handlers.env.now();
    let plan = match handlers.sessions(client.runtime).lock().plan(&request, version, now, random) {
        Ok(plan) => plan,
        Err(error) => return refuse(ErrorCode::new(error.code())),
    };
    let request = Request {
        version,
        read_committed: request.isolation_level == 1,
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
        max_bytes: usize::try_from(request.max_bytes).unwrap_or(0).min(handlers.config.fetch_max_bytes as usize),
        deadline: now.plus(Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0))),
    };
    let look = settle(handlers, client, &plan, &request).await;
    client.reading.note(look.reads_history);
    handlers.metrics.bytes_out.inc_by(look.bytes as u64);
    respond(plan, look.answers)
}

/// Looks until there is enough to answer, or time is up.
async fn settle(handlers: &Handlers, client: &Client, plan: &Plan, request: &Request) -> Look {
    let mut look = Look::take(handlers, plan, request).await;
    let is_over =
        |look: &Look| look.is_enough(request) || handlers.env.now() >= request.deadline || handlers.hosted.is_ending();
    if is_over(&look) {
        return look;
    }
    let waiter = Waiter::new(client.runtime);
    let mut registration = Registration::new(&waiter, &look);
    // Registered first, looked second: nothing moves unseen in between.
    let mut looks_again = look.is_outdated() || handlers.hosted.is_ending();
    loop {
        if looks_again {
            look = Look::take(handlers, plan, request).await;
            if is_over(&look) {
                break;
            }
            if look.found_others_than(&registration.partitions) {
                // A topic came again under its name.
                registration = Registration::new(&waiter, &look);
                continue;
            }
        }
        let left = request.deadline.since(handlers.env.now());
        // A time-out ends with the look as it is: nothing woke us since.
        if handlers.env.timeout(left, waiter.woken()).await.is_err() {
            break;
        }
        looks_again = true;
    }
    drop(registration);
    look
}

/// A waiter's entries in the partitions that it waits for, removed however the wait ends.
struct Registration<'a> {
    waiter: &'a Arc<Waiter>,
    partitions: Vec<Arc<crate::partition::Partition>>,
}

impl<'a> Registration<'a> {
    fn new(waiter: &'a Arc<Waiter>, look: &Look) -> Registration<'a> {
        let partitions = look.partitions.clone();
        for partition in &partitions {
            partition.register(waiter);
        }
        Registration { waiter, partitions }
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        for partition in &self.partitions {
            partition.forget(self.waiter);
        }
    }
}

fn refuse(code: ErrorCode) -> FetchResponse {
    FetchResponse::default().with_error_code(code.code())
}

/// Groups the answers by topic again, in the order of service, without those that are no news to the session.
fn respond(plan: Plan, answers: Vec<PartitionData>) -> FetchResponse {
    let mut topics: Vec<FetchableTopicResponse> = Vec::new();
    for ((name, _), answer) in plan.partitions.iter().zip(answers) {
        if !plan.include(name, &answer) {
            continue;
        }
        match topics.last_mut() {
            Some(topic) if topic.topic == name.topic && topic.topic_id == name.topic_id => {
                topic.partitions.push(answer);
            }
            _ => topics.push(
                FetchableTopicResponse::default()
                    .with_topic(name.topic.clone())
                    .with_topic_id(name.topic_id)
                    .with_partitions(vec![answer]),
            ),
        }
    }
    FetchResponse::default().with_session_id(plan.session_id).with_responses(topics)
}
