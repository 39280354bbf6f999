//! Consumer groups on the stage: one that only commits, and one whose members come, share out the partitions, and go.

use super::cast::{Cast, PARTITIONS, TOPIC};
use bytes::Bytes;
use esker_tests::checker::{Event, Outcome, Span, Term};
use esker_tests::sim::Chance;
use esker_tests::sim::client::{CallError, Membership, SESSION_TIMEOUT_MS, SimClient};
use kafka_protocol::protocol::StrBytes;
use std::sync::Arc;

/// The group without members.
pub(crate) const LONER: (u32, &str) = (1, "loner");
/// The group with members.
pub(crate) const TEAM: (u32, &str) = (2, "team");

/// How long a member may be silent, and may take to join again, in nanoseconds.
const SESSION: u64 = SESSION_TIMEOUT_MS as u64 * 1_000_000;

/// Kafka's numbers of errors.
const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER: i16 = 25;
const REBALANCE_IN_PROGRESS: i16 = 27;

/// One partition's assignment: its number. A member's is a byte for each.
fn share_out(members: &[StrBytes]) -> Vec<(StrBytes, Bytes)> {
    let of = |member: usize| (0..PARTITIONS as u8).filter(move |number| usize::from(*number) % members.len() == member);
    members.iter().enumerate().map(|(at, member)| (member.clone(), of(at).collect::<Vec<u8>>().into())).collect()
}

impl Cast {
    /// Commits an offset, once, and takes note of what became of it.
    async fn commit(
        &self,
        (client, connection): (u32, &mut SimClient),
        (number, group): (u32, &str),
        membership: &Membership,
        partition: i32,
        offset: u64,
    ) -> Result<(), CallError> {
        let (began, newest) = (self.stage.clock(), self.generations.lock().get(&number).copied());
        let result = connection.commit_offset(group, membership, TOPIC, partition, offset).await;
        if let (Ok(()), Some((newest, known))) = (result, newest) {
            let fenced = newest > membership.generation && known < began;
            assert!(!fenced, "a member of generation {} commits in {newest}", membership.generation);
        }
        let outcome = match result {
            Ok(()) => Outcome::Done,
            Err(CallError::Kafka(ILLEGAL_GENERATION | UNKNOWN_MEMBER | REBALANCE_IN_PROGRESS)) => Outcome::Refused,
            Err(_) => Outcome::Unknown,
        };
        let (span, partition) = (self.since(began), partition as u32);
        let term = (membership.generation >= 0).then_some(Term { client, epoch: membership.generation });
        self.push(Event::Commit { group: number, partition, offset, term, span, outcome });
        result
    }

    /// What a group has committed, asked for once.
    async fn committed(
        &self,
        client: &mut SimClient,
        (number, group): (u32, &str),
        partition: i32,
    ) -> Result<Option<u64>, CallError> {
        let began = self.stage.clock();
        let found = client.committed_offset(group, TOPIC, partition).await?;
        let span = self.since(began);
        self.push(Event::Committed { group: number, partition: partition as u32, found, span });
        Ok(found)
    }

    /// Commits ever higher offsets for a group without members, and asks for them.
    pub(crate) async fn commit_offsets(self: Arc<Self>, commits: u64) {
        let mut client = self.stage.client();
        while client.find_coordinator(LONER.1).await.is_err() {
            self.stage.pause().await;
        }
        for offset in 1..=commits {
            let partition = (offset % PARTITIONS as u64) as i32;
            // What became of it is in the history.
            let _ = self.commit((0, &mut client), LONER, &Membership::none(), partition, offset).await;
            self.stage.pause().await;
            let _ = self.committed(&mut client, LONER, partition).await;
        }
    }

    /// Asks, when it must work, what both groups have committed, whatever happened before.
    pub(crate) async fn ask_for_committed(&self) {
        let mut client = self.stage.client();
        for group in [LONER, TEAM] {
            for partition in 0..PARTITIONS {
                while self.committed(&mut client, group, partition).await.is_err() {
                    self.stage.pause().await;
                }
            }
        }
    }

