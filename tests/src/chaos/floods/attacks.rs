//! The attacks, each a client that does one thing as fast as it can, within bounds.

use super::{http2, owner};
use crate::post::{BROWSER, ORIGIN, Post, SITE, load};
use crate::{ChildRelay, Setup, http_client};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Upper bound of the events that one address can get through in a few seconds: a client's burst (3000), and thirty
/// from each of the hundred visitors it may present.
const FAKES_MAX: usize = 7000;
/// A second site, for the attack on other sites' share.
const OTHER_SITE: &str = "other.example.com";

/// One way to starve others.
pub(super) struct Attack {
    pub(super) name: &'static str,
    pub(super) setup: fn(Setup) -> Setup,
    pub(super) begin: fn(&Target, &CancellationToken) -> JoinSet<()>,
    /// The site whose events the honest visitors send.
    pub(super) honest_site: &'static str,
    /// The percentage of their requests that must be accepted at the first attempt.
    pub(super) honest_percent: usize,
    /// The limit of the attackers' events that may arrive at Plausible.
    pub(super) arrive_max: usize,
    /// Whether Plausible is unavailable meanwhile, so that events stay in the spool.
    pub(super) without_plausible: bool,
}

const ATTACK: Attack = Attack {
    name: "",
    setup: |setup| setup,
    begin: |_, _| JoinSet::new(),
    honest_site: SITE,
    honest_percent: 95,
    arrive_max: usize::MAX / 2,
    without_plausible: false,
};

/// Every attack.
pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "bodies that never come over HTTP/2, from four addresses",
        begin: http2_bodies,
        ..ATTACK
    },
    Attack {
        name: "bodies that never come over HTTP/1, from four addresses",
        begin: http1_bodies,
        ..ATTACK
    },
    Attack {
        name: "answers that are never read",
        begin: slow_readers,
        ..ATTACK
    },
    Attack {
        name: "wrong logins",
        begin: wrong_logins,
        ..ATTACK
    },
    Attack {
        name: "password guesses at /metrics",
        begin: wrong_scrapes,
        ..ATTACK
    },
    Attack {
        name: "events that make the policy slow",
        setup: |setup| setup.without("policy", "file").with_a_slow_policy(),
        begin: slow_events,
        honest_percent: 50,
        ..ATTACK
    },
    Attack {
        name: "fakes from one address",
        setup: with_limits,
        begin: fakes,
        arrive_max: FAKES_MAX,
        ..ATTACK
    },
    Attack {
        name: "one site fills the spool",
        setup: with_a_small_spool,
        begin: fill_the_spool,
        honest_site: OTHER_SITE,
        without_plausible: true,
        ..ATTACK
    },
];

/// The addresses of a relay's listeners.
#[derive(Clone, Debug)]
pub(super) struct Target {
    public: String,
    admin: String,
}

impl Target {
    pub(super) fn of(relay: &ChildRelay) -> Self {
        Self {
            public: relay.public.clone(),
            admin: relay.admin.clone(),
        }
    }

    fn address(url: &str) -> String {
        url.trim_start_matches("http://").to_owned()
    }
}

/// Runs `act` repeatedly in this many parallel tasks, until it is stopped.
fn crowd<F>(size: usize, stop: &CancellationToken, act: impl Fn(usize) -> F) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut crowd = JoinSet::new();
    for n in 0..size {
        let (stop, act) = (stop.clone(), act(n));
        crowd.spawn(async move {
            tokio::select! {
                () = act => {}
                () = stop.cancelled() => {}
            }
        });
    }
    crowd
}

/// One of four hostile addresses.
fn stranger(n: usize) -> String {
    format!("203.0.113.{}", n % 4)
}

