//! The sandbox: runs the policy component under wasmtime, with access to nothing but its own memory.
//!
//! Loading refuses a component that imports anything. Each call has its own fuel, each request a budget of processor
//! time, each instance its own memory limit. Guests run on [`threads`] of their own. An instance holds one plan, so
//! each plan has its own pool over the one compiled component. Instances are reused, because creating one costs more
//! than scrubbing an event. The guard prevents an instance from writing data of one event into another, and an
//! instance that trapped is discarded.

pub mod compiler;
mod deadline;
mod instance;
pub mod threads;
pub mod trial;

use crate::config::{Plans, PolicyConfig, SitePlan};
use crate::hidden::hidden_debug;
pub use compiler::COMPONENT_BYTES_MAX;
use deadline::{Budget, Overdue, Run, Ticker};
use instance::{Guest, Instance};
use relay_event::Outcome;
use relay_event::scrub::Visible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine};

/// Maximum number of idle instances per plan. Above it an instance is dropped after its call.
const IDLE_MAX: usize = 64;
/// Calls after which an instance is replaced, so that a policy that leaks memory does not reach its limit in the
/// middle of an event.
pub const CALLS_MAX: u32 = 10_000;
/// Fuel for the single `configure` call, which reads the plan.
const CONFIGURE_FUEL: u64 = 500_000_000;
/// Processor time for the start function and `configure` while the policy is loaded. The built-in policy takes a few
/// milliseconds for the built-in plan, and that fuel lasts for about 0.3 s.
const LOAD_CPU_MAX: Duration = Duration::from_secs(2);
/// Stack of a guest, in bytes. Deep recursion traps at its end.
pub const STACK_BYTES_MAX: usize = 512 * 1024;

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("the policy cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// No policy is configured.
    #[error(
        "this binary was built without its policy; build it with `cargo xtask bundle` first, or name one in `policy.file`"
    )]
    NotBuilt,
    /// The component is too large.
    #[error("the policy is larger than {COMPONENT_BYTES_MAX} bytes")]
    TooLarge,
    /// The file is not a component.
    #[error("the policy is not a WebAssembly component of this world: {0}")]
    NotAComponent(String),
    /// The component imports something.
    #[error(
        "the policy imports `{0}`; a policy must not import anything, so that it has no access to anything"
    )]
    Imports(String),
    /// It cannot be compiled within the limits.
    #[error(transparent)]
    Compile(#[from] compiler::CompileError),
    /// It cannot be instantiated: its functions have other types, its start function fails, or it exceeds its limits
    /// from the start.
    #[error("the policy cannot be started: {0}")]
    Start(String),
    /// The operating system has no memory for it. Not the policy's fault.
    #[error(
        "not enough memory to start the policy: {0}; check whether the address space is limited (`ulimit -v`)"
    )]
    NoMemory(String),
    /// The machine is too busy to start it. Not the policy's fault.
    #[error("the policy was not started in time, because the machine is too busy")]
    Busy,
    /// The operating system cannot provide a thread for its deadlines.
    #[error("the policy cannot be watched while it runs: {0}")]
    Thread(std::io::Error),
    /// The policy rejects the plan.
    #[error("the policy refuses the tracking plan: {0}")]
    Configure(String),
}

/// Whose fault an error is, as far as can be determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The policy's: it would fail in the same way the next time.
    Policy,
    /// The machine's: it temporarily lacked a resource, so a retry may succeed.
    Machine,
    /// Neither: the configuration, an inherited limit, or the relay is stopping.
    Other,
}

impl LoadError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::TooLarge
            | Self::NotAComponent(_)
            | Self::Imports(_)
            | Self::Start(_)
            | Self::Configure(_) => Fault::Policy,
            Self::NoMemory(_) | Self::Busy | Self::Thread(_) => Fault::Machine,
            Self::Unreadable(_) | Self::NotBuilt => Fault::Other,
            Self::Compile(error) => error.fault(),
        }
    }
}

