//! `[policy]`: the scrubbing policy and what it may use.

use crate::config::listen::{milliseconds, seconds, size};
use crate::document::Section;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The policy and its limits.
#[derive(Clone, Debug)]
pub struct PolicyConfig {
    /// The component to run instead of the one built in.
    pub file: Option<PathBuf>,
    /// Fuel per event: wasm instructions, roughly. The default policy uses some ten thousand.
    pub fuel: u64,
    /// Processor time of the policy per request, whatever the number of its events.
    pub request_cpu: Duration,
    /// What happens to events while the policy fails.
    pub when_failing: WhenFailing,
    /// Largest memory of an instance, in bytes.
    pub memory_bytes_max: usize,
    /// How often the file is looked at for a change.
    pub look_every: Duration,
}

/// What happens to events once a policy has failed repeatedly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFailing {
    /// No event is taken: senders are told to come back.
    Stop,
    /// The policy built into the relay takes over.
    Builtin,
}

impl PolicyConfig {
    /// `body_bytes_max` is that of `[public]`.
    pub(super) fn read(section: &Section<'_>, folder: &Path, body_bytes_max: usize) -> Self {
        let default = Self::default();
        Self {
            file: section.text("file").map(|name| folder.join(name)),
            fuel: section
                .integer("fuel", 10_000..=10_000_000_000)
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or(default.fuel),
            request_cpu: milliseconds(
                section,
                "request_cpu_ms",
                10..=10_000,
                request_cpu_ms(body_bytes_max),
            ),
            when_failing: section
                .parsed("when_failing", "\"stop\" or \"builtin\"", |text| match text {
                    "stop" => Some(WhenFailing::Stop),
                    "builtin" => Some(WhenFailing::Builtin),
                    _ => None,
                })
                .unwrap_or(default.when_failing),
            memory_bytes_max: size(
                section,
                "memory_bytes_max",
                1024 * 1024..=1024 * 1024 * 1024,
                default.memory_bytes_max,
            ),
            look_every: seconds(
                section,
                "look_every_s",
                1..=24 * 60 * 60,
                default.look_every.as_secs(),
            ),
        }
    }
}

/// Processor time of a request that a policy gets by default, in milliseconds: 250 for each 64 KiB of the largest
/// body, 250 at least. The worst texts take the built-in policy about a quarter of that.
fn request_cpu_ms(body_bytes_max: usize) -> u64 {
    (250 * body_bytes_max as u64 / (64 * 1024)).max(250)
}

impl Default for PolicyConfig {
    fn default() -> Self {
        // The worst texts that the built-in policy searches in one event use up less than half of this fuel, which
        // lasts for about 20 ms.
        Self {
            file: None,
            fuel: 200_000_000,
            request_cpu: Duration::from_millis(request_cpu_ms(0)),
            when_failing: WhenFailing::Stop,
            memory_bytes_max: 16 * 1024 * 1024,
            look_every: Duration::from_secs(5),
        }
    }
}
