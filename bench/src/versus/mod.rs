//! The `versus` command: Esker beside Apache Kafka, goal by goal.
//!
//! [`goals`] is the table: what is done, and what was set. Both brokers run in turn (Kafka, Esker, Kafka, Esker) with the
//! same load from the same program, so that each ratio is one of neighbours in time. A stage starts the brokers
//! ([`node`]) and fills its rows with loads ([`lab`]); what goes wrong is noted in its row, and the rest goes on. Every stage has
//! a round before any has a second, and after each everything so far is written: where time runs out, rounds are missing, not rows.
//!
//! ```text
//! stage (hot, starts, partitions, tier) -> node (Kafka or Esker) -> lab (a load in a process of its own) -> table
//! ```

mod goals;
mod hot;
mod lab;
mod node;
mod partitions;
mod starts;
mod table;
mod tier;

use crate::neighbour::Jars;
use crate::probe::{self, date, disk, machine};
use crate::report::{self, Section};
use crate::results::encode;
use crate::rig::Broker;
use anyhow::Context;
use clap::Args;
use goals::{ROWS, STAGES, Stage};
use lab::Ballast;
use node::{SIDES, Side};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use table::Table;

/// Options of `versus`.
#[derive(Args, Clone, Debug)]
pub struct Versus {
    /// Only these rows, by name; all of them if none is named.
    #[arg(long, value_delimiter = ',', value_name = "ROW")]
    pub only: Vec<String>,
    /// Say which rows there are, and their goals.
    #[arg(long)]
    pub list: bool,
    /// Times that both have their turn.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Seconds that a load is measured; those of latencies take twice as long.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Minutes that it may take: no second round begins that would last longer, and a row that had none says so.
    #[arg(long, default_value_t = 30.0)]
    pub minutes: f64,
    /// GiB of local log when the broker is killed.
    #[arg(long, default_value_t = 10)]
    pub kill_gib: u64,
    /// MB of tiered history.
    #[arg(long, default_value_t = 1_000)]
    pub history: u64,
    /// The broker's binary; by default the one beside this program.
    #[arg(long)]
    pub esker: Option<PathBuf>,
    /// Where Kafka's jars are kept; by default below the build directory.
    #[arg(long)]
    pub kafka: Option<PathBuf>,
    /// Where the brokers' data lies while they run; by default beside the jars.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Write everything as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write one HTML page with curves.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the table as Markdown.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
}

/// What every stage needs.
struct Tools {
    jars: Jars,
    esker: PathBuf,
    data: PathBuf,
    ballast: Ballast,
    deadline: Instant,
}

