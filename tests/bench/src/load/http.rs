//! Finds the end of an HTTP/1.1 message with `httparse`. Messages that a run does not expect are errors.

use anyhow::{Context as _, Result, bail, ensure};
use httparse::{EMPTY_HEADER, Header, Status};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Largest head, in bytes. A longer one is an error.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Limit of headers. A message with more is an error.
const HEADERS_MAX: usize = 32;
/// Largest body, in bytes. A longer one is an error.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a server on this machine may take to connect or to send the next bytes.
const ASK_MAX: Duration = Duration::from_secs(10);

/// A request that has been received completely.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) is_post: bool,
    /// The relay's self-test at its start.
    pub(super) is_self_test: bool,
    /// Bytes of head and body.
    pub(super) bytes: usize,
    /// Whether the sender closes the connection after it.
    pub(super) closes: bool,
}

/// An answer that has been received completely.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    /// Whether it has a Retry-After of a second or more.
    pub(super) retry_after: bool,
    /// Bytes of head and body.
    pub(super) bytes: usize,
    /// Whether the sender closes the connection after it.
    pub(super) closes: bool,
}

/// Reads the request at the beginning of the received bytes; `None` while it is incomplete.
pub(super) fn request(received: &[u8]) -> Result<Option<Request>> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let head = request.parse(received)?;
    let Some((bytes, closes)) = whole(received, head, request.version, request.headers)? else {
        return Ok(None);
    };
    Ok(Some(Request {
        is_post: request.method == Some("POST"),
        is_self_test: value(request.headers, "x-debug-request").is_some(),
        bytes,
        closes,
    }))
}

/// The client that a complete request of generator or relay names.
pub(super) fn client(received: &[u8]) -> Option<&[u8]> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    httparse::Request::new(&mut headers).parse(received).ok()?;
    value(&headers, "x-plausible-ip").or_else(|| value(&headers, "x-forwarded-for"))
}

/// Reads the answer at the beginning of the received bytes; `None` while it is incomplete.
pub(super) fn response(received: &[u8]) -> Result<Option<Response>> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head = response.parse(received)?;
    let Some((bytes, closes)) = whole(received, head, response.version, response.headers)? else {
        return Ok(None);
    };
    Ok(Some(Response {
        status: response.code.context("an answer without a status")?,
        retry_after: number(response.headers, "retry-after").is_some_and(|seconds| seconds > 0),
        bytes,
        closes,
    }))
}

/// Requests a server's version and returns the status of the answer.
pub(crate) fn ask(server: SocketAddr) -> Result<u16> {
    ask_on(&mut connect(server)?)
}

/// Opens a connection on which reading has a time limit.
pub(super) fn connect(server: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, ASK_MAX)?;
    stream.set_read_timeout(Some(ASK_MAX))?;
    Ok(stream)
}

/// [`ask`] on a connection that stays open.
pub(super) fn ask_on(stream: &mut TcpStream) -> Result<u16> {
    stream.write_all(b"GET /version HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    answer(stream)
}

/// The status of the next answer.
pub(super) fn answer(stream: &mut TcpStream) -> Result<u16> {
    let (mut received, mut scratch) = (Vec::new(), [0; 4096]);
    loop {
        let n = stream.read(&mut scratch)?;
        ensure!(n > 0, "the connection was closed before an answer arrived");
        received.extend_from_slice(&scratch[..n]);
        if let Some(response) = response(&received)? {
            return Ok(response.status);
        }
    }
}

/// The length of a message, and whether its sender closes the connection; `None` while it is incomplete.
fn whole(
    received: &[u8],
    head: Status<usize>,
    version: Option<u8>,
    headers: &[Header<'_>],
) -> Result<Option<(usize, bool)>> {
    let Status::Complete(head) = head else {
        ensure!(
            received.len() <= HEAD_BYTES_MAX,
            "a head of more than {HEAD_BYTES_MAX} bytes"
        );
        return Ok(None);
    };
    if value(headers, "transfer-encoding").is_some() {
        bail!("a body without its length");
    }
    let length = match value(headers, "content-length") {
        Some(_) => number(headers, "content-length").context("a content-length that is not a number")?,
        None => 0,
    };
    ensure!(
        length <= BODY_BYTES_MAX,
        "a body of more than {BODY_BYTES_MAX} bytes"
    );
    let closes = match value(headers, "connection") {
        Some(connection) => connection.eq_ignore_ascii_case(b"close"),
        None => version == Some(0),
    };
    Ok((head + length <= received.len()).then_some((head + length, closes)))
}

fn value<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    let header = headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name))?;
    Some(header.value)
}

