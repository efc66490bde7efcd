//! The closed list of endings. Every event ends in exactly one.

/// Declares the groups of endings with their metric label.
macro_rules! groups {
    ($($group:ident = $label:literal,)+) => {
        /// A group of endings: the metric label `outcome`. Each variant is named like its label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the labels say it, and `Outcome` describes each ending")]
        pub enum Group { $($group,)+ }

        impl Group {
            /// The metric label `outcome`.
            pub const fn label(self) -> &'static str {
                match self { $(Group::$group => $label,)+ }
            }
        }
    };
}

groups! {
    Malformed = "malformed",
    Limited = "limited",
    Denied = "denied",
    LeftOut = "left_out",
    PolicyRefused = "policy_refused",
    PolicyFailed = "policy_failed",
    PolicyRejected = "policy_rejected",
    Duplicate = "duplicate",
    SpoolFull = "spool_full",
    Overloaded = "overloaded",
    Delivered = "delivered",
    Rejected = "rejected",
    Expired = "expired",
    Purged = "purged",
    Lost = "lost",
}

/// Declares [`Outcome`] with its group and its metric label `reason`, so that no ending can lack them.
macro_rules! outcomes {
    ($($(#[$doc:meta])+ $variant:ident = $group:ident / $reason:literal,)+) => {
        /// How an event ended. The metric label `outcome` groups endings, `reason` is the ending within its group.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Outcome { $($(#[$doc])+ $variant,)+ }

        impl Outcome {
            /// Every ending, in the order in which the pipeline can reach them.
            pub const ALL: &[Outcome] = &[$(Outcome::$variant,)+];

            /// The ending's group.
            pub const fn group(self) -> Group {
                match self { $(Outcome::$variant => Group::$group,)+ }
            }

            /// The ending within its group, as the metric label `reason`. Empty if the group has only this ending.
            pub const fn reason(self) -> &'static str {
                match self { $(Outcome::$variant => $reason,)+ }
            }
        }
    };
}

outcomes! {
    /// The body is not in the format that its route accepts.
    Malformed = Malformed / "invalid",
    /// The body or the batch is larger than allowed.
    TooLarge = Malformed / "too_large",
    /// The body's media type is not one that the route accepts.
    UnsupportedType = Malformed / "unsupported_type",
    /// The body did not arrive completely, or not in time.
    Incomplete = Malformed / "incomplete",

    /// The client exceeded its request limit. The sender retries later.
    LimitedClient = Limited / "client",
    /// The client exceeded its event limit. The sender retries later.
    LimitedEvents = Limited / "events",
    /// The client exceeded its limit of new visitors. The sender retries later.
    LimitedVisitors = Limited / "visitors",
    /// The site exceeded its event limit. The sender retries later.
    LimitedSite = Limited / "site",
    /// Too many bodies were still arriving, and this one was among the slowest. The sender retries.
    SlowBody = Limited / "slow_body",

    /// The site is not configured.
    UnknownSite = Denied / "unknown_site",
    /// The request came from a page of another origin.
    WrongOrigin = Denied / "origin",
    /// No browser sends such a request, and the operator drops those (`budget.suspicious`).
    Suspicious = Denied / "suspicious",
    /// The request has neither an `Origin`, which pages always send, nor a tool's token.
    NoOrigin = Denied / "no_origin",
    /// The browser's `Sec-Fetch-Site` or `Sec-Fetch-Mode` shows that the request did not come from a page of the site.
    FetchMetadata = Denied / "fetch_metadata",
    /// The page token is missing, has expired, or is for another site, origin or process. The module gets a new one
    /// with the answer and sends the events again.
    PageToken = Denied / "page_token",
    /// The bearer token does not belong to a configured tool, or is not valid for this site.
    ToolToken = Denied / "tool_token",
    /// The operator closed the routes of Plausible's format to pages.
    TrackersClosed = Denied / "trackers_closed",
    /// The operator locked collection in the configuration.
    OperatorLock = Denied / "operator_lock",
    /// The admin switch of the site is off, or could not be read.
    SwitchedOff = Denied / "switched_off",
    /// The browser sent Global Privacy Control or Do Not Track, and the user did not opt in in person.
    PrivacySignal = Denied / "privacy_signal",
    /// No consent came with the event.
    NoConsent = Denied / "no_consent",
    /// The consent is for another version of the tracking plan.
    ConsentOutdated = Denied / "consent_outdated",
    /// The consent leaves out the event's category.
    CategoryRefused = Denied / "category_refused",
    /// The tracking plan does not list the event.
    UnknownEvent = Denied / "unknown_event",
    /// The User-Agent is a bot's.
    Bot = Denied / "bot",

    /// The upstream's profile leaves engagements out: that server would count one as a custom event.
    EngagementLeftOut = LeftOut / "engagement",
    /// The upstream's profile leaves the event out: that server rejects names of this length.
    NameLeftOut = LeftOut / "name_too_long",

    /// The policy refused: a required property is missing or not allowed.
    MissingProp = PolicyRefused / "missing_prop",
    /// The policy refused: it could not make the event safe.
    Unsafe = PolicyRefused / "unsafe",
    /// The policy refused for its own reason.
    Unwanted = PolicyRefused / "unwanted",
    /// The policy trapped.
    PolicyTrap = PolicyFailed / "trap",
    /// The policy ran out of fuel.
    PolicyTimeout = PolicyFailed / "timeout",
    /// No instance of the policy could be created.
    PolicyUnavailable = PolicyFailed / "unavailable",
    /// The guard found something in the policy's output that is neither the input nor a coarsening of it.
    Widened = PolicyRejected / "widened",
    /// The guard found personal data in the policy's output.
    Leak = PolicyRejected / "leak",

    /// The same event id was stored before.
    Duplicate = Duplicate / "",
    /// The spool is full.
    SpoolFull = SpoolFull / "full",
    /// The site's events fill its share of the spool; other sites still have room.
    SpoolFullSite = SpoolFull / "site",
    /// Writing to the spool failed.
    SpoolUnavailable = SpoolFull / "unavailable",
    /// The relay shed the load: it is stopping, or has more work in progress than it can handle. The sender retries.
    Overloaded = Overloaded / "",

    /// Plausible accepted the event.
    Delivered = Delivered / "",
    /// Plausible answered 202 and discarded the event (`x-plausible-dropped`).
    DroppedByPlausible = Rejected / "plausible_dropped",
    /// Plausible rejected the event as invalid; the relay does not retry it.
    InvalidForPlausible = Rejected / "plausible_invalid",
    /// Sent, but Plausible never answered. With `upstream.delivery = "at_most_once"` the relay does not retry it.
    /// Plausible may have counted it.
    Unanswered = Rejected / "unknown",
    /// A gateway or a login page answered with a 2xx other than Plausible's 202. Plausible probably accepted the event,
    /// so the relay does not retry it.
    Unclear = Rejected / "unclear",
    /// The spooled record could not be read back.
    Corrupt = Rejected / "corrupt",
    /// A newer relay wrote the spooled record; it stays in quarantine.
    Newer = Rejected / "newer",
    /// The event exceeded the retention time of the spool.
    Expired = Expired / "",
    /// The engagement waited until its session had ended; Plausible would have discarded it.
    EngagementExpired = Expired / "engagement",
    /// While the event waited, the switch was turned off, or the site or the event was removed from the configuration.
    Purged = Purged / "",
    /// The relay lost track of the event: a bug in the relay, which triggers an alert.
    Lost = Lost / "",
}

impl Outcome {
    /// The group, as the metric label `outcome`.
    pub const fn label(self) -> &'static str {
        self.group().label()
    }

    /// The ending in one word, for senders: the reason or, if the group has no other ending, the group.
    pub const fn name(self) -> &'static str {
        match self.reason().is_empty() {
            true => self.label(),
            false => self.reason(),
        }
    }

    /// Whether the relay cannot accept the event for now: its sender keeps it and retries later.
    pub const fn is_temporary(self) -> bool {
        match self.group() {
            Group::Limited | Group::SpoolFull | Group::Overloaded => true,
            Group::PolicyFailed => matches!(self, Self::PolicyUnavailable),
            Group::Malformed
            | Group::Denied
            | Group::LeftOut
            | Group::PolicyRefused
            | Group::PolicyRejected
            | Group::Duplicate
            | Group::Delivered
            | Group::Rejected
            | Group::Expired
            | Group::Purged
            | Group::Lost => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_outcomes_share_their_labels() {
        let labels: HashSet<_> = Outcome::ALL.iter().map(|o| (o.label(), o.reason())).collect();
        assert_eq!(labels.len(), Outcome::ALL.len());
    }
}
