//! Answers to a request, including broken ones.

use super::wire;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A chunk of an endless answer.
const ENDLESS_CHUNK: usize = 16 * 1024;

/// The answer to one request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 202 `ok`.
    Accept,
    /// 202 with an additional header.
    AcceptWith(&'static str, &'static str),
    /// A status with headers and a body.
    Status(u16, &'static [(&'static str, &'static str)], &'static str),
    /// A redirect to an address.
    Redirect(u16, String),
    /// 202 after a delay.
    Slow(Duration),
    /// 202 byte by byte, with this pause in between.
    Drip(Duration),
    /// 202 after two interim answers.
    Interim,
    /// 202 with `connection: close`, then closes.
    Close,
    /// 202 with keep-alive, then closes without notice.
    CloseSilently,
    /// The head of a 202 without its body.
    HeadThenNothing,
    /// 202 with an endless body, as fast as it is read.
    Endless,
    /// 202 with one header of this many bytes.
    LongHeader(usize),
    /// 202 with this many headers.
    ManyHeaders(usize),
    /// No answer, ever.
    Hang,
    /// Reads nothing, answers nothing, and keeps the connection open. Only as the first answer to a connection.
    HalfOpen,
    /// Resets the connection as soon as it is accepted. Only as the first answer to a connection.
    ResetBeforeReading,
    /// Resets the connection after half of the request was read. Only from the queue.
    ResetHalfRead,
    /// Resets the connection after the request was read.
    ResetAfterReading,
    /// Bytes that are not HTTP.
    Garbage,
}

impl Answer {
    /// The answer of a healthy Plausible to a health check.
    pub fn healthy() -> Self {
        let json = r#"{"postgres":"ok","clickhouse":"ok","sites_cache":"ok","sessions":"ok"}"#;
        Self::Status(200, &[("content-type", "application/json")], json)
    }

    /// Whether Plausible may have counted the event with this answer: it had received all of it, and did not refuse it.
    pub fn may_have_counted(&self) -> bool {
        match self {
            Self::Status(status, ..) => *status == 202,
            Self::Redirect(..) | Self::HalfOpen | Self::ResetBeforeReading | Self::ResetHalfRead => false,
            _ => true,
        }
    }

    /// Whether the sender cannot know that the event was counted, though it may have been.
    pub fn leaves_unsure(&self) -> bool {
        use Answer::{Garbage, Hang, LongHeader, ManyHeaders, ResetAfterReading};
        matches!(
            self,
            Hang | ResetAfterReading | Garbage | LongHeader(_) | ManyHeaders(_)
        )
    }

    /// Writes the answer. Returns `false` if the connection ends with it. `held` is dropped just before the first byte
    /// of the answer is written.
    pub(super) async fn give<T>(self, stream: &mut TcpStream, held: T) -> bool {
        let ok = |headers: &[(&str, &str)]| wire::response(202, headers, "ok");
        let (text, then) = match self {
            Self::Accept => (ok(&[]), Then::Keep),
            Self::AcceptWith(name, value) => (ok(&[(name, value)]), Then::Keep),
            Self::Status(status, headers, body) => (wire::response(status, headers, body), Then::Keep),
            Self::Redirect(status, to) => (wire::response(status, &[("location", &to)], ""), Then::Keep),
            Self::Slow(delay) => {
                tokio::time::sleep(delay).await;
                (ok(&[]), Then::Keep)
            }
            Self::Drip(pause) => {
                drop(held);
                return drip(stream, ok(&[]).as_bytes(), pause).await;
            }
            Self::Interim => {
                let hints = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n";
                (hints.to_owned() + &ok(&[]), Then::Keep)
            }
            Self::Close => (ok(&[("connection", "close")]), Then::Close),
            Self::CloseSilently => (ok(&[]), Then::Close),
            Self::HeadThenNothing => (
                "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n".into(),
                Then::Wait,
            ),
            Self::Endless => {
                let head = "HTTP/1.1 202 Accepted\r\ncontent-length: 999999999999\r\n\r\n";
                (head.to_owned(), Then::Flood)
            }
            Self::LongHeader(bytes) => (ok(&[("x-long", &"x".repeat(bytes))]), Then::Keep),
            Self::ManyHeaders(count) => (ok(&vec![("x-one-more", "x"); count]), Then::Keep),
            Self::Hang | Self::HalfOpen => (String::new(), Then::Wait),
            Self::ResetBeforeReading | Self::ResetHalfRead | Self::ResetAfterReading => {
                stream.set_zero_linger().unwrap();
                return false;
            }
            Self::Garbage => ("\u{1}\u{2} this is not HTTP \r\n\r\n".to_owned(), Then::Keep),
        };
        // If there is no answer, it is held until the peer gives up.
        let _held = text.is_empty().then_some(held);
        if stream.write_all(text.as_bytes()).await.is_err() {
            return false;
        }
        match then {
            Then::Keep => return true,
            Then::Close => {}
            // Until the peer gives up.
            Then::Wait => drop(stream.read(&mut [0; 64]).await),
            Then::Flood => while stream.write_all(&[b'x'; ENDLESS_CHUNK]).await.is_ok() {},
        }
        false
    }
}

/// A bare status.
impl From<u16> for Answer {
    fn from(status: u16) -> Self {
        Self::Status(status, &[], "")
    }
}

/// The fate of the connection after an answer.
enum Then {
    Keep,
    Close,
    Wait,
    Flood,
}

async fn drip(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> bool {
    // Otherwise the kernel would coalesce the drops.
    stream.set_nodelay(true).unwrap();
    for byte in bytes {
        if stream.write_all(&[*byte]).await.is_err() {
            return false;
        }
        tokio::time::sleep(pause).await;
    }
    true
}
