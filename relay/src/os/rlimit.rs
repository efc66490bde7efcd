//! The limit on open files, and the number of connections it allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files reserved for everything but browsers' connections: up to 512 connections of admins and monitoring, the
/// database, Plausible, the policy, logs.
const RESERVED: u64 = 768;

/// Raises the soft limit on open files to the hard limit. Many systems start a process with 1024, for programs that
/// break above it; the relay does not.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // On failure fewer connections fit; `connections_max` reports how many.
    let _ = setrlimit(Resource::Nofile, wanted);
}

/// The number of requested connections that fit into the limit on open files, at least one.
pub fn connections_max(asked: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let fit = fitting(asked, limit);
    if fit < asked {
        tracing::warn!(
            asked,
            fit,
            open_files = limit,
            "`public.connections_max` is lowered: the operating system allows too few open files (`ulimit -Hn`, LimitNOFILE)"
        );
    }
    fit
}

/// `None` means no limit.
fn fitting(asked: usize, limit: Option<u64>) -> usize {
    let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(RESERVED));
    asked.min(usize::try_from(room).unwrap_or(usize::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_into_the_limit_on_open_files() {
        let check = |asked, limit, want| assert_eq!(fitting(asked, limit), want, "{asked} of {limit:?}");
        check(16_384, None, 16_384);
        check(16_384, Some(1_048_576), 16_384);
        check(16_384, Some(17_152), 16_384);
        check(16_384, Some(17_151), 16_383);
        check(16_384, Some(1024), 256);
        check(10, Some(100), 1);
    }
}
