//! The commands that run until they are stopped, and the one that asks whether one does.

use crate::app::Relay;
use crate::cli::manage::SHORT_METRICS_PASSWORD;
use crate::cli::{Outcome, say};
use crate::clock::Clock;
use crate::config::{self, Config, Way};
use crate::demo_panel::{self, Places};
use crate::receiver::{self, Receiver};
use crate::sandbox::compiler::Compiler;
use crate::{exposure, heap, open_files};
use anyhow::{Context, bail};
use std::future::Future;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Signals within this time are one: a terminal and a supervisor both send theirs to the process.
const ONE_SIGNAL: Duration = Duration::from_millis(500);

/// `serve`.
pub(super) fn serve(path: &Path) -> Outcome {
    let config = Config::load(path, &config::process_env)?;
    heap::begin_again();
    log_to_stderr(config.log_json);
    panic_without_content();
    refuse_or_warn(path, &config)?;
    open_files::raise();
    let switched_on_is_possible = !config.operator_lock;
    until_stopped(async move |stop| {
        // From here on it does not end the process, though files are read again only once all is built.
        let hangup = signal(SignalKind::hangup())?;
        let compiler = Compiler::child(stop.clone());
        let relay = match Relay::build(config, Clock::system(), compiler).await {
            Err(_) if stop.is_cancelled() => return Ok(()),
            built => built?,
        };
        let app = relay.app();
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
                "nobody can read /metrics: set `metrics.password` or FEEDBACK_RELAY_METRICS_PASSWORD"
            ),
            Some(password) if password.is_short() => tracing::warn!("{SHORT_METRICS_PASSWORD}"),
            Some(_) => {}
        }
        if let Way::Proxy(..) = &app.config.upstream.way {
            tracing::info!("events go to Plausible through {}", app.config.upstream.way);
        }
        // Before anybody is told that the relay is ready, and may send one.
        reload_at_hangup(hangup, relay.reloads());
        let (public, admin) = (
            Relay::scheme(app.tls.public.as_ref()),
            Relay::scheme(app.tls.admin.as_ref()),
        );
        say(&format!(
            "ready relay public {public}://{}",
            relay.public_address()?
        ));
        say(&format!("ready relay admin {admin}://{}", relay.admin_address()?));
        drop(app);
        relay.run(stop).await;
        Ok(())
    })
}

/// Tells what others could read, and does not start if anybody could replace what the relay trusts.
fn refuse_or_warn(path: &Path, config: &Config) -> Outcome {
    let exposed = exposure::look(path, config);
    exposure::refuse_worst(path, &exposed)?;
    for finding in &exposed {
        tracing::warn!("{}", exposure::line(finding));
    }
    Ok(())
}

/// SIGHUP reads the policy, the certificates and the files of `[upstream]` again. Without a handler it would end the process.
fn reload_at_hangup(mut hangup: Signal, reloads: Vec<Arc<Notify>>) {
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            reloads.iter().for_each(|reload| reload.notify_one());
        }
    });
}

/// `receiver`.
pub(super) fn receiver(listen: SocketAddr, sites: Vec<String>) -> Outcome {
    log_to_stderr(false);
    until_stopped(async move |stop| {
        let listener = bind(listen).await?;
        say(&format!("ready receiver http://{}", listener.local_addr()?));
        receiver::run(listener, Arc::new(Receiver::new(sites)), stop).await;
        Ok(())
    })
}

/// `demo-panel`.
pub(super) fn demo_panel(listen: SocketAddr, places: Places) -> Outcome {
    log_to_stderr(false);
    until_stopped(async move |stop| {
        let listener = bind(listen).await?;
        say(&format!("ready demo-panel http://{}", listener.local_addr()?));
        Ok(demo_panel::run(listener, places, stop).await?)
    })
}

/// `health`.
pub(super) fn health(path: &Path) -> Outcome {
    let config = Config::load(path, &config::process_env)?;
    let mut address = config.public.listen;
    if address.ip().is_unspecified() {
        // Listening everywhere includes here.
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    block_on(async move {
        // The certificate names the host browsers know, not this address. It is not checked, as kubelet's
        // probes do not check it: what is asked is whether the process answers, and nothing secret is said.
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_danger_accept_invalid_certs(true)
            .timeout(Duration::from_secs(5))
            .build()?;
        let scheme = if config.public.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let url = format!("{scheme}://{address}/actuator/health/readiness");
        let answer = client
            .get(&url)
            .send()
            .await
            .with_context(|| format!("no relay answers at {url}"))?;
        let status = answer.status();
        say(answer.text().await?.trim());
        if !status.is_success() {
            bail!("the relay is not ready ({status})");
        }
        Ok(())
    })
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; `--listen` chooses another address"))
}

/// Runs until SIGINT or SIGTERM; a second signal ends the process at once.
fn until_stopped<F: Future<Output = anyhow::Result<()>>>(
    work: impl FnOnce(CancellationToken) -> F,
) -> Outcome {
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
                    tracing::warn!("stopped at once, at a second signal");
                    std::process::exit(1);
                }
                stopping.cancel();
            }
        });
        work(stop).await
    })
}

pub(super) fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // Nothing that still runs holds anything that would be lost.
    runtime.shutdown_background();
    result
}

/// A panic's own text may quote what it stumbled over, such as a piece of an event. Only its place in
/// our code is told.
fn panic_without_content() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "the relay stumbled; this is a defect, please report it");
    }));
}

/// Logs go to standard error, so that standard output holds results only. `RUST_LOG` chooses what.
fn log_to_stderr(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // The first subscriber stays; a second one can only come from a test.
    let _ = if json {
        builder.json().try_init()
    } else {
        builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init()
    };
}
