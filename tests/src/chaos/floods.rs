//! Hostile clients that try to starve honest requests. During each attack honest visitors get their 202, probes and
//! metrics are answered, and the switch can be turned off.

mod attacks;
mod http2;
mod owner;

use super::evidence::Evidence;
use super::scene::{LONG, Scene};
use super::{Size, Tally, contain, reason};
use crate::post::{Post, load};
use crate::{Answer, ChildRelay, http_client};
use attacks::{ATTACKS, Attack};
use owner::Owner;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The pause between two honest requests: far below a relay's capacity.
const HONEST_EVERY: Duration = Duration::from_millis(20);
/// How long an honest visitor waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time limit for a probe, a scrape or the switch during an attack, on a machine that also runs the attack.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// How long an attack builds up before it is judged.
const BUILD_UP: Duration = Duration::from_millis(500);
/// Memory that a relay may use beyond its usage before an attack.
const MEMORY_MAX: u64 = 128 << 20;

pub(super) async fn round(exe: &str, seed: u64, evidence: Arc<Evidence>, size: Size) -> Tally {
    let (mut tally, mut failures) = (Tally::default(), Vec::new());
    for attack in ATTACKS {
        let (exe, evidence) = (exe.to_owned(), Arc::clone(&evidence));
        // One successful attack says nothing about the others, so all are played.
        match contain(async move { withstand(&exe, seed, evidence, size, attack).await }).await {
            Ok(one) => tally.add(one),
            Err(error) => failures.push(reason(error)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n  "));
    tally
}

/// Runs one attack on a fresh relay.
async fn withstand(exe: &str, seed: u64, evidence: Arc<Evidence>, size: Size, attack: &Attack) -> Tally {
    let scene = Scene::open_with(exe, seed, evidence, attack.setup).await;
    scene.note(attack.name);
    scene.switch_on().await;
    let on = scene.turn_site(attack.honest_site, "on").await;
    assert_eq!(on.code, Some(0), "{on:?}");
    if attack.without_plausible {
        scene.plausible.rule(|_| Answer::Status(503, &[], ""));
    }
    let relay = scene.start().await;
    let honest = Honest::begin(&scene, attack);
    honest.are_taken(10).await;
    let owner = Owner::arrive(&scene, &relay).await;
    // A scraper's connection from before the attack.
    relay.metrics().await;
    let memory = relay.memory();
    let stop = CancellationToken::new();
    let attackers = (attack.begin)(&attacks::Target::of(&relay), &stop);
    tokio::time::sleep(BUILD_UP).await;
    let before = honest.so_far();
    watch(&relay, &owner, size.seconds(), memory, attack).await;
    let during = honest.so_far().since(before);
    let off = answered(&format!("{}: off", attack.name), scene.turn("off")).await;
    assert_eq!(off.code, Some(0), "{}: {off:?}", attack.name);
    stop.cancel();
    end(attackers).await;
    scene.note(format!("{}: {during:?}", attack.name));
    assert!(
        during.sent > 0 && during.taken * 100 >= during.sent * attack.honest_percent,
        "{}: of {} honest requests {} were taken, {} per cent have to be",
        attack.name,
        during.sent,
        during.taken,
        attack.honest_percent
    );
    scene.switch_on().await;
    scene.plausible.rule(|_| Answer::Accept);
    honest.are_taken(10).await;
    let all = honest.end().await;
    relay.drained_within(LONG).await;
    relay.stop().await;
    let arrived = scene.plausible.count();
    assert!(
        arrived <= all.sent + attack.arrive_max,
        "{}: {arrived} events arrived, {} of them honest",
        attack.name,
        all.taken
    );
    Tally {
        faults: 1,
        acknowledged: all.taken,
        ..Tally::default()
    }
}

/// Checks for a while everything that must keep answering.
async fn watch(relay: &ChildRelay, owner: &Owner, lasts: Duration, memory: u64, attack: &Attack) {
    let start = Instant::now();
    while start.elapsed() < lasts {
        for path in [
            "/actuator/health/liveness",
            "/actuator/health/readiness",
            "/version",
        ] {
            let what = format!("{}: {path}", attack.name);
            let sent = answered(&what, relay.get(path)).await;
            assert_eq!(sent.status, 200, "{what}: {}", sent.text);
        }
        let scrape = answered(&format!("{}: /metrics", attack.name), relay.metrics()).await;
        assert_eq!(scrape.count("conservation_difference"), 0, "{}", attack.name);
        answered(&format!("{}: login", attack.name), owner.log_in()).await;
        let now = relay.memory();
        assert!(
            now < memory + MEMORY_MAX,
            "{}: {memory} bytes of memory became {now}",
            attack.name
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn answered<T>(what: &str, answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(ANSWERED_WITHIN, answer)
        .await
        .unwrap_or_else(|_| panic!("no answer within {ANSWERED_WITHIN:?}: {what}"))
}

async fn end(mut attackers: JoinSet<()>) {
    attackers.shutdown().await;
}

/// Visitors with different addresses that send now and then, and the results of their requests.
#[derive(Debug)]
struct Honest {
    counts: Arc<Counts>,
    stop: CancellationToken,
    sending: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicUsize,
    taken: AtomicUsize,
}

/// The number of requests that were answered or given up, and of those answered 202.
#[derive(Clone, Copy, Debug)]
struct SoFar {
    sent: usize,
    taken: usize,
}

impl SoFar {
    fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent - before.sent,
            taken: self.taken - before.taken,
        }
    }
}

impl Honest {
    fn begin(scene: &Scene, attack: &Attack) -> Self {
        let (counts, stop) = (Arc::new(Counts::default()), CancellationToken::new());
        let base = scene.base.clone();
        let (counted, stopped, site) = (Arc::clone(&counts), stop.clone(), attack.honest_site);
        let sending = tokio::spawn(async move {
            let client = http_client();
            let mut sending = JoinSet::new();
            for n in 0.. {
                tokio::select! {
                    () = tokio::time::sleep(HONEST_EVERY) => {}
                    () = stopped.cancelled() => break,
                }
                let (counts, client, base) = (Arc::clone(&counted), client.clone(), base.clone());
                sending.spawn(async move {
                    let address = format!("192.0.2.{}", n % 200);
                    let post = Post::batch_of(site, &[load(n)]).from(&address);
                    let sent = tokio::time::timeout(PATIENCE, post.try_send(&client, &base)).await;
                    let is_taken = matches!(sent, Ok(Ok(sent)) if sent.status == 202);
                    counts.taken.fetch_add(usize::from(is_taken), Ordering::SeqCst);
                    counts.sent.fetch_add(1, Ordering::SeqCst);
                });
            }
            sending.join_all().await;
        });
        Self {
            counts,
            stop,
            sending,
        }
    }

    fn so_far(&self) -> SoFar {
        let load = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        SoFar {
            sent: load(&self.counts.sent),
            taken: load(&self.counts.taken),
        }
    }

    async fn are_taken(&self, more: usize) {
        let goal = self.so_far().taken + more;
        crate::within(LONG, "honest requests are taken", async || {
            (self.so_far().taken >= goal).then_some(())
        })
        .await;
    }

    async fn end(self) -> SoFar {
        self.stop.cancel();
        let (counts, ended) = (Arc::clone(&self.counts), self.sending.await);
        ended.unwrap();
        let load = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        SoFar {
            sent: load(&counts.sent),
            taken: load(&counts.taken),
        }
    }
}

impl Size {
    /// How long an attack is observed.
    fn seconds(self) -> Duration {
        match self {
            Self::Short => Duration::from_secs(1),
            Self::Full => Duration::from_secs(6),
        }
    }
}
