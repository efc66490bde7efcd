//! The little HTTP the demo's check needs: one plain request over one connection.

use std::{
    io::{Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

/// How long a server on this machine may take to connect or to send the next bytes.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: String,
}

/// `GET`.
pub(crate) fn get(url: &str, headers: &[(&str, &str)]) -> Result<Response> {
    send("GET", url, headers, "").with_context(|| format!("GET {url}"))
}

/// `POST`.
pub(crate) fn post(url: &str, headers: &[(&str, &str)], body: &str) -> Result<Response> {
    send("POST", url, headers, body).with_context(|| format!("POST {url}"))
}

fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Result<Response> {
    let (authority, path) = split_url(url)?;
    // HTTP/1.0, because an answer to it is never chunked and ends with the connection.
    let mut request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {authority}\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.push_str(body);

    let address = authority
        .to_socket_addrs()?
        .next()
        .context("the host has no address")?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer)
}

/// The authority, with a port, and the path of a plain `http` URL.
fn split_url(url: &str) -> Result<(&str, &str)> {
    let Some(rest) = url.strip_prefix("http://") else {
        bail!("{url} is no http:// URL")
    };
    let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    ensure!(authority.contains(':'), "{url} names no port");
    Ok((authority, path))
}

fn parse(answer: &[u8]) -> Result<Response> {
    let answer = String::from_utf8_lossy(answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the answer has no end of its head")?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .filter(|line| line.starts_with("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .context("the answer does not start with an HTTP status")?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, length)| length.trim().parse::<usize>().ok());
    ensure!(
        length.is_none_or(|length| body.len() >= length),
        "the answer was cut off"
    );
    Ok(Response {
        status,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let rows = [
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n[]",
                Some((200, "[]")),
            ),
            (
                "HTTP/1.1 202 Accepted\r\ncontent-type: a\r\n\r\n{\r\n\r\n}",
                Some((202, "{\r\n\r\n}")),
            ),
            ("HTTP/1.1 204\r\n\r\n", Some((204, ""))),
            ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n[]", None),
            ("HTTP/1.0 OK\r\n\r\n", None),
            ("HTTP/1.0 200 OK\r\n", None),
            ("200 OK\r\n\r\n", None),
            ("", None),
        ];
        for (answer, expected) in rows {
            let expected = expected.map(|(status, body): (u16, &str)| Response {
                status,
                body: body.to_owned(),
            });
            assert_eq!(parse(answer.as_bytes()).ok(), expected, "{answer}");
        }
    }

    #[test]
    fn only_plain_urls_with_a_port_are_taken() {
        let rows = [
            (
                "http://127.0.0.1:8080/received?x",
                Some(("127.0.0.1:8080", "/received?x")),
            ),
            ("http://[::1]:8080", Some(("[::1]:8080", "/"))),
            ("http://localhost/", None),
            ("https://localhost:8080/", None),
            ("localhost:8080", None),
        ];
        for (url, expected) in rows {
            assert_eq!(split_url(url).ok(), expected, "{url}");
        }
    }
}
