//! The threads of the load: a [`Crew`] connects, waits for the schedule, works, and hands in what it has done.
//!
//! Each thread has a runtime of its own and its share of the connections. Nobody starts before everybody is connected.

use super::fetcher::Cursors;
#[cfg(feature = "rdkafka")]
use super::librdkafka;
use super::member::GroupReader;
use super::meter::Meter;
use super::reader::{Reader, SharedBook};
use super::schedule::Schedule;
use super::sender::{Amount, Done, Place, Sender};
#[cfg(feature = "rdkafka")]
use super::workload::Driver;
use super::workload::{Endpoint, Producers};
use super::{Clock, runtime};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use tokio::sync::{Semaphore, watch};

/// How many connections a thread opens at a time.
const AT_ONCE: usize = 64;

/// What one connection does.
pub(super) enum Job {
    /// Sends.
    Send(Box<(Producers, Place, Amount)>),
    /// Reads its share, and again if it is asked to.
    Read(Box<ReadJob>),
    /// Reads what the group assigns to it.
    Member(usize, Box<GroupReader>),
}

/// A reader's work.
pub(super) struct ReadJob {
    /// Which kind of readers it is one of.
    pub(super) kind: usize,
    /// What it reads with.
    pub(super) reader: Reader,
    /// Where it begins and ends.
    pub(super) cursors: Cursors,
    /// Whether it begins again until the run is over.
    pub(super) again: bool,
    /// What each time after the first found: every one must find the same.
    pub(super) passes: Arc<std::sync::Mutex<Vec<SharedBook>>>,
}

/// The meters of one thread.
#[derive(Clone)]
pub(super) struct Meters {
    /// Of those who send.
    pub(super) sent: Meter,
    /// Of those who read, by kind.
    pub(super) read: Vec<Meter>,
}

/// What everybody waits for.
#[derive(Clone)]
pub(super) struct Go {
    /// When what happens.
    pub(super) schedule: Schedule,
    /// Each thread's meters.
    pub(super) meters: Vec<Meters>,
}

/// Threads that work.
pub(super) struct Crew {
    threads: Vec<JoinHandle<anyhow::Result<Vec<Done>>>>,
    ready: mpsc::Receiver<()>,
    go: watch::Sender<Option<Go>>,
    /// How many still send.
    pub(super) sending: Arc<AtomicUsize>,
    /// How many still read.
    pub(super) reading: Arc<AtomicUsize>,
}

impl Crew {
    /// Starts threads for `jobs`, which connect.
    pub(super) fn start(endpoint: &Endpoint, clock: Clock, jobs: Vec<Job>) -> anyhow::Result<Self> {
        let count = endpoint.threads.clamp(1, jobs.len().max(1));
        let mut shares: Vec<Vec<Job>> = (0..count).map(|_| Vec::new()).collect();
        let sending = jobs.iter().filter(|job| matches!(job, Job::Send(_))).count();
        let reading = Arc::new(AtomicUsize::new(jobs.len() - sending));
        let sending = Arc::new(AtomicUsize::new(sending));
        for (at, job) in jobs.into_iter().enumerate() {
            if let Some(share) = shares.get_mut(at % count) {
                share.push(job);
            }
        }
        let (tell, ready) = mpsc::channel();
        let (go, wait) = watch::channel(None);
        let threads = shares.into_iter().enumerate().map(|(at, share)| {
            let thread = Thread {
                number: at,
                endpoint: endpoint.clone(),
                clock,
                wait: wait.clone(),
                sending: Arc::clone(&sending),
                reading: Arc::clone(&reading),
            };
            let tell = tell.clone();
            std::thread::Builder::new()
                .name(format!("load-{at}"))
                .spawn(move || runtime()?.block_on(thread.work(share, tell)))
        });
        let threads = threads.collect::<std::io::Result<Vec<_>>>()?;
        Ok(Self { threads, ready, go, sending, reading })
    }

    /// Waits until everybody is connected; `false` if somebody never will be.
    pub(super) fn wait_ready(&self) -> bool {
        (0..self.threads.len()).all(|_| self.ready.recv().is_ok())
    }

    /// How many threads there are.
    pub(super) fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Lets everybody begin.
    pub(super) fn go(&self, go: Go) {
        self.go.send_replace(Some(go));
    }

