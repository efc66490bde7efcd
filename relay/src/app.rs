//! Builds a relay out of its rooms and runs it until it is told to stop.

use crate::accounts::{Accounts, Lifetime};
use crate::budget::Budgets;
use crate::clock::{self, Clock};
use crate::config::{Config, TlsFiles};
use crate::control;
use crate::data_folder::{DataFolder, Keeper};
use crate::forward::dashboard::Dashboard;
use crate::forward::sites::Sites;
use crate::forward::transport::http::{Http, InUse, TransportError};
use crate::forward::{Forwarder, Rooms, Traffic};
use crate::gate::source::SourceRules;
use crate::http::arrivals::Arrivals;
use crate::http::rate::Rates;
use crate::http::serve::{ConnectionLimits, Front};
use crate::http::shed::Admission;
use crate::http::slow_bodies::SlowBodies;
use crate::http::tls::Tls;
use crate::http::{self, tls};
use crate::metrics::Metrics;
use crate::open_files;
use crate::policy::{Policy, ReloadError};
use crate::reload;
use crate::sandbox::compiler::Compiler;
use crate::sandbox::threads::Threads;
use crate::spool::Spool;
use crate::store::{OpenError, StoreError};
use crate::switch::{LOOK_AGAIN, Switches};
use crate::visitor::Visitors;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often old events are swept out of the spool and old keys destroyed.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// How long requests under way may take to end when the relay stops. What is not stored then was not
/// answered 202 either; what is not delivered stays on disk.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// Everything a request handler needs.
#[derive(Debug)]
pub struct App {
    /// The checked configuration.
    pub config: Config,
    /// Tells the time.
    pub clock: Clock,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// The policy.
    pub policy: Arc<Policy>,
    /// The threads that it runs on.
    pub guests: Threads,
    /// The admin switches.
    pub switches: Switches,
    /// Events on disk.
    pub spool: Spool,
    /// Who may send events.
    pub sources: SourceRules,
    /// Pseudonymous visitors.
    pub visitors: Visitors,
    /// Places for requests whose bodies have arrived, until they are answered: `public.requests_max`.
    pub room: Arc<Semaphore>,
    /// Bodies that have not arrived.
    pub slow_bodies: Arc<SlowBodies>,
    /// How many of them are worked on at once.
    pub admission: Arc<Admission>,
    /// How many requests one client may bring.
    pub rates: Rates,
    /// How many events and new visitors one client may bring, and how many events one site.
    pub budgets: Budgets,
    /// How requests arrive.
    pub arrivals: Arrivals,
    /// The listeners' certificates.
    pub tls: tls::Listeners,
    /// The pages that tell users what is collected.
    pub privacy: http::privacy::Pages,
    /// Local accounts and sessions.
    pub accounts: Accounts,
    /// How delivery to Plausible stands.
    pub traffic: Arc<Traffic>,
    /// Which sites Plausible accepts events of.
    pub sites: Arc<Sites>,
    /// Whether the dashboard shows what was delivered.
    pub dashboard: Arc<Dashboard>,
    /// The way to Plausible, and the files it was made of.
    pub upstream: Arc<InUse>,
    /// Set when the relay is stopping.
    pub stop: CancellationToken,
}

