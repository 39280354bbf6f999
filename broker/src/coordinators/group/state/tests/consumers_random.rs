//! Random interleavings of everything that members of both protocols, topics and time can do to one group.
//!
//! The machine checks the group's invariants after every call. Here is what shows only across calls: no two members are
//! ever told that a partition is theirs before the one that had it said otherwise, epochs only go up, the log has what
//! the group has, and a group that is left alone comes to rest with every partition assigned.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Deed {
    /// Joins, or joins again from nothing.
    Join {
        client: usize,
        is_static: bool,
        subscription: usize,
    },
    /// Says that it is alive, and what it has if `says`.
    Beat {
        client: usize,
        says: bool,
    },
    /// The answer is lost on its way.
    Lost {
        client: usize,
    },
    Subscribe {
        client: usize,
        subscription: usize,
    },
    Leave {
        client: usize,
    },
    Topic {
        grows: bool,
        partitions: i32,
    },
    Pass {
        seconds: u64,
    },
    Reload,
}

const CLIENTS: usize = 4;
const SUBSCRIPTIONS: [(&[&str], &str); 4] =
    [(&["t"], ""), (&["t", "orders"], ""), (&["orders"], "t.*"), (&[], "log.*|t")];

fn deed() -> impl Strategy<Value = Deed> {
    let client = 0..CLIENTS;
    prop_oneof![
        5 => (client.clone(), prop::bool::weighted(0.3), 0..SUBSCRIPTIONS.len())
            .prop_map(|(client, is_static, subscription)| Deed::Join { client, is_static, subscription }),
        14 => (client.clone(), any::<bool>()).prop_map(|(client, says)| Deed::Beat { client, says }),
        2 => client.clone().prop_map(|client| Deed::Lost { client }),
        2 => (client.clone(), 0..SUBSCRIPTIONS.len())
            .prop_map(|(client, subscription)| Deed::Subscribe { client, subscription }),
        2 => client.prop_map(|client| Deed::Leave { client }),
        1 => (any::<bool>(), 1i32..5).prop_map(|(grows, partitions)| Deed::Topic { grows, partitions }),
        3 => (0u64..20).prop_map(|seconds| Deed::Pass { seconds }),
        1 => Just(Deed::Reload),
    ]
}

/// What a client knows and has.
#[derive(Clone, Debug, Default)]
struct Client {
    id: String,
    epoch: i32,
    is_member: bool,
    instance: Option<String>,
    subscription: usize,
    /// What it was told that it may use.
    has: Partitions,
    /// What it uses: that, and what it was told to give up until it says that it did.
    uses: Partitions,
}

struct World {
    script: Script,
    clients: Vec<Client>,
    joined: u32,
}

impl World {
    fn new() -> World {
        let config = GroupConfig { consumer_max_size: 3, ..GroupConfig::default() };
        World { script: Script::with(config), clients: vec![Client::default(); CLIENTS], joined: 0 }
    }

    fn heart(&self, client: usize) -> Heart {
        let state = &self.clients[client];
        let mut heart = heart(&state.id, state.epoch);
        heart.0.instance = state.instance.clone();
        heart
    }

    /// Sends `heart` for a client, which takes over what it is told unless the answer is lost.
    fn send(&mut self, client: usize, heart: Heart, is_lost: bool) {
        let joins = heart.0.epoch == 0;
        let before = self.clients[client].clone();
        let told = self.script.beat(heart);
        let state = &mut self.clients[client];
        match told {
            Ok(_) if is_lost => {}
            Ok(beat) => {
                assert!(joins || beat.epoch >= before.epoch, "epochs go up");
                state.epoch = beat.epoch;
                state.is_member = true;
                if let Some(assignment) = beat.assignment {
                    for (topic, partitions) in &assignment {
                        state.uses.entry(*topic).or_default().extend(partitions);
                    }
                    state.has = assignment;
                }
            }
            Err(refusal) => match refusal.error {
                ResponseError::FencedMemberEpoch
                | ResponseError::UnknownMemberId
                | ResponseError::FencedInstanceId
                | ResponseError::GroupIdNotFound => {
                    *state = Client { subscription: state.subscription, ..Client::default() }
                }
                ResponseError::UnreleasedInstanceId | ResponseError::GroupMaxSizeReached => {
                    *state = Client { subscription: state.subscription, ..Client::default() };
                }
                other => panic!("{other:?}"),
            },
        }
    }

    /// Gives up what it was told to, and says what is left.
    fn says(&mut self, client: usize) -> Heart {
        let state = &mut self.clients[client];
        state.uses = state.has.clone();
        let owned = state.has.clone();
        self.heart(client).owning(owned)
    }

    fn join(&mut self, client: usize, is_static: bool, subscription: usize) {
        self.joined += 1;
        let (topics, regex) = SUBSCRIPTIONS[subscription];
        let state = &mut self.clients[client];
        if !state.is_member {
            state.id = format!("m{client}-{}", self.joined);
            state.instance = is_static.then(|| format!("i{}", client % 2));
        }
        state.epoch = 0;
        state.has = Partitions::new();
        state.uses = Partitions::new();
        state.subscription = subscription;
        let mut heart = joins(&state.id, topics).regex(regex);
        heart.0.instance = state.instance.clone();
        self.send(client, heart, false);
    }

