//! The ends of an admin session, and that an ended session can do nothing.

use crate::EXE;
use feedback_relay::clock::{Clock, Timestamp};
use feedback_tests::{Done, Relay, SITE, Sent, Setup};
use reqwest::{Method, RequestBuilder};
use serde_json::json;

const PASSWORD: &str = "correct horse battery";
const NEW_PASSWORD: &str = "another horse battery";
const SWITCH: &str = "/admin/api/sites/panel.example.com/switch";
const BEGIN: i64 = 1_800_000_000_000;

async fn user(setup: &Setup, arguments: &[&str], input: &str) -> Done {
    let done = setup.command(EXE, &[&["user"], arguments].concat(), input).await;
    assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
    done
}

/// A setup with the accounts `alice` and `bob`.
async fn setup() -> Setup {
    let setup = Setup::new("http://127.0.0.1:9").with_a_small_policy();
    for name in ["alice", "bob"] {
        user(&setup, &["add", name, "--password-stdin"], PASSWORD).await;
    }
    setup
}

/// A relay and an account's session on it.
struct Session<'r> {
    relay: &'r Relay,
    cookie: String,
}

impl<'r> Session<'r> {
    async fn of(relay: &'r Relay, name: &str, password: &str) -> Self {
        let sent = log_in(relay, name, password).await;
        assert_eq!(sent.status, 204, "{sent:?}");
        let cookie = sent.header("set-cookie").split(';').next().unwrap().to_owned();
        Self { relay, cookie }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self
            .relay
            .client
            .request(method, format!("{}{path}", self.relay.admin));
        request.header("cookie", &self.cookie)
    }

    /// Polls like the page's timer.
    async fn poll(&self) -> u16 {
        send(self.request(Method::GET, "/admin/api/status")).await.status
    }

    async fn turn(&self, on: bool) -> u16 {
        let turn = self.request(Method::PUT, SWITCH).header("x-feedback-admin", "1");
        send(turn.json(&json!({ "on": on }))).await.status
    }

    /// Every action of the session gets 401, and the switch keeps its state.
    async fn is_over(&self, what: &str) {
        for on in [true, false] {
            let before = self.relay.metrics().await.enabled(SITE);
            assert_eq!(self.turn(on).await, 401, "{what}: turning {on}");
            assert_eq!(self.relay.metrics().await.enabled(SITE), before, "{what}");
        }
        assert_eq!(self.poll().await, 401, "{what}: status");
        let health = send(self.request(Method::GET, "/actuator/health")).await;
        assert!(!health.text.contains("details"), "{what}: {health:?}");
        let logout = send(self.request(Method::POST, "/admin/api/logout")).await;
        assert_eq!(logout.status, 401, "{what}: logout");
    }
}

async fn send(request: RequestBuilder) -> Sent {
    Sent::read(request.send().await.unwrap()).await.unwrap()
}

