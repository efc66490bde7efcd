//! The guard: proves natively that a policy's output is its input with parts removed.
//!
//! [`Scrubbed`] is the only type the spool takes. Only [`prove`] makes one, besides the strict decoding of the spool's own
//! records. A hostile or broken policy can make the guard drop events; it cannot make anything leave that the rules, run
//! natively on the same input, would not let leave: no field is added, moved or swapped, each value is the one that the
//! rules leave, and it contains nothing that a detector recognises. A policy cannot write data of one event into another.
//! It chooses only which parts to remove, and that choice is the only signal it can send.

use relay_event::event::{Engagement, Prop, VALUE_BYTES_MAX, Value};
use relay_event::plan::{EventPlan, Plan, PropKind, Unmatched};
use relay_event::route::OTHER;
use relay_event::scrub::{self, Refusal, Visible};
use relay_event::{Event, Outcome, Revenue};
use serde::{Deserialize, Serialize};
use std::net::Ipv6Addr;

/// The property by which the relay itself marks an event that reached Plausible late, if the plan lists it as a boolean.
pub const LATE: &str = "late";
/// The property by which it marks an event that does not look like a browser's, under the same condition.
pub const SUSPICIOUS: &str = "suspicious";

/// An event reduced to the fields that may leave: the form in which the spool stores it and Plausible gets it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scrubbed {
    site: String,
    name: String,
    page: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrer: Option<String>,
    props: Vec<(String, Value)>,
    interactive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    engagement: Option<Engagement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revenue: Option<Revenue>,
    visitor: Ipv6Addr,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
}

/// The sender of an event, reduced to the fields that may leave: never the real address or the full agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The pseudonymous address.
    pub visitor: Ipv6Addr,
    /// The coarsened User-Agent.
    pub user_agent: Option<String>,
}

/// Proves a policy's output against the result of the rules of [`relay_event::scrub`] on its input.
///
/// The rules run natively here as well, on the same input: their result is the most that may leave, and a policy can only
/// remove more of it.
///
/// # Errors
/// [`Outcome::Widened`] or [`Outcome::Leak`]: the event is dropped. [`Outcome::MissingProp`] or
/// [`Outcome::UnknownEvent`] if the rules themselves drop it.
pub fn prove(
    input: &Visible,
    event: &Event,
    site: &str,
    sender: &Sender,
    proposed: Visible,
    plan: &Plan,
) -> Result<Scrubbed, Outcome> {
    let rules = plan.event(&input.name);
    let most = scrub::scrub(input, plan).map_err(|refusal| match refusal {
        Refusal::MissingProp => Outcome::MissingProp,
        Refusal::UnknownEvent => Outcome::UnknownEvent,
    })?;
    let page_ok = [OTHER, &most.url, path_of(&most.url)].contains(&proposed.url.as_str());
    let referrer_ok = proposed.referrer.is_none() || proposed.referrer == most.referrer;
    if proposed.name != most.name || !page_ok || !referrer_ok {
        return Err(Outcome::Widened);
    }
    are_thinned(rules, &most.props, &proposed.props)?;
    if rules.is_some_and(|rules| scrub::missing_prop(rules, &proposed.props)) {
        return Err(Outcome::MissingProp);
    }
    Ok(Scrubbed {
        site: site.to_owned(),
        name: proposed.name,
        page: proposed.url,
        referrer: proposed.referrer,
        props: proposed.props.into_iter().map(|p| (p.key, p.value)).collect(),
        interactive: event.interactive,
        engagement: event.engagement,
        // No policy sees the revenue: the plan alone decides whether it leaves.
        revenue: event
            .revenue
            .and_then(Result::ok)
            .filter(|_| rules.is_some_and(|rules| rules.revenue)),
        visitor: sender.visitor,
        user_agent: sender.user_agent.clone(),
    })
}

/// A page without the campaign behind it.
fn path_of(page: &str) -> &str {
    page.split_once('?').map_or(page, |(path, _campaign)| path)
}

