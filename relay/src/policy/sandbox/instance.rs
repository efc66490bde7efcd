//! One instance of the policy: its store, its limits, and the translation of an event.

use super::LoadError;
use super::deadline::{Deadline, Overdue, Run};
use relay_event::Outcome;
use relay_event::event::{Prop, Value};
use relay_event::scrub::Visible;
use std::sync::Arc;
use wasmtime::{
    ResourceLimiter, Store, StoreContextMut, StoreLimits, StoreLimitsBuilder, Trap, UpdateDeadline,
};

wasmtime::component::bindgen!({
    path: "policy/wit",
    world: "policy",
    // An event is lent to the guest, not copied first.
    ownership: Borrowing { duplicate_if_necessary: true },
});

use exports::feedback::policy::scrubbing as types;

/// Most bytes of one output that are read, about. More than any event that was taken in can need; a
/// longer output counts as a trap.
const OUTPUT_BYTES_MAX: usize = 512 * 1024;

/// Most elements of all tables together. A compiled policy's table has as many as it has functions called by
/// pointer, some hundreds. One `table.copy` over all of them takes some 10 µs, so that a deadline is seen.
const TABLE_ELEMENTS_MAX: usize = 20_000;

/// Most handles to resources that are live at once. The contract has no resources, and the host keeps 24 bytes
/// for each, which no memory limit covers. Above it the guest traps.
const HANDLES_MAX: usize = 1000;

/// What it takes to make an instance.
pub(super) struct Guest {
    pub(super) pre: PolicyPre<Limits>,
    pub(super) plan: Arc<str>,
    pub(super) fuel: u64,
    pub(super) configure_fuel: u64,
    pub(super) memory_bytes_max: usize,
}

/// What an instance may use, and how much memory it has taken.
pub(super) struct Limits {
    bounds: StoreLimits,
    memory_bytes: usize,
    table_elements: usize,
    deadline: Deadline,
}

/// Asks the bounds, and notes what they grant.
impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = self.bounds.memory_growing(current, desired, maximum)?;
        if granted {
            self.memory_bytes = self.memory_bytes.max(desired);
        }
        Ok(granted)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.bounds.memory_grow_failed(error)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let all = self.table_elements + desired.saturating_sub(current);
        if all > TABLE_ELEMENTS_MAX {
            return Err(wasmtime::Error::msg(format!(
                "growing table to {all} elements, {TABLE_ELEMENTS_MAX} are allowed"
            )));
        }
        let granted = self.bounds.table_growing(current, desired, maximum)?;
        if granted {
            self.table_elements = all;
        }
        Ok(granted)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.bounds.table_grow_failed(error)
    }

    fn instances(&self) -> usize {
        self.bounds.instances()
    }

    fn tables(&self) -> usize {
        self.bounds.tables()
    }

    fn memories(&self) -> usize {
        self.bounds.memories()
    }
}

/// A live instance.
pub(super) struct Instance {
    store: Store<Limits>,
    policy: Policy,
    calls: u32,
}

impl Instance {
    /// Instantiates the guest and hands it the plan.
    pub(super) fn new(guest: &Guest, run: &Run<'_>) -> Result<Self, LoadError> {
        let bounds = StoreLimitsBuilder::new()
            .memory_size(guest.memory_bytes_max)
            .table_elements(TABLE_ELEMENTS_MAX)
            .instances(16)
            .tables(16)
            .memories(1)
            .trap_on_grow_failure(true)
            .build();
        let limits = Limits {
            bounds,
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
        // Fuel has to be there before instantiation, which may run a start function.
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

    /// How many events the instance has seen.
    pub(super) fn calls(&self) -> u32 {
        self.calls
    }

    /// How much of the last call's fuel is gone.
    pub(super) fn fuel_used(&self, given: u64) -> u64 {
        given.saturating_sub(self.store.get_fuel().unwrap_or(0))
    }

    /// How large the memory is, or the largest of several instances' memories.
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

/// Why no instance was made: the machine's fault if it is known to be, else the policy's.
fn not_made(error: &wasmtime::Error, policys: fn(String) -> LoadError) -> LoadError {
    match error.downcast_ref() {
        Some(Overdue::Wall) => LoadError::Busy,
        _ if super::is_out_of_memory(error) => LoadError::NoMemory(super::first_line(error)),
        _ => policys(super::first_line(error)),
    }
}

/// How an event ends whose call failed.
fn ending(error: &wasmtime::Error) -> Outcome {
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(overdue), _) => super::ending(*overdue),
        (_, Some(Trap::OutOfFuel)) => Outcome::PolicyTimeout,
        _ if super::is_out_of_memory(error) => Outcome::Overloaded,
        _ => Outcome::PolicyTrap,
    }
}

/// A policy's own words, for logs and terminals: short, in one line, and without what steers a terminal.
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
