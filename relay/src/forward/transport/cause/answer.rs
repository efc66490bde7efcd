//! Causes in answers: an HTTP answer that is not one of Plausible's events API.

use super::{Cause, short};
use crate::forward::identify::{Answer, identify};
use crate::forward::plausible::PATH;
use axum::http::Response;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use bytes::Bytes;
use serde_json::Value;
use url::Url;

/// The part of a body that is searched for the kind of page, in bytes. Later indications are ignored.
const LOOK_BYTES: usize = 8 * 1024;

impl Cause {
    /// Why an answer to an event is not Plausible's; nothing for one that is. `url` is `upstream.url`, to which a
    /// redirect may be relative.
    pub fn of_answer(url: &str, answer: &Response<Bytes>) -> Option<Self> {
        let status = answer.status().as_u16();
        let is_plain = url.starts_with("http:");
        Some(match status {
            202 if is_page(answer) => return Self::of_body(status, answer),
            202 => return None,
            300..=399 => Self::Redirect(target(url, answer)),
            401 => Self::LoginNeeded,
            403 => Self::Forbidden,
            407 => Self::ProxyLogin,
            404 | 405 | 410 => Self::NothingThere(status),
            511 => Self::NetworkLogin,
            502 | 504 => Self::Gateway(status),
            408 | 429 | 500..=599 => Self::Busy(status),
            400 => return Self::of_refusal(is_plain, answer),
            _ => Self::of_body(status, answer).unwrap_or(Self::Status(status)),
        })
    }

    /// Of a 400, with which Plausible calls an event invalid, but other servers other things.
    fn of_refusal(is_plain: bool, answer: &Response<Bytes>) -> Option<Self> {
        if let Answer::Refused(_) = identify(answer) {
            return None;
        }
        let said = lower(answer.body());
        let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
        // nginx, Apache, Go, Tomcat: "The plain HTTP request was sent to HTTPS port", and the like.
        if is_plain && says(&["https", "ssl", "tls"]) {
            return Some(Self::TlsPort);
        }
        // nginx: "No required SSL certificate was sent".
        if !is_plain && says(&["ssl certificate", "client certificate"]) {
            return Some(Self::ClientCertificate);
        }
        Some(Self::of_body(400, answer).unwrap_or(Self::Status(400)))
    }

    /// Of a body that is a page or another API's. An empty or plain one says nothing.
    fn of_body(status: u16, answer: &Response<Bytes>) -> Option<Self> {
        if is_page(answer) {
            let said = lower(answer.body());
            let is_login = ["type=\"password\"", "log in", "login", "sign in", "signin"];
            return Some(match is_login.iter().any(|word| said.contains(word)) {
                true => Self::LoginPage(status),
                false => Self::Page(status),
            });
        }
        serde_json::from_slice::<Value>(answer.body())
            .is_ok_and(|json| json.is_object() || json.is_array())
            .then_some(Self::OtherApi(status))
    }
}

fn is_page(answer: &Response<Bytes>) -> bool {
    let kind = answer.headers().get(CONTENT_TYPE);
    let says_so = kind
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("text/html") || kind.starts_with("application/xhtml"));
    says_so || answer.body().trim_ascii_start().starts_with(b"<")
}

fn lower(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(LOOK_BYTES)]).to_ascii_lowercase()
}

/// The target of a redirect: scheme, host and path. Query, fragment, user info and path parameters may hold secrets.
fn target(url: &str, answer: &Response<Bytes>) -> Option<String> {
    let location = answer.headers().get(LOCATION)?.to_str().ok()?.trim();
    let asked = Url::parse(&format!("{}{PATH}", url.trim_end_matches('/'))).ok()?;
    let to = asked.join(Some(location).filter(|text| !text.is_empty())?).ok()?;
    let host = to.host_str()?;
    let port = to.port().map_or_else(String::new, |port| format!(":{port}"));
    let path = to.path().split(';').next()?;
    let path = path
        .strip_suffix('/')
        .filter(|path| path.ends_with(PATH))
        .unwrap_or(path);
    Some(short(&format!("{}://{host}{port}{path}", to.scheme())))
}
