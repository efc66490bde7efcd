//! The only place that reads the wall clock and draws random bytes. Everything else is handed these.

mod ages;

pub use ages::{Ages, TooOld};

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A moment, in whole milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// How long ago an earlier moment was. Zero when the clock went backwards.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// So much later.
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

    /// Of a date as HTTP writes it, `Thu, 01 Jan 2026 00:00:00 GMT`. The two forms that nobody has written
    /// since 1999 are not read.
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

/// Tells the time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Set(Arc<Standing>),
    /// Goes on evenly from a moment, whatever becomes of the wall clock it was made of.
    Steady {
        of: Arc<Source>,
        from: Moment,
        began_ms: i64,
    },
    /// Goes with tokio's clock, from this much after its beginning.
    #[cfg(test)]
    Tokio(Arc<AtomicI64>, tokio::time::Instant),
}

/// What a standing clock shows, and how much time has passed on it.
#[derive(Debug)]
struct Standing {
    wall: AtomicI64,
    passed: AtomicI64,
}

impl Source {
    fn now(&self) -> Moment {
        match self {
            Self::System => Moment(jiff::Timestamp::now().as_millisecond()),
            Self::Set(standing) => Moment(standing.wall.load(Ordering::SeqCst)),
            Self::Steady { of, from, began_ms } => Moment(from.0.saturating_add(of.passed_ms() - began_ms)),
            #[cfg(test)]
            Self::Tokio(beginning, since) => Moment(beginning.load(Ordering::SeqCst)).plus(since.elapsed()),
        }
    }

    /// Time that has passed since some beginning, in milliseconds: it never jumps.
    fn passed_ms(&self) -> i64 {
        match self {
            Self::System => boot_ms(),
            Self::Set(standing) => standing.passed.load(Ordering::SeqCst),
            Self::Steady { of, .. } => of.passed_ms(),
            #[cfg(test)]
            Self::Tokio(_, since) => i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX),
        }
    }
}

/// The processor time that the calling thread has used so far. A busy machine does not make it longer.
pub fn thread_cpu_time() -> std::time::Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(used.tv_sec).unwrap_or(0);
    std::time::Duration::new(seconds, u32::try_from(used.tv_nsec).unwrap_or(0))
}

/// Since the machine was started, the time it was suspended included.
#[cfg(target_os = "linux")]
fn boot_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// Since the first look, the time the machine was suspended left out.
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

    /// A clock that stands still until it is set; for tests.
    pub fn standing_at(moment: Moment) -> Self {
        Self(Source::Set(Arc::new(Standing {
            wall: AtomicI64::new(moment.0),
            passed: AtomicI64::new(0),
        })))
    }

    /// A clock that goes with tokio's, which a test can pause; it can be set as a wall clock can.
    #[cfg(test)]
    pub fn going_from(moment: Moment) -> Self {
        Self(Source::Tokio(
            Arc::new(AtomicI64::new(moment.0)),
            tokio::time::Instant::now(),
        ))
    }

    /// A clock that goes on evenly from a moment and follows no jump of this one.
    #[must_use]
    pub fn steady(&self, from: Moment) -> Self {
        Self(Source::Steady {
            of: Arc::new(self.0.clone()),
            from,
            began_ms: self.0.passed_ms(),
        })
    }

    /// Moves a standing clock: forward, so much time passes; back, it is set. The machine's clock is not moved.
    pub fn set(&self, moment: Moment) {
        match &self.0 {
            Source::System | Source::Steady { .. } => {}
            Source::Set(standing) => {
                let before = standing.wall.swap(moment.0, Ordering::SeqCst);
                let passed = moment.0.saturating_sub(before).max(0);
                standing.passed.fetch_add(passed, Ordering::SeqCst);
            }
            #[cfg(test)]
            Source::Tokio(beginning, since) => {
                let gone = Moment(0).plus(since.elapsed());
                beginning.store(moment.0 - gone.0, Ordering::SeqCst);
            }
        }
    }

    /// Sets a standing clock as an operator sets a wall clock: no time passes. Other clocks are not moved.
    pub fn jump(&self, moment: Moment) {
        if let Source::Set(standing) = &self.0 {
            standing.wall.store(moment.0, Ordering::SeqCst);
        }
    }

    /// The time now.
    pub fn now(&self) -> Moment {
        self.0.now()
    }
}

/// A random number, every one as likely as any other.
pub fn random_number() -> u32 {
    u32::from_be_bytes(random())
}

/// Random bytes from the operating system.
///
/// # Panics
/// When the operating system has none: no key could be trusted then, so nothing may go on.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(
        clippy::expect_used,
        reason = "without randomness no pseudonym or session is safe"
    )]
    getrandom::fill(&mut bytes).expect("the operating system has no randomness");
    bytes
}
