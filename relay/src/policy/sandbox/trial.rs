//! Inspects a policy: the parts of a component, and single calls with their cost. For `policy check`, `policy
//! explain` and the smoke run before a reload.

use super::instance::Instance;
use super::{Budget, LOAD_CPU_MAX, LoadError, Pool, Sandbox};
use crate::config::SitePlan;
use crate::hidden::hidden_debug;
use relay_event::Outcome;
use relay_event::scrub::Visible;
use std::time::{Duration, Instant};
use wasmtime::component::Component;

/// The imports and exports of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anatomy {
    /// Its imports. The relay refuses a policy that has any.
    pub imports: Vec<String>,
    /// Its exports.
    pub exports: Vec<String>,
}

/// Reads a component's imports and exports, whether or not it is a policy.
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

hidden_debug!(Trial<'_>);

/// One call and what it cost.
pub struct Attempt {
    /// The answer, as [`Sandbox::scrub`] returns it.
    pub result: Result<Visible, Outcome>,
    /// The fuel it used.
    pub fuel: u64,
    /// The time it took.
    pub took: Duration,
    /// The instance's memory after it, in bytes. A memory never shrinks.
    pub memory_bytes: usize,
}

hidden_debug!(Attempt);

impl Sandbox {
    /// A fresh instance to try events on, separate from those that serve.
    ///
    /// # Errors
    /// If the policy rejects the plan, or was not loaded for it.
    pub fn trial(&self, plan: &SitePlan) -> Result<Trial<'_>, LoadError> {
        let pool = self
            .pool(plan)
            .ok_or_else(|| LoadError::Configure("it was loaded for other plans".to_owned()))?;
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
