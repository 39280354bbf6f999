//! A sample protocol that is small enough to be right: a log that acknowledges what it has synced. Each way to break
//! it is caught within a hundred seeds, which is what the simulation is for.

use esker_storage::env::mutation::{Mutation, active, switch_on};
use esker_storage::env::{Disk, Env, File, Open};
use esker_tests::checker::{self, Event, History, Sent, SentRecord, Span};
use esker_tests::sim::{Chance, CrashOdds, DiskFaults, FailureKind, NetFaults, NodeEnv, World, check, first_failure};
use parking_lot::Mutex;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The log's directory and file.
const DIR: &str = "/log";
const PATH: &str = "/log/records";
/// A record on disk: the value, and its checksum.
const RECORD: usize = 12;

fn encode(value: u64) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..8]) ^ 0x5eed;
    bytes[8..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<u64> {
    let value = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    (encode(value) == bytes).then_some(value)
}

/// What a broken variant leaves out, besides the mutations that are in production code.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    Right,
    NoDirectorySync,
    AnswersFirst,
}

struct Log {
    file: Arc<dyn File>,
    values: Vec<u64>,
    dead: bool,
}

impl Log {
    fn open(disk: &dyn Disk, variant: Variant) -> io::Result<Log> {
        disk.create_dir_all(DIR.as_ref())?;
        let file = match disk.open(PATH.as_ref(), Open::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.open(PATH.as_ref(), Open::Create)?,
            other => other?,
        };
        if variant != Variant::NoDirectorySync {
            disk.sync_dir(DIR.as_ref())?;
            disk.sync_dir("/".as_ref())?;
        }
        let mut values = Vec::new();
        let mut bytes = vec![0; file.len()? as usize];
        file.read_exact_at(&mut bytes, 0)?;
        values.extend(bytes.chunks(RECORD).map_while(decode));
        file.set_len((values.len() * RECORD) as u64)?;
        // What was found counts from now on, so it must stay.
        file.sync_data()?;
        Ok(Log { file, values, dead: false })
    }

    /// The offset of the value, once it is durable; `None` if that is not known.
    fn append(&mut self, value: u64) -> Option<u64> {
        if self.dead {
            return None;
        }
        if let Some(known) = self.values.iter().position(|there| *there == value) {
            return Some(known as u64);
        }
        let position = (self.values.len() * RECORD) as u64;
        let written = self.file.write_all_at(&[IoSlice::new(&encode(value))], position);
        let synced = if active(Mutation::SyncLeftOut) { Ok(()) } else { self.file.sync_data() };
        if written.is_err() || synced.is_err() {
            self.dead = true;
            return None;
        }
        self.values.push(value);
        Some(self.values.len() as u64 - 1)
    }
}