fn number(headers: &[Header<'_>], name: &str) -> Option<usize> {
    std::str::from_utf8(value(headers, name)?)
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::{HEAD_BYTES_MAX, request, response};

    #[test]
    fn a_message_ends_where_its_length_says() {
        // received → length of the message and whether the connection closes, or an error
        let check = |received: &str, expected: Result<Option<(usize, bool)>, ()>| {
            let found = match received.starts_with("HTTP/") {
                true => response(received.as_bytes()).map(|found| found.map(|m| (m.bytes, m.closes))),
                false => request(received.as_bytes()).map(|found| found.map(|m| (m.bytes, m.closes))),
            };
            assert_eq!(found.map_err(|_| ()), expected, "{received:?}");
        };
        check("", Ok(None));
        check("HTTP/1.1 202 Accepted\r\n", Ok(None));
        check("HTTP/1.1 202 Accepted\r\n\r\n", Ok(Some((25, false))));
        check("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\no", Ok(None));
        check(
            "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nok",
            Ok(Some((40, false))),
        );
        check(
            "POST / HTTP/1.1\r\ncontent-length:2\r\n\r\nokPOST /",
            Ok(Some((39, false))),
        );
        check(
            "POST / HTTP/1.1\r\nconnection: close\r\n\r\n",
            Ok(Some((38, true))),
        );
        check(
            "POST / HTTP/1.1\r\nconnection: keep-alive\r\n\r\n",
            Ok(Some((43, false))),
        );
        check("GET / HTTP/1.0\r\n\r\n", Ok(Some((18, true))));
        check("HTTP/1.0 200 OK\r\n\r\n", Ok(Some((19, true))));
        check("POST / HTTP/1.1\r\ncontent-length: two\r\n\r\nok", Err(()));
        check("POST / HTTP/1.1\r\ncontent-length: 1048577\r\n\r\n", Err(()));
        check(
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok",
            Err(()),
        );
        check("POST / HTTP/1.1\r\nno colon\r\n\r\n", Err(()));
        check("HTTP/2 202\r\n\r\n", Err(()));
        let path = |bytes| format!("POST /{}", "a".repeat(bytes - 6));
        check(&path(HEAD_BYTES_MAX), Ok(None));
        check(&path(HEAD_BYTES_MAX + 1), Err(()));
    }

    #[test]
    fn an_answer_has_a_status_and_may_say_when_to_come_back() {
        let check = |received: &str, status, retry_after| {
            let found = response(received.as_bytes()).unwrap().unwrap();
            assert_eq!(
                (found.status, found.retry_after),
                (status, retry_after),
                "{received}"
            );
        };
        check("HTTP/1.1 202 Accepted\r\n\r\n", 202, false);
        check("HTTP/1.1 503 No\r\nretry-after: 1\r\n\r\n", 503, true);
        check("HTTP/1.1 503 No\r\nRetry-After:60\r\n\r\n", 503, true);
        check("HTTP/1.1 429 No\r\nretry-after: 0\r\n\r\n", 429, false);
        check("HTTP/1.1 503 No\r\nretry-after: soon\r\n\r\n", 503, false);
    }

    #[test]
    fn events_are_posts_that_are_no_self_test() {
        let check = |received: &str, is_post, is_self_test| {
            let found = request(received.as_bytes()).unwrap().unwrap();
            assert_eq!(
                (found.is_post, found.is_self_test),
                (is_post, is_self_test),
                "{received}"
            );
        };
        check("POST /api/event HTTP/1.1\r\n\r\n", true, false);
        check(
            "POST /api/event HTTP/1.1\r\nX-Debug-Request: true\r\n\r\n",
            true,
            true,
        );
        check("GET /version HTTP/1.1\r\n\r\n", false, false);
    }
}
