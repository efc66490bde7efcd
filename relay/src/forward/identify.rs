//! Identifies the server by how it refuses an event that no server counts.
//!
//! The event's name exceeds the limit of every server. Plausible answers 400 with a map of fields to texts, Vince 400
//! with a single text, and the load balancer of Plausible Cloud answers `X-Debug-Request` with the address it would use
//! (contract b.2, b.7, c.1).

use crate::config::Profile;
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::net::{IpAddr, Ipv6Addr};

/// The visitor of the self-test's events: an address like those that the relay makes, of no real visitor.
pub(super) const VISITOR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x5e1f, 0x7e57);

/// The server, as identified by an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A known server, which refused the event as it should.
    Refused(Profile),
    /// Plausible Cloud, or a server that answers `X-Debug-Request` as it does.
    SeesAddress {
        /// Whether it is the pseudonymous address that the relay sent.
        is_ours: bool,
    },
    /// 202: the server accepts events that Plausible refuses.
    TakesAnything,
    /// The server is overloaded, or asks for a pause.
    Unwell(StatusCode),
    /// JSON, and yet none of the known servers.
    OtherJson(StatusCode),
    /// Something else: a redirect, a login page, a proxy's own page.
    Other(StatusCode),
}

/// Reads an answer.
pub(super) fn identify(answer: &Response<Bytes>) -> Answer {
    let status = answer.status();
    let json: Option<Value> = serde_json::from_slice(answer.body()).ok();
    match status.as_u16() {
        // For example the login page of a gateway that answers 202 to everything.
        202 if answer.body().trim_ascii_start().starts_with(b"<") => Answer::Other(status),
        202 => Answer::TakesAnything,
        400 => match json {
            Some(Value::Object(map)) if is_plausible(&map) => Answer::Refused(Profile::PlausibleCe),
            Some(Value::Object(map)) if is_vince(&map) => Answer::Refused(Profile::Vince),
            Some(_) => Answer::OtherJson(status),
            None => Answer::Other(status),
        },
        200 => match address(answer.body(), json.as_ref()) {
            Some(address) => Answer::SeesAddress {
                is_ours: address == VISITOR,
            },
            None if json.is_some() => Answer::OtherJson(status),
            None => Answer::Other(status),
        },
        408 | 429 | 500..=599 => Answer::Unwell(status),
        _ if json.is_some() => Answer::OtherJson(status),
        _ => Answer::Other(status),
    }
}

/// The fields that Plausible validates (contract c.1). Other frameworks use the same format for other fields.
const FIELDS: [&str; 13] = [
    "url",
    "domain",
    "event_name",
    "pathname",
    "hash_mode",
    "props",
    "request",
    "engagement",
    "engagement_time",
    "scroll_depth",
    "interactive",
    "referrer",
    "revenue",
];

/// `{"errors": {"event_name": ["…"]}}`, and nothing else.
fn is_plausible(map: &Map<String, Value>) -> bool {
    let texts = |value: &Value| {
        value
            .as_array()
            .is_some_and(|texts| texts.iter().all(Value::is_string))
    };
    let errors = map.get("errors").filter(|_| map.len() == 1);
    errors.and_then(Value::as_object).is_some_and(|fields| {
        fields
            .iter()
            .all(|(name, said)| FIELDS.contains(&name.as_str()) && texts(said))
    })
}

/// `{"error": "…"}`, and nothing else.
fn is_vince(map: &Map<String, Value>) -> bool {
    map.len() == 1 && map.get("error").is_some_and(Value::is_string)
}

/// The address that an answer to `X-Debug-Request` names: as its whole text, or as a field of a JSON object that is
/// named after it.
fn address(body: &[u8], json: Option<&Value>) -> Option<IpAddr> {
    match json {
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(Value::Object(map)) => map.iter().find_map(|(key, value)| {
            let key = key.to_ascii_lowercase();
            let names_it = key.contains("ip") || key.contains("addr");
            value.as_str().filter(|_| names_it)?.trim().parse().ok()
        }),
        _ => std::str::from_utf8(body).ok()?.trim().parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_how_it_refuses() {
        let check = |status: u16, body: &'static str, want: Answer| {
            let answer = Response::builder()
                .status(status)
                .body(Bytes::from_static(body.as_bytes()))
                .unwrap();
            assert_eq!(identify(&answer), want, "{status} {body}");
        };
        let status = |code| StatusCode::from_u16(code).unwrap();
        let (other, other_json) = (
            |code| Answer::Other(status(code)),
            |code| Answer::OtherJson(status(code)),
        );
        let (plausible, vince) = (
            Answer::Refused(Profile::PlausibleCe),
            Answer::Refused(Profile::Vince),
        );
        check(
            400,
            r#"{"errors":{"event_name":["should be at most 120 character(s)"]}}"#,
            plausible,
        );
        check(400, r#"{"errors":{}}"#, plausible);
        check(400, r#"{"error":"event name too long"}"#, vince);
        check(400, r#"{"error":"bad request","code":7}"#, other_json(400));
        check(400, r#"{"error":{"message":"no"}}"#, other_json(400));
        check(400, r#"{"errors":["no"]}"#, other_json(400));
        check(400, r#"{"errors":{"name":"no"}}"#, other_json(400));
        check(400, r#"["no"]"#, other_json(400));
        check(400, "<h1>Bad Request</h1>", other(400));
        check(400, "", other(400));
        let ours = Answer::SeesAddress { is_ours: true };
        let another = Answer::SeesAddress { is_ours: false };
        check(200, r#"{"ip":"2001:db8::5e1f:7e57"}"#, ours);
        check(200, r#"{"remote_ip":"2001:DB8:0::5e1f:7e57"}"#, ours);
        check(200, "2001:db8::5e1f:7e57\n", ours);
        check(200, r#""2001:db8::5e1f:7e57""#, ours);
        check(200, "192.0.2.1", another);
        check(200, r#"{"address":"192.0.2.1"}"#, another);
        check(200, r#"{"version":"1.2.3.4"}"#, other_json(200));
        check(200, r#"{"ok":true}"#, other_json(200));
        check(200, "<html>192.0.2.1: please log in</html>", other(200));
        check(200, "", other(200));
        check(202, "ok", Answer::TakesAnything);
        check(204, "", other(204));
        check(301, "", other(301));
        check(401, r#"{"error":"unauthorized"}"#, other_json(401));
        check(404, "", other(404));
        check(404, r#"{"message":"no route"}"#, other_json(404));
        for unwell in [408, 429, 500, 503] {
            check(unwell, "", Answer::Unwell(status(unwell)));
        }
    }
}
