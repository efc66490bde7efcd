//! The table of connections: which are admitted, which have to close, and that their state is cleaned up.

use super::*;
use crate::http::server;
use crate::http::server::protocol::{HEAD_TIMEOUT, KEEP_ALIVE};
use crate::metrics::Registry;
use std::time::Duration;
use table::REST_AFTER;

const READ_WITHIN: Duration = Duration::from_secs(30);

fn connections(open_max: usize, per_client_max: usize) -> Arc<Connections> {
    let limits = ConnectionLimits {
        open_max,
        per_client_max,
        exempt: vec!["10.0.0.0/8".parse().unwrap()],
        awake_max: 10,
        read_within: READ_WITHIN,
    };
    let metrics = server::Metrics::register(&mut Registry::default()).of("public");
    Arc::new(Connections::new(limits, metrics))
}

fn admit(all: &Arc<Connections>, peer: &str, now: Instant) -> Result<Arc<Connection>, Refused> {
    all.admit(peer.parse().unwrap(), now).map(Arc::new)
}

fn has_to_go(connection: &Connection) -> bool {
    connection.line.go.is_cancelled()
}

#[test]
fn the_connection_silent_longest_makes_room() {
    let (all, now) = (connections(3, 0), Instant::now());
    let open = [1, 2, 3].map(|n| admit(&all, &format!("192.0.2.{n}"), now).unwrap());
    // The first has a request in flight, the third had one.
    let busy = open[0].begin();
    drop(open[2].begin());
    drop(open[1].begin());
    assert_eq!(admit(&all, "192.0.2.4", now).unwrap_err(), Refused::Full);
    assert_eq!(open.each_ref().map(|c| has_to_go(c)), [false, false, true]);
    // Only one is closed, even if the new one retries.
    assert_eq!(admit(&all, "192.0.2.4", now).unwrap_err(), Refused::Full);
    assert_eq!(open.each_ref().map(|c| has_to_go(c)), [false, false, true]);
    let [first, second, third] = open;
    drop(third);
    let fourth = admit(&all, "192.0.2.4", now).unwrap();
    assert_eq!(admit(&all, "192.0.2.5", now).unwrap_err(), Refused::Full);
    assert!(has_to_go(&second) && !has_to_go(&fourth));
    drop(second);
    let fifth = admit(&all, "192.0.2.5", now).unwrap();
    let in_flight = [fourth.begin(), fifth.begin()];
    assert_eq!(admit(&all, "192.0.2.6", now).unwrap_err(), Refused::Full);
    drop((busy, in_flight, first, fourth, fifth));
    let table = all.lock();
    assert!(table.awake.is_empty() && table.resting.is_empty());
    assert!(table.open.is_empty() && table.closing == 0);
}

#[test]
fn silence_ends_a_connection_later_when_it_had_requests() {
    // Whether a connection of this age has to close: without a request, with one earlier request, with one in flight.
    let check = |age: Duration, want: [bool; 3]| {
        let (all, now) = (connections(9, 0), Instant::now());
        let open = [1, 2, 3].map(|n| admit(&all, &format!("192.0.2.{n}"), now).unwrap());
        drop(open[1].begin());
        let busy = open[2].begin();
        let since = all.lock().open[&open[1].id].since;
        all.close_silent(since.max(now) + age);
        assert_eq!(open.each_ref().map(|c| has_to_go(c)), want, "{age:?}");
        drop(busy);
    };
    let s = Duration::from_secs;
    check(s(9), [false, false, false]);
    check(HEAD_TIMEOUT, [true, false, false]);
    check(KEEP_ALIVE - s(1), [true, false, false]);
    check(KEEP_ALIVE, [true, true, false]);
    check(s(9999), [true, true, false]);
}