    fn perform(&mut self, deed: Deed) {
        match deed {
            Deed::Join { client, is_static, subscription } => self.join(client, is_static, subscription),
            Deed::Beat { client, says } if self.clients[client].is_member => {
                let heart = if says { self.says(client) } else { self.heart(client) };
                self.send(client, heart, false);
            }
            // A client that had no answer says everything the next time.
            Deed::Lost { client } if self.clients[client].is_member => {
                let heart = self.says(client);
                self.send(client, heart, true);
                let (topics, regex) = SUBSCRIPTIONS[self.clients[client].subscription];
                let mut heart = self.says(client).topics(topics).regex(regex);
                heart.0.rebalance_timeout_ms = Some(30_000);
                if self.clients[client].is_member {
                    self.send(client, heart, false);
                }
            }
            Deed::Subscribe { client, subscription } if self.clients[client].is_member => {
                let (topics, regex) = SUBSCRIPTIONS[subscription];
                self.clients[client].subscription = subscription;
                let heart = self.heart(client).topics(topics).regex(regex);
                self.send(client, heart, false);
            }
            Deed::Leave { client } if self.clients[client].is_member => {
                let mut heart = self.heart(client);
                heart.0.epoch = if heart.0.instance.is_some() { -2 } else { -1 };
                let _ = self.script.beat(heart);
                let subscription = self.clients[client].subscription;
                self.clients[client] = Client { subscription, ..Client::default() };
            }
            Deed::Topic { grows, partitions } => {
                let now = self.script.topics.topics["t"].partitions;
                if grows {
                    self.script.topic("t", Some(now + partitions));
                } else {
                    self.script.topic("log-1", Some(partitions));
                }
            }
            Deed::Pass { seconds } => self.script.pass(Duration::from_secs(seconds)),
            Deed::Reload => self.script = self.script.reloaded(),
            _ => {}
        }
        self.check();
    }

    fn check(&mut self) {
        // Nobody uses what another member still uses.
        let mut used: BTreeSet<(Uuid, i32)> = BTreeSet::new();
        let described = self.script.machine.consumer_groups();
        let group = described.get("g");
        for client in self.clients.iter().filter(|client| client.is_member) {
            let is_known = group.is_some_and(|group| group.members.contains_key(&client.id));
            if !is_known {
                continue;
            }
            for (topic, partitions) in &client.uses {
                for partition in partitions {
                    assert!(used.insert((*topic, *partition)), "{partition} is used twice: {:?}", self.clients);
                }
            }
        }
        // The log has what the group has.
        let loaded = self.script.reloaded();
        let loaded = loaded.machine.consumer_groups();
        match (group, loaded.get("g")) {
            (Some(group), Some(again)) => {
                assert_eq!(again.members, group.members);
                assert_eq!((again.epoch, again.target("x")), (group.epoch, group.target("x")));
                for member in group.members.keys() {
                    assert_eq!(again.target(member), group.target(member));
                }
            }
            (None, None) => {}
            (live, loaded) => panic!("{live:?} was loaded as {loaded:?}"),
        }
    }

    /// Everybody who is there sends heartbeats until nothing changes any more.
    fn settle(&mut self) {
        for _ in 0..12 {
            self.script.pass(Duration::from_secs(5));
            for client in 0..CLIENTS {
                self.perform(Deed::Beat { client, says: true });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn whatever_members_do_a_partition_is_used_once(deeds in proptest::collection::vec(deed(), 1..50)) {
        let mut world = World::new();
        for deed in deeds {
            world.perform(deed);
        }
        world.settle();
        let Some((state, _)) = world.script.listed() else { return Ok(()) };
        let described = world.script.consumers();
        prop_assert_eq!(described.target_epoch, if described.members.is_empty() { described.target_epoch } else { described.epoch });
        if described.members.is_empty() {
            return Ok(());
        }
        prop_assert_eq!(state, "Stable");
        // Every partition that anybody wants belongs to somebody.
        let mut owned: BTreeSet<(String, i32)> = BTreeSet::new();
        for member in &described.members {
            prop_assert_eq!(&member.assigned, &member.target);
            for topic in &member.assigned {
                owned.extend(topic.partitions.iter().map(|partition| (topic.name.clone(), *partition)));
            }
        }
        let groups = world.script.machine.consumer_groups();
        let wanted: BTreeSet<&String> = groups["g"].members.values().flat_map(|member| &member.about.topics).collect();
        for topic in wanted {
            let partitions = world.script.topics.topics.get(topic).map_or(0, |topic| topic.partitions);
            for partition in 0..partitions {
                prop_assert!(owned.contains(&(topic.clone(), partition)), "{}-{} has no owner", topic, partition);
            }
        }
    }
}
