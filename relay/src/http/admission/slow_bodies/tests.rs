//! Which bodies are dropped when too many wait, and that their state is cleaned up.

use super::*;

/// Room for 1024 empty bodies, of which 256 of one client.
const MOST: usize = 1024 * EMPTY_WEIGHT;

fn bodies() -> Arc<SlowBodies> {
    Arc::new(SlowBodies {
        table: Mutex::default(),
        most: MOST,
        seed: [7; 16],
        metrics: Metrics::register(&mut Registry::default()),
    })
}

fn address(network: usize) -> IpAddr {
    format!("2001:db8:{:x}:{:x}::1", network >> 16, network & 0xffff)
        .parse()
        .unwrap()
}

fn is_dropped(body: &SlowBody) -> bool {
    !body.all.lock().bodies.contains_key(&body.id)
}

fn left(bodies: &[SlowBody]) -> usize {
    bodies.iter().filter(|body| !is_dropped(body)).count()
}

#[test]
fn an_honest_body_stays_however_many_others_wait() {
    // Each of `clients` clients sends `each` bodies of `bytes` bytes: far more than there is room for.
    let check = |clients: usize, each: usize, bytes: usize| {
        let (all, start) = (bodies(), Instant::now());
        let mut now = start;
        let phone = all.enter("192.0.2.1".parse().unwrap(), 700, now);
        let mut attack = Vec::new();
        for _ in 0..each {
            for client in 0..clients {
                now += Duration::from_micros(10);
                let mut body = all.enter(address(client), 0, now);
                assert!(!is_dropped(&body), "the newest is never dropped");
                body.received(bytes, now);
                attack.push(body);
                let table = all.lock();
                assert!(table.weight <= MOST, "{}", table.weight);
                let most = table.of_client.values().max().unwrap();
                assert!(*most <= MOST / CLIENT_ONE_IN, "{most}");
            }
        }
        assert!(!is_dropped(&phone), "{clients} {each} {bytes}");
        assert!(left(&attack) < clients * each);
        drop((phone, attack));
        let table = all.lock();
        assert!(table.bodies.is_empty() && table.of_client.is_empty() && table.weight == 0);
    };
    check(1, 2000, 0);
    check(4, 1000, 0);
    check(4, 1000, 1);
    check(4, 100, 65_535);
    check(50, 100, 0);
    check(50, 50, 60_000);
    check(300, 20, 0);
}

#[test]
fn the_slowest_goes_first_and_the_newest_last() {
    let (all, start) = (bodies(), Instant::now());
    // Each body has its own client, so that only speed decides.
    let mut old: Vec<_> = (0..1000)
        .map(|client| all.enter(address(client), 0, start))
        .collect();
    let later = start + Duration::from_secs(2);
    old[500].received(1000, later);
    let new: Vec<_> = (1000..1900)
        .map(|client| all.enter(address(client), 0, later))
        .collect();
    assert!(!is_dropped(&old[500]), "it makes progress");
    assert!(left(&old) < 150, "{}", left(&old));
    assert_eq!(left(&new), 900);
}

#[tokio::test]
async fn a_body_that_is_dropped_hears_of_it() {
    let (all, now) = (bodies(), Instant::now());
    let mut first = all.enter(address(1), 0, now);
    let others: Vec<_> = (0..256)
        .map(|_| all.enter(address(1), 0, now + Duration::from_secs(1)))
        .collect();
    tokio::time::timeout(Duration::from_secs(10), first.dropped())
        .await
        .unwrap();
    assert!(left(&others) > 200);
}

#[test]
fn progress_extends_the_wait_up_to_the_grace() {
    // Bytes that arrive each second, and after how many seconds the wait ends.
    let check = |bytes: usize, want: Option<u64>| {
        let (all, start) = (bodies(), Instant::now());
        let mut body = all.enter(address(1), 0, start);
        let over = (1..60).find(|second| {
            let now = start + Duration::from_secs(*second);
            let is_over = now >= body.deadline();
            body.received(bytes, now);
            is_over
        });
        assert_eq!(over, want, "{bytes} bytes a second");
    };
    check(0, Some(5));
    check(1, Some(6));
    check(250, Some(9));
    check(BYTES_PER_SECOND_MIN as usize, None);
    check(100_000, None);
}
