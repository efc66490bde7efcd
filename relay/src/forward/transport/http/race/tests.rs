use super::*;
use std::net::{Ipv4Addr, Ipv6Addr};
use tokio::net::{TcpListener, TcpSocket};

fn v4(last: u8) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, last), 443).into()
}

fn v6(last: u16) -> SocketAddr {
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last), 443).into()
}

#[test]
fn the_families_take_turns_and_the_number_of_addresses_is_bounded() {
    let check = |found: &[SocketAddr], want: &[SocketAddr]| assert_eq!(order(found), want, "{found:?}");
    check(&[], &[]);
    check(&[v4(1)], &[v4(1)]);
    check(&[v6(1), v4(1)], &[v6(1), v4(1)]);
    check(&[v6(1), v6(2), v6(3), v4(1)], &[v6(1), v4(1), v6(2), v6(3)]);
    check(&[v4(1), v4(2), v6(1), v6(2)], &[v4(1), v6(1), v4(2), v6(2)]);
    // A name that is listed twice in the hosts file.
    check(&[v4(1), v4(1), v6(1)], &[v4(1), v6(1)]);
    let many: Vec<_> = (0..20).map(v6).chain((0..20).map(v4)).collect();
    let ordered = order(&many);
    assert_eq!(ordered.len(), ADDRESSES_MAX);
    assert_eq!(ordered[..4], [v6(0), v4(0), v6(1), v4(1)]);
    // Of one family alone as many.
    assert_eq!(order(&many[20..]).len(), ADDRESSES_MAX);
}

/// An address on which a process listens.
async fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address that refuses: a port that was bound and closed again, of either family.
fn refusing(host: &str) -> SocketAddr {
    std::net::TcpListener::bind((host, 0))
        .unwrap()
        .local_addr()
        .unwrap()
}

/// An address that never answers: Linux drops connection requests if a listener's queue is full.
async fn silent() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
    {
        queue.push(stream.unwrap());
    }
    (listener, queue, address)
}

#[tokio::test]
async fn a_dead_address_does_not_keep_from_a_living_one() {
    let (_silent, _queue, silent) = silent().await;
    let (_living, living) = listening().await;
    let refusing = [refusing("127.0.0.1"), refusing("::1")];
    let check = async |addresses: &[SocketAddr], at_most: Duration| {
        let started = Instant::now();
        let deadline = started + Duration::from_secs(30);
        let stream = connect(addresses.to_vec(), deadline).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), living, "{addresses:?}");
        assert!(
            started.elapsed() < at_most,
            "{addresses:?}: {:?}",
            started.elapsed()
        );
    };
    let soon = Duration::from_secs(10);
    check(&[living], soon).await;
    check(&[refusing[1], living], soon).await;
    check(&[refusing[0], refusing[1], living], soon).await;
    check(&[silent, living], soon).await;
    check(&[silent, refusing[1], silent, living], soon).await;
    check(&[living, silent], soon).await;
}

#[tokio::test]
async fn the_cause_is_that_of_all_addresses() {
    let (_silent, _queue, silent) = silent().await;
    let refusing = [refusing("127.0.0.1"), refusing("::1")];
    let check = async |addresses: &[SocketAddr], want: Cause, says: &str| {
        let deadline = Instant::now() + Duration::from_millis(1500);
        let cause = connect(addresses.to_vec(), deadline).await.unwrap_err();
        assert_eq!(cause, want, "{addresses:?}");
        assert!(cause.to_string().contains(says), "{cause}");
    };
    let timed_out = (silent.ip(), Cause::ConnectTimedOut);
    let refused = (refusing[1].ip(), Cause::Refused);
    check(&refusing[..1], Cause::Refused, "refused").await;
    check(&refusing, Cause::Refused, "refused").await;
    check(&[silent], Cause::ConnectTimedOut, "timed out").await;
    let both = Cause::Addresses(vec![refused.clone(), timed_out.clone()]);
    check(
        &[silent, refusing[1]],
        both.clone(),
        "::1: the connection was refused",
    )
    .await;
    check(&[refusing[1], silent], both, "127.0.0.1: the connection attempt").await;
    check(&[], Cause::NoRoute, "no route").await;
}