#[test]
fn a_client_has_as_many_as_it_may_and_a_proxy_more() {
    let check = |peers: &[(&str, bool)]| {
        let (all, now) = (connections(99, 2), Instant::now());
        // Each has a request in flight, so that none makes room.
        let open: Vec<_> = peers
            .iter()
            .map(|(peer, taken)| {
                let admitted = admit(&all, peer, now).map(|connection| connection.begin());
                let refused = admitted.as_ref().err();
                let want = (!taken).then_some(&Refused::TooManyOfClient);
                assert_eq!(refused, want, "{peer} of {peers:?}");
                admitted
            })
            .collect();
        drop(open);
        assert!(all.lock().per_client.is_empty());
    };
    check(&[
        ("192.0.2.1", true),
        ("192.0.2.1", true),
        ("192.0.2.1", false),
        ("192.0.2.2", true),
        ("::ffff:192.0.2.1", false),
    ]);
    check(&[
        ("2001:db8::1", true),
        ("2001:db8::2", true),
        ("2001:db8::3", false),
        ("2001:db8:0:1::3", true),
    ]);
    check(&[("10.1.2.3", true), ("10.1.2.3", true), ("10.1.2.3", true)]);
}

#[test]
fn a_client_loses_its_own_longest_silent_connection_for_a_new_one_and_never_a_busy_one() {
    let (all, now) = (connections(9, 2), Instant::now());
    let other = admit(&all, "192.0.2.2", now).unwrap();
    let [first, second] = [1, 2].map(|_| admit(&all, "192.0.2.1", now).unwrap());
    assert_eq!(admit(&all, "192.0.2.1", now).unwrap_err(), Refused::Full);
    assert_eq!(admit(&all, "192.0.2.1", now).unwrap_err(), Refused::Full);
    let told = [&other, &first, &second].map(|connection| has_to_go(connection));
    assert_eq!(told, [false, true, false], "one is enough, and it is its own");
    drop(first);
    let third = admit(&all, "192.0.2.1", now).unwrap();
    let busy = [second.begin(), third.begin()];
    let refused = admit(&all, "192.0.2.1", now).unwrap_err();
    assert_eq!(
        refused,
        Refused::TooManyOfClient,
        "while requests are in flight on each"
    );
    assert!(
        admit(&all, "192.0.2.2", now).is_ok(),
        "others have their own share"
    );
    drop((busy, second, third, other));
    let table = all.lock();
    assert!(table.open.is_empty() && table.closing == 0);
}

#[test]
fn an_address_has_a_quarter_of_the_places_at_most() {
    let check = |asked, open_max, want| {
        let share = ConnectionLimits::share(asked, open_max);
        assert_eq!(share, want, "{asked} of {open_max}");
    };
    check(4096, 16_384, 4096);
    check(4097, 16_384, 4096);
    check(3, 16_384, 3);
    check(4096, 256, 64);
    check(4096, 2, 1);
    check(0, 16_384, 0);
}

#[test]
fn a_full_share_is_logged_once_a_minute() {
    let (all, now) = (connections(9, 2), Instant::now());
    let told = |after: u64| all.lock().is_news(now + Duration::from_secs(after));
    assert_eq!(
        [0, 1, 59, 60, 61, 120].map(told),
        [true, false, false, true, false, true]
    );
}

#[test]
fn few_silent_connections_keep_their_buffers() {
    let (all, now) = (connections(9999, 0), Instant::now());
    let is_told = |c: &Connection| c.all.lock().resting.values().any(|id| *id == c.id);
    let open: Vec<_> = (0..12).map(|_| admit(&all, "192.0.2.1", now).unwrap()).collect();
    assert!(open.iter().all(|c| is_told(c)), "nothing arrived on them");
    // The data may be half a head, or a request.
    open[0].wake();
    assert!(!is_told(&open[0]));
    for connection in &open[1..] {
        drop(connection.begin());
    }
    let rest = |which: &[usize]| {
        let told: Vec<_> = (0..open.len()).filter(|n| is_told(&open[*n])).collect();
        assert_eq!(told, which);
    };
    rest(&[0, 1]);
    drop(open[0].begin());
    rest(&[1, 2]);
    let busy = open[3].begin();
    drop(open[1].begin());
    rest(&[2]);
    drop(busy);
    rest(&[2, 4]);
    drop(open);
    let table = all.lock();
    assert!(table.open.is_empty() && table.awake.is_empty() && table.resting.is_empty());
}