    /// A member of the team: joins, reads what it is assigned from the committed offsets on, and commits; again and
    /// again, until the stage is over.
    pub(crate) async fn member(self: Arc<Self>, number: u32) {
        let mut client = self.stage.client();
        let (mut id, mut before) = (StrBytes::default(), None);
        while !self.stage.is_over() {
            let mut heard = self.stage.clock();
            match self.join(&mut client, &mut id).await {
                Ok((membership, partitions)) => {
                    // What it sent in an older generation comes late, and must not count. (If it did, this would tell.)
                    if let Some(before) = before.replace(membership.clone()) {
                        let _ = self.commit((number, &mut client), TEAM, &before, 0, 0).await;
                    }
                    let began = self.stage.clock();
                    let end = self.work((number, &mut client), &membership, &partitions, &mut heard).await;
                    self.held(number, &membership, &partitions, Span { began, ended: heard + SESSION });
                    if let Err(CallError::Kafka(UNKNOWN_MEMBER)) = end {
                        id = StrBytes::default();
                    }
                    if end.is_ok() && client.leave_group(TEAM.1, &membership).await.is_ok() {
                        id = StrBytes::default();
                    }
                }
                Err(CallError::Kafka(UNKNOWN_MEMBER)) => id = StrBytes::default(),
                Err(_) => {}
            }
            self.stage.pause().await;
        }
    }

    /// What a member had until now, unless it may have been taken for dead before.
    fn held(&self, client: u32, membership: &Membership, partitions: &[i32], at_most: Span) {
        let span = Span { ended: at_most.ended.min(self.stage.clock()), ..at_most };
        if span.began >= span.ended {
            return;
        }
        let term = Term { client, epoch: membership.generation };
        for &partition in partitions {
            self.push(Event::Held { group: TEAM.0, partition: partition as u32, term, span });
        }
    }

    async fn join(&self, client: &mut SimClient, id: &mut StrBytes) -> Result<(Membership, Vec<i32>), CallError> {
        client.find_coordinator(TEAM.1).await?;
        let joined = client.join_group(TEAM.1, id).await?;
        let assignments = if joined.members.is_empty() { Vec::new() } else { share_out(&joined.members) };
        let assignment = client.sync_group(TEAM.1, &joined.membership, assignments).await?;
        let mut generations = self.generations.lock();
        let newest = generations.entry(TEAM.0).or_insert((-1, 0));
        if newest.0 < joined.membership.generation {
            *newest = (joined.membership.generation, self.stage.clock());
        }
        drop(generations);
        Ok((joined.membership, assignment.iter().map(|number| i32::from(*number)).collect()))
    }

    /// Works as a member until something happens; `Ok` if it is enough. `heard` is when a heartbeat began that was answered.
    async fn work(
        &self,
        (number, client): (u32, &mut SimClient),
        membership: &Membership,
        partitions: &[i32],
        heard: &mut u64,
    ) -> Result<(), CallError> {
        let mut positions = Vec::new();
        for &partition in partitions {
            let committed = self.committed(client, TEAM, partition).await?;
            self.push(Event::Seek { client: number, partition: partition as u32 });
            positions.push((partition, committed.unwrap_or_default()));
        }
        while !self.stage.is_over() {
            for (partition, position) in &mut positions {
                let began = self.stage.clock();
                match client.fetch(TOPIC, *partition, *position, 200).await {
                    Ok(fetched) => {
                        let next = self.polled(number, *partition, began, *position, &fetched);
                        let advanced = next > *position;
                        *position = next;
                        if advanced {
                            self.commit((number, client), TEAM, membership, *partition, next).await?;
                        }
                    }
                    Err(CallError::Kafka(1)) => *position = self.reset(number, *partition, *position).await,
                    Err(error) => return Err(error),
                }
            }
            let began = self.stage.clock();
            client.heartbeat(TEAM.1, membership).await?;
            *heard = began;
            if self.stage.world.draw(|rng| rng.happens(Chance::percent(5))) {
                return Ok(());
            }
            self.stage.pause().await;
        }
        Ok(())
    }
}