/// A loaded policy, ready to scrub from any thread.
pub struct Sandbox {
    pools: Vec<Pool>,
    ticker: Ticker,
    budget: Budget,
}

/// The instances that were configured with one plan.
struct Pool {
    plan: SitePlan,
    guest: Guest,
    idle: Mutex<Vec<Instance>>,
}

hidden_debug!(Sandbox);

impl Sandbox {
    /// Verifies that a compiled component imports nothing and configures it once with each plan.
    ///
    /// # Errors
    /// If the component cannot be a policy.
    pub fn load(component: &Component, plans: &Plans, limits: &PolicyConfig) -> Result<Self, LoadError> {
        let engine = component.engine();
        if let Some((name, _)) = component.component_type().imports(engine).next() {
            return Err(LoadError::Imports(name.to_owned()));
        }
        // An empty linker: guests get no host functions.
        let pre = Linker::new(engine)
            .instantiate_pre(component)
            .and_then(instance::PolicyPre::new)
            .map_err(|e| LoadError::NotAComponent(first_line(&e)))?;
        let ticker = Ticker::start(engine.clone()).map_err(LoadError::Thread)?;
        let loading = ticker.run(Budget(LOAD_CPU_MAX));
        let pool = |plan: &SitePlan| -> Result<Pool, LoadError> {
            let guest = Guest {
                pre: pre.clone(),
                plan: Arc::from(serde_json::to_string(&**plan).unwrap_or_default()),
                fuel: limits.fuel,
                configure_fuel: CONFIGURE_FUEL,
                memory_bytes_max: limits.memory_bytes_max,
            };
            let first = Instance::new(&guest, &loading)?;
            Ok(Pool {
                plan: plan.clone(),
                guest,
                idle: Mutex::new(vec![first]),
            })
        };
        let pools = plans.iter().map(pool).collect::<Result<_, _>>()?;
        drop(loading);
        Ok(Self {
            pools,
            ticker,
            budget: Budget(limits.request_cpu),
        })
    }

    /// A sandbox without a policy: every event ends as [`Outcome::PolicyUnavailable`].
    ///
    /// # Errors
    /// If the operating system cannot provide a thread for it.
    pub fn empty() -> Result<Self, LoadError> {
        let engine = engine().map_err(|error| LoadError::NotAComponent(first_line(&error)))?;
        Ok(Self {
            pools: Vec::new(),
            ticker: Ticker::start(engine).map_err(LoadError::Thread)?,
            budget: Budget(LOAD_CPU_MAX),
        })
    }

    /// Begins to scrub the events of one request by a plan. All calls must run on the thread that began, within one
    /// budget of processor time ([`PolicyConfig::request_cpu`]).
    ///
    /// # Errors
    /// [`Outcome::PolicyUnavailable`]: the policy was not loaded with this plan.
    pub fn begin(&self, plan: &SitePlan) -> Result<Request<'_>, Outcome> {
        Ok(Request {
            pool: self.pool(plan).ok_or(Outcome::PolicyUnavailable)?,
            instance: None,
            over: None,
            run: self.ticker.run(self.budget),
        })
    }

    /// Scrubs one event by a plan, as a request of its own.
    ///
    /// # Errors
    /// See [`Sandbox::begin`] and [`Request::scrub`].
    pub fn scrub(&self, plan: &SitePlan, event: &Visible) -> Result<Visible, Outcome> {
        self.begin(plan)?.scrub(event)
    }

    fn pool(&self, plan: &SitePlan) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.plan.is(plan))
    }
}

/// The events of one request, on their way through the policy.
pub struct Request<'s> {
    pool: &'s Pool,
    instance: Option<Instance>,
    /// The outcome of the remaining events, once the budget is used up.
    over: Option<Outcome>,
    run: Run<'s>,
}