async fn serve(node: NodeEnv, variant: Variant) {
    let Ok(log) = Log::open(&*node.env.disk, variant) else { return std::future::pending().await };
    let log = Arc::new(Mutex::new(log));
    let Ok(mut listener) = node.net.listen("0.0.0.0:1".parse().unwrap()) else { return };
    while let Ok((_, mut stream)) = listener.accept().await {
        let (log, env) = (Arc::clone(&log), node.env.clone());
        node.env.spawn("connection", async move {
            let mut request = [0; 8];
            while stream.read_exact(&mut request).await.is_ok() {
                let value = u64::from_le_bytes(request);
                let answer = if variant == Variant::AnswersFirst {
                    let next = log.lock().values.len() as u64;
                    let log = Arc::clone(&log);
                    env.spawn("append", async move {
                        log.lock().append(value);
                    });
                    Some(next)
                } else {
                    log.lock().append(value)
                };
                let Some(offset) = answer else { return };
                if stream.write_all(&offset.to_le_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn send(env: &Env, world: &World, address: SocketAddr, value: u64) -> Sent {
    let sent = env.timeout(Duration::from_secs(5), async {
        let mut stream = world.net().connect(address).await?;
        stream.write_all(&value.to_le_bytes()).await?;
        let mut offset = [0; 8];
        stream.read_exact(&mut offset).await?;
        io::Result::Ok(u64::from_le_bytes(offset))
    });
    match sent.await {
        Ok(Ok(offset)) => Sent::Acked(offset),
        _ => Sent::Unknown,
    }
}

/// One node that crashes again and again, three clients, and in the end everything that was acknowledged is there.
async fn scenario(world: World, variant: Variant) -> usize {
    world.net().set_faults(NetFaults::stormy());
    let node = world.add_node("log", move |node| Box::pin(serve(node, variant)));
    let address = SocketAddr::new(world.ip(node), 1);
    let (per_call, per_step) = (Chance::one_in(150), Chance::one_in(300));
    world.set_crash_odds(node, CrashOdds { per_call, per_step, power_cut: Chance::percent(60), at_call: None });
    world.keep_running(node, Duration::from_millis(1)..Duration::from_millis(500));
    let history = Arc::new(Mutex::new(History::default()));
    let mut clients = Vec::new();
    for client in 0..3u32 {
        let (world2, history) = (world.clone(), Arc::clone(&history));
        clients.push(world.spawn("client", async move {
            for n in 0..12 {
                let value = u64::from(client) * 1000 + n + 1;
                let began = world2.now().as_nanos() as u64;
                let sent = send(world2.env(), &world2, address, value).await;
                let span = Span { began, ended: world2.now().as_nanos() as u64 };
                let records = vec![SentRecord::plain(value)];
                history.lock().push(Event::Send { client, partition: 0, records, span, sent });
                let pause = world2.draw(|rng| rng.duration(Duration::ZERO..Duration::from_millis(20)));
                world2.sleep(pause).await;
            }
        }));
    }
    for client in clients {
        client.ended().await;
    }
    // The last crash is a power cut.
    world.set_crash_odds(node, CrashOdds::default());
    world.crash(node, esker_tests::sim::Crash::PowerCut);
    let records = Log::open(&world.disk(node), variant).unwrap().values;
    let records = records.into_iter().enumerate().map(|(at, value)| (at as u64, value)).collect();
    let mut history = history.lock();
    let now = world.now().as_nanos() as u64;
    history.push(Event::Drain { partition: 0, span: Span { began: now, ended: now }, start: 0, records });
    let anomalies = checker::check(&history);
    assert!(anomalies.is_empty(), "{anomalies:?}");
    history.acknowledged()
}

fn is_caught(variant: Variant) -> bool {
    first_failure(0..100, |world| scenario(world, variant))
        .is_some_and(|failure| matches!(failure.kind, FailureKind::Panicked { .. }))
}

#[test]
fn the_right_log_keeps_what_it_acknowledged() {
    let finished = check(0..100, |world| scenario(world, Variant::Right));
    let acknowledged: usize = finished.iter().map(|finished| finished.output).sum();
    assert!(acknowledged > 10 * finished.len(), "{acknowledged} of {}", 36 * finished.len());
}

#[test]
fn a_missing_sync_is_caught() {
    let _on = switch_on(Mutation::SyncLeftOut);
    assert!(is_caught(Variant::Right));
}

#[test]
fn a_missing_directory_sync_is_caught() {
    assert!(is_caught(Variant::NoDirectorySync));
}

#[test]
fn an_early_answer_is_caught() {
    assert!(is_caught(Variant::AnswersFirst));
}

#[test]
fn the_right_log_keeps_what_it_acknowledged_on_a_disk_that_fails() {
    check(0..50, |world: World| async move {
        // The node that is added next has the number 0; its faults are set as soon as it is there.
        let faults = world.clone();
        world.spawn("faults", async move {
            faults.sleep(Duration::from_millis(2)).await;
            let disk = faults.disk(faults.nodes()[0]);
            disk.set_faults(DiskFaults {
                sync: Chance::percent(1),
                write: Chance::percent(1),
                ..DiskFaults::default()
            });
            faults.sleep(Duration::from_millis(200)).await;
            disk.set_faults(DiskFaults::default());
        });
        scenario(world, Variant::Right).await
    });
}