/// Why a relay does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder or database.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database, once open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The policy.
    #[error(transparent)]
    Policy(#[from] ReloadError),
    /// The way to Plausible.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A listener's certificate.
    #[error("`{0}.tls`: {1}")]
    Tls(&'static str, tls::PairError),
    /// A listener.
    #[error("cannot listen on {0}: {1}")]
    Listen(String, std::io::Error),
    /// The operating system.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A relay that is listening but not yet serving.
#[derive(Debug)]
pub struct Relay {
    app: Arc<App>,
    forwarder: Arc<Forwarder<Http>>,
    transport: Http,
    public: TcpListener,
    admin: TcpListener,
    control: UnixListener,
    keeper: Keeper,
    reload: Arc<Notify>,
    reload_tls: Vec<(Arc<Tls>, Arc<Notify>)>,
    reload_upstream: Arc<Notify>,
}

impl Relay {
    /// Builds every room and binds the listeners, so that everything that can fail does so before the
    /// first request.
    ///
    /// # Errors
    /// What keeps the relay from starting.
    pub async fn build(config: Config, clock: Clock, compiler: Compiler) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new(&config));
        let DataFolder {
            store,
            spool,
            switches,
            keeper,
        } = DataFolder::open_once_free(&config, &clock, &metrics).await?;
        let policy = Policy::open(
            &config,
            store.clone(),
            clock.clone(),
            Arc::clone(&metrics),
            compiler,
        )
        .await?;
        let random = clock::random_number;
        let sites = Arc::new(Sites::open(&config, &store, &metrics, random).await?);
        let policy = Arc::new(policy);
        policy.recover();
        let upstream = Arc::new(InUse::open(&config.upstream, &metrics)?);
        let transport = upstream.http().clone();
        let rooms = Rooms {
            spool: spool.clone(),
            switches: switches.clone(),
            sites: Arc::clone(&sites),
            metrics: Arc::clone(&metrics),
            clock: clock.clone(),
        };
        let forwarder = Arc::new(Forwarder::new(&config, transport.clone(), rooms, random)?);
        let tls = tls::Listeners {
            public: certificate("public", config.public.tls.as_ref(), &metrics, &clock)?,
            admin: certificate("admin", config.admin.tls.as_ref(), &metrics, &clock)?,
        };
        // Setting the clock ends no session and gives no further tries.
        let steady = clock.steady(clock.now());
        let logins = metrics.logins.clone();
        let lifetime = Lifetime {
            idle: config.admin.session,
            longest: config.admin.session_max,
        };
        let accounts = Accounts::open(store.clone(), steady, lifetime, logins).await?;
        let public = listen(config.public.listen).await?;
        let admin = listen(config.admin.listen).await?;
        let control = control::listen(&config.data_dir)?;
        let app = Arc::new(App {
            room: Arc::new(Semaphore::new(config.public.requests_max)),
            slow_bodies: Arc::new(SlowBodies::new(&config.public, &metrics.door)),
            admission: Arc::new(Admission::new(
                config.public.answer_within,
                config.public.requests_max,
                &metrics.door,
            )),
            // Each request has one job at a time.
            guests: Threads::start(config.public.requests_max)?,
            arrivals: Arrivals::new(&metrics.door),
            rates: Rates::new(config.public.rate_per_client),
            budgets: Budgets::new(&config.budget, config.public.rate_per_site),
            tls,
            sources: SourceRules::new(&config, &clock),
            visitors: Visitors::new(clock.now()),
            privacy: http::privacy::Pages::new(&config),
            accounts,
            traffic: forwarder.traffic(),
            sites,
            dashboard: Arc::new(Dashboard::new(
                &config.upstream,
                store,
                switches.clone(),
                Arc::clone(&metrics),
                clock.clone(),
            )),
            upstream,
            stop: CancellationToken::new(),
            config,
            clock,
            metrics,
            policy,
            switches,
            spool,
        });
        app.admission.watch_turns();
        let reload_tls = app
            .tls
            .iter()
            .map(|tls| (Arc::clone(tls), Arc::default()))
            .collect();
        Ok(Self {
            app,
            forwarder,
            transport,
            public,
            admin,
            control,
            keeper,
            reload: Arc::new(Notify::new()),
            reload_tls,
            reload_upstream: Arc::default(),
        })
    }

    /// Where the public listener is.
    ///
    /// # Errors
    /// The operating system's.
    pub fn public_address(&self) -> std::io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// Where the admin listener is.
    ///
    /// # Errors
    /// The operating system's.
    pub fn admin_address(&self) -> std::io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// The scheme of a listener's addresses.
    pub fn scheme(tls: Option<&Arc<Tls>>) -> &'static str {
        match tls {
            Some(_) => "https",
            None => "http",
        }
    }

    /// The rooms, for tests.
    pub fn app(&self) -> Arc<App> {
        Arc::clone(&self.app)
    }

    /// Ask a running relay to read again what can change while it runs, as SIGHUP does: its policy, its
    /// certificates and the files of `[upstream]`.
    pub fn reloads(&self) -> Vec<Arc<Notify>> {
        let tls = self.reload_tls.iter().map(|(_, asked)| Arc::clone(asked));
        tls.chain([Arc::clone(&self.reload), Arc::clone(&self.reload_upstream)])
            .collect()
    }

    /// Serves until `stop`, then: takes no more requests, finishes those under way, finishes the
    /// requests to Plausible under way, and closes the database. What was not delivered stays in it.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            app,
            forwarder,
            transport,
            public,
            admin,
            control,
            keeper,
            reload,
            reload_tls,
            reload_upstream,
        } = self;
        let tasks = TaskTracker::new();
        tasks.spawn(public_front(&app, public).run(app.stop.clone()));
        tasks.spawn(admin_front(&app, admin).run(app.stop.clone()));
        for (tls, asked) in reload_tls {
            let look_every = tls.look_every();
            tasks.spawn(reload::watch(tls, look_every, asked, app.stop.clone()));
        }
        tasks.spawn(control::run(control, Arc::clone(&app)));
        tasks.spawn(sweep(Arc::clone(&app)));
        tasks.spawn(app.switches.clone().keep(LOOK_AGAIN, app.stop.clone()));
        let (upstream, look_every) = (Arc::clone(&app.upstream), app.config.upstream.files.look_every);
        tasks.spawn(reload::watch(
            upstream,
            look_every,
            reload_upstream,
            app.stop.clone(),
        ));
        let (policy, look_every) = (Arc::clone(&app.policy), app.policy.look_every());
        tasks.spawn(reload::watch(policy, look_every, reload, app.stop.clone()));
        tasks.spawn(Arc::clone(&forwarder).test_itself(app.stop.clone()));
        tasks.spawn(Arc::clone(&app.dashboard).run(transport, app.stop.clone()));
        let front = tasks.clone();
        let draining = CancellationToken::new();
        let delivery = tokio::spawn(forwarder.run(draining.clone()));

        stop.cancelled().await;
        tracing::info!("stopping: finishing what is under way");
        app.stop.cancel();
        app.guests.stop();
        draining.cancel();
        front.close();
        let finished = tokio::time::timeout(STOP_GRACE, async {
            front.wait().await;
            // A panic has been reported by the panic hook.
            let _ = delivery.await;
        });
        if finished.await.is_err() {
            tracing::warn!("requests under way were cut after {STOP_GRACE:?}; nothing acknowledged is lost");
        }
        app.accounts.log_last_failures();
        control::forget(&app.config.data_dir);
        let waiting = app.metrics.ledger.counts().spooled;
        drop(app);
        // The writer ends when the last handle is gone; a cut request may hold one for a moment.
        if tokio::time::timeout(STOP_GRACE, keeper.close()).await.is_err() {
            tracing::warn!("the database was not closed in time; it will be recovered at the next start");
        }
        tracing::info!(
            waiting,
            "stopped; events that wait are delivered after the next start"
        );
    }
}

