//! Builds a relay from its rooms, serves, and stops in order.

use crate::accounts::{Accounts, Lifetime};
use crate::app::{self, App};
use crate::budget::Budgets;
use crate::clock::{self, Clock};
use crate::config::{Config, TlsFiles};
use crate::control;
use crate::data_folder::{DataFolder, FolderError, Keeper};
use crate::forward::dashboard::Dashboard;
use crate::forward::sites::Sites;
use crate::forward::transport::http::{Http, InUse, TransportError};
use crate::forward::{self, Dependencies, Forwarder};
use crate::gate::source::SourceRules;
use crate::http;
use crate::http::door::Door;
use crate::http::server::tls;
use crate::http::server::tls::Tls;
use crate::http::server::{self, ConnectionLimits, Front};
use crate::metrics::Registry;
use crate::os::rlimit;
use crate::policy::sandbox::compiler::Compiler;
use crate::policy::sandbox::threads::Threads;
use crate::policy::{Policy, ReloadError};
use crate::reload;
use crate::store::{Store, StoreError};
use crate::switch::RECONCILE_INTERVAL;
use crate::visitor::Visitors;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often the relay sweeps old events out of the spool and destroys old keys.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// How long requests in flight may take to complete when the relay stops. Events not stored by then were not answered 202
/// either; events not delivered stay on disk.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// Why a relay fails to start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The database, once open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The policy.
    #[error(transparent)]
    Policy(#[from] ReloadError),
    /// The upstream connection to Plausible.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A listener's certificate.
    #[error("`{0}.tls`: {1}")]
    Tls(&'static str, tls::PairError),
    /// A listener.
    #[error("cannot listen on {0}: {1}")]
    Listen(String, io::Error),
    /// The operating system.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A relay that is listening but not yet serving.
#[derive(Debug)]
pub struct Relay {
    door: Arc<Door>,
    forwarder: Arc<Forwarder<Http>>,
    sockets: Sockets,
    keeper: Keeper,
    reload: watch::Sender<()>,
    /// Receives each reload request since the relay was built.
    asked: watch::Receiver<()>,
}

/// The listening sockets.
#[derive(Debug)]
struct Sockets {
    public: TcpListener,
    admin: TcpListener,
    control: UnixListener,
}

impl Relay {
    /// Builds every room and binds the listeners, so that everything that can fail does so before the first request.
    ///
    /// # Errors
    /// The reason why the relay cannot start.
    pub async fn build(config: Config, clock: Clock, compiler: Compiler) -> Result<Self, StartError> {
        let mut registry = Registry::default();
        let folder = DataFolder::open_once_free(&config, &clock, &mut registry).await?;
        let store = folder.store;
        let policy = Policy::open(&config, store.clone(), clock.clone(), &mut registry, compiler).await?;
        let policy = Arc::new(policy);
        policy.recover();
        let random = clock::random_number;
        let delivery = Arc::new(forward::Metrics::register(&mut registry));
        let sites = Arc::new(Sites::open(&config, &store, &delivery, random).await?);
        let upstream = Arc::new(InUse::open(&config.upstream, &delivery)?);
        let dependencies = Dependencies {
            spool: folder.spool.clone(),
            switches: folder.switches.clone(),
            sites: Arc::clone(&sites),
            metrics: Arc::clone(&delivery),
            clock: clock.clone(),
        };
        let transport = upstream.http().clone();
        let forwarder = Arc::new(Forwarder::new(&config, transport, dependencies, random)?);
        let connections = server::Metrics::register(&mut registry);
        let tls = certificates(&config, &connections, &clock)?;
        let accounts = accounts(&config, &store, &clock, &mut registry).await?;
        let sockets = Sockets::bind(&config).await?;
        let app = Arc::new(App {
            // A request has at most one job at a time.
            guests: Threads::start(config.public.requests_max)?,
            budgets: Budgets::new(&config.budget, config.public.rate_per_site),
            sources: SourceRules::new(&config, &clock),
            visitors: Visitors::new(clock.now()),
            accounts,
            dispatcher: forwarder.dispatcher(),
            sites,
            dashboard: Arc::new(Dashboard::new(
                &config.upstream,
                store,
                folder.switches.clone(),
                delivery,
                clock.clone(),
            )),
            upstream,
            stop: CancellationToken::new(),
            ledger: Arc::clone(&registry.ledger),
            counters: app::metrics::Metrics::open(&config, &mut registry),
            config,
            clock,
            policy,
            switches: folder.switches,
            spool: folder.spool,
        });
        let (reload, asked) = watch::channel(());
        Ok(Self {
            door: Arc::new(Door::new(app, tls, connections, registry)),
            forwarder,
            sockets,
            keeper: folder.keeper,
            reload,
            asked,
        })
    }

    /// The address of the public listener.
    ///
    /// # Errors
    /// The operating system's.
    pub fn public_address(&self) -> io::Result<SocketAddr> {
        self.sockets.public.local_addr()
    }

    /// The address of the admin listener.
    ///
    /// # Errors
    /// The operating system's.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        self.sockets.admin.local_addr()
    }

    /// The scheme of a listener's addresses.
    pub fn scheme<T>(tls: Option<&T>) -> &'static str {
        match tls {
            Some(_) => "https",
            None => "http",
        }
    }

    /// The rooms.
    pub fn door(&self) -> Arc<Door> {
        Arc::clone(&self.door)
    }

    /// Makes a running relay reload its policy, its certificates and the files of `[upstream]`, like SIGHUP.
    pub fn reload(&self) -> watch::Sender<()> {
        self.reload.clone()
    }

    /// Serves until `stop`, then drains: accepts no more requests, completes those in flight from clients and to Plausible,
    /// and closes the database. Undelivered events stay in it.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            door,
            forwarder,
            sockets,
            keeper,
            reload: _,
            asked,
        } = self;
        let app = Arc::clone(&door.app);
        let tasks = TaskTracker::new();
        spawn_all(&tasks, door, &forwarder, sockets, &asked);
        let draining = CancellationToken::new();
        let delivery = tokio::spawn(forwarder.run(draining.clone()));

        stop.cancelled().await;
        tracing::info!("stopping: finishing requests in flight");
        app.stop.cancel();
        app.guests.stop();
        draining.cancel();
        tasks.close();
        let finished = tokio::time::timeout(STOP_GRACE, async {
            tasks.wait().await;
            // The panic hook has already reported a panic.
            let _ = delivery.await;
        });
        if finished.await.is_err() {
            tracing::warn!(
                "requests in flight were cut off after {STOP_GRACE:?}; no acknowledged event is lost"
            );
        }
        app.accounts.log_last_failures();
        control::forget(&app.config.data_dir);
        let waiting = app.ledger.counts().spooled;
        drop(app);
        // The writer ends when the last handle is dropped; a cancelled request may hold one for a moment.
        if tokio::time::timeout(STOP_GRACE, keeper.close()).await.is_err() {
            tracing::warn!("the database was not closed in time; it will be recovered at the next start");
        }
        tracing::info!(
            waiting,
            "stopped; waiting events are delivered after the next start"
        );
    }
}

