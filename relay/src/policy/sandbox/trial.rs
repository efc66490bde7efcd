//! Looking at a policy instead of relying on it: what a component is made of, and single calls with
//! what they cost. For `policy check`, `policy explain` and the smoke run before a reload.

use super::instance::Instance;
use super::{Budget, LOAD_CPU_MAX, LoadError, Pool, Sandbox};
use crate::config::SitePlan;
use relay_event::Outcome;
use relay_event::scrub::Visible;
use std::time::{Duration, Instant};
use wasmtime::component::Component;

/// What a component asks for and offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anatomy {
    /// What it imports. The relay refuses a policy that has any.
    pub imports: Vec<String>,
    /// What it exports.
    pub exports: Vec<String>,
}

/// Reads what a component imports and exports, whether or not it can be a policy.
pub fn anatomy(component: &Component) -> Anatomy {
    let (ty, engine) = (component.component_type(), component.engine());
    Anatomy {
        imports: ty.imports(engine).map(|(name, _)| name.to_owned()).collect(),
        exports: ty.exports(engine).map(|(name, _)| name.to_owned()).collect(),
    }
}

/// One instance, called event by event.
pub struct Trial<'s> {
    sandbox: &'s Sandbox,
    pool: &'s Pool,
    instance: Instance,
}

impl std::fmt::Debug for Trial<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trial")
    }
}

/// One call and what it cost.
pub struct Attempt {
    /// The answer, as [`Sandbox::scrub`] would give it.
    pub result: Result<Visible, Outcome>,
    /// The fuel it used.
    pub fuel: u64,
    /// The time it took.
    pub took: Duration,
    /// The instance's memory after it, in bytes. A memory never shrinks.
    pub memory_bytes: usize,
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Attempt(hidden)")
    }
}

impl Sandbox {
    /// A fresh instance to try events on, apart from those that serve.
    ///
    /// # Errors
    /// When the policy does not take the plan, or was not loaded for it.
    pub fn trial(&self, plan: &SitePlan) -> Result<Trial<'_>, LoadError> {
        let pool = self
            .pool(plan)
            .ok_or_else(|| LoadError::Configure("it was loaded for others".to_owned()))?;
        let instance = Instance::new(&pool.guest, &self.ticker.run(Budget(LOAD_CPU_MAX)))?;
        Ok(Trial {
            sandbox: self,
            pool,
            instance,
        })
    }
}

impl Trial<'_> {
    /// Calls the policy with one event. As in service, an instance that failed is replaced.
    pub fn scrub(&mut self, event: &Visible) -> Attempt {
        let fuel = self.pool.guest.fuel;
        let run = self.sandbox.ticker.run(self.sandbox.budget);
        let started = Instant::now();
        let result = self.instance.scrub(event, fuel, &run);
        let attempt = Attempt {
            took: started.elapsed(),
            fuel: self.instance.fuel_used(fuel),
            memory_bytes: self.instance.memory_bytes(),
            result,
        };
        if super::is_spent(&attempt.result)
            && let Ok(fresh) = Instance::new(&self.pool.guest, &self.sandbox.ticker.run(Budget(LOAD_CPU_MAX)))
        {
            self.instance = fresh;
        }
        attempt
    }
}
