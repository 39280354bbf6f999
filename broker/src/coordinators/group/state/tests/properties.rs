//! Random interleavings of everything that clients and time can do, with the invariants checked at every step.
//!
//! The machine itself checks the group's invariants after every call (`invariants::violated`, in a debug build); here
//! is what shows only across calls: generations go up, tokens are answered once, assignments go to members only, and
//! the log has what the group has.

use super::*;
use crate::coordinators::group::state::invariants;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Deed {
    /// Somebody (client, static or not) joins, with its id if it has one.
    Join {
        client: usize,
        is_static: bool,
        modern: bool,
        forgets_id: bool,
        protocols: usize,
    },
    /// A member syncs; a leader assigns to everybody it knows, and to a stranger.
    Sync {
        client: usize,
    },
    Heartbeat {
        client: usize,
    },
    Leave {
        client: usize,
    },
    Commit {
        client: usize,
        outside: bool,
    },
    Delete,
    Pass {
        seconds: u64,
    },
    Reload,
}

const CLIENTS: usize = 4;
const PROTOCOLS: [&[(&str, &[u8])]; 4] = [
    &[("range", b"\x00\x01\x00\x00\x00\x01\x00\x06orders")],
    &[("range", b"1"), ("sticky", b"2")],
    &[("sticky", b"3"), ("range", b"4")],
    &[("range", b"5"), ("range", b"twice")],
];

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        8 => (0..CLIENTS, any::<bool>(), any::<bool>(), prop::bool::weighted(0.15), 0..PROTOCOLS.len()).prop_map(
            |(client, is_static, modern, forgets_id, protocols)| Deed::Join { client, is_static, modern, forgets_id, protocols }
        ),
        8 => (0..CLIENTS).prop_map(|client| Deed::Sync { client }),
        3 => (0..CLIENTS).prop_map(|client| Deed::Heartbeat { client }),
        2 => (0..CLIENTS).prop_map(|client| Deed::Leave { client }),
        2 => (0..CLIENTS, any::<bool>()).prop_map(|(client, outside)| Deed::Commit { client, outside }),
        1 => Just(Deed::Delete),
        4 => (0u64..30).prop_map(|seconds| Deed::Pass { seconds }),
        1 => Just(Deed::Reload),
    ]
}

/// What a client knows.
#[derive(Clone, Default)]
struct Client {
    id: String,
    generation: i32,
    leads: bool,
    roster: Vec<String>,
    join: Option<Token>,
    sync: Option<Token>,
    is_static: bool,
}

struct World {
    script: Script,
    clients: Vec<Client>,
    fresh: u128,
    /// The highest generation that anybody was told since the group began.
    generation: i32,
}

impl World {
    fn new(delay: Duration) -> World {
        let config = GroupConfig { initial_rebalance_delay: delay, max_size: 3, ..GroupConfig::default() };
        World { script: Script::with(config), clients: vec![Client::default(); CLIENTS], fresh: 0, generation: 0 }
    }

    fn perform(&mut self, deed: Deed) {
        match deed {
            Deed::Join { client, is_static, modern, forgets_id, protocols } => {
                self.fresh += 1;
                let state = &self.clients[client];
                let mut request = join(&format!("c{client}")).fresh(self.fresh).protocols(PROTOCOLS[protocols]);
                request.0.requires_member_id = modern;
                request.0.supports_skipping_assignment = modern;
                if is_static || state.is_static {
                    request = request.instance(&format!("i{client}"));
                }
                if !forgets_id && state.is_static == request.0.instance.is_some() {
                    request = request.id(&state.id);
                }
                self.clients[client].is_static = request.0.instance.is_some();
                let token = self.script.ask(request.request());
                self.clients[client].join = Some(token);
            }
            Deed::Sync { client } => {
                let state = &self.clients[client];
                let mut assignments = Vec::new();
                if state.leads {
                    let word = |id: &String| (id.clone(), Bytes::from(format!("{}@{}", id, state.generation)));
                    assignments.extend(state.roster.iter().map(word));
                    assignments.push(("stranger".to_owned(), Bytes::from_static(b"stray")));
                }
                let token = self.script.ask(sync(&state.id, state.generation, assignments));
                self.clients[client].sync = Some(token);
            }
            Deed::Heartbeat { client } => {
                let state = self.clients[client].clone();
                let _ = self.script.heartbeat(&state.id, state.generation);
            }
            Deed::Leave { client } => {
                let id = self.clients[client].id.clone();
                self.script.ask(leave(&id, None));
                self.clients[client].id.clear();
            }
            Deed::Commit { client, outside } => {
                let state = &self.clients[client];
                let partition =
                    CommitPartition { partition: 0, offset: 7, leader_epoch: None, metadata: String::new() };
                self.script.ask(Request::Commit(CommitRequest {
                    group: "g".to_owned(),
                    member: if outside { String::new() } else { state.id.clone() },
                    instance: None,
                    generation: (!outside).then_some(state.generation),
                    retention: None,
                    knows_member_epochs: false,
                    topics: vec![("t".to_owned(), vec![partition])],
                }));
            }
            Deed::Delete => {
                self.script.ask(Request::Delete { group: "g".to_owned() });
            }
            Deed::Pass { seconds } => self.script.pass(Duration::from_secs(seconds)),
            Deed::Reload => {
                // A coordinator that comes back knows what the log knows, and clients find out by errors.
                let answers = std::mem::take(&mut self.script.answers);
                self.script = self.script.reloaded();
                self.script.answers.extend(answers);
                self.generation = 0;
                for client in &mut self.clients {
                    client.join = None;
                    client.sync = None;
                }
            }
        }
        self.listen();
        self.check();
    }

