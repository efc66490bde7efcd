//! Whether two addresses count as two visitors: two events are sent, and the server's own counts are read before
//! and after. Nothing less shows it; without a Stats API key it is not checked.

use super::plausible::Requests;
use super::self_test;
use super::self_test::{Finding, Grade, TEST_EVENT, event};
use super::stats::{Counts, Span, StatsApi, Unread};
use super::transport::Connection;
use crate::clock::{Clock, Moment};
use crate::config::{Profile, Upstream};
use std::net::Ipv6Addr;
use std::time::Duration;
use tokio::time::Instant;

/// How long the events may take to appear in the counts: Plausible writes what arrived every five seconds.
const APPEAR_MAX: Duration = Duration::from_secs(60);
/// How often the counts are read meanwhile: at most 31 of the 600 questions that Plausible answers per hour.
const READ_EVERY: Duration = Duration::from_secs(2);
/// The span that is read, before and after now. It covers the difference of two clocks.
const AROUND_NOW_MS: i64 = 60 * 60 * 1000;

/// Sends two events that count to a site, from two addresses that no earlier event had. Returns whether they were
/// accepted, if they were sent, and how many visitors they count as. `is_quiet`: nothing else is sent to the site.
pub async fn check(
    connection: &mut impl Connection,
    upstream: &Upstream,
    site: &str,
    is_quiet: bool,
    clock: &Clock,
    random: fn() -> u32,
) -> (Option<Finding>, Finding) {
    let what = format!("{site}: visitors");
    let not_checked = |why: &str| Finding::new(&what, Grade::Note, format!("not checked: {why}"));
    let (Some(requests), Some(api)) = (Requests::new(upstream), StatsApi::new(upstream)) else {
        let found = not_checked("whether two addresses count as two visitors");
        return (None, found.advise(self_test::HOW_TO_CHECK));
    };
    if upstream.profile == Profile::Vince && !is_quiet {
        let found = not_checked("Vince's counts cannot be narrowed to the test events").advise(
            "add a site to Vince that no page uses, and write its domain as `test_site` under [upstream]",
        );
        return (None, found);
    }
    let now = clock.now().0;
    let span = Span {
        from: Moment(now.saturating_sub(AROUND_NOW_MS)),
        to: Moment(now.saturating_add(AROUND_NOW_MS)),
    };
    let before = match api.counts(connection, site, span, TEST_EVENT).await {
        Ok(before) => before,
        Err(why) => return (None, not_checked(&why.to_string())),
    };
    let mut sent = Finding::new("", Grade::Ok, "");
    for _ in 0..2 {
        let host = u64::from(random()) << 32 | u64::from(random());
        // Of the range of documentation, as the relay's own pseudonyms.
        let visitor = Ipv6Addr::from((0x2001_0db8_u128 << 96) | u128::from(host));
        let request = event(&requests, upstream, site, TEST_EVENT, &visitor.to_string());
        let answer = connection.send(request).await;
        sent = self_test::counted(format!("test event of {site}"), upstream, answer);
        if sent.grade != Grade::Ok {
            return (Some(sent), not_checked("a test event was not accepted"));
        }
    }
    let found = match appeared(&api, connection, site, span, before).await {
        Ok(counted) => verdict(what, upstream, before, counted),
        Err(why) => not_checked(&why.to_string()),
    };
    (Some(sent), found)
}

/// Reads the counts until both events appeared, or for [`APPEAR_MAX`].
async fn appeared(
    api: &StatsApi,
    connection: &mut impl Connection,
    site: &str,
    span: Span,
    before: Counts,
) -> Result<Counts, Unread> {
    let deadline = Instant::now() + APPEAR_MAX;
    loop {
        let counts = api.counts(connection, site, span, TEST_EVENT).await?;
        if counts.events >= before.events.saturating_add(2) || Instant::now() >= deadline {
            return Ok(counts);
        }
        tokio::time::sleep(READ_EVERY).await;
    }
}

fn verdict(what: String, upstream: &Upstream, before: Counts, after: Counts) -> Finding {
    let events = after.events.saturating_sub(before.events);
    let visitors = after.visitors.saturating_sub(before.visitors);
    match (events, visitors) {
        (2, 2) => Finding::new(what, Grade::Ok, "two addresses count as two visitors"),
        (0 | 1, _) => Finding::new(
            what,
            Grade::Note,
            format!("not checked: of two accepted test events {events} appeared within {APPEAR_MAX:?}"),
        )
        .advise("does the dashboard show them later? Plausible writes events after it has answered"),
        // Two events, and fewer new visitors than that: the address was not read, or was replaced.
        (2, 0 | 1) => Finding::new(
            what,
            Grade::Wrong,
            format!(
                "two addresses count as one visitor: the server does not see the address that the relay sends in {}",
                upstream.address_header
            ),
        )
        .advise(upstream.profile.header_line()),
        (_, _) => Finding::new(
            what,
            Grade::Note,
            "not checked: others sent events of this name meanwhile",
        )
        .advise("write a domain that no page uses as `test_site` under [upstream]"),
    }
}
