//! What groups may take in memory, however their clients ask.

use super::*;

const MIB: usize = 1 << 20;

fn script(max_bytes: usize) -> Script {
    Script::with(GroupConfig { initial_rebalance_delay: Duration::ZERO, max_bytes, ..GroupConfig::default() })
}

fn commit(group: &str, partition: i32, metadata: usize) -> Request {
    let commit = CommitPartition { partition, offset: 1, leader_epoch: None, metadata: "m".repeat(metadata) };
    Request::Commit(CommitRequest {
        group: group.to_owned(),
        member: String::new(),
        instance: None,
        generation: None,
        retention: None,
        knows_member_epochs: false,
        topics: vec![("orders".to_owned(), vec![commit])],
    })
}

fn committed(script: &mut Script, request: Request) -> Option<ResponseError> {
    let token = script.ask(request);
    match script.answer(token) {
        Answer::Commit(Ok(results)) => results[0].1[0].1,
        other => panic!("{other:?}"),
    }
}

fn big_join(group: &str, client: &str, metadata: usize) -> Request {
    let mut join = join(client).0;
    join.group = group.to_owned();
    join.protocols = vec![("range".to_owned(), Bytes::from(vec![0; metadata]))];
    Request::Join(join)
}

#[test]
fn a_member_that_could_not_be_written_is_refused() {
    let mut script = script(64 * MIB);
    let token = script.ask(big_join("g", "c", 2 * MIB));
    assert_eq!(script.join_error(token).0, ResponseError::UnknownServerError);
    assert_eq!(script.machine.weight(), 0, "nothing is kept of it");
}

#[test]
fn an_assignment_that_could_not_be_written_is_refused() {
    let mut script = script(64 * MIB);
    let token = script.join("c");
    let (id, joined) = script.joined(token);
    let assignments = vec![(id.clone(), Bytes::from(vec![0; 2 * MIB]))];
    let refused = script.ask(sync(&id, joined.generation, assignments));
    assert_eq!(script.synced(refused), Err(ResponseError::UnknownServerError));
    assert!(script.machine.weight() < MIB);
    let again = script.ask(sync(&id, joined.generation, vec![(id.clone(), Bytes::from_static(b"a"))]));
    assert_eq!(script.synced(again).unwrap(), "a");
}

#[test]
fn groups_of_random_names_are_bounded_and_go_again() {
    let mut script = script(MIB);
    let mut refused = 0;
    for n in 0..2000 {
        let token = script.send(big_join(&format!("group-{n}"), "c", 1000));
        if !script.waits(token)
            && let Answer::Join(JoinAnswer { result: Err(error), .. }) = script.answer(token)
        {
            assert_eq!(*error, ResponseError::GroupMaxSizeReached);
            refused += 1;
        }
    }
    assert!((1000..2000).contains(&refused), "{refused} of 2000 refused");
    assert!(script.machine.weight() <= MIB + 4096, "{}", script.machine.weight());
    // Ids that are given out and not used count too.
    let token = script.ask(join("c").modern().request());
    assert_eq!(script.join_error(token).0, ResponseError::GroupMaxSizeReached);
    // Nobody of them is heard of again.
    script.pass(Duration::from_secs(3600));
    assert!(script.machine.weight() < MIB / 2, "{}", script.machine.weight());
    script.stable(2);
}

#[test]
fn offsets_are_bounded_and_those_that_are_there_can_be_moved_on() {
    let mut script = script(MIB);
    assert_eq!(committed(&mut script, commit("g", 0, 4000)), None);
    let results: Vec<_> = (1..1000).map(|n| committed(&mut script, commit(&format!("g{n}"), 0, 4000))).collect();
    let kept = results.iter().filter(|result| result.is_none()).count();
    assert!((200..260).contains(&kept), "{kept} kept");
    assert!(results.iter().flatten().all(|error| *error == ResponseError::CoordinatorNotAvailable));
    assert!(script.machine.weight() <= MIB + 8192, "{}", script.machine.weight());
    assert_eq!(committed(&mut script, commit("g", 0, 4000)), None, "what is there moves on");
    assert_eq!(committed(&mut script, commit("g", 1, 4000)), Some(ResponseError::CoordinatorNotAvailable));
    // A week later there is room.
    script.pass(Duration::from_secs(8 * 24 * 3600));
    assert_eq!(script.machine.weight(), 0);
    assert_eq!(committed(&mut script, commit("g", 1, 4000)), None);
    assert_eq!(script.reloaded().machine.weight(), script.machine.weight());
}
