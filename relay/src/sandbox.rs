//! The sandbox: runs the policy component under wasmtime, with nothing but its own memory.
//!
//! A component that imports anything is refused when it is loaded. Each call has its own fuel, each
//! instance its own memory limit. An instance knows one plan, so each plan has a pool of its own over the one
//! compiled component. Instances are reused, because making one costs more than scrubbing;
//! the guard keeps what one remembers of an event from being written into another, and an instance
//! that trapped is thrown away.

mod instance;
pub mod trial;

use crate::config::{Plans, PolicyConfig, SitePlan};
use instance::{Guest, Instance};
use relay_event::Outcome;
use relay_event::scrub::Visible;
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine};

/// Most idle instances kept per plan. Above it an instance is dropped after its call.
const IDLE_MAX: usize = 64;
/// Calls after which an instance is replaced, so that a policy that leaks memory does not run into
/// its limit in the middle of an event.
const CALLS_MAX: u32 = 10_000;
/// Largest component, in bytes. A larger one is refused when it is loaded.
pub const COMPONENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Fuel for the one-time `configure`, which reads the plan.
const CONFIGURE_FUEL: u64 = 500_000_000;
/// Stack of a guest, in bytes. Deep recursion traps at its end.
pub const STACK_BYTES_MAX: usize = 512 * 1024;

/// How all WebAssembly begins.
const WASM: &[u8] = b"\0asm";
/// How a core module begins, as compilers give it before it is made a component.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("the policy cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// There is none.
    #[error(
        "this binary was built without its policy; build it with `cargo xtask bundle` first, or name one in `policy.file`"
    )]
    NotBuilt,
    /// The component is too large.
    #[error("the policy is larger than {COMPONENT_BYTES_MAX} bytes")]
    TooLarge,
    /// Not a component.
    #[error("the policy is not a WebAssembly component of this world: {0}")]
    NotAComponent(String),
    /// It asks for something from outside.
    #[error("the policy imports `{0}`; a policy imports nothing, so that it can reach nothing")]
    Imports(String),
    /// It cannot be instantiated: its functions have other types, its start function fails, or it takes more
    /// than its limits from the start.
    #[error("the policy cannot be started: {0}")]
    Start(String),
    /// It does not take the plan.
    #[error("the policy refuses the tracking plan: {0}")]
    Configure(String),
}

/// What a component is recognised by: the SHA-256 of its bytes, in hexadecimal.
pub fn sha256(wasm: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(wasm) {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A loaded policy, ready to scrub from any thread.
pub struct Sandbox {
    pools: Vec<Pool>,
}

/// The instances that were configured with one plan.
struct Pool {
    plan: SitePlan,
    guest: Guest,
    idle: Mutex<Vec<Instance>>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sandbox")
    }
}

impl Sandbox {
    /// Compiles a component, proves that it imports nothing and lets it read each plan once.
    ///
    /// # Errors
    /// When the component cannot be a policy. The relay does not start then.
    pub fn load(wasm: &[u8], plans: &Plans, limits: &PolicyConfig) -> Result<Self, LoadError> {
        let component = compile(wasm)?;
        let engine = component.engine().clone();
        if let Some((name, _)) = component.component_type().imports(&engine).next() {
            return Err(LoadError::Imports(name.to_owned()));
        }
        // An empty linker: there is nothing a guest could be given.
        let pre = Linker::new(&engine)
            .instantiate_pre(&component)
            .and_then(instance::PolicyPre::new)
            .map_err(|e| LoadError::NotAComponent(first_line(&e)))?;
        let pool = |plan: &SitePlan| -> Result<Pool, LoadError> {
            let guest = Guest {
                pre: pre.clone(),
                plan: Arc::from(serde_json::to_string(&**plan).unwrap_or_default()),
                fuel: limits.fuel,
                configure_fuel: CONFIGURE_FUEL,
                memory_bytes_max: limits.memory_bytes_max,
            };
            let first = Instance::new(&guest)?;
            Ok(Pool {
                plan: plan.clone(),
                guest,
                idle: Mutex::new(vec![first]),
            })
        };
        Ok(Self {
            pools: plans.iter().map(pool).collect::<Result<_, _>>()?,
        })
    }

    /// Scrubs one event by a plan. Takes microseconds, so it may run on an async worker; a guest that loops is
    /// stopped when its fuel is gone, which takes milliseconds at most.
    ///
    /// # Errors
    /// How the event ended: the policy refused it, or failed. For a plan that was not there when the
    /// policy was loaded there is no instance: [`Outcome::PolicyUnavailable`].
    pub fn scrub(&self, plan: &SitePlan, event: &Visible) -> Result<Visible, Outcome> {
        self.pool(plan).ok_or(Outcome::PolicyUnavailable)?.scrub(event)
    }

    fn pool(&self, plan: &SitePlan) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.plan.is(plan))
    }
}

impl Pool {
    fn scrub(&self, event: &Visible) -> Result<Visible, Outcome> {
        let idle = self.lock().pop();
        let mut instance = match idle {
            Some(instance) => instance,
            None => Instance::new(&self.guest).map_err(|_| Outcome::PolicyUnavailable)?,
        };
        let result = instance.scrub(event, self.guest.fuel);
        if !is_spent(&result) && instance.calls() < CALLS_MAX {
            let mut idle = self.lock();
            if idle.len() < IDLE_MAX {
                idle.push(instance);
            }
        }
        result
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Instance>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compiles a component, whatever it imports and exports.
fn compile(wasm: &[u8]) -> Result<Component, LoadError> {
    if wasm.len() > COMPONENT_BYTES_MAX {
        return Err(LoadError::TooLarge);
    }
    if wasm.starts_with(CORE_MODULE) {
        return Err(LoadError::NotAComponent(
            "it is a core module, and docs/POLICY.md says how to make a component of it".to_owned(),
        ));
    }
    if !wasm.starts_with(WASM) {
        return Err(LoadError::NotAComponent("it is no WebAssembly at all".to_owned()));
    }
    let unreadable = |error| LoadError::NotAComponent(first_line(&error));
    Component::new(&engine().map_err(unreadable)?, wasm).map_err(unreadable)
}

/// Whether an instance that answered so is thrown away: nobody knows what state a trap leaves behind.
fn is_spent(result: &Result<Visible, Outcome>) -> bool {
    matches!(result, Err(Outcome::PolicyTrap | Outcome::PolicyTimeout))
}

/// The one engine configuration: fuel, because it makes the same verdict on every machine, and
/// nothing switched on that a policy does not need. wasmtime charges fuel for filling and copying
/// memory by the byte, so that no single instruction works for long.
fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.consume_fuel(true);
    config.max_wasm_stack(STACK_BYTES_MAX);
    config.wasm_memory64(false);
    config.wasm_multi_memory(false);
    // What may differ from one processor to another.
    config.wasm_relaxed_simd(false);
    config.cranelift_nan_canonicalization(true);
    Engine::new(&config)
}

/// What went wrong, in a line. Where the guest ran, that is the cause below the list of its functions.
fn first_line(error: &wasmtime::Error) -> String {
    let text = match error.downcast_ref::<wasmtime::WasmBacktrace>() {
        Some(_) => error.root_cause().to_string(),
        None => format!("{error:#}"),
    };
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod zoo;
