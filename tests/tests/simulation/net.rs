//! The network: streams that deliver in order, in pieces, late or not at all.

use esker_tests::sim::{Chance, Config, Crash, NetFaults, World, check, run};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A node that echoes what it is sent, and its address.
fn echo(world: &World) -> (esker_tests::sim::NodeId, SocketAddr) {
    let node = world.add_node("echo", |node| {
        Box::pin(async move {
            let mut listener = node.net.listen("0.0.0.0:9092".parse().unwrap()).unwrap();
            while let Ok((_, mut stream)) = listener.accept().await {
                node.env.spawn("connection", async move {
                    let mut buffer = vec![0; 5000];
                    while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                        if stream.write_all(&buffer[..len]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        })
    });
    world.start(node);
    (node, SocketAddr::new(world.ip(node), 9092))
}

#[test]
fn bytes_arrive_in_order_and_whole() {
    check(0..20, |world: World| async move {
        let faults = NetFaults { split: Chance::percent(50), slow: Chance::percent(5), ..NetFaults::none() };
        world.net().set_faults(NetFaults { window: 3000, ..faults });
        let (_, address) = echo(&world);
        world.sleep(Duration::from_millis(1)).await;
        let stream = world.net().connect(address).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let sent: Vec<u8> = (0..40_000u32).map(|n| (n * 7 % 251) as u8).collect();
        let expected = sent.clone();
        world.spawn("writer", async move {
            writer.write_all(&sent).await.unwrap();
        });
        let mut received = vec![0; expected.len()];
        reader.read_exact(&mut received).await.unwrap();
        assert_eq!(received, expected);
    });
}

#[test]
fn a_crash_ends_connections_and_refuses_new_ones() {
    for crash in [Crash::Kill, Crash::PowerCut] {
        for seed in 0..20 {
            run(Config::seeded(seed), |world: World| async move {
                let (node, address) = echo(&world);
                world.sleep(Duration::from_millis(1)).await;
                let mut stream = world.net().connect(address).await.unwrap();
                stream.write_all(b"hello").await.unwrap();
                stream.read_exact(&mut [0; 5]).await.unwrap();
                world.crash(node, crash);
                assert_eq!(
                    world.net().connect(address).await.map(drop).unwrap_err().kind(),
                    ErrorKind::ConnectionRefused
                );
                // Closed, reset, or (after a power cut) silent until the node is back.
                let mut rest = Vec::new();
                let env = world.env();
                let ended = env.timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
                assert!(ended.is_ok() || crash == Crash::PowerCut);
                world.start(node);
                world.sleep(Duration::from_millis(1)).await;
                let _ = env.timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.unwrap();
                assert_eq!(rest, b"");
                assert!(stream.write_all(b"more").await.is_err());
                let mut stream = world.net().connect(address).await.unwrap();
                stream.write_all(b"hello").await.unwrap();
                stream.read_exact(&mut [0; 5]).await.unwrap();
            })
            .unwrap();
        }
    }
}

#[test]
fn resets_and_partitions() {
    run(Config::seeded(3), |world: World| async move {
        let (node, address) = echo(&world);
        world.sleep(Duration::from_millis(1)).await;
        let mut stream = world.net().connect(address).await.unwrap();
        world.net().partition("10.1.0.1".parse().unwrap(), world.ip(node));
        stream.write_all(b"held").await.unwrap();
        let mut buffer = [0; 4];
        let held = world.env().timeout(Duration::from_secs(3), stream.read_exact(&mut buffer)).await;
        assert!(held.is_err());
        assert_eq!(world.net().connect(address).await.map(drop).unwrap_err().kind(), ErrorKind::TimedOut);
        world.net().heal();
        stream.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"held");
        world.net().reset_all();
        assert_eq!(stream.read_exact(&mut buffer).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    })
    .unwrap();
}
