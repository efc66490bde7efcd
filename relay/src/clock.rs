//! The only place that reads the wall clock and draws random bytes. All other code receives them as arguments.

mod ages;

pub use ages::{Ages, TooOld};

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A point in time, in whole milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The time since an earlier moment. Zero if the clock went backwards.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The moment this much later.
    #[must_use]
    pub fn plus(self, wait: std::time::Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// The UTC day, counted from 1970-01-01.
    pub fn utc_day(self) -> i64 {
        self.0.div_euclid(24 * 60 * 60 * 1000)
    }

    /// Parses a date as HTTP writes it, `Thu, 01 Jan 2026 00:00:00 GMT`. The two obsolete forms, unused since 1999, are not
    /// accepted.
    pub fn from_http_date(text: &str) -> Option<Self> {
        let date = jiff::fmt::rfc2822::parse(text).ok()?;
        Some(Self(date.timestamp().as_millisecond()))
    }

    /// RFC 3339 in UTC, in whole seconds.
    pub fn rfc3339(self) -> String {
        jiff::Timestamp::from_second(self.0.div_euclid(1000))
            .map_or_else(|_| String::new(), |t| t.to_string())
    }
}

/// A source of the current time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<ManualTime>),
    /// Runs monotonically from a moment, however the wall clock under it is set.
    Steady {
        of: Arc<Source>,
        from: Timestamp,
        began_ms: i64,
    },
    /// Follows tokio's clock from its start, with this offset.
    #[cfg(test)]
    Tokio(Arc<AtomicI64>, tokio::time::Instant),
}

/// The state of a manual clock: the wall time it shows, and the time that has passed on it.
#[derive(Debug)]
struct ManualTime {
    wall: AtomicI64,
    passed: AtomicI64,
}

impl Source {
    fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp(jiff::Timestamp::now().as_millisecond()),
            Self::Manual(time) => Timestamp(time.wall.load(Ordering::SeqCst)),
            Self::Steady { of, from, began_ms } => {
                Timestamp(from.0.saturating_add(of.passed_ms() - began_ms))
            }
            #[cfg(test)]
            Self::Tokio(beginning, since) => {
                Timestamp(beginning.load(Ordering::SeqCst)).plus(since.elapsed())
            }
        }
    }

    /// Milliseconds since an arbitrary start. Monotonic: it never jumps.
    fn passed_ms(&self) -> i64 {
        match self {
            Self::System => boot_ms(),
            Self::Manual(time) => time.passed.load(Ordering::SeqCst),
            Self::Steady { of, .. } => of.passed_ms(),
            #[cfg(test)]
            Self::Tokio(_, since) => i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX),
        }
    }
}

/// The CPU time of the calling thread so far. Load of other threads does not increase it.
pub fn thread_cpu_time() -> std::time::Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(used.tv_sec).unwrap_or(0);
    std::time::Duration::new(seconds, u32::try_from(used.tv_nsec).unwrap_or(0))
}

/// Milliseconds since boot, including time suspended.
#[cfg(target_os = "linux")]
fn boot_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// Milliseconds since the first call, without time suspended.
#[cfg(not(target_os = "linux"))]
fn boot_ms() -> i64 {
    static FIRST: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    i64::try_from(FIRST.elapsed().as_millis()).unwrap_or(i64::MAX)
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A manual clock, which stands still until it is set; for tests.
    pub fn standing_at(moment: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(ManualTime {
            wall: AtomicI64::new(moment.0),
            passed: AtomicI64::new(0),
        })))
    }

    /// A clock that follows tokio's, which a test can pause; it can be set like a wall clock.
    #[cfg(test)]
    pub fn going_from(moment: Timestamp) -> Self {
        Self(Source::Tokio(
            Arc::new(AtomicI64::new(moment.0)),
            tokio::time::Instant::now(),
        ))
    }

    /// A clock that runs monotonically from a moment and follows no jump of this one.
    #[must_use]
    pub fn steady(&self, from: Timestamp) -> Self {
        Self(Source::Steady {
            of: Arc::new(self.0.clone()),
            from,
            began_ms: self.0.passed_ms(),
        })
    }

    /// Moves a manual clock: forward, time passes; back, the clock is set. The machine's clock is not moved.
    pub fn set(&self, moment: Timestamp) {
        match &self.0 {
            Source::System | Source::Steady { .. } => {}
            Source::Manual(time) => {
                let before = time.wall.swap(moment.0, Ordering::SeqCst);
                let passed = moment.0.saturating_sub(before).max(0);
                time.passed.fetch_add(passed, Ordering::SeqCst);
            }
            #[cfg(test)]
            Source::Tokio(beginning, since) => {
                let gone = Timestamp(0).plus(since.elapsed());
                beginning.store(moment.0 - gone.0, Ordering::SeqCst);
            }
        }
    }

    /// Sets a manual clock like an operator who sets a wall clock: no time passes. Other clocks are not moved.
    pub fn jump(&self, moment: Timestamp) {
        if let Source::Manual(time) = &self.0 {
            time.wall.store(moment.0, Ordering::SeqCst);
        }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }
}

/// A uniformly distributed random number.
pub fn random_number() -> u32 {
    u32::from_be_bytes(random())
}

/// Random bytes from the operating system.
///
/// # Panics
/// If the operating system has none: no key could be trusted then, so the relay must not continue.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(
        clippy::expect_used,
        reason = "without randomness no pseudonym or session is safe"
    )]
    getrandom::fill(&mut bytes).expect("the operating system has no randomness");
    bytes
}
