//! The commands that run until they are stopped, and `health`, which checks a running one.

use crate::cli::CommandResult;
use crate::cli::manage::SHORT_METRICS_PASSWORD;
use crate::clock::Clock;
use crate::config::{self, Config, Way};
use crate::exposure;
use crate::http::assets;
use crate::os::{malloc, rlimit};
use crate::policy::sandbox::compiler::Compiler;
use crate::run::Relay;
use anyhow::{Context, bail};
use axum::http::{HeaderMap, Uri};
use axum::routing::{MethodRouter, get};
use feedback_demo::panel::{self, Links};
use feedback_demo::receiver::{self, Receiver};
use std::future::Future;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Signals within this time count as one: a terminal and a supervisor both send theirs to the process.
const ONE_SIGNAL: Duration = Duration::from_millis(500);

/// `serve`.
pub(super) fn serve(path: &Path) -> CommandResult {
    let config = Config::load(path, &config::process_env)?;
    malloc::begin_again(config::process_env);
    log_to_stderr(config.log_json);
    panic_without_content();
    refuse_or_warn(path, &config)?;
    rlimit::raise();
    let switched_on_is_possible = !config.operator_lock;
    until_stopped(async move |stop| {
        // From here on SIGHUP does not end the process, although it reloads files only once all is built.
        let hangup = signal(SignalKind::hangup())?;
        let compiler = Compiler::child(stop.clone());
        let relay = match Relay::build(config, Clock::system(), compiler).await {
            Err(_) if stop.is_cancelled() => return Ok(()),
            built => built?,
        };
        let door = relay.door();
        let app = &door.app;
        let on: Vec<_> = app
            .switches
            .sites()
            .filter(|site| site.is_on())
            .map(|site| site.domain.as_str())
            .collect();
        if on.is_empty() && switched_on_is_possible {
            tracing::info!(
                "collection is off for every site; `feedback-relay switch on --site …` or the admin page turns it on"
            );
        }
        match &app.config.metrics.password {
            None => tracing::warn!(
                "/metrics rejects every request: set `metrics.password` or FEEDBACK_RELAY_METRICS_PASSWORD"
            ),
            Some(password) if password.is_short() => tracing::warn!("{SHORT_METRICS_PASSWORD}"),
            Some(_) => {}
        }
        if let Way::Proxy(..) = &app.config.upstream.way {
            tracing::info!("events go to Plausible through {}", app.config.upstream.way);
        }
        // Before readiness is reported, because a supervisor may send SIGHUP after that.
        reload_at_hangup(hangup, relay.reload());
        let (public, admin) = (
            Relay::scheme(door.tls.public.as_ref()),
            Relay::scheme(door.tls.admin.as_ref()),
        );
        say!("ready relay public {public}://{}", relay.public_address()?);
        say!("ready relay admin {admin}://{}", relay.admin_address()?);
        drop(door);
        relay.run(stop).await;
        Ok(())
    })
}

/// Warns about files that other users can read, and refuses to start if any user could replace a file that the relay
/// trusts.
fn refuse_or_warn(path: &Path, config: &Config) -> CommandResult {
    let exposed = exposure::look(path, config);
    exposure::refuse_worst(path, &exposed)?;
    for finding in &exposed {
        tracing::warn!("{}", exposure::line(finding));
    }
    Ok(())
}

/// SIGHUP reloads the policy, the certificates and the files of `[upstream]`. Without a handler it would end the
/// process.
fn reload_at_hangup(mut hangup: Signal, reload: watch::Sender<()>) {
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            reload.send_replace(());
        }
    });
}

/// `receiver`.
pub(super) fn receiver(listen: SocketAddr, sites: Vec<String>) -> CommandResult {
    log_to_stderr(false);
    until_stopped(async move |stop| {
        let listener = bind(listen).await?;
        say!("ready receiver http://{}", listener.local_addr()?);
        let receiver = Receiver::new(sites, || Clock::system().now().0);
        Ok(receiver::run(listener, receiver, pages("receiver"), stop.cancelled_owned()).await?)
    })
}

/// `demo-panel`.
pub(super) fn demo_panel(listen: SocketAddr, links: Links) -> CommandResult {
    log_to_stderr(false);
    until_stopped(async move |stop| {
        let listener = bind(listen).await?;
        say!("ready demo-panel http://{}", listener.local_addr()?);
        Ok(panel::run(listener, links, pages("demo"), stop.cancelled_owned()).await?)
    })
}

/// Serves the files of a page in one folder of the bundle.
fn pages(folder: &'static str) -> MethodRouter {
    get(move |uri: Uri, headers: HeaderMap| async move { assets::page(folder, &uri, &headers) })
}

/// `health`.
pub(super) fn health(path: &Path) -> CommandResult {
    let config = Config::load(path, &config::process_env)?;
    let mut address = config.public.listen;
    if address.ip().is_unspecified() {
        // An unspecified address includes loopback.
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    block_on(async move {
        // The certificate names the host that browsers use, not this address. It is not verified, as in kubelet's
        // probes: the request only checks whether the process answers, and carries no secret.
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_danger_accept_invalid_certs(true)
            .timeout(Duration::from_secs(5))
            .build()?;
        let scheme = Relay::scheme(config.public.tls.as_ref());
        let url = format!("{scheme}://{address}/actuator/health/readiness");
        let answer = client
            .get(&url)
            .send()
            .await
            .with_context(|| format!("no relay answers at {url}"))?;
        let status = answer.status();
        say!("{}", answer.text().await?.trim());
        if !status.is_success() {
            bail!("the relay is not ready ({status})");
        }
        Ok(())
    })
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another address with `--listen`"))
}

/// Runs until SIGINT or SIGTERM; a second signal ends the process at once.
fn until_stopped<F: Future<Output = anyhow::Result<()>>>(
    work: impl FnOnce(CancellationToken) -> F,
) -> CommandResult {
    block_on(async move {
        let stop = CancellationToken::new();
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let stopping = stop.clone();
        tokio::spawn(async move {
            let mut first = None;
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                let since = first.get_or_insert_with(Instant::now).elapsed();
                if stopping.is_cancelled() && since >= ONE_SIGNAL {
                    tracing::warn!("stopped at once: received a second signal");
                    std::process::exit(1);
                }
                stopping.cancel();
            }
        });
        work(stop).await
    })
}

pub(super) fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> CommandResult {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // Workers look at tasks that other threads woke before each task of their own, not after dozens. The writer thread wakes
    // requests: by default their answers wait behind newer requests, and a relay under twice its load accepts a third.
    let runtime = runtime.global_queue_interval(1).enable_all().build()?;
    let result = runtime.block_on(work);
    // The tasks that still run hold no state that would be lost.
    runtime.shutdown_background();
    result
}

/// A panic's message can quote its input, such as a part of an event. Only its location in the code is logged.
fn panic_without_content() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "the relay panicked; this is a bug, please report it");
    }));
}

/// Logs go to standard error, so that standard output holds only results. `RUST_LOG` selects the level.
fn log_to_stderr(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // The first subscriber stays; only a test can install a second one.
    let _ = if json {
        builder.json().try_init()
    } else {
        builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init()
    };
}
