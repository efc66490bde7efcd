//! What tools send: programs that are no browsers, each with a token of its own.

use crate::config::Tools;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ToolLabel {
    tool: String,
}

/// Counters of the configured tools.
#[derive(Debug)]
pub struct ToolMetrics(Family<ToolLabel, Counter>);

impl ToolMetrics {
    pub(super) fn new(registry: &mut Registry, tools: &Tools) -> Self {
        let events = Family::<ToolLabel, Counter>::default();
        registry.register(
            "tool_events",
            "Events that came with a tool's token and passed the gate's questions about the request, by tool",
            events.clone(),
        );
        let metrics = Self(events);
        tools.iter().for_each(|tool| metrics.sent(&tool.name, 0));
        metrics
    }

    /// Counts events of a tool.
    pub fn sent(&self, name: &str, events: usize) {
        let tool = name.to_owned();
        self.0.get_or_create(&ToolLabel { tool }).inc_by(events as u64);
    }
}
