//! The part of HTTP/1.1 that the relay needs of a server, hand-written so that it can be broken at will.

use super::{Answer, Arrival};
use serde_json::Value;
use std::sync::Mutex;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) fn response(status: u16, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!(
        "HTTP/1.1 {status} Status\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Writes a JSON answer. Returns `false` if the connection is gone.
pub(super) async fn write_json(stream: &mut TcpStream, status: u16, body: &Value) -> bool {
    let text = response(status, &[("content-type", "application/json")], &body.to_string());
    stream.write_all(text.as_bytes()).await.is_ok()
}

/// Reads one request; `None` when the connection ends first.
pub(super) async fn read(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    connection: usize,
    bytes: &Mutex<Vec<u8>>,
) -> Option<Arrival> {
    let mut head = None;
    loop {
        if head.is_none() {
            head = buffer.windows(4).position(|w| w == b"\r\n\r\n").map(|end| {
                let text = String::from_utf8_lossy(&buffer[..end]).into_owned();
                (parse(&text), end + 4)
            });
        }
        if let Some(((line, headers), start)) = &head {
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let end = start + length.map_or(0, |(_, value)| value.parse().unwrap());
            if buffer.len() >= end {
                let body = serde_json::from_slice(&buffer[*start..end]).unwrap_or(Value::Null);
                let arrival = Arrival {
                    at: Instant::now(),
                    connection,
                    line: line.clone(),
                    headers: headers.clone(),
                    body,
                    answer: Answer::Accept,
                };
                buffer.drain(..end);
                return Some(arrival);
            }
        }
        let before = buffer.len();
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
        bytes.lock().unwrap().extend_from_slice(&buffer[before..]);
    }
}

/// Reads the beginning of a request, and leaves the rest of it in the socket.
pub(super) async fn read_half(stream: &mut TcpStream, bytes: &Mutex<Vec<u8>>) {
    let mut some = [0; 64];
    if let Ok(n) = stream.read(&mut some).await {
        bytes.lock().unwrap().extend_from_slice(&some[..n]);
    }
}

fn parse(head: &str) -> (String, Vec<(String, String)>) {
    let mut lines = head.split("\r\n");
    let line = lines
        .next()
        .unwrap_or_default()
        .trim_end_matches(" HTTP/1.1")
        .to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    (line, headers.collect())
}