    /// Clients take in their answers.
    fn listen(&mut self) {
        for client in &mut self.clients {
            if let Some(token) = client.join
                && let Some(Answer::Join(answer)) = self.script.answers.get(&token)
            {
                client.join = None;
                client.id.clone_from(&answer.member);
                if let Ok(joined) = &answer.result {
                    assert!(joined.generation >= self.generation, "generations go up");
                    self.generation = joined.generation;
                    client.generation = joined.generation;
                    client.leads = joined.leader == answer.member && !joined.skip_assignment;
                    client.roster = joined.members.iter().map(|member| member.id.clone()).collect();
                    assert_eq!(joined.members.is_empty(), joined.leader != answer.member, "the leader gets the roster");
                }
            }
            if let Some(token) = client.sync
                && let Some(Answer::Sync(result)) = self.script.answers.get(&token)
            {
                client.sync = None;
                if let Ok(synced) = result {
                    let assignment = String::from_utf8(synced.assignment.to_vec()).unwrap();
                    assert!(
                        assignment.is_empty() || assignment.ends_with(&format!("@{}", client.generation)),
                        "{assignment} in generation {}",
                        client.generation
                    );
                }
            }
        }
    }

    fn check(&mut self) {
        let groups = self.script.machine.groups();
        let Some(group) = groups.get("g") else {
            self.generation = 0;
            return;
        };
        assert_eq!(invariants::of_classic(group), None);
        // Everybody is answered or waits in the group.
        let waiting: BTreeSet<Token> =
            group.members.values().flat_map(|member| [member.joining, member.syncing]).flatten().collect();
        for client in &self.clients {
            for token in [client.join, client.sync].into_iter().flatten() {
                assert!(waiting.contains(&token), "{token:?} is neither answered nor waiting");
            }
        }
        // The log has what the group has.
        let loaded = self.script.reloaded();
        let loaded_groups = loaded.machine.groups();
        let again = loaded_groups.get("g");
        let offsets = again.map(|group| group.offsets.clone()).unwrap_or_default();
        assert_eq!(offsets, group.offsets);
        if group.written && matches!(group.state, GroupState::Stable | GroupState::Empty) {
            let again = again.unwrap();
            assert_eq!(again.state, group.state);
            assert_eq!(again.generation, group.generation);
            assert_eq!(again.leader, group.leader);
            assert_eq!(again.protocol, group.protocol);
            assert_eq!(again.protocol_type, group.protocol_type);
            assert_eq!(again.state_since, group.state_since);
            assert_eq!(again.subscribed, group.subscribed);
            assert_eq!(again.instances, group.instances);
            assert_eq!(again.describe(), group.describe());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_clients_do_the_invariants_hold(
        delay in prop_oneof![Just(0u64), Just(3)],
        deeds in proptest::collection::vec(deed(), 1..60),
    ) {
        let mut world = World::new(Duration::from_secs(delay));
        for deed in deeds {
            world.perform(deed);
        }
        // Left alone, everybody is answered in the end, and the group comes to rest.
        world.script.pass(Duration::from_secs(3600));
        world.listen();
        for client in &world.clients {
            prop_assert!(client.join.is_none() && client.sync.is_none());
        }
        let state = world.script.state();
        prop_assert!(matches!(state, GroupState::Empty | GroupState::Dead), "{:?}", state);
    }
}