hidden_debug!(Request<'_>);

impl Request<'_> {
    /// The outcome of the remaining events without a call, once the budget is used up.
    pub fn over(&self) -> Option<Outcome> {
        self.over
    }

    /// Scrubs the next event. Takes microseconds, and at most slightly longer than the remaining budget.
    ///
    /// # Errors
    /// The outcome of the event: the policy refused it, or failed. After a timeout the remaining events of the
    /// request get the same outcome without a call.
    pub fn scrub(&mut self, event: &Visible) -> Result<Visible, Outcome> {
        if let Some(outcome) = self.over {
            return Err(outcome);
        }
        let result = self.call(event);
        if let Err(outcome @ (Outcome::PolicyTimeout | Outcome::Overloaded)) = result {
            self.over = Some(outcome);
        }
        result
    }

    fn call(&mut self, event: &Visible) -> Result<Visible, Outcome> {
        self.run.deadline.check().map_err(ending)?;
        let mut instance = match self.instance.take().or_else(|| self.pool.lock().pop()) {
            Some(instance) => instance,
            None => Instance::new(&self.pool.guest, &self.run).map_err(|error| self.unavailable(&error))?,
        };
        let result = instance.scrub(event, self.pool.guest.fuel, &self.run);
        if !is_spent(&result) && instance.calls() < CALLS_MAX {
            self.instance = Some(instance);
        }
        result
    }

    /// The outcome of an event without an instance: the machine lacked a resource for it, its start took too long, or
    /// it failed.
    fn unavailable(&self, error: &LoadError) -> Outcome {
        match self.run.deadline.check() {
            _ if error.fault() == Fault::Machine => Outcome::Overloaded,
            Ok(()) => Outcome::PolicyUnavailable,
            Err(overdue) => ending(overdue),
        }
    }
}

/// Returns the instance to the pool.
impl Drop for Request<'_> {
    fn drop(&mut self) {
        if let Some(instance) = self.instance.take() {
            let mut idle = self.pool.lock();
            if idle.len() < IDLE_MAX {
                idle.push(instance);
            }
        }
    }
}

impl Pool {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Instance>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outcome of an event that exceeds its deadline.
fn ending(overdue: Overdue) -> Outcome {
    match overdue {
        Overdue::Cpu => Outcome::PolicyTimeout,
        Overdue::Wall => Outcome::Overloaded,
    }
}

/// Whether to discard an instance after this answer: a trap leaves it in an unknown state.
fn is_spent(result: &Result<Visible, Outcome>) -> bool {
    use Outcome::{Overloaded, PolicyTimeout, PolicyTrap};
    matches!(result, Err(PolicyTrap | PolicyTimeout | Overloaded))
}

/// The only engine configuration: fuel, because it gives the same verdict on every machine; epochs, because some
/// instructions take much more time than fuel; and no feature that a policy does not need. wasmtime charges fuel for
/// filling and copying memory by the byte and tables by the element, and checks fuel and epoch before it does so.
/// Memory, tables and handles are bounded, so no single instruction runs for long.
fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.consume_fuel(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(STACK_BYTES_MAX);
    config.wasm_memory64(false);
    config.wasm_multi_memory(false);
    // Behaviour that may differ between processors.
    config.wasm_relaxed_simd(false);
    config.cranelift_nan_canonicalization(true);
    Engine::new(&config)
}

/// Whether the error shows that the operating system had no memory.
fn is_out_of_memory(error: &wasmtime::Error) -> bool {
    error.is::<wasmtime::error::OutOfMemory>()
        || error.chain().any(|cause| {
            let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            io == Some(std::io::ErrorKind::OutOfMemory)
                || cause.downcast_ref::<rustix::io::Errno>() == Some(&rustix::io::Errno::NOMEM)
        })
}

/// The error in one line. If the guest ran, that is the root cause below its backtrace.
fn first_line(error: &wasmtime::Error) -> String {
    let text = match error.downcast_ref::<wasmtime::WasmBacktrace>() {
        Some(_) => error.root_cause().to_string(),
        None => format!("{error:#}"),
    };
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod fuel;
#[cfg(test)]
mod tests;