#[test]
fn a_connection_that_was_silent_for_a_while_releases_its_buffers_if_it_can_go_on() {
    let check = |what: &str, is_http1: bool, idle: Duration, is_sending: bool, is_busy: bool, want: bool| {
        let (all, now) = (connections(9, 0), Instant::now());
        let connection = admit(&all, "192.0.2.1", now).unwrap();
        if is_http1 {
            connection.can_rest();
        }
        connection.wake();
        drop(connection.begin());
        let answer = is_sending.then(|| connection.sending(Body::from("x")));
        let request = is_busy.then(|| connection.begin());
        let since = all.lock().open[&connection.id].since;
        all.rest_silent(since + idle);
        assert_eq!(all.lock().resting.len(), usize::from(want), "{what}");
        drop((answer, request, connection));
        let table = all.lock();
        assert!(table.awake.is_empty() && table.resting.is_empty(), "{what}");
    };
    let short = REST_AFTER - Duration::from_millis(1);
    check("silent", true, REST_AFTER, false, false, true);
    check("not for long", true, short, false, false, false);
    check("HTTP/2 would end", false, REST_AFTER, false, false, false);
    check(
        "its answer would be cut off",
        true,
        REST_AFTER,
        true,
        false,
        false,
    );
    check("busy again", true, REST_AFTER, false, true, false);
}

#[tokio::test(start_paused = true)]
async fn a_listener_without_connections_is_not_tended() {
    let all = connections(9, 0);
    let any = async |all: &Connections| {
        let soon = Duration::from_secs(1);
        tokio::time::timeout(soon, all.any()).await.is_ok()
    };
    assert!(!any(&all).await);
    let connection = admit(&all, "192.0.2.1", Instant::now()).unwrap();
    assert!(any(&all).await && any(&all).await);
    drop(connection);
    assert!(!any(&all).await);
    let (opened, _connection) = tokio::join!(any(&all), async {
        admit(&all, "192.0.2.1", Instant::now()).unwrap()
    });
    assert!(opened);
}

#[test]
fn a_connection_goes_that_does_not_read_its_answer() {
    // Whether a connection has to close at this age of a response that it does not read.
    let check = |age: Duration, want: bool| {
        let (all, start) = (connections(9, 0), Instant::now());
        let [unread, read] = [1, 2].map(|n| admit(&all, &format!("192.0.2.{n}"), start).unwrap());
        all.close_unread(start);
        let answer = unread.sending(Body::from("x"));
        for second in 1..=age.as_secs() {
            // The other connection reads each of its responses, and the first reads later ones.
            drop((read.sending(Body::from("x")), unread.sending(Body::from("x"))));
            all.close_unread(start + Duration::from_secs(second));
        }
        assert_eq!((has_to_go(&unread), has_to_go(&read)), (want, false), "{age:?}");
        drop(answer);
        assert_eq!(unread.line.unsent.count() + read.line.unsent.count(), 0);
    };
    check(READ_WITHIN, false);
    check(READ_WITHIN / 2 * 3, true);
    check(READ_WITHIN * 9, true);
}

#[test]
fn those_with_the_most_unread_answers_go_when_there_are_too_many() {
    let (all, now) = (connections(9, 0), Instant::now());
    let open = [1, 2, 3].map(|n| admit(&all, &format!("192.0.2.{n}"), now).unwrap());
    let unread = |connection: &Connection, count: usize| -> Vec<_> {
        (0..count).map(|_| connection.sending(Body::from("x"))).collect()
    };
    let answers =
        [(0, UNSENT_MAX / 2), (1, UNSENT_MAX / 2 - 1), (2, 1)].map(|(n, count)| unread(&open[n], count));
    all.close_unread(now);
    assert_eq!(open.each_ref().map(|c| has_to_go(c)), [false, false, false]);
    let more = unread(&open[2], 1);
    all.close_unread(now);
    assert_eq!(open.each_ref().map(|c| has_to_go(c)), [true, false, false]);
    let empty = open[2].sending(Body::empty());
    assert_eq!(
        open[2].line.unsent.count(),
        2,
        "an answer without a body is not waited for"
    );
    drop((answers, more, empty));
    assert!(open.iter().all(|c| c.line.unsent.count() == 0));
}
