//! The swarm: a story of which each seed draws the settings and what goes wrong.
//!
//! A run in which everything may go wrong all the time sees little: a broker that is always starting never has a full
//! segment, and a fault that hides another is as good as none. So a seed leaves out most of what could go wrong, and
//! turns up the rest.

use super::consumers::SETTINGS as CREW_SETTINGS;
use super::stage::{CALM, Weather, add_broker};
use super::story::{Script, Tiering, play};
use esker_tests::checker::Tombstones;
use esker_tests::sim::{Chance, Crash, CrashOdds, DiskFaults, NetFaults, Rng, StoreFaults, World};

/// What a seed decides before anything runs.
struct Plan {
    settings: Vec<String>,
    script: Script,
    weather: Weather,
}

/// Log directories, where there are several.
const DIRS: [&str; 3] = ["/data/a", "/data/b", "/data/c"];

fn half(rng: &mut Rng) -> bool {
    rng.happens(Chance::percent(50))
}

fn third(rng: &mut Rng) -> bool {
    rng.happens(Chance::percent(33))
}

impl Plan {
    fn draw(rng: &mut Rng) -> Plan {
        let page_cache = rng.happens(Chance::percent(15));
        let dirs = if third(rng) { 2 + rng.index(2) } else { 1 };
        let tiered = rng.happens(Chance::percent(85));
        let mut settings = vec![
            format!("log.segment.bytes={}", rng.within(1024..6000)),
            format!("tail.max.bytes={}", rng.within(1024..8000)),
            format!("tail.max.ms={}", rng.within(500..20_000)),
            format!("log.retention.check.interval.ms={}", rng.within(300..5000)),
            format!("log.cleaner.backoff.ms={}", rng.within(200..5000)),
            format!("metadata.snapshot.commits={}", rng.within(3..40)),
            format!("log.durability={}", if page_cache { "os" } else { "fsync" }),
        ];
        if dirs > 1 {
            settings.push(format!("log.dirs={}", DIRS[..dirs].join(",")));
        }
        if half(rng) {
            settings.push("log.local.retention.bytes=-2".to_owned());
        }
        let mut topic = vec![("remote.storage.enable", tiered.to_string())];
        if rng.happens(Chance::percent(15)) {
            topic.push(("retention.bytes", rng.within(1000..8000).to_string()));
        }
        if rng.happens(Chance::percent(15)) {
            topic.push(("retention.ms", rng.within(2000..60_000).to_string()));
        }
        if third(rng) {
            topic.push(("segment.ms", rng.within(500..10_000).to_string()));
        }
        let tiering = if tiered { Tiering::Copied } else { Tiering::None };
        let trims = rng.happens(Chance::percent(20));
        let tombstones = if half(rng) { Tombstones::Stay } else { Tombstones::MayGo };
        let weather = weather(rng, page_cache, dirs);
        let crew = third(rng);
        settings.extend(CREW_SETTINGS.map(str::to_owned));
        settings.push(format!("log.scrub.interval.ms={}", rng.within(500..20_000)));
        let script = Script { topic, tiering, trims, tombstones, crew, crash: last_crash(page_cache) };
        Plan { settings, script, weather }
    }
}

/// What is acknowledged from the page cache does not survive a power cut, and nobody says so.
fn last_crash(page_cache: bool) -> Crash {
    if page_cache { Crash::Kill } else { Crash::PowerCut }
}

fn weather(rng: &mut Rng, page_cache: bool, dirs: usize) -> Weather {
    let mut weather = Weather { upheaval: half(rng), ..CALM };
    if rng.happens(Chance::percent(75)) {
        let power_cut = match rng.below(3) {
            _ if page_cache => Chance::NEVER,
            0 => Chance::NEVER,
            1 => Chance::ALWAYS,
            _ => Chance::percent(50),
        };
        let every = [700, 2500, 8000][rng.index(3)];
        weather.crashes = CrashOdds {
            per_call: Chance::one_in(every),
            per_step: Chance::one_in(every * 2),
            power_cut,
            at_call: None,
        };
    }
    if half(rng) {
        weather.store = some_of(rng, StoreFaults::stormy());
    }
    if half(rng) {
        weather.net = NetFaults::stormy();
    }
    // A sync that failed leaves pages in the cache that are not on the disk: what the page cache had promised is gone then.
    if third(rng) && !page_cache {
        weather.disk = disk(rng);
    }
    weather.full = rng.happens(Chance::percent(15));
    if dirs > 1 && half(rng) && !page_cache {
        weather.failing = &DIRS[..dirs];
    }
    weather
}

/// A store that fails in some of the ways, and more often.
fn some_of(rng: &mut Rng, mut faults: StoreFaults) -> StoreFaults {
    for odds in [
        &mut faults.request_lost,
        &mut faults.unavailable,
        &mut faults.conflict,
        &mut faults.own_conflict,
        &mut faults.answer_lost,
        &mut faults.late,
        &mut faults.truncated,
        &mut faults.slow,
    ] {
        match rng.below(4) {
            0 => *odds = Chance::NEVER,
            1 => *odds = Chance::percent(8),
            _ => {}
        }
    }
    faults
}

/// A disk that fails in one or two ways.
fn disk(rng: &mut Rng) -> DiskFaults {
    let mut faults = DiskFaults::none();
    for _ in 0..2 {
        match rng.below(5) {
            0 => faults.read = Chance::one_in(300),
            1 => faults.write = Chance::one_in(1000),
            2 => faults.sync = Chance::one_in(500),
            3 => faults.full = Chance::one_in(100),
            _ => faults.names = Chance::one_in(500),
        }
    }
    faults
}

/// A story as the seed draws it. Returns (acknowledged records, lives of the broker).
pub(crate) async fn swarm(world: World) -> (usize, u32) {
    let Plan { settings, script, weather } = world.draw(Plan::draw);
    world.note(format_args!("{settings:?} {script:?} {weather:?}"));
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let stage = add_broker(&world, "broker", 1, &settings);
    play(&stage, &weather, &script).await
}