/// Keeps a connection busy: writes, reads until it ends, and reconnects.
async fn hold(address: &str, bytes: &[u8]) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await
            && stream.write_all(bytes).await.is_ok()
        {
            let mut answer = [0; 4096];
            while stream.read(&mut answer).await.is_ok_and(|n| n > 0) {}
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn http2_bodies(target: &Target, stop: &CancellationToken) -> JoinSet<()> {
    let address = Target::address(&target.public);
    crowd(12, stop, move |n| {
        let (address, stranger) = (address.clone(), stranger(n));
        async move {
            let headers = [
                ("content-type", "text/plain"),
                ("content-length", "99"),
                ("x-forwarded-for", stranger.as_str()),
            ];
            let mut bytes = http2::preface(65_535);
            // The maximum: three connections of one address exceed its share of slots slightly, and a connection with
            // many refused streams would be closed.
            for stream in (1..=171).step_by(2) {
                bytes.extend(http2::head(stream, "POST", "/api/notes", &headers, false));
            }
            hold(&address, &bytes).await;
        }
    })
}

fn http1_bodies(target: &Target, stop: &CancellationToken) -> JoinSet<()> {
    let address = Target::address(&target.public);
    crowd(4 * 256, stop, move |n| {
        let address = address.clone();
        let head = format!(
            "POST /api/notes HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: {}\r\ncontent-type: text/plain\r\n\
             content-length: 99\r\n\r\n",
            stranger(n)
        );
        async move { hold(&address, head.as_bytes()).await }
    })
}

/// Requests the browser module repeatedly over connections whose windows are closed.
fn slow_readers(target: &Target, stop: &CancellationToken) -> JoinSet<()> {
    let address = Target::address(&target.public);
    crowd(250, stop, move |n| {
        let (address, stranger) = (address.clone(), stranger(n));
        async move {
            let mut bytes = http2::preface(0);
            for stream in (1..200).step_by(2) {
                let headers = [("x-forwarded-for", stranger.as_str())];
                bytes.extend(http2::head(stream, "GET", "/client_bg.wasm", &headers, true));
            }
            hold(&address, &bytes).await;
        }
    })
}

fn wrong_logins(target: &Target, stop: &CancellationToken) -> JoinSet<()> {
    let url = format!("{}/admin/api/login", target.admin);
    crowd(100, stop, move |n| {
        let url = url.clone();
        async move {
            let client = http_client();
            for tries in 0.. {
                // Invented names, and one that exists.
                let user = match tries % 2 {
                    0 => format!("user-{n}-{tries}"),
                    _ => owner::NAME.to_owned(),
                };
                let login = json!({ "user": user, "password": "a wrong password" });
                let request = client.post(&url).header("x-feedback-admin", "1").json(&login);
                // Any answer is acceptable.
                let _ = request.send().await;
            }
        }
    })
}

fn wrong_scrapes(target: &Target, stop: &CancellationToken) -> JoinSet<()> {
    let url = format!("{}/metrics", target.admin);
    crowd(20, stop, move |_| {
        let url = url.clone();
        async move {
            let client = http_client();
            for tries in 0.. {
                let guess = format!("guess {tries}");
                let _ = client
                    .get(&url)
                    .basic_auth("prometheus", Some(guess))
                    .send()
                    .await;
            }
        }
    })
}

fn slow_events(target: &Target, stop: &CancellationToken) -> JoinSet<()> {
    let base = target.public.clone();
    crowd(8, stop, move |n| {
        let (base, stranger) = (base.clone(), stranger(n));
        async move {
            let client = http_client();
            loop {
                let events: Vec<_> = (0..50)
                    .map(|_| crate::pageview("https://panel.example.com/#/slow"))
                    .collect();
                let _ = Post::batch(&events)
                    .from(&stranger)
                    .try_send(&client, &base)
                    .await;
            }
        }
    })
}

/// With the default limits of a relay.
fn with_limits(setup: Setup) -> Setup {
    setup
        .without("public", "rate_per_client")
        .without("public", "rate_per_site")
        .without("budget", "events_per")
        .without("budget", "new_visitors")
}

/// The fastest that one address can send, each event from a new visitor, unlike any browser.
fn fakes(target: &Target, stop: &CancellationToken) -> JoinSet<()> {
    let base = target.public.clone();
    crowd(16, stop, move |n| {
        let base = base.clone();
        async move {
            let client = http_client();
            for tries in 0.. {
                let events: Vec<_> = (0..100).map(load).collect();
                let agent = format!("{BROWSER} {n}-{tries}");
                let post = Post::batch(&events)
                    .from("203.0.113.9")
                    .without("origin")
                    .with("user-agent", &agent);
                let _ = post.try_send(&client, &base).await;
            }
        }
    })
}

fn with_a_small_spool(setup: Setup) -> Setup {
    let other = format!("domain = \"{OTHER_SITE}\"\norigins = [\"{ORIGIN}\"]");
    setup.with_site(&other).with("spool", "bytes_max = 2097152")
}

fn fill_the_spool(target: &Target, stop: &CancellationToken) -> JoinSet<()> {
    let base = target.public.clone();
    crowd(8, stop, move |n| {
        let base = base.clone();
        async move {
            let client = http_client();
            for tries in 0.. {
                let events: Vec<_> = (0..100).map(load).collect();
                let address = format!("198.51.100.{}", (n * 31 + tries) % 200);
                let _ = Post::batch(&events).from(&address).try_send(&client, &base).await;
            }
        }
    })
}
