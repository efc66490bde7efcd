//! A relay in this process, on free ports, built and run as `serve` does it.

use crate::post::{Post, Sent, http_client};
use crate::{METRICS_PASSWORD, PATIENCE, SITE, Scrape, within};
use feedback_relay::app::{self, App};
use feedback_relay::clock::Clock;
use feedback_relay::config::Config;
use feedback_relay::metrics::Metrics;
use feedback_relay::sandbox::compiler::Compiler;
use serde_json::Value;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Compiles each policy once for all relays of a test program.
static COMPILER: LazyLock<Compiler> = LazyLock::new(Compiler::in_process);

/// How long a relay may take to stop.
const STOP_MAX: Duration = Duration::from_secs(40);

/// A running relay. It has to be stopped with [`Relay::stop`], which checks that events are conserved.
#[derive(Debug)]
pub struct Relay {
    /// The public listener, as `http://127.0.0.1:4711`.
    pub public: String,
    /// The admin listener.
    pub admin: String,
    /// A client of its own, so that connections are not shared between tests.
    pub client: reqwest::Client,
    app: Option<Arc<App>>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    running: Option<JoinHandle<()>>,
    /// Kept until the relay has stopped.
    _folder: Arc<TempDir>,
}

impl Relay {
    pub(crate) async fn start(config: Config, clock: Clock, folder: Arc<TempDir>) -> Self {
        let relay = app::Relay::build(config, clock, COMPILER.clone())
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let app = relay.app();
        let stop = CancellationToken::new();
        let scheme = app::Relay::scheme;
        Self {
            public: format!(
                "{}://{}",
                scheme(app.tls.public.as_ref()),
                relay.public_address().unwrap()
            ),
            admin: format!(
                "{}://{}",
                scheme(app.tls.admin.as_ref()),
                relay.admin_address().unwrap()
            ),
            client: http_client(),
            metrics: Arc::clone(&app.metrics),
            app: Some(app),
            running: Some(tokio::spawn(relay.run(stop.clone()))),
            stop,
            _folder: folder,
        }
    }

    /// The rooms.
    ///
    /// # Panics
    /// When the relay was stopped.
    pub fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    /// Turns the site's switch and says how many events were purged.
    ///
    /// # Panics
    /// When it cannot be turned.
    pub async fn turn(&self, on: bool) -> u64 {
        self.app().switches.turn(SITE, on, "test").await.unwrap()
    }

    /// Sends a request to the public listener.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn send(&self, post: &Post) -> Sent {
        post.try_send(&self.client, &self.public).await.unwrap()
    }

    /// Sends a batch of events that has to be taken whole.
    ///
    /// # Panics
    /// When it is not.
    pub async fn accept(&self, events: &[Value]) {
        let sent = self.send(&Post::batch(events)).await;
        assert_eq!(
            (sent.status, &sent.json()["accepted"]),
            (202, &events.len().into()),
            "{}",
            sent.text
        );
    }

    /// Gets a page of the public listener.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn get(&self, path: &str) -> Sent {
        let response = self
            .client
            .get(format!("{}{path}", self.public))
            .send()
            .await
            .unwrap();
        Sent::read(response).await.unwrap()
    }

    /// Gets a page of the admin listener.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn get_admin(&self, path: &str) -> Sent {
        let response = self
            .client
            .get(format!("{}{path}", self.admin))
            .send()
            .await
            .unwrap();
        Sent::read(response).await.unwrap()
    }

    /// Gets health with its details, as monitoring does.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn health(&self) -> Sent {
        self.get_as("/actuator/health", "prometheus", METRICS_PASSWORD)
            .await
    }

    /// Scrapes the metrics as Prometheus does.
    ///
    /// # Panics
    /// When they cannot be read.
    pub async fn metrics(&self) -> Scrape {
        let sent = self.metrics_as("prometheus", METRICS_PASSWORD).await;
        assert_eq!(sent.status, 200, "{}", sent.text);
        Scrape::parse(&sent.text)
    }

    /// Asks for the metrics as anybody.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn metrics_as(&self, user: &str, password: &str) -> Sent {
        self.get_as("/metrics", user, password).await
    }

    async fn get_as(&self, path: &str, user: &str, password: &str) -> Sent {
        let request = self.client.get(format!("{}{path}", self.admin));
        let response = request.basic_auth(user, Some(password)).send().await.unwrap();
        Sent::read(response).await.unwrap()
    }

    /// Waits until nothing waits for delivery any more.
    ///
    /// # Panics
    /// When it still does after [`PATIENCE`].
    pub async fn drained(&self) {
        self.drained_within(PATIENCE).await;
    }

    /// [`Relay::drained`] with a bound of its own.
    ///
    /// # Panics
    /// When something still waits by then.
    pub async fn drained_within(&self, bound: Duration) {
        within(bound, "the spool is empty", async || {
            let metrics = self.metrics().await;
            (metrics.count("spool_events") == 0).then_some(())
        })
        .await;
    }

    /// Stops the relay and checks that every event that came ended once or waits. Gives back the last
    /// scrape before the stop.
    ///
    /// # Panics
    /// When events are not conserved, or it does not stop in time.
    pub async fn stop(self) -> Scrape {
        let scrape = self.metrics().await;
        scrape.assert_conserved();
        self.stop_unseen().await;
        scrape
    }

    /// Stops the relay and checks conservation in what is left of it, without a scrape.
    ///
    /// # Panics
    /// When events are not conserved, or it does not stop in time.
    pub async fn stop_unseen(mut self) {
        self.app = None;
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
