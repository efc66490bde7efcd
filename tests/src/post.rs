//! Requests as a browser sends them, and their answers.

use crate::setup::PLAN_VERSION;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a relay may stay overloaded, on a machine that is busy with other tests.
const OVERLOADED_MAX: Duration = Duration::from_secs(120);

/// The site of the tests.
pub const SITE: &str = "panel.example.com";
/// The origin of its pages.
pub const ORIGIN: &str = "https://panel.example.com";
/// The User-Agent of an ordinary browser.
pub const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.7000.9 Safari/537.36";

/// A client that follows no redirects, uses no proxy and accepts any certificate: certificate checks have separate
/// tests.
///
/// # Panics
/// If it cannot be built.
pub fn http_client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(60))
        .build()
        .unwrap()
}

/// An event id that was never used before.
pub fn fresh_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{:032x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A numbered event for a batch.
pub fn load(n: usize) -> Value {
    json!({ "id": fresh_id(), "name": "Load", "url": "https://panel.example.com/#/home", "props": { "n": n } })
}

/// A pageview for a batch.
pub fn pageview(url: &str) -> Value {
    json!({ "id": fresh_id(), "name": "pageview", "url": url })
}

/// A POST as a browser would send it, unless a test changes it.
#[derive(Clone, Debug)]
pub struct Post {
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Post {
    /// A batch with consent to everything.
    pub fn batch(events: &[Value]) -> Self {
        Self::batch_with(&json!({ "plan": PLAN_VERSION }), events)
    }

    /// A batch with this consent; `null` is none.
    pub fn batch_with(consent: &Value, events: &[Value]) -> Self {
        Self::batch_for(SITE, consent, events)
    }

    /// A batch of another site, with consent to everything.
    pub fn batch_of(site: &str, events: &[Value]) -> Self {
        Self::batch_for(site, &json!({ "plan": PLAN_VERSION }), events)
    }

    fn batch_for(site: &str, consent: &Value, events: &[Value]) -> Self {
        let body = json!({ "site": site, "consent": consent, "events": events });
        Self::to("/api/notes", "application/json").body(body.to_string())
    }

    /// One event in Plausible's format, as its tracker sends it, with consent of the page.
    pub fn plausible(event: &Value) -> Self {
        Self::to(&format!("/api/event?consent={PLAN_VERSION}"), "text/plain").body(event.to_string())
    }

    fn to(path: &str, media_type: &str) -> Self {
        let headers = [
            ("content-type", media_type),
            ("user-agent", BROWSER),
            ("origin", ORIGIN),
        ];
        Self {
            path: path.to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            body: Vec::new(),
        }
    }

    /// With another path.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// With consent to another version of the plan, in Plausible's format.
    #[must_use]
    pub fn path_of_plan(mut self, version: u32) -> Self {
        self.path = self
            .path
            .replace(&format!("consent={PLAN_VERSION}"), &format!("consent={version}"));
        self
    }

    /// With another body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a header, replacing one of the same name.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// A header, if present.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name)?;
        Some(&found.1)
    }

    /// From another address, sent as a forwarded header: the tests' relay trusts its peer.
    #[must_use]
    pub fn from(self, address: &str) -> Self {
        self.with("x-forwarded-for", address)
    }

    /// Sends it, or returns the error.
    ///
    /// # Errors
    /// If no complete answer arrives.
    ///
    /// # Panics
    /// If a header is invalid.
    pub async fn try_send(&self, client: &reqwest::Client, base: &str) -> reqwest::Result<Sent> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        let request = client
            .post(format!("{base}{}", self.path))
            .headers(headers)
            .body(self.body.clone());
        Sent::read(request.send().await?).await
    }

    /// Sends it as any sender does: again while the relay is overloaded, because a thread of the relay may get no processor
    /// for a second on a busy machine.
    ///
    /// # Errors
    /// If no complete answer arrives.
    ///
    /// # Panics
    /// If the relay stays overloaded.
    pub(crate) async fn insist(&self, client: &reqwest::Client, base: &str) -> reqwest::Result<Sent> {
        let start = Instant::now();
        loop {
            let sent = self.try_send(client, base).await?;
            if !sent.is_overloaded() {
                return Ok(sent);
            }
            assert!(start.elapsed() < OVERLOADED_MAX, "it stays overloaded: {sent:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Sent {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

impl Sent {
    /// Reads an answer completely.
    ///
    /// # Errors
    /// If it breaks off.
    pub async fn read(response: reqwest::Response) -> reqwest::Result<Self> {
        Ok(Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await?,
        })
    }

    /// A header as text; empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Whether the relay was too busy for the request.
    fn is_overloaded(&self) -> bool {
        self.status == 503 && self.problem() == "overloaded"
    }

    /// The problem's name; empty if the answer is not a problem.
    pub fn problem(&self) -> String {
        if self.header("content-type") != "application/problem+json" {
            return String::new();
        }
        let json = self.json();
        assert_eq!(json["status"], self.status, "{self:?}");
        let name = json["type"].as_str().unwrap();
        name.strip_prefix("urn:feedback-relay:problem:")
            .unwrap()
            .to_owned()
    }
}

/// Sends raw bytes and reads the answer until the peer closes. With `hang_up` the sending side is closed first.
///
/// # Panics
/// If the relay cannot be reached, or does not close in time.
pub async fn raw(base: &str, bytes: &[u8], hang_up: bool) -> String {
    let (_, address) = base.split_once("://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The relay may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    if hang_up {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let read = tokio::time::timeout(crate::PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(
        read.is_ok(),
        "the relay keeps the connection open after {:?}",
        String::from_utf8_lossy(&answer)
    );
    String::from_utf8_lossy(&answer).into_owned()
}
