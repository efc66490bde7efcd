//! One instance of the policy: its store, its limits, and the translation of an event.

use super::LoadError;
use super::deadline::{Deadline, Overdue, Run};
use relay_event::Outcome;
use relay_event::event::{Prop, Value};
use relay_event::scrub::Visible;
use std::sync::Arc;
use wasmtime::{ResourceLimiter, Store, StoreContextMut, Trap, UpdateDeadline};

wasmtime::component::bindgen!({
    path: "policy/wit",
    world: "policy",
    // The guest borrows an event; it is not copied first.
    ownership: Borrowing { duplicate_if_necessary: true },
});

use exports::feedback::policy::scrubbing as types;

/// Approximate maximum bytes read from one output. No accepted event needs more; a longer output counts as a trap.
const OUTPUT_BYTES_MAX: usize = 512 * 1024;

/// Maximum elements of all tables together. A compiled policy's table has one element per function called by pointer,
/// a few hundred. One `table.copy` over all of them takes about 10 µs, so that a deadline is noticed in time.
const TABLE_ELEMENTS_MAX: usize = 20_000;

/// Maximum number of live resource handles. The contract has no resources, and the host keeps 24 bytes for each
/// handle, which no memory limit covers. Above it the guest traps.
const HANDLES_MAX: usize = 1000;

/// Everything needed to create an instance.
pub(super) struct Guest {
    pub(super) pre: PolicyPre<Limits>,
    pub(super) plan: Arc<str>,
    pub(super) fuel: u64,
    pub(super) configure_fuel: u64,
    pub(super) memory_bytes_max: usize,
}

/// The limits of an instance, and what it has used of them.
pub(super) struct Limits {
    memory_bytes_max: usize,
    memory_bytes: usize,
    table_elements: usize,
    deadline: Deadline,
}

/// A guest traps if it grows beyond a limit or the operating system has no memory for it.
impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.memory_bytes_max {
            let max = self.memory_bytes_max;
            return Err(wasmtime::Error::msg(format!(
                "growing memory to {desired} bytes, {max} are allowed"
            )));
        }
        self.memory_bytes = self.memory_bytes.max(desired);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let all = self.table_elements + desired.saturating_sub(current);
        if all > TABLE_ELEMENTS_MAX {
            let max = TABLE_ELEMENTS_MAX;
            return Err(wasmtime::Error::msg(format!(
                "growing table to {all} elements, {max} are allowed"
            )));
        }
        self.table_elements = all;
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error)
    }

    fn instances(&self) -> usize {
        16
    }

    fn tables(&self) -> usize {
        16
    }

    fn memories(&self) -> usize {
        1
    }
}

/// A live instance.
pub(super) struct Instance {
    store: Store<Limits>,
    policy: Policy,
    calls: u32,
}

impl Instance {
    /// Instantiates the guest and gives it the plan.
    pub(super) fn new(guest: &Guest, run: &Run<'_>) -> Result<Self, LoadError> {
        let limits = Limits {
            memory_bytes_max: guest.memory_bytes_max,
            memory_bytes: 0,
            table_elements: 0,
            deadline: run.deadline,
        };
        let mut store = Store::new(guest.pre.engine(), limits);
        store.limiter(|limits| limits);
        store.set_hostcall_fuel(OUTPUT_BYTES_MAX);
        store.set_max_component_handles(HANDLES_MAX);
        store.epoch_deadline_callback(at_tick);
        store.set_epoch_deadline(1);
        // Add fuel before instantiation, which may run a start function.
        let made = store
            .set_fuel(guest.configure_fuel)
            .and_then(|()| guest.pre.instantiate(&mut store));
        let policy = made.map_err(|error| not_made(&error, LoadError::Start))?;
        store.set_epoch_deadline(1);
        match policy
            .feedback_policy_scrubbing()
            .call_configure(&mut store, &guest.plan)
        {
            Ok(Ok(())) => Ok(Self {
                store,
                policy,
                calls: 0,
            }),
            Ok(Err(why)) => Err(LoadError::Configure(in_plain_text(&why))),
            Err(error) => Err(not_made(&error, LoadError::Configure)),
        }
    }

