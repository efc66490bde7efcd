//! Reads a request's body within its limits: bytes as sent, bytes once decompressed, time.

use crate::config::Public;
use crate::http::admission::slow_bodies::SlowBodies;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use flate2::bufread::GzDecoder;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use relay_event::Outcome;
use std::future::poll_fn;
use std::io::Read;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

/// Most bytes of a refused body that are read and discarded.
const DRAIN_BYTES_MAX: usize = 1024 * 1024;
/// Longest time to read and discard a refused body.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
}

impl Encoding {
    /// `None` for an unknown encoding, or for several on top of each other.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(value) = values.next() else {
            return Some(Self::Plain);
        };
        let name = value.to_str().ok()?.trim();
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match values.next() {
            None if is("identity") => Some(Self::Plain),
            None if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            _ => None,
        }
    }
}

/// Whether the head announces a larger body than is allowed, so that reading it is pointless.
pub(super) fn is_announced_too_large(headers: &HeaderMap, limits: &Public) -> bool {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    announced.is_some_and(|length| {
        length
            .parse()
            .is_ok_and(|n: u64| n > limits.body_bytes_max as u64)
    })
}

/// A request whose body is to be read: the data needed if the body has to wait.
#[derive(Debug)]
pub(super) struct Sender<'a> {
    pub(super) client: IpAddr,
    pub(super) headers: &'a HeaderMap,
    pub(super) slow: &'a Arc<SlowBodies>,
}

/// Reads a body and decompresses it. If it is too large, the rest is discarded while the response is sent.
///
/// # Errors
/// The outcome of the request.
pub(super) async fn read(
    body: Body,
    encoding: Encoding,
    limits: &Public,
    sender: &Sender<'_>,
) -> Result<Bytes, Outcome> {
    let mut arriving = Arriving::new(body, limits.body_bytes_max);
    let at_once = poll_fn(|cx| Poll::Ready(arriving.poll(cx))).await;
    let sent = match at_once {
        Poll::Ready(sent) => sent,
        // Boxed, because most requests never get here and their futures would be larger.
        Poll::Pending => Box::pin(arriving.wait(limits.body_timeout, sender)).await,
    };
    match sent {
        Ok(sent) if encoding == Encoding::Gzip => unpack(&sent, limits.body_bytes_max),
        Err(Outcome::TooLarge) => {
            throw_away(arriving.body);
            Err(Outcome::TooLarge)
        }
        sent => sent,
    }
}

/// A body and the part of it that has arrived.
struct Arriving {
    body: Body,
    max: usize,
    /// The only piece so far, as received.
    first: Bytes,
    /// All pieces, once there are several or the body has to wait: a received piece keeps alive the whole buffer that
    /// it was read into.
    copied: Vec<u8>,
}

impl Arriving {
    fn new(body: Body, max: usize) -> Self {
        Self {
            body,
            max,
            first: Bytes::new(),
            copied: Vec::new(),
        }
    }

    fn len(&self) -> usize {
        self.first.len() + self.copied.len()
    }

    /// Takes the available pieces; ready when the body is complete.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Outcome>> {
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data()
                        && !self.take(piece)
                    {
                        return Poll::Ready(Err(Outcome::TooLarge));
                    }
                }
                Some(Err(_)) => return Poll::Ready(Err(Outcome::Incomplete)),
                None => return Poll::Ready(Ok(self.whole())),
            }
        }
    }

    /// Takes a piece. Returns whether there was room for it.
    fn take(&mut self, piece: Bytes) -> bool {
        if self.len() + piece.len() > self.max {
            return false;
        }
        if self.len() == 0 {
            self.first = piece;
        } else {
            self.copy_first();
            self.copied.extend_from_slice(&piece);
        }
        true
    }

    fn copy_first(&mut self) {
        self.copied.extend_from_slice(&std::mem::take(&mut self.first));
    }

    fn whole(&mut self) -> Bytes {
        if self.copied.is_empty() {
            return std::mem::take(&mut self.first);
        }
        std::mem::take(&mut self.copied).into()
    }

    /// Waits for the rest, as long as it arrives fast enough and is not among the slowest of too many.
    async fn wait(&mut self, longest: Duration, sender: &Sender<'_>) -> Result<Bytes, Outcome> {
        let now = Instant::now();
        let end = now + longest;
        self.copy_first();
        let held = head_bytes(sender.headers) + self.len();
        let mut place = sender.slow.enter(sender.client, held, now);
        loop {
            let before = self.len();
            let more = poll_fn(|cx| match self.poll(cx) {
                Poll::Pending if self.len() == before => Poll::Pending,
                polled => Poll::Ready(polled),
            });
            let deadline = place.deadline().min(end).into();
            tokio::select! {
                biased;
                polled = more => match polled {
                    Poll::Ready(sent) => return sent,
                    Poll::Pending => {}
                },
                () = place.dropped() => return Err(Outcome::SlowBody),
                () = tokio::time::sleep_until(deadline) => return Err(Outcome::Incomplete),
            }
            self.copy_first();
            place.received(self.len() - before, Instant::now());
        }
    }
}

