//! Connections over real sockets, and the threads that they live on.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests drive real sockets")]

use super::super::connection::Answer;
use super::super::env::RealNetwork;
use super::*;
use bytes::Bytes;
use esker_protocol::segments::Segments;
use esker_storage::env::{RealClock, RealDisk, RealRandom, RealTasks};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Answers with the name of its thread, padded to the frame's number of KiB; `h` reads history, `p` the present.
struct WhereAmI;

impl Service for WhereAmI {
    fn call(&self, client: &Arc<Client>, frame: Bytes) -> Answer {
        client.reading.note(frame.first() == Some(&b'h'));
        let kib: usize = std::str::from_utf8(&frame[1..]).unwrap().parse().unwrap();
        let mut answer = vec![b' '; kib << 10];
        answer.extend_from_slice(std::thread::current().name().unwrap().as_bytes());
        let whole = [&u32::try_from(answer.len()).unwrap().to_be_bytes(), &answer[..]].concat();
        Answer::Ready(Segments::whole(whole.into()))
    }
}

fn ask(stream: &mut TcpStream, frames: &[&str]) -> Vec<String> {
    for frame in frames {
        let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length, frame.as_bytes()].concat()).unwrap();
    }
    let answers = frames.iter().map(|frame| {
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut answer).unwrap();
        let (padding, name) = answer.split_at(frame[1..].parse::<usize>().unwrap() << 10);
        assert!(padding.iter().all(|byte| *byte == b' '));
        String::from_utf8(name.to_vec()).unwrap()
    });
    answers.collect()
}

#[test]
fn a_connection_lives_with_history_while_it_reads_it() {
    let tasks = Arc::new(RealTasks::start(1).unwrap());
    let env = Env {
        clock: Arc::new(RealClock::start()),
        random: Arc::new(RealRandom::seeded().unwrap()),
        tasks: Arc::clone(&tasks) as Arc<_>,
        disk: Arc::new(RealDisk),
    };
    let acceptor = Acceptor::new(
        env,
        Arc::new(WhereAmI),
        (ByteBudget::new(1 << 20), AnswerBudget::new(1 << 20)),
        PerIpLimits { each: usize::MAX, overrides: BTreeMap::new() },
    );
    let limits = Limits {
        max_frame_bytes: 1 << 20,
        max_in_flight: 64,
        max_idle: Duration::from_secs(60),
        max_stall: Duration::from_secs(5),
    };
    let bind = Bind { name: "L".into(), host: "127.0.0.1".to_owned(), port: 0, limits, max_connections: 9 };
    let address = tasks.background().block_on(async {
        let bound = Bound::new(&RealNetwork, bind).await.unwrap();
        let address = bound.address();
        drop(acceptor.serve(bound));
        address
    });
    let mut stream = TcpStream::connect(address).unwrap();
    let on_history = |name: &String| name.starts_with("esker-history-");
    assert_eq!(ask(&mut stream, &["p000", "h000"]), ["esker-net-0", "esker-net-0"], "it is known after the fetch");
    // Long answers, whose steps must come in order, and requests that come faster than they are answered.
    let there = ask(&mut stream, &["h2000", "h000", "p700", "h001"]);
    assert!(there.iter().all(on_history), "{there:?}");
    let (mut back, mut asked) = (Vec::new(), 0);
    while back.is_empty() && asked < 1_000 {
        back = ask(&mut stream, &["p000"]);
        back.retain(|name| !on_history(name));
        asked += 1;
    }
    assert_eq!(back, ["esker-net-0"], "who has caught up comes back");
    assert!((30..=34).contains(&asked), "after {asked} fetches");
    assert_eq!(ask(&mut stream, &["p3000"; 3]), ["esker-net-0"; 3]);
    assert_eq!(acceptor.connections(), 1);
    drop(stream);
    for _ in 0..500 {
        if acceptor.connections() == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("a connection that moved twice is still counted");
}
