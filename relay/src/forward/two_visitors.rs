//! Checks whether two addresses count as two visitors: sends two events, and reads the server's own counts before and
//! after. There is no other way; without a Stats API key it is not checked.

use super::plausible::Requests;
use super::self_test::{self, TEST_EVENT};
use super::stats::{Counts, Span, StatsApi, Unread};
use super::transport::Connection;
use crate::clock::{Clock, Timestamp};
use crate::config::{Profile, Upstream};
use crate::finding::{Finding, Grade};
use std::net::Ipv6Addr;
use std::time::Duration;
use tokio::time::Instant;

/// Time limit for the events to appear in the counts: Plausible writes arrivals every five seconds.
const APPEAR_MAX: Duration = Duration::from_secs(60);
/// Polling interval of the counts: at most 31 of the 600 queries that Plausible answers per hour.
const READ_EVERY: Duration = Duration::from_secs(2);
/// The span that is read, before and after now. It covers the offset between the two clocks.
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
    let not_checked = |why: &str| Finding::note(&what, format!("not checked: {why}"));
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
        from: Timestamp(now.saturating_sub(AROUND_NOW_MS)),
        to: Timestamp(now.saturating_add(AROUND_NOW_MS)),
    };
    let before = match api.counts(connection, site, span, TEST_EVENT).await {
        Ok(before) => before,
        Err(why) => return (None, not_checked(&why.to_string())),
    };
    let mut sent = Finding::new("", Grade::Ok, "");
    for _ in 0..2 {
        let host = u64::from(random()) << 32 | u64::from(random());
        // In the documentation range, like the relay's own pseudonyms.
        let visitor = Ipv6Addr::from((0x2001_0db8_u128 << 96) | u128::from(host));
        let request = requests.test_event(site, TEST_EVENT, visitor);
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
        (2, 2) => Finding::ok(what, "two addresses count as two visitors"),
        (0 | 1, _) => Finding::note(
            what,
            format!("not checked: {events} of two accepted test events appeared within {APPEAR_MAX:?}"),
        )
        .advise("check whether the dashboard shows them later: Plausible writes events after it answers"),
        // Two events, but fewer new visitors: the address was not read, or was replaced.
        (2, 0 | 1) => {
            let header = &upstream.address_header;
            let says = "two addresses count as one visitor: the server does not see the address that the relay sends in";
            Finding::wrong(what, format!("{says} {header}")).advise(upstream.profile.header_line())
        }
        (_, _) => {
            let says = "not checked: other events of this name arrived in the meantime";
            Finding::note(what, says)
                .advise("write a domain that no page uses as `test_site` under [upstream]")
        }
    }
}
