//! A relay in this process, on free ports, built and run in the same way as by `serve`.

use crate::post::{Post, Sent, http_client};
use crate::{METRICS_PASSWORD, PATIENCE, SITE, Scrape, within};
use feedback_relay::app::App;
use feedback_relay::clock::Clock;
use feedback_relay::config::Config;
use feedback_relay::http::door::Door;
use feedback_relay::metrics::Registry;
use feedback_relay::policy::sandbox::compiler::Compiler;
use feedback_relay::run;
use serde_json::Value;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Compiles each policy once for all relays of a test binary.
static COMPILER: LazyLock<Compiler> = LazyLock::new(Compiler::in_process);

/// Time limit for a relay to stop.
const STOP_MAX: Duration = Duration::from_secs(40);

/// A running relay. It must be stopped with [`Relay::stop`], which checks that events are conserved.
#[derive(Debug)]
pub struct Relay {
    /// The public listener, as `http://127.0.0.1:4711`.
    pub public: String,
    /// The admin listener.
    pub admin: String,
    /// A separate HTTP client, so that tests share no connections.
    pub client: reqwest::Client,
    door: Option<Arc<Door>>,
    metrics: Arc<Registry>,
    stop: CancellationToken,
    running: Option<JoinHandle<()>>,
    /// Keeps the folder until the relay has stopped.
    _folder: Arc<TempDir>,
}

impl Relay {
    pub(crate) async fn start(config: Config, clock: Clock, folder: Arc<TempDir>) -> Self {
        let relay = run::Relay::build(config, clock, COMPILER.clone())
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let door = relay.door();
        let stop = CancellationToken::new();
        let scheme = run::Relay::scheme;
        Self {
            public: format!(
                "{}://{}",
                scheme(door.tls.public.as_ref()),
                relay.public_address().unwrap()
            ),
            admin: format!(
                "{}://{}",
                scheme(door.tls.admin.as_ref()),
                relay.admin_address().unwrap()
            ),
            client: http_client(),
            metrics: Arc::clone(&door.metrics),
            door: Some(door),
            running: Some(tokio::spawn(relay.run(stop.clone()))),
            stop,
            _folder: folder,
        }
    }

    /// The state that its listeners share.
    ///
    /// # Panics
    /// If the relay was stopped.
    pub fn door(&self) -> &Door {
        self.door.as_ref().unwrap()
    }

    /// The rooms below its listeners.
    ///
    /// # Panics
    /// If the relay was stopped.
    pub fn app(&self) -> &App {
        &self.door().app
    }

    /// Turns the site's switch and returns the number of purged events.
    ///
    /// # Panics
    /// If it cannot be turned.
    pub async fn turn(&self, on: bool) -> u64 {
        self.app().switches.set(SITE, on, "test").await.unwrap()
    }

    /// Sends a request to the public listener, again while the relay is overloaded.
    ///
    /// # Panics
    /// If there is no answer, or it stays overloaded.
    pub async fn send(&self, post: &Post) -> Sent {
        post.insist(&self.client, &self.public).await.unwrap()
    }

    /// Sends a request, and returns its response whatever that is.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn send_once(&self, post: &Post) -> Sent {
        post.try_send(&self.client, &self.public).await.unwrap()
    }

    /// Sends a batch of events that must be accepted completely.
    ///
    /// # Panics
    /// If it is not.
    pub async fn accept(&self, events: &[Value]) {
        let sent = self.send(&Post::batch(events)).await;
        assert_eq!(
            (sent.status, &sent.json()["accepted"]),
            (202, &events.len().into()),
            "{}",
            sent.text
        );
    }

    /// Sends a GET request to the public listener.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn get(&self, path: &str) -> Sent {
        let response = self
            .client
            .get(format!("{}{path}", self.public))
            .send()
            .await
            .unwrap();
        Sent::read(response).await.unwrap()
    }

    /// Sends a GET request to the admin listener.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn get_admin(&self, path: &str) -> Sent {
        let response = self
            .client
            .get(format!("{}{path}", self.admin))
            .send()
            .await
            .unwrap();
        Sent::read(response).await.unwrap()
    }

    /// Gets health with its details, as for monitoring.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn health(&self) -> Sent {
        self.get_as("/actuator/health", "prometheus", METRICS_PASSWORD)
            .await
    }

    /// Scrapes the metrics, like Prometheus.
    ///
    /// # Panics
    /// If they cannot be read.
    pub async fn metrics(&self) -> Scrape {
        let sent = self.metrics_as("prometheus", METRICS_PASSWORD).await;
        assert_eq!(sent.status, 200, "{}", sent.text);
        Scrape::parse(&sent.text)
    }

    /// Requests the metrics with any credentials.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn metrics_as(&self, user: &str, password: &str) -> Sent {
        self.get_as("/metrics", user, password).await
    }

    async fn get_as(&self, path: &str, user: &str, password: &str) -> Sent {
        let request = self.client.get(format!("{}{path}", self.admin));
        let response = request.basic_auth(user, Some(password)).send().await.unwrap();
        Sent::read(response).await.unwrap()
    }

    /// Waits until no event waits for delivery.
    ///
    /// # Panics
    /// If events still wait after [`PATIENCE`].
    pub async fn drained(&self) {
        self.drained_within(PATIENCE).await;
    }

    /// [`Relay::drained`] with another time limit.
    ///
    /// # Panics
    /// If events still wait after `bound`.
    pub async fn drained_within(&self, bound: Duration) {
        within(bound, "the spool is empty", async || {
            let metrics = self.metrics().await;
            (metrics.count("spool_events") == 0).then_some(())
        })
        .await;
    }

    /// Stops the relay and checks that every received event ended exactly once or still waits. Returns the last scrape
    /// before the stop.
    ///
    /// # Panics
    /// If events are not conserved, or it does not stop in time.
    pub async fn stop(self) -> Scrape {
        let scrape = self.metrics().await;
        scrape.assert_conserved();
        self.stop_unseen().await;
        scrape
    }

    /// Stops the relay and checks conservation afterwards, without a scrape.
    ///
    /// # Panics
    /// If events are not conserved, or it does not stop in time.
    pub async fn stop_unseen(mut self) {
        self.door = None;
        self.stop.cancel();
        let running = self.running.take().unwrap();
        tokio::time::timeout(STOP_MAX, running)
            .await
            .unwrap_or_else(|_| panic!("the relay did not stop within {STOP_MAX:?}"))
            .unwrap();
        Scrape::parse(&self.metrics.text()).assert_conserved();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let stopped = self.running.is_none();
        self.stop.cancel();
        assert!(
            stopped || std::thread::panicking(),
            "a test has to end with `relay.stop().await`"
        );
    }
}
