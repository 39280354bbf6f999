//! Very many connections: a thousand that are half-open or slow, storms of short ones, one address that takes all, and
//! clients that ask for much and read nothing.

use super::raw::{Neighbour, ask_versions, connect, framed};
use esker_protocol::api::{Api, ApiKey};
use esker_protocol::samples;
use esker_tests::harness::{Broker, Options};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

async fn is_closed(stream: &mut TcpStream, limit: Duration) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(limit, stream.read_to_end(&mut rest)).await.is_ok()
}

async fn is_served(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 8];
    stream.write_all(&ask_versions(7)).await.is_ok()
        && tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut answer))
            .await
            .is_ok_and(|read| read.is_ok())
        && answer[4..] == [0, 0, 0, 7]
}

/// A connection from another address of this machine.
async fn connect_from(broker: &Broker, address: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(IpAddr::from(address), 0)).unwrap();
    socket.connect(broker.bootstrap().parse().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_half_open_and_slow_connections_disturb_nobody() {
    let broker = Broker::start(Options::new().set("connections.max.idle.ms", 4000)).await;
    let neighbour = Neighbour::of(&broker).await;
    // Half of a request: silent, or the start of it, or a long one that was announced.
    let request = ask_versions(7);
    let announced = [&(50u32 << 20).to_be_bytes()[..], &[0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff]].concat();
    let mut open = Vec::new();
    for number in 0..1000 {
        let mut stream = connect(&broker).await;
        let start = [&[][..], &request[..1], &request[..9], &announced[..]][number % 4];
        stream.write_all(start).await.unwrap();
        open.push(stream);
    }
    // Two hundred send a byte a second, as slow as can be without idling.
    let started = Instant::now();
    let slow = open.split_off(800);
    let slow: Vec<_> = slow
        .into_iter()
        .enumerate()
        .map(|(number, mut stream)| {
            let rest =
                [request[0..].to_vec(), request[1..].to_vec(), request[9..].to_vec(), vec![0; 20]][number % 4].clone();
            tokio::spawn(async move {
                for byte in rest.chunks(1).take(7) {
                    stream.write_all(byte).await.expect("a slow client was closed");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                stream
            })
        })
        .collect();
    for stream in &mut open {
        assert!(is_closed(stream, Duration::from_secs(20)).await, "idle beyond connections.max.idle.ms");
    }
    assert!(started.elapsed() >= Duration::from_secs(3), "closed before they idled");
    for stream in slow {
        let _ = stream.await.unwrap();
    }
    assert!(is_served(&mut connect(&broker).await).await);
    neighbour.was_well(&broker, 64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storms_of_connections_pass() {
    let broker = Broker::start(Options::new().set("max.connections", 200)).await;
    let neighbour = Neighbour::of(&broker).await;
    for round in 0..10 {
        let mut open = Vec::new();
        for number in 0..300 {
            let Ok(mut stream) = TcpStream::connect(broker.bootstrap()).await else { continue };
            // Some say something first, some leave at once, some with a reset.
            match number % 3 {
                0 => drop(stream.write_all(&ask_versions(number)).await),
                1 => drop(stream.write_all(&framed(&[0; 100])).await),
                _ => stream.set_zero_linger().unwrap(),
            }
            if round % 2 == 0 {
                open.push(stream);
            }
        }
        drop(open);
    }
    let served = async {
        while !is_served(&mut connect(&broker).await).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), served).await.expect("nobody is served after the storm");
    neighbour.was_well(&broker, 64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_does_not_take_every_connection() {
    let options = Options::new()
        .set("max.connections.per.ip", 5)
        .set("max.connections.per.ip.overrides", "127.0.0.1:1000,127.0.0.9:0");
    let broker = Broker::start(options).await;
    let neighbour = Neighbour::of(&broker).await;
    let mut mine = Vec::new();
    for _ in 0..5 {
        mine.push(connect_from(&broker, [127, 0, 0, 2]).await);
        assert!(is_served(mine.last_mut().unwrap()).await);
    }
    for _ in 0..20 {
        let mut beyond = connect_from(&broker, [127, 0, 0, 2]).await;
        assert!(is_closed(&mut beyond, Duration::from_secs(5)).await, "beyond max.connections.per.ip");
    }
    assert!(
        is_closed(&mut connect_from(&broker, [127, 0, 0, 9]).await, Duration::from_secs(5)).await,
        "none is allowed"
    );
    assert!(is_served(&mut connect_from(&broker, [127, 0, 0, 3]).await).await, "another address has its own");
    // A place that is given up is free again.
    drop(mine.pop());
    let served = async {
        while !is_served(&mut connect_from(&broker, [127, 0, 0, 2]).await).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), served).await.expect("a free place is not given out");
    // A flood of refusals is a line a second.
    let lines = broker.log().lines().filter(|line| line.contains("refused a connection")).count();
    assert!((1..20).contains(&lines), "{lines} lines");
    neighbour.was_well(&broker, 64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_that_nobody_reads_are_bounded() {
    let options = Options::new().set("queued.max.response.bytes", 16 << 20).set("queued.max.request.stall.ms", 500);
    let broker = Broker::start(options).await;
    let neighbour = Neighbour::of(&broker).await;
    // 36 KB that ask for the settings of this broker four thousand times: as much as an answer may have.
    let api = Api::of(ApiKey::DescribeConfigs).unwrap();
    let broker_resource = [4, 0, 1, b'1', 0xff, 0xff, 0xff, 0xff];
    let body = [&4000_u32.to_be_bytes()[..], &broker_resource.repeat(4000), &[1, 1]].concat();
    let frame = samples::frame(api, 3, 1, &body);
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(&broker).await;
        for _ in 0..4 {
            let _ = tokio::time::timeout(Duration::from_millis(200), stream.write_all(&frame)).await;
        }
        open.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Beside the budget: the answers that are being made, as structs and as bytes.
    neighbour.was_well(&broker, 16 + 200).await;
    drop(open);
}