/// The `versus` command.
///
/// # Errors
/// If a row is named that does not exist, if there is no Kafka or no Esker to run, or if results cannot be written. A goal that is
/// not met is a result, not an error.
pub fn run(options: &Versus) -> anyhow::Result<()> {
    if options.list {
        print!("{}", list());
        return Ok(());
    }
    let unknown = options.only.iter().find(|name| ROWS.iter().all(|row| row.name != name.as_str()));
    anyhow::ensure!(unknown.is_none(), "there is no row {unknown:?}; these are:\n{}", list());
    let is_wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let started = Instant::now();
    let jars = options.kafka.clone().unwrap_or_else(Jars::default_folder);
    let data = options.data.clone().unwrap_or_else(|| jars.with_file_name("data"));
    std::fs::create_dir_all(&data).with_context(|| format!("{}", data.display()))?;
    let tools = Tools {
        jars: Jars::fetch(&jars)?,
        esker: Broker::binary(options.esker.as_deref())?,
        ballast: Ballast::new(&data)?,
        data,
        deadline: started + Duration::from_secs_f64(options.minutes * 60.0),
    };
    let about = about(&tools, options)?;
    let mut table = Table::default();
    let mut stages: Vec<Turns> = STAGES.into_iter().filter_map(|stage| Turns::new(stage, is_wanted)).collect();
    // Each stage once, then each once more: what time is left makes more rounds, not more rows.
    let rounds = options.rounds.max(1);
    for round in 0..rounds {
        table.begin(round);
        for turns in stages.iter_mut().filter(|turns| round == 0 || turns.is_repeated()) {
            if Instant::now() + turns.took <= tools.deadline {
                eprintln!("{:?}, round {} of {rounds}: {}", turns.stage, round + 1, turns.rows.join(", "));
                turns.round(&tools, options, &mut table);
                write(options, &table, &about)?;
            } else if round == 0 {
                let late = anyhow::anyhow!("not begun: {} minutes were over", options.minutes);
                turns.rows.iter().for_each(|name| table.fail(name, Side::Esker, &late));
            }
        }
    }
    write(options, &table, &about)?;
    print!("{}", table::terminal(&table.done()));
    eprintln!("took {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// A stage, and what it knows from one round to the next.
struct Turns {
    stage: Stage,
    rows: Vec<&'static str>,
    hot: hot::Hot,
    /// How long its last round took.
    took: Duration,
}

impl Turns {
    /// A stage with those of its rows that are wanted; `None` if none is.
    fn new(stage: Stage, is_wanted: impl Fn(&str) -> bool) -> Option<Self> {
        let rows = ROWS.iter().filter(|row| row.stage == stage && is_wanted(row.name));
        let rows: Vec<&'static str> = rows.map(|row| row.name).collect();
        (!rows.is_empty()).then(|| Self { stage, rows, hot: hot::Hot::default(), took: Duration::ZERO })
    }

    /// Whether a second round tells more. It does not of what takes minutes, and has its repeats within.
    fn is_repeated(&self) -> bool {
        !matches!(self.stage, Stage::Kill | Stage::Many)
    }

    /// Both sides' turns.
    fn round(&mut self, tools: &Tools, options: &Versus, table: &mut Table) {
        let started = Instant::now();
        for side in SIDES {
            let turn = match self.stage {
                Stage::PageCache | Stage::Synced => {
                    self.hot.turn(tools, options, self.stage == Stage::Synced, side, &self.rows, table)
                }
                Stage::Start => starts::start(tools, side, table),
                Stage::Memory => partitions::thousand(tools, side, table),
                Stage::Tier => tier::turn(tools, options, side, &self.rows, table),
                Stage::Kill => starts::kill(tools, options, side, table),
                // About us alone.
                Stage::Many if side == Side::Kafka => Ok(()),
                Stage::Many => partitions::many(tools, options, table),
            };
            if let Err(error) = turn {
                eprintln!("  {error:#}");
                self.rows.iter().for_each(|name| table.fail(name, side, &error));
            }
        }
        self.took = started.elapsed();
    }
}

/// Writes what there is so far.
fn write(options: &Versus, table: &Table, about: &[String]) -> anyhow::Result<()> {
    let put = |path: &Path, text: &str| {
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    if let Some(path) = &options.json {
        put(path, &encode(&table.report())?)?;
    }
    if let Some(path) = &options.html {
        let sections: Vec<Section> = table.sections();
        put(path, &report::document("Esker beside Apache Kafka", &sections))?;
    }
    if let Some(path) = &options.markdown {
        let command = probe::command_line().join(" ");
        put(path, &table::markdown(&table.done(), about, &command, &date::now()))?;
    }
    Ok(())
}

/// What the comparison was made on, as lines.
fn about(tools: &Tools, options: &Versus) -> anyhow::Result<Vec<String>> {
    let machine = machine::this();
    let sync = disk::probe(&tools.data)?;
    let said = |command: &mut Command| {
        let output = command.output().ok().filter(|output| output.status.success());
        let text = output.map(|o| String::from_utf8_lossy(&[o.stdout, o.stderr].concat()).into_owned());
        text.and_then(|text| text.lines().next().map(|line| line.trim().to_owned()))
    };
    let revision = said(Command::new("git").args(["describe", "--always", "--dirty"]));
    let java = said(Command::new("java").arg("-version"));
    Ok(vec![
        format!(
            "{}{} and {}{}",
            Side::Esker.software(),
            revision.map(|revision| format!(" ({revision})")).unwrap_or_default(),
            Side::Kafka.software(),
            java.map(|java| format!(" on {java}, with the heap and the JVM options of its own start script"))
                .unwrap_or_default()
        ),
        format!(
            "{}, {} processors ({}), {:.1} GiB of memory, {:.0} % busy before",
            machine.kernel,
            machine.cpus,
            machine.cpu,
            machine.memory_bytes as f64 / f64::from(1 << 30),
            machine.busy * 100.0
        ),
        format!(
            "disk sync (4 KiB append and fdatasync, {}): p50 {:.0} us, p99 {:.0} us",
            sync.file_system, sync.p50_us, sync.p99_us
        ),
        format!(
            "one node each, replication 1, min.insync.replicas 1, acks=all; {} rounds of {} s; the client is esker-bench's own",
            options.rounds, options.seconds
        ),
    ])
}

/// The rows and their goals.
fn list() -> String {
    let mut text = String::new();
    for row in ROWS {
        let nothing = crate::results::Run::default();
        let goals: Vec<String> = row
            .goals
            .iter()
            .map(|goal| goals::judge(*goal, &nothing, &nothing))
            .map(|judged| format!("{} {}", judged.goal.quantity.name(), judged.text()))
            .collect();
        text.push_str(&format!("{:<16} {}\n{:<16}   {}\n", row.name, row.what, "", goals.join("; ")));
    }
    text
}