/// Whether properties are `most` with some left out, in the same order, each unchanged or, if it is free text, with more
/// of it removed. A change of order is refused, because an order can carry a message.
fn are_thinned(rules: Option<&EventPlan>, most: &[Prop], output: &[Prop]) -> Result<(), Outcome> {
    let mut rest = most.iter();
    for out in output {
        let most = rest.find(|prop| prop.key == out.key).ok_or(Outcome::Widened)?;
        match (&most.value, &out.value) {
            (most, out) if most == out => {}
            (Value::Text(most), Value::Text(text)) => {
                // Many removed parts could make a text longer than Plausible, or the plan, allows.
                let fits = |max| text.len() <= VALUE_BYTES_MAX && text.chars().count() <= max;
                let max = scrub::free_text_max(rules, &out.key);
                if !max.is_some_and(fits) || !is_redaction(most, text) {
                    return Err(Outcome::Widened);
                }
                // The text around a removed part may match a detector that it did not match before.
                if !relay_pii::is_clean(text) {
                    return Err(Outcome::Leak);
                }
            }
            _ => return Err(Outcome::Widened),
        }
    }
    Ok(())
}

/// Whether the output is the input with parts replaced by the fixed word, and nothing else. The detectors have already
/// run on the input, so no half of a number that they remove whole can remain.
fn is_redaction(input: &str, output: &str) -> bool {
    let mut pieces = output.split(relay_pii::REMOVED);
    let first = pieces.next().unwrap_or("");
    let Some(mut rest) = input.strip_prefix(first) else {
        return false;
    };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    true
}

impl Scrubbed {
    /// The bytes the spool stores.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A struct of texts and numbers always serialises; the spool would quarantine an empty record.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Decodes an event that the spool stored. `None` for any bytes that [`Scrubbed::to_bytes`] does not write. The spool's
    /// record holds the version.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let record: Self = serde_json::from_slice(bytes).ok()?;
        (!record.site.is_empty() && record.page.starts_with('/')).then_some(record)
    }

    /// Whether the current plan would still let the event leave. It may have been narrowed while the event waited.
    pub fn is_within(&self, plan: &Plan) -> bool {
        if plan.unmatched == Unmatched::Scrub {
            let revenue = plan.event(&self.name).is_some_and(|rules| rules.revenue);
            return revenue || self.revenue.is_none();
        }
        let page = path_of(&self.page);
        let page_listed = page == OTHER || plan.routes.lists(page);
        let listed = |rules: &EventPlan| {
            let has_leave = self.revenue.is_none() || rules.revenue;
            has_leave && self.props.iter().all(|(key, _)| rules.prop(key).is_some())
        };
        page_listed && plan.event(&self.name).is_some_and(listed)
    }

    /// Marks an event that waited long, by setting [`LATE`] to true: only if the plan lists a boolean of that name for the
    /// event, so the mark adds nothing that the plan does not allow. Returns `false` if it does not.
    pub fn mark_late(&mut self, plan: &Plan) -> bool {
        self.mark(LATE, plan)
    }

    /// The same for an event that does not look like a browser's, with [`SUSPICIOUS`].
    pub fn mark_suspicious(&mut self, plan: &Plan) -> bool {
        self.mark(SUSPICIOUS, plan)
    }

    fn mark(&mut self, name: &str, plan: &Plan) -> bool {
        let listed = plan.event(&self.name).and_then(|rules| rules.prop(name));
        if !listed.is_some_and(|prop| prop.kind == PropKind::Bool) {
            return false;
        }
        self.props.retain(|(key, _)| key != name);
        self.props.push((name.to_owned(), Value::Boolean(true)));
        true
    }

    /// The site the event belongs to.
    pub fn site(&self) -> &str {
        &self.site
    }

    /// The event's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The page: a path, and with `?` the campaign that led to it.
    pub fn page(&self) -> &str {
        &self.page
    }

    /// A foreign origin.
    pub fn referrer(&self) -> Option<&str> {
        self.referrer.as_deref()
    }

    /// The properties.
    pub fn props(&self) -> &[(String, Value)] {
        &self.props
    }

    /// Whether the event counts as an interaction.
    pub fn interactive(&self) -> bool {
        self.interactive
    }

    /// The engagement, on engagement events.
    pub fn engagement(&self) -> Option<Engagement> {
        self.engagement
    }

    /// The revenue of the event.
    pub fn revenue(&self) -> Option<Revenue> {
        self.revenue
    }

    /// The pseudonymous visitor address.
    pub fn visitor(&self) -> Ipv6Addr {
        self.visitor
    }

    /// The coarsened User-Agent.
    pub fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_deref()
    }
}

impl std::fmt::Debug for Scrubbed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scrubbed(hidden)")
    }
}

#[cfg(test)]
mod tests;
