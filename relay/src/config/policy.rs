//! `[policy]`: the scrubbing policy and its limits.

use crate::config::toml::Table;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The policy and its limits.
#[derive(Clone, Debug)]
pub struct PolicyConfig {
    /// The component to run instead of the built-in one.
    pub file: Option<PathBuf>,
    /// Fuel per event: roughly, WebAssembly instructions. The default policy uses about ten thousand.
    pub fuel: u64,
    /// Processor time of the policy per request, whatever the number of events.
    pub request_cpu: Duration,
    /// The response to a failing policy.
    pub when_failing: WhenFailing,
    /// Largest memory of an instance, in bytes.
    pub memory_bytes_max: usize,
    /// How often the relay checks the file for a change.
    pub reload_interval: Duration,
}

/// The response to a policy that has failed repeatedly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFailing {
    /// The relay refuses events and asks senders to retry later.
    Stop,
    /// The built-in policy takes over.
    Builtin,
}

impl PolicyConfig {
    /// `body_bytes_max` is the value of `[public]`.
    pub(super) fn read(section: &Table<'_>, folder: &Path, body_bytes_max: usize) -> Self {
        let default = Self::default();
        Self {
            file: section.text("file").map(|name| folder.join(name)),
            fuel: section
                .integer("fuel", 10_000..=10_000_000_000)
                .unwrap_or(default.fuel),
            request_cpu: section.milliseconds("request_cpu_ms", 10..=10_000, request_cpu_ms(body_bytes_max)),
            when_failing: section
                .choice(
                    "when_failing",
                    &[("stop", WhenFailing::Stop), ("builtin", WhenFailing::Builtin)],
                )
                .unwrap_or(default.when_failing),
            memory_bytes_max: section
                .integer("memory_bytes_max", 1024 * 1024..=1024 * 1024 * 1024)
                .unwrap_or(default.memory_bytes_max),
            reload_interval: section.seconds(
                "reload_interval_s",
                1..=86_400,
                default.reload_interval.as_secs(),
            ),
        }
    }
}

/// Default processor time of a request, in milliseconds: 250 per 64 KiB of the largest body, at least 250. The
/// built-in policy needs about a quarter of that for the worst texts.
fn request_cpu_ms(body_bytes_max: usize) -> u64 {
    (250 * body_bytes_max as u64 / (64 * 1024)).max(250)
}

impl Default for PolicyConfig {
    fn default() -> Self {
        // The worst texts that the built-in policy searches in one event use less than half of this fuel, which lasts
        // for about 20 ms.
        Self {
            file: None,
            fuel: 200_000_000,
            request_cpu: Duration::from_millis(request_cpu_ms(0)),
            when_failing: WhenFailing::Stop,
            memory_bytes_max: 16 * 1024 * 1024,
            reload_interval: Duration::from_secs(5),
        }
    }
}
