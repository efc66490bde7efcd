//! Reads a request's body within its limits: bytes as sent, bytes once decoded, time.

use crate::config::Public;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use flate2::bufread::GzDecoder;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use relay_event::Outcome;
use std::io::Read;
use std::time::Duration;

/// Most bytes of a refused body that are read and thrown away.
const DRAIN_BYTES_MAX: usize = 1024 * 1024;
/// Longest time that is spent on it.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
}

impl Encoding {
    /// `None` for one the relay does not know, also for several on top of each other.
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

/// Whether the head announces more than is taken, so that there is no need to read it.
pub(super) fn is_announced_too_large(headers: &HeaderMap, limits: &Public) -> bool {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    announced.is_some_and(|length| {
        length
            .parse()
            .is_ok_and(|n: u64| n > limits.body_bytes_max as u64)
    })
}

/// Reads a body and unpacks it. When that fails, what is left of the body is thrown away behind the answer.
///
/// # Errors
/// How the request ends then.
pub(super) async fn read(mut body: Body, encoding: Encoding, limits: &Public) -> Result<Bytes, Outcome> {
    let limited = Limited::new(&mut body, limits.body_bytes_max);
    let sent = match tokio::time::timeout(limits.body_timeout, limited.collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => {
            throw_away(body);
            return Err(Outcome::TooLarge);
        }
        Ok(Err(_)) | Err(_) => return Err(Outcome::Incomplete),
    };
    match encoding {
        Encoding::Plain => Ok(sent),
        Encoding::Gzip => unpack(&sent, limits.body_bytes_max),
    }
}

/// Unpacks one gzip member, and stops one byte after the limit: what a bomb holds beyond is never made.
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

/// Reads what is left of a refused body and throws it away, while the answer is on its way. A connection
/// that is closed on unread bytes is reset, and the sender would see that instead of the answer, and try
/// again for ever. Whoever sends more than the limit sees a broken connection, as before any server.
pub(super) fn throw_away(body: Body) {
    if hyper::body::Body::is_end_stream(&body) {
        return;
    }
    tokio::spawn(tokio::time::timeout(DRAIN_TIMEOUT, drain(body)));
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