async fn log_in(relay: &Relay, name: &str, password: &str) -> Sent {
    let body = json!({ "user": name, "password": password });
    send(
        relay
            .client
            .post(format!("{}/admin/api/login", relay.admin))
            .json(&body),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_account_has_no_session_from_the_next_request_on() {
    let setup = setup().await;
    let relay = setup.start_on().await;
    let bob = Session::of(&relay, "bob", PASSWORD).await;
    // The commands run on alice's account, the status of her next login, and the password it uses.
    type Row<'a> = (&'a str, &'a [(&'a [&'a str], &'a str)], u16, &'a str);
    let passwd: (&[&str], &str) = (&["passwd", "alice", "--password-stdin"], NEW_PASSWORD);
    let remove: (&[&str], &str) = (&["remove", "alice"], "");
    let add: (&[&str], &str) = (&["add", "alice", "--password-stdin"], NEW_PASSWORD);
    let disable: (&[&str], &str) = (&["disable", "alice"], "");
    let enable: (&[&str], &str) = (&["enable", "alice"], "");
    let rows: [Row<'_>; 6] = [
        ("a new password", &[passwd], 204, NEW_PASSWORD),
        ("the same password again", &[passwd], 204, NEW_PASSWORD),
        ("disabled and enabled", &[disable, enable], 204, NEW_PASSWORD),
        ("removed and made again", &[remove, add], 204, NEW_PASSWORD),
        ("disabled", &[disable], 401, NEW_PASSWORD),
        ("removed", &[remove], 401, NEW_PASSWORD),
    ];
    let mut password = PASSWORD;
    for (what, commands, login, next) in rows {
        if what == "removed" {
            user(&setup, enable.0, enable.1).await;
        }
        let (one, other) = (
            Session::of(&relay, "alice", password).await,
            Session::of(&relay, "alice", password).await,
        );
        assert_eq!((one.poll().await, other.poll().await), (200, 200), "{what}");
        for (arguments, input) in commands {
            user(&setup, arguments, input).await;
        }
        one.is_over(what).await;
        other.is_over(what).await;
        assert_eq!(bob.poll().await, 200, "{what}: another account");
        let sent = log_in(&relay, "alice", next).await;
        assert_eq!(sent.status, login, "{what}: {sent:?}");
        if login == 401 {
            let detail = sent.json()["detail"].clone();
            assert_eq!(detail, "The name or the password is wrong.", "{what}");
        }
        password = next;
    }
    assert_eq!(bob.turn(false).await, 200);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_at_logout_when_it_is_idle_at_its_longest_and_with_the_relay() {
    let clock = Clock::standing_at(Timestamp(BEGIN));
    let setup = setup()
        .await
        .with("admin", "session_s = 600")
        .with("admin", "session_max_s = 3600")
        .with_clock(&clock);
    let relay = setup.start().await;
    let seconds = |s: i64| clock.set(Timestamp(BEGIN + s * 1000));

    let session = Session::of(&relay, "alice", PASSWORD).await;
    let logout = send(session.request(Method::POST, "/admin/api/logout")).await;
    assert_eq!(logout.status, 204);
    assert!(logout.header("set-cookie").contains("Max-Age=0"), "{logout:?}");
    session.is_over("logout").await;

    let session = Session::of(&relay, "alice", PASSWORD).await;
    for s in (2..600).step_by(60) {
        seconds(s);
        assert_eq!(session.poll().await, 200, "after {s} s");
    }
    seconds(600);
    session.is_over("idle: polling is no use").await;

    let session = Session::of(&relay, "alice", PASSWORD).await;
    for s in (1100..4200).step_by(500) {
        seconds(s);
        assert_eq!(session.turn(false).await, 200, "used after {s} s");
    }
    seconds(4199);
    assert_eq!(session.poll().await, 200);
    seconds(4200);
    session.is_over("its longest, however much it is used").await;

    let session = Session::of(&relay, "alice", PASSWORD).await;
    let cookie = session.cookie.clone();
    relay.stop().await;
    let relay = setup.start().await;
    let session = Session {
        relay: &relay,
        cookie,
    };
    session.is_over("a restart").await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_while_it_turns_a_switch_on_turns_nothing() {
    let setup = setup().await;
    let relay = setup.start().await;
    for round in 0..3 {
        let session = Session::of(&relay, "alice", PASSWORD).await;
        let turns = async {
            // Until the first refusal.
            while session.turn(true).await == 200 && session.turn(false).await == 200 {}
        };
        tokio::join!(turns, user(&setup, &["disable", "alice"], ""));
        let after = relay.metrics().await.enabled(SITE);
        session.is_over(&format!("round {round}")).await;
        assert_eq!(relay.metrics().await.enabled(SITE), after);
        user(&setup, &["enable", "alice"], "").await;
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_belongs_to_this_host_alone_where_there_is_tls() {
    let setup = setup().await;
    let relay = setup.start().await;
    let body = json!({ "user": "alice", "password": PASSWORD });
    let login = relay
        .client
        .post(format!("{}/admin/api/login", relay.admin))
        .header("x-forwarded-proto", "https");
    let sent = send(login.json(&body)).await;
    let cookie = sent.header("set-cookie");
    let (name, attributes) = cookie.split_once('=').unwrap();
    assert_eq!(name, "__Host-feedback_admin", "{cookie}");
    assert!(
        attributes.ends_with("; HttpOnly; SameSite=Strict; Path=/; Secure"),
        "{cookie}"
    );
    let token = attributes.split(';').next().unwrap();
    let status = async |cookie: String, proto: &str| {
        let request = relay.client.get(format!("{}/admin/api/status", relay.admin));
        let request = request
            .header("x-forwarded-proto", proto)
            .header("cookie", cookie);
        send(request).await.status
    };
    assert_eq!(status(format!("{name}={token}"), "https").await, 200);
    let planted = format!("feedback_admin={token}");
    assert_eq!(
        status(planted, "https").await,
        401,
        "another host of the domain can plant it"
    );
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_account_that_can_log_in_is_not_taken_away_unasked() {
    let setup = setup().await;
    let check = async |arguments: &[&str], code: i32, want: &str| {
        let done = setup.command(EXE, &[&["user"], arguments].concat(), "").await;
        assert_eq!(done.code, Some(code), "{arguments:?}: {done:?}");
        let said = format!("{}{}", done.out, done.err);
        assert!(said.contains(want), "{arguments:?}: {done:?}");
    };
    check(&["disable", "carol"], 1, "account carol does not exist").await;
    check(&["enable", "carol"], 1, "account carol does not exist").await;
    check(&["remove", "carol"], 1, "account carol does not exist").await;
    check(
        &["disable", "alice"],
        0,
        "account alice is disabled; its sessions have ended",
    )
    .await;
    check(&["list"], 0, "\tdisabled since 20").await;
    for what in ["disable", "remove"] {
        check(&[what, "bob"], 1, "bob is the last account that can log in").await;
        check(&[what, "bob"], 1, "--yes").await;
    }
    check(&["remove", "alice"], 0, "account alice was removed").await;
    check(&["remove", "bob"], 1, "bob is the last account").await;
    check(&["disable", "bob", "--yes"], 0, "is disabled").await;
    check(&["remove", "bob"], 0, "account bob was removed").await;
    check(&["list"], 0, "there are no accounts yet").await;
}
