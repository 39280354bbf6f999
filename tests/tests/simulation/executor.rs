//! The executor: one seed, one course; time jumps; deadlocks, panics and limits are named.

use esker_storage::env::Pool;
use esker_tests::sim::{Chance, Config, Crash, CrashOdds, Exit, FailureKind, World, check, run};
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Tasks that compete for channels, a watch, timers and blocking work; the order in which things happened.
async fn jumble(world: World) -> Vec<u64> {
    let env = world.env().clone();
    let (sender, mut receiver) = mpsc::channel(2);
    let (go, _) = watch::channel(0u64);
    for worker in 0..12u64 {
        let (env2, sender, mut go) = (env.clone(), sender.clone(), go.subscribe());
        env.spawn("worker", async move {
            for round in 1..4u64 {
                go.wait_for(|now| *now >= round).await.unwrap();
                tokio::select! {
                    biased;
                    () = env2.sleep(Duration::from_micros(env2.random.below(100))) => {}
                    result = env2.blocking(Pool::Cold, move || worker) => assert_eq!(result, Ok(worker)),
                }
                sender.send(worker * 10 + round).await.unwrap();
            }
        });
    }
    drop(sender);
    let mut order = Vec::new();
    for round in 1..4 {
        go.send_replace(round);
        for _ in 0..12 {
            order.push(receiver.recv().await.unwrap());
        }
    }
    assert_eq!(receiver.recv().await, None);
    order
}

#[test]
fn one_seed_takes_one_course_and_another_seed_another() {
    let mut courses = Vec::new();
    for seed in 0..20 {
        let first = run(Config::seeded(seed), jumble).unwrap();
        let second = run(Config::seeded(seed), jumble).unwrap();
        assert_eq!(first, second, "seed {seed}");
        courses.push((first.hash, first.output));
    }
    courses.sort();
    courses.dedup_by_key(|(hash, _)| *hash);
    assert_eq!(courses.len(), 20, "hashes differ between seeds");
    courses.sort_by(|a, b| a.1.cmp(&b.1));
    courses.dedup_by(|a, b| a.1 == b.1);
    assert_eq!(courses.len(), 20, "orders differ between seeds");
}

#[test]
fn the_course_is_the_same_on_another_thread() {
    // tokio's `watch` wakes its receivers in an order from a thread-local generator; it must not matter.
    let here = run(Config::seeded(7), jumble).unwrap();
    for _ in 0..8 {
        let there = std::thread::scope(|scope| scope.spawn(|| run(Config::seeded(7), jumble).unwrap()).join().unwrap());
        assert_eq!(here, there);
    }
}

#[test]
fn time_jumps_to_the_next_timer() {
    let finished = run(Config::seeded(1), |world: World| async move {
        let before = world.env().now();
        let wall = world.env().wall();
        world.sleep(Duration::from_secs(1800)).await;
        assert!(world.env().now().since(before) >= Duration::from_secs(1800));
        assert!(world.env().wall().millis() - wall.millis() >= 1_800_000);
        let slow = world.env().timeout(Duration::from_secs(1), world.sleep(Duration::from_secs(2))).await;
        assert!(slow.is_err());
    });
    let finished = finished.unwrap();
    assert!(finished.steps < 20, "{} steps", finished.steps);
    assert!(finished.elapsed < Duration::from_secs(1802));
}

#[test]
fn a_deadlock_names_those_who_wait() {
    let failure = run(Config::seeded(1), |world: World| async move {
        let (_left, right) = oneshot::channel::<()>();
        let ended = world.env().spawn("waits-for-ever", async move {
            let _left = _left;
            std::future::pending::<()>().await;
        });
        let _ = right.await;
        ended.ended().await;
    })
    .unwrap_err();
    let FailureKind::Deadlock { waiting } = failure.kind else { panic!("{failure}") };
    assert_eq!(waiting, ["world/scenario#0", "world/waits-for-ever#1"]);
}

#[test]
fn a_spinning_task_meets_the_step_limit_and_a_waiting_one_the_time_limit() {
    let spin = run(Config { steps: 1000, ..Config::seeded(1) }, |_| async {
        loop {
            let mut yielded = false;
            std::future::poll_fn(|context| {
                context.waker().wake_by_ref();
                if std::mem::replace(&mut yielded, true) {
                    std::task::Poll::Ready(())
                } else {
                    std::task::Poll::Pending
                }
            })
            .await;
        }
    });
    assert!(matches!(spin.unwrap_err().kind, FailureKind::StepLimit { .. }));
    let wait = run(Config { time: Duration::from_secs(60), ..Config::seeded(1) }, |world: World| async move {
        loop {
            world.sleep(Duration::from_secs(1)).await;
        }
    });
    assert!(matches!(wait.unwrap_err().kind, FailureKind::TimeLimit { .. }));
}