/// Spawns the tasks that end when `App::stop` is cancelled: listeners, control socket, file watchers and upkeep.
fn spawn_all(
    tasks: &TaskTracker,
    door: Arc<Door>,
    forwarder: &Arc<Forwarder<Http>>,
    sockets: Sockets,
    asked: &watch::Receiver<()>,
) {
    let app = Arc::clone(&door.app);
    let stop = || app.stop.clone();
    tasks.spawn(public_front(&door, sockets.public).run(stop()));
    tasks.spawn(admin_front(&door, sockets.admin).run(stop()));
    for tls in door.tls.iter() {
        tasks.spawn(reload::watch(Arc::clone(tls), asked.clone(), stop()));
    }
    tasks.spawn(reload::watch(Arc::clone(&app.upstream), asked.clone(), stop()));
    tasks.spawn(reload::watch(Arc::clone(&app.policy), asked.clone(), stop()));
    tasks.spawn(control::run(sockets.control, door));
    tasks.spawn(sweep(Arc::clone(&app)));
    tasks.spawn(app.switches.clone().reconcile(RECONCILE_INTERVAL, stop()));
    tasks.spawn(Arc::clone(forwarder).test_itself(stop()));
    tasks.spawn(Arc::clone(&app.dashboard).run(app.upstream.http().clone(), stop()));
}