    /// The number of events this instance has seen.
    pub(super) fn calls(&self) -> u32 {
        self.calls
    }

    /// Fuel used by the last call.
    pub(super) fn fuel_used(&self, given: u64) -> u64 {
        given.saturating_sub(self.store.get_fuel().unwrap_or(0))
    }

    /// The memory size in bytes, or the largest of several instances' memories.
    pub(super) fn memory_bytes(&self) -> usize {
        self.store.data().memory_bytes
    }

    /// Calls the guest with one event.
    pub(super) fn scrub(&mut self, event: &Visible, fuel: u64, run: &Run<'_>) -> Result<Visible, Outcome> {
        self.calls += 1;
        self.store.data_mut().deadline = run.deadline;
        self.store.set_epoch_deadline(1);
        let props: Vec<_> = event.props.iter().map(lent).collect();
        let lent = types::EventParam {
            name: &event.name,
            url: &event.url,
            referrer: event.referrer.as_deref(),
            props: &props,
        };
        let call = self.store.set_fuel(fuel).and_then(|()| {
            self.policy
                .feedback_policy_scrubbing()
                .call_scrub(&mut self.store, lent)
        });
        match call {
            Ok(types::Verdict::Forward(out)) => Ok(from_guest(out)),
            Ok(types::Verdict::Refuse(types::Refusal::MissingProp)) => Err(Outcome::MissingProp),
            Ok(types::Verdict::Refuse(types::Refusal::Unsafe)) => Err(Outcome::Unsafe),
            Ok(types::Verdict::Refuse(types::Refusal::Unwanted)) => Err(Outcome::Unwanted),
            Err(error) => Err(ending(&error)),
        }
    }
}

/// Called on the guest's thread at each tick.
#[expect(clippy::needless_pass_by_value, reason = "wasmtime's signature")]
fn at_tick(guest: StoreContextMut<'_, Limits>) -> wasmtime::Result<UpdateDeadline> {
    guest.data().deadline.check()?;
    Ok(UpdateDeadline::Continue(1))
}

/// Why no instance was created: the machine's fault if known, otherwise the policy's.
fn not_made(error: &wasmtime::Error, policys: fn(String) -> LoadError) -> LoadError {
    match error.downcast_ref() {
        Some(Overdue::Wall) => LoadError::Busy,
        _ if super::is_out_of_memory(error) => LoadError::NoMemory(super::first_line(error)),
        _ => policys(super::first_line(error)),
    }
}

/// The outcome of an event whose call failed.
fn ending(error: &wasmtime::Error) -> Outcome {
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(overdue), _) => super::ending(*overdue),
        (_, Some(Trap::OutOfFuel)) => Outcome::PolicyTimeout,
        _ if super::is_out_of_memory(error) => Outcome::Overloaded,
        _ => Outcome::PolicyTrap,
    }
}

/// The policy's own message, for logs and terminals: short, on one line, and without terminal control characters.
fn in_plain_text(words: &str) -> String {
    words
        .chars()
        .take(200)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn lent(prop: &Prop) -> types::PropParam<'_> {
    types::PropParam {
        key: &prop.key,
        value: match &prop.value {
            Value::Text(text) => types::ValueParam::Text(text),
            Value::Integer(n) => types::ValueParam::Integer(*n),
            Value::Decimal(n) => types::ValueParam::Decimal(*n),
            Value::Boolean(b) => types::ValueParam::Boolean(*b),
        },
    }
}

fn from_guest(event: types::EventResult) -> Visible {
    let prop = |prop: types::PropResult| Prop {
        key: prop.key,
        value: match prop.value {
            types::ValueResult::Text(text) => Value::Text(text),
            types::ValueResult::Integer(n) => Value::Integer(n),
            types::ValueResult::Decimal(n) => Value::Decimal(n),
            types::ValueResult::Boolean(b) => Value::Boolean(b),
        },
    };
    Visible {
        name: event.name,
        url: event.url,
        referrer: event.referrer,
        props: event.props.into_iter().map(prop).collect(),
    }
}
