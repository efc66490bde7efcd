//! The dashboard: whether it shows the delivered events, and how it counts test events.

use crate::clock::{Clock, random_number};
use crate::config::{Config, Upstream};
use crate::finding::{Finding, Grade};
use crate::forward::dashboard::check_yesterday;
use crate::forward::self_test;
use crate::forward::transport::Connection;
use crate::forward::two_visitors;
use crate::store;

/// Whether the dashboard shows the events that were delivered yesterday.
pub(super) async fn compare(
    connection: &mut impl Connection,
    config: &Config,
    site: &str,
    findings: &mut Vec<Finding>,
) {
    let site = config.sites.iter().find(|known| known.domain == site);
    // Another finding reports database errors.
    let (Ok(db), Some(site)) = (store::open_to_look(&config.data_dir), site) else {
        return;
    };
    let site = (site.domain.as_str(), &*site.plan);
    let now = Clock::system().now();
    findings.push(check_yesterday(connection, &config.upstream, &db, site, now).await);
}

/// Sends events that count: two from two visitors if the server's counts can be read, otherwise one. Returns whether
/// the site accepted them, if they were sent. `is_quiet`: no page sends to the site.
pub(super) async fn send(
    connection: &mut impl Connection,
    upstream: &Upstream,
    site: &str,
    is_quiet: bool,
    findings: &mut Vec<Finding>,
) -> Option<Finding> {
    let clock = Clock::system();
    let (mut sent, found) =
        two_visitors::check(connection, upstream, site, is_quiet, &clock, random_number).await;
    if sent.is_none() {
        sent = Some(self_test::count_an_event(connection, upstream, site).await);
    }
    findings.extend(sent.clone());
    // Replaces the self-test's note about the check it could not make.
    findings.retain(|earlier| earlier.what != found.what || earlier.grade != Grade::Note);
    findings.push(found);
    sent
}
