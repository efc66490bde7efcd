//! Just enough of HTTP/1.1 to know where a message ends. What is not known here is refused.

use anyhow::{Context as _, Result, bail};

/// Largest head, in bytes. A longer one is refused.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Largest body, in bytes. A longer one is refused.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A whole message at the beginning of what was received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// The request line or the status line.
    pub(crate) first_line: &'a str,
    /// Bytes of head and body.
    pub(crate) bytes: usize,
    /// Whether the sender closes the connection after it.
    pub(crate) closes: bool,
    /// Whether it says when to come back.
    pub(crate) retry_after: bool,
}

/// Finds the first message; `None` while it is not there in full.
pub(crate) fn message(received: &[u8]) -> Result<Option<Message<'_>>> {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
        if received.len() > HEAD_BYTES_MAX {
            bail!("a head of more than {HEAD_BYTES_MAX} bytes");
        }
        return Ok(None);
    };
    let head = std::str::from_utf8(&received[..end]).context("a head that is not text")?;
    let mut lines = head.split("\r\n");
    let first_line = lines.next().unwrap_or_default();
    let is_old = first_line.starts_with("HTTP/1.0") || first_line.ends_with("HTTP/1.0");
    let (mut length, mut closes, mut retry_after) = (0, is_old, false);
    for line in lines {
        let (name, value) = line.split_once(':').context("a header without a colon")?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().context("a content-length that is no number")?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            bail!("a body without its length");
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("retry-after") {
            retry_after = value.parse::<u32>().is_ok_and(|seconds| seconds > 0);
        }
    }
    if length > BODY_BYTES_MAX {
        bail!("a body of more than {BODY_BYTES_MAX} bytes");
    }
    let bytes = end + 4 + length;
    Ok((bytes <= received.len()).then_some(Message {
        first_line,
        bytes,
        closes,
        retry_after,
    }))
}

/// The status of an answer's first line.
pub(crate) fn status(first_line: &str) -> Option<u16> {
    let (version, rest) = first_line.split_once(' ')?;
    let code = rest.split(' ').next()?;
    (version.starts_with("HTTP/1.") && code.len() == 3).then(|| code.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::{message, status};

    #[test]
    fn a_message_ends_where_its_length_says() {
        // received → bytes of the message and whether the connection closes, or that it is refused
        let check = |received: &str, expected: Result<Option<(usize, bool)>, ()>| {
            let found = message(received.as_bytes());
            let found = found.map(|found| found.map(|message| (message.bytes, message.closes)));
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
        check(&"a".repeat(16 * 1024), Ok(None));
        check(&"a".repeat(16 * 1024 + 1), Err(()));
    }

    #[test]
    fn when_to_come_back_is_a_number_of_seconds_above_0() {
        let check = |header: &str, expected| {
            let received = format!("HTTP/1.1 503 No\r\n{header}\r\n\r\n");
            let found = message(received.as_bytes()).unwrap().unwrap();
            assert_eq!(found.retry_after, expected, "{header}");
        };
        check("retry-after: 1", true);
        check("Retry-After:60", true);
        check("retry-after: 0", false);
        check("retry-after: soon", false);
        check("content-length: 0", false);
    }

    #[test]
    fn a_status_is_read_from_its_line() {
        let check = |line, expected| assert_eq!(status(line), expected, "{line}");
        check("HTTP/1.1 202 Accepted", Some(202));
        check("HTTP/1.0 503", Some(503));
        check("HTTP/2 202", None);
        check("HTTP/1.1 20 Accepted", None);
        check("POST /api/event HTTP/1.1", None);
        check("", None);
    }
}