/// Most connections to the admin listener. At the limit, a new one closes the longest-idle connection. It exceeds the
/// limits of requests and bodies together, so that there is always an idle one.
const ADMIN_CONNECTIONS_MAX: usize = 512;
/// Of these, the most of one address. At its limit, a new one closes that address's own longest-idle connection, so an
/// address that opens many closes none of others; a shared address, as of a proxy or a tunnel, is not locked out.
const ADMIN_CONNECTIONS_PER_CLIENT_MAX: usize = 384;

fn public_front(door: &Arc<Door>, listener: TcpListener) -> Front {
    let limits = &door.app.config.public;
    let open_max = rlimit::connections_max(limits.connections_max);
    Front {
        listener,
        service: http::public(door),
        limits: ConnectionLimits {
            open_max,
            per_client_max: ConnectionLimits::share(limits.connections_per_client_max, open_max),
            exempt: limits.trusted_proxies.clone(),
            awake_max: ConnectionLimits::AWAKE_MAX,
            read_within: ConnectionLimits::READ_WITHIN,
        },
        tls: door.tls.public.clone(),
        metrics: door.connections.of("public"),
    }
}

fn admin_front(door: &Arc<Door>, listener: TcpListener) -> Front {
    Front {
        listener,
        service: http::admin(door),
        limits: ConnectionLimits {
            open_max: ADMIN_CONNECTIONS_MAX,
            per_client_max: ADMIN_CONNECTIONS_PER_CLIENT_MAX,
            exempt: Vec::new(),
            awake_max: ConnectionLimits::AWAKE_MAX,
            read_within: ConnectionLimits::READ_WITHIN,
        },
        tls: door.tls.admin.clone(),
        metrics: door.connections.of("admin"),
    }
}

/// The certificates at the start.
fn certificates(
    config: &Config,
    metrics: &server::Metrics,
    clock: &Clock,
) -> Result<tls::Listeners, StartError> {
    let open = |listener, files: Option<&TlsFiles>| {
        let tls = files.map(|files| Tls::open(listener, files, metrics, clock));
        let tls = tls.transpose().map_err(|error| StartError::Tls(listener, error));
        tls.map(|tls| tls.map(Arc::new))
    };
    Ok(tls::Listeners {
        public: open("public", config.public.tls.as_ref())?,
        admin: open("admin", config.admin.tls.as_ref())?,
    })
}

async fn accounts(
    config: &Config,
    store: &Store,
    clock: &Clock,
    registry: &mut Registry,
) -> io::Result<Accounts> {
    // Setting the wall clock ends no session and resets no login throttle.
    let steady = clock.steady(clock.now());
    let lifetime = Lifetime {
        idle: config.admin.session,
        longest: config.admin.session_max,
    };
    Accounts::open(store.clone(), steady, lifetime, registry).await
}

impl Sockets {
    async fn bind(config: &Config) -> Result<Self, StartError> {
        let public = listen(config.public.listen).await?;
        let admin = listen(config.admin.listen).await?;
        let control = control::listen(&config.data_dir).map_err(|error| {
            StartError::Listen(control::path(&config.data_dir).display().to_string(), error)
        })?;
        Ok(Self {
            public,
            admin,
            control,
        })
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| StartError::Listen(address.to_string(), error))
}

async fn sweep(app: Arc<App>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => {}
            () = app.stop.cancelled() => return,
        }
        app.visitors.tend(app.clock.now());
        app.accounts.log_failures();
        match app.spool.sweep().await {
            Ok(0) => {}
            Ok(expired) => tracing::warn!(
                expired,
                "events waited longer than `spool.age_max_s` and were dropped"
            ),
            Err(error) => tracing::error!(%error, "expired events could not be removed from the spool"),
        }
    }
}