/// Most connections to the admin listener. Above it the one that was silent longest is closed for a new one. More than
/// there are places for requests and bodies together, so that there is always a silent one.
const ADMIN_CONNECTIONS_MAX: usize = 512;
/// Of these, how many one address may have. Above it the one of its own that was silent longest is closed, so an address
/// that opens many closes none of others; one that is shared, as by a proxy or a tunnel, is not shut out.
const ADMIN_CONNECTIONS_PER_CLIENT_MAX: usize = 384;

fn public_front(app: &Arc<App>, listener: TcpListener) -> Front<http::Public> {
    let limits = &app.config.public;
    let open_max = open_files::connections_max(limits.connections_max);
    Front {
        listener,
        answers: http::Public::new(app),
        limits: ConnectionLimits {
            open_max,
            per_client_max: ConnectionLimits::share(limits.connections_per_client_max, open_max),
            exempt: limits.trusted_proxies.clone(),
            awake_max: ConnectionLimits::AWAKE_MAX,
            read_within: ConnectionLimits::READ_WITHIN,
        },
        tls: app.tls.public.clone(),
        metrics: app.metrics.door.connections("public"),
    }
}

fn admin_front(app: &Arc<App>, listener: TcpListener) -> Front<http::AdminDoor> {
    Front {
        listener,
        answers: http::admin(app),
        limits: ConnectionLimits {
            open_max: ADMIN_CONNECTIONS_MAX,
            per_client_max: ADMIN_CONNECTIONS_PER_CLIENT_MAX,
            exempt: Vec::new(),
            awake_max: ConnectionLimits::AWAKE_MAX,
            read_within: ConnectionLimits::READ_WITHIN,
        },
        tls: app.tls.admin.clone(),
        metrics: app.metrics.door.connections("admin"),
    }
}

fn certificate(
    listener: &'static str,
    files: Option<&TlsFiles>,
    metrics: &Metrics,
    clock: &Clock,
) -> Result<Option<Arc<Tls>>, StartError> {
    let open = |files| Tls::open(listener, files, &metrics.door, clock);
    let tls = files.map(open).transpose();
    tls.map(|tls| tls.map(Arc::new))
        .map_err(|error| StartError::Tls(listener, error))
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
            Err(error) => tracing::error!(%error, "the spool could not be swept"),
        }
    }
}