/// Approximate memory use of a head while its body is awaited.
fn head_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}

/// Decompresses one gzip member, and stops one byte after the limit, so that a bomb is never expanded further.
fn unpack(sent: &[u8], max: usize) -> Result<Bytes, Outcome> {
    let mut plain = Vec::new();
    let mut decoder = GzDecoder::new(sent);
    decoder
        .by_ref()
        .take(max as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|_| Outcome::Malformed)?;
    if plain.len() > max {
        return Err(Outcome::TooLarge);
    }
    if !decoder.into_inner().is_empty() {
        return Err(Outcome::Malformed);
    }
    Ok(plain.into())
}

/// Drains a refused body while the response is sent. Closing a connection with unread bytes resets it: the sender
/// would see the reset instead of the response, and retry forever. A sender that exceeds the drain limit sees a
/// broken connection, as with any server.
pub(super) fn throw_away(body: Body) {
    if body.is_end_stream() {
        return;
    }
    let mut draining = Box::pin(drain(body));
    // Most bodies have arrived with their heads.
    let mut now = Context::from_waker(Waker::noop());
    if draining.as_mut().poll(&mut now).is_pending() {
        tokio::spawn(tokio::time::timeout(DRAIN_TIMEOUT, draining));
    }
}

async fn drain(mut body: Body) {
    let mut left = DRAIN_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            return;
        }
    }
}

/// A body that is announced and never arrives, for tests.
#[cfg(test)]
pub(super) struct Never;

#[cfg(test)]
impl hyper::body::Body for Never {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn pack(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_packed_body_is_unpacked_up_to_the_limit() {
        let check = |what: &str, sent: &[u8], want: Result<&[u8], Outcome>| {
            let got = unpack(sent, 1000);
            assert_eq!(got.as_deref(), want.as_ref().copied(), "{what}");
        };
        let whole = pack(b"{}");
        check("a body", &whole, Ok(b"{}"));
        check("nothing packed", &pack(b""), Ok(b""));
        let full = vec![b'x'; 1000];
        check("as much as may be", &pack(&full), Ok(&full));
        check("a byte more", &pack(&vec![b'x'; 1001]), Err(Outcome::TooLarge));
        let bomb = pack(&vec![0; 40 << 20]);
        assert!(bomb.len() < 64 * 1024, "it would be let in: {}", bomb.len());
        check("a bomb", &bomb, Err(Outcome::TooLarge));
        check("no gzip", b"{}", Err(Outcome::Malformed));
        check("nothing at all", b"", Err(Outcome::Malformed));
        check("half of it", &whole[..whole.len() - 9], Err(Outcome::Malformed));
        let mut wrong = whole.clone();
        *wrong.last_mut().unwrap() ^= 1;
        check("a wrong length", &wrong, Err(Outcome::Malformed));
        let twice = whole.repeat(2);
        check("something behind", &twice, Err(Outcome::Malformed));
        check("a bomb in a bomb", &pack(&pack(b"{}")), Ok(&pack(b"{}")));
    }

    #[test]
    fn encodings_are_known_by_their_names_alone() {
        let check = |values: &[&'static str], want: Option<Encoding>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(Encoding::of(&headers), want, "{values:?}");
        };
        check(&[], Some(Encoding::Plain));
        check(&["identity"], Some(Encoding::Plain));
        check(&["gzip"], Some(Encoding::Gzip));
        check(&["GZip"], Some(Encoding::Gzip));
        check(&["x-gzip"], Some(Encoding::Gzip));
        check(&["gzip, gzip"], None);
        check(&["gzip", "gzip"], None);
        check(&["br"], None);
        check(&[""], None);
        check(&["identity", "br"], None);
    }
}