    /// Whether somebody has ended, and everybody should.
    pub(super) fn is_ending(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Whether everybody has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// What was done; the first error if there is one.
    pub(super) fn end(self) -> anyhow::Result<Vec<Done>> {
        drop(self.go);
        let mut done = Vec::new();
        let mut failed = None;
        for thread in self.threads {
            match thread.join().map_err(|_| anyhow::anyhow!("a thread of the load died"))? {
                Ok(mut some) => done.append(&mut some),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(done), Err)
    }
}

/// One thread, from inside.
struct Thread {
    number: usize,
    endpoint: Endpoint,
    clock: Clock,
    wait: watch::Receiver<Option<Go>>,
    sending: Arc<AtomicUsize>,
    reading: Arc<AtomicUsize>,
}

/// Counts one down when it is dropped, however its work ended.
struct CountsDown(Arc<AtomicUsize>);

impl Drop for CountsDown {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Thread {
    async fn work(mut self, jobs: Vec<Job>, tell: mpsc::Sender<()>) -> anyhow::Result<Vec<Done>> {
        let few = Arc::new(Semaphore::new(AT_ONCE));
        let (mut senders, mut readers) = (Vec::new(), Vec::new());
        let first = self.endpoint.client();
        #[cfg(feature = "rdkafka")]
        let mut foreign = Vec::new();
        for job in jobs {
            match job {
                #[cfg(feature = "rdkafka")]
                Job::Send(job) if self.endpoint.driver == Driver::Librdkafka => {
                    let (plan, place, amount) = *job;
                    foreign.push((librdkafka::Sender::new(&self.endpoint, plan, place, self.clock)?, amount));
                }
                Job::Send(job) => {
                    let (few, client, clock) = (Arc::clone(&few), first.sibling(), self.clock);
                    let (plan, place, amount) = *job;
                    senders.push(tokio::spawn(async move {
                        let _permit = few.acquire_owned().await?;
                        Ok::<_, anyhow::Error>((Sender::new(plan, place, client, clock).await?, amount))
                    }));
                }
                other => readers.push(other),
            }
        }
        let mut connected = Vec::new();
        for sender in senders {
            connected.push(sender.await??);
        }
        // Nobody listens any more where another thread has failed.
        let _ = tell.send(());
        let Ok(go) = self.wait.wait_for(Option::is_some).await.map(|go| go.clone()) else { return Ok(Vec::new()) };
        let Some((schedule, meters)) = go.and_then(|go| Some((go.schedule, go.meters.get(self.number).cloned()?)))
        else {
            return Ok(Vec::new());
        };
        let mut tasks = tokio::task::JoinSet::new();
        for (sender, amount) in connected {
            let (schedule, meter) = (schedule.clone(), meters.sent.clone());
            let down = CountsDown(Arc::clone(&self.sending));
            tasks.spawn(async move {
                let done = sender.send(&schedule, amount, meter).await;
                drop(down);
                done
            });
        }
        #[cfg(feature = "rdkafka")]
        for (sender, amount) in foreign {
            let (schedule, meter) = (schedule.clone(), meters.sent.clone());
            let down = CountsDown(Arc::clone(&self.sending));
            tasks.spawn(async move {
                let done = tokio::task::spawn_blocking(move || sender.send(&schedule, amount, meter)).await?;
                drop(down);
                done
            });
        }
        for job in readers {
            let endpoint = self.endpoint.clone();
            let down = CountsDown(Arc::clone(&self.reading));
            let meters = meters.clone();
            tasks.spawn(async move {
                let result = match job {
                    Job::Read(job) => read(&endpoint, *job, &meters).await,
                    Job::Member(kind, mut job) => {
                        job.reader.meter = meters.read.get(kind).cloned();
                        job.run().await
                    }
                    Job::Send(_) => Ok(()),
                };
                drop(down);
                result.map(|()| Done::default())
            });
        }
        let mut done = Vec::new();
        // The first error ends this thread, and the crew with it.
        while let Some(result) = tasks.join_next().await {
            done.push(result??);
        }
        Ok(done)
    }
}

async fn read(endpoint: &Endpoint, mut job: ReadJob, meters: &Meters) -> anyhow::Result<()> {
    job.reader.meter = meters.read.get(job.kind).cloned();
    once(endpoint, &job.reader, &job.cursors).await?;
    while job.again && !*job.reader.over.borrow() {
        job.reader.book = SharedBook::default();
        job.passes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(job.reader.book.clone());
        once(endpoint, &job.reader, &job.cursors).await?;
    }
    Ok(())
}

/// Reads to the end by the client that was asked for.
async fn once(endpoint: &Endpoint, reader: &Reader, cursors: &Cursors) -> anyhow::Result<()> {
    match endpoint.driver {
        #[cfg(feature = "rdkafka")]
        Driver::Librdkafka => librdkafka::read_aside(endpoint.clone(), Arc::new(reader.clone()), cursors.clone()).await,
        _ => reader.read(cursors.clone()).await,
    }
}