#[test]
fn a_panic_fails_the_run_with_its_seed() {
    let failure = run(Config::seeded(42), |world: World| async move {
        world.env().spawn("careless", async { panic!("dropped the ball") });
        world.sleep(Duration::from_secs(1)).await;
    })
    .unwrap_err();
    assert_eq!(failure.seed, 42);
    assert!(failure.to_string().contains("careless") && failure.to_string().contains("dropped the ball"), "{failure}");
    assert!(failure.to_string().contains("ESKER_SIM_SEED=42"), "{failure}");
}

#[test]
fn an_invariant_is_checked_after_every_step() {
    let failure = run(Config::seeded(3), |world: World| async move {
        let shared = Arc::new(Mutex::new(0));
        let watched = Arc::clone(&shared);
        world.invariant("stays even", move || match *watched.lock() % 2 {
            0 => Ok(()),
            _ => Err("odd".to_owned()),
        });
        *shared.lock() = 1;
        world.sleep(Duration::from_millis(1)).await;
        *shared.lock() = 2;
    })
    .unwrap_err();
    assert!(matches!(&failure.kind, FailureKind::Violated { what } if what.contains("stays even")), "{failure}");
}

/// Sets its flag when it is dropped, and tries to use its environment then.
struct Witness {
    env: esker_storage::env::Env,
    dropped: Arc<Mutex<u32>>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        *self.dropped.lock() += 1;
        // All of this must fail quietly.
        self.env.spawn("after death", async { panic!("the dead do not run") });
        assert!(self.env.disk.create_dir_all("/after-death".as_ref()).is_err());
        assert!(
            self.env.blocking(Pool::Sync, || panic!("the dead do not work")).now_or_never().is_none_or(|r| r.is_err())
        );
    }
}

#[test]
fn a_crash_drops_every_task_of_the_node_and_a_restart_runs_main_again() {
    check(0..20, |world: World| async move {
        let (lives, dropped) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
        let (count, gone) = (Arc::clone(&lives), Arc::clone(&dropped));
        let node = world.add_node("b", move |node| {
            let (count, gone) = (Arc::clone(&count), Arc::clone(&gone));
            Box::pin(async move {
                *count.lock() += 1;
                for _ in 0..3 {
                    let witness = Witness { env: node.env.clone(), dropped: Arc::clone(&gone) };
                    let env = node.env.clone();
                    node.env.spawn("works", async move {
                        let _witness = witness;
                        loop {
                            env.sleep(Duration::from_millis(1)).await;
                        }
                    });
                }
                node.terminated().await;
            })
        });
        world.start(node);
        world.sleep(Duration::from_millis(20)).await;
        world.crash(node, Crash::Kill);
        assert!(!world.is_running(node));
        assert_eq!((*lives.lock(), *dropped.lock()), (1, 3));
        world.start(node);
        world.sleep(Duration::from_millis(20)).await;
        world.terminate(node);
        assert_eq!(world.ended(node).await, Some(Exit::Returned));
        assert_eq!((*lives.lock(), *dropped.lock()), (2, 6));
    });
}

#[test]
fn odds_crash_a_node_at_any_call_and_it_comes_back() {
    let mut crashes = 0;
    for finished in check(0..20, |world: World| async move {
        let node = world.add_node("b", |node| {
            Box::pin(async move {
                for _ in 0..200 {
                    let _ = node.env.disk.create_dir_all("/data".as_ref());
                    node.env.sleep(Duration::from_millis(1)).await;
                }
            })
        });
        let odds = CrashOdds { per_call: Chance::percent(1), per_step: Chance::one_in(500), ..CrashOdds::default() };
        world.set_crash_odds(node, odds);
        world.keep_running(node, Duration::from_millis(5)..Duration::from_secs(5)).ended().await;
        world.lives(node)
    }) {
        crashes += finished.output - 1;
    }
    assert!(crashes > 20, "{crashes}");
}

#[test]
fn a_planned_crash_comes_at_its_call() {
    for call in 0..5 {
        run(Config::seeded(9), move |world: World| async move {
            let node = world.add_node("b", |node| {
                Box::pin(async move {
                    for _ in 0..5 {
                        let _ = node.env.disk.create_dir_all("/data".as_ref());
                    }
                })
            });
            world.set_crash_odds(node, CrashOdds { at_call: Some((call, Crash::PowerCut)), ..CrashOdds::default() });
            world.start(node);
            assert_eq!(world.ended(node).await, Some(Exit::Crashed(Crash::PowerCut)));
            assert_eq!(world.calls(node), call + 1);
        })
        .unwrap();
    }
}

#[test]
fn an_aborted_task_is_dropped_and_tells_its_end() {
    run(Config::seeded(5), |world: World| async move {
        let (held, mut closed) = oneshot::channel::<()>();
        let task = world.env().spawn("sleeps", async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        world.sleep(Duration::from_millis(1)).await;
        task.abort();
        task.ended().await;
        assert!(closed.try_recv().is_err());
    })
    .unwrap();
}
