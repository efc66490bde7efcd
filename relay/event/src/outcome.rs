//! The closed list of endings. Every event ends in exactly one.

/// Declares [`Outcome`] with its two metric labels, so that a new ending cannot lack them.
macro_rules! outcomes {
    ($($(#[$doc:meta])+ $variant:ident = $outcome:literal / $reason:literal,)+) => {
        /// How an event ended. The metric label `outcome` groups endings, `reason` tells them apart.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Outcome { $($(#[$doc])+ $variant,)+ }

        impl Outcome {
            /// Every ending, in the order of the corridor.
            pub const ALL: &[Outcome] = &[$(Outcome::$variant,)+];

            /// The group, as the metric label `outcome`.
            pub const fn label(self) -> &'static str {
                match self { $(Outcome::$variant => $outcome,)+ }
            }

            /// The ending within its group, as the metric label `reason`. Empty where there is one only.
            pub const fn reason(self) -> &'static str {
                match self { $(Outcome::$variant => $reason,)+ }
            }
        }
    };
}

outcomes! {
    /// The body is not what its route takes.
    Malformed = "malformed" / "invalid",
    /// The body or the batch is larger than allowed.
    TooLarge = "malformed" / "too_large",
    /// The body's media type is not one the route takes.
    UnsupportedType = "malformed" / "unsupported_type",
    /// The body did not arrive whole, or not in time.
    Incomplete = "malformed" / "incomplete",

    /// The client brought more requests than it may; the sender was told to come back.
    LimitedClient = "limited" / "client",
    /// The client brought more events than it may; the sender was told to come back.
    LimitedEvents = "limited" / "events",
    /// The client showed more new visitors than it may; the sender was told to come back.
    LimitedVisitors = "limited" / "visitors",
    /// The site brought more events than it may; the sender was told to come back.
    LimitedSite = "limited" / "site",
    /// The body was among the slowest of too many that had not arrived; the sender was told to come back.
    SlowBody = "limited" / "slow_body",

    /// The site is not configured.
    UnknownSite = "denied" / "unknown_site",
    /// The request came from a page of another origin.
    WrongOrigin = "denied" / "origin",
    /// No browser sends such a request, and the operator drops those (`budget.suspicious`).
    Suspicious = "denied" / "suspicious",
    /// The request has no `Origin`, as pages always send, and no tool's token.
    NoOrigin = "denied" / "no_origin",
    /// The browser's `Sec-Fetch-Site` or `Sec-Fetch-Mode` says that no page of the site sent this.
    FetchMetadata = "denied" / "fetch_metadata",
    /// The page token is missing, has expired, or is for another site, origin or process. The module gets a new one with
    /// the answer and sends the events again.
    PageToken = "denied" / "page_token",
    /// The bearer token is not one of a configured tool, or not for this site.
    ToolToken = "denied" / "tool_token",
    /// The operator closed the routes of Plausible's format to pages.
    TrackersClosed = "denied" / "trackers_closed",
    /// The operator locked collection in the configuration.
    OperatorLock = "denied" / "operator_lock",
    /// The admin switch of the site is off, or could not be read.
    SwitchedOff = "denied" / "switched_off",
    /// The browser says Global Privacy Control or Do Not Track, and the user did not opt in in person.
    PrivacySignal = "denied" / "privacy_signal",
    /// No consent came with the event.
    NoConsent = "denied" / "no_consent",
    /// The consent is for another version of the tracking plan.
    ConsentOutdated = "denied" / "consent_outdated",
    /// The consent leaves out the event's category.
    CategoryRefused = "denied" / "category_refused",
    /// The tracking plan does not list the event.
    UnknownEvent = "denied" / "unknown_event",
    /// The User-Agent is a bot's.
    Bot = "denied" / "bot",

    /// The upstream's profile leaves engagements out: that server would count one as a custom event.
    EngagementLeftOut = "left_out" / "engagement",
    /// The upstream's profile leaves the event out: that server refuses so long a name.
    NameLeftOut = "left_out" / "name_too_long",

    /// The policy refused: a required property is missing or not allowed.
    MissingProp = "policy_refused" / "missing_prop",
    /// The policy refused: it could not make the event safe.
    Unsafe = "policy_refused" / "unsafe",
    /// The policy refused for a reason of its own.
    Unwanted = "policy_refused" / "unwanted",
    /// The policy trapped.
    PolicyTrap = "policy_failed" / "trap",
    /// The policy took longer than its fuel lasts.
    PolicyTimeout = "policy_failed" / "timeout",
    /// No instance of the policy could be made.
    PolicyUnavailable = "policy_failed" / "unavailable",
    /// The guard found something in the policy's output that is neither the input nor a coarsening of it.
    Widened = "policy_rejected" / "widened",
    /// The guard found personal data in the policy's output.
    Leak = "policy_rejected" / "leak",

    /// The same event id was stored before.
    Duplicate = "duplicate" / "",
    /// The spool holds as much as it may.
    SpoolFull = "spool_full" / "full",
    /// The site's events fill its share of the spool; those of other sites have room.
    SpoolFullSite = "spool_full" / "site",
    /// The spool could not be written.
    SpoolUnavailable = "spool_full" / "unavailable",
    /// The relay is stopping or has more in hand than it can take; the sender was told to come back.
    Overloaded = "spool_full" / "overloaded",

    /// Plausible took the event.
    Delivered = "delivered" / "",
    /// Plausible answered 202 and threw the event away (`x-plausible-dropped`).
    DroppedByPlausible = "rejected" / "plausible_dropped",
    /// Plausible called the event invalid; it is never sent again.
    InvalidForPlausible = "rejected" / "plausible_invalid",
    /// Sent, and Plausible's answer never came; by the operator's choice (`upstream.when_unknown`) it is not
    /// sent again. Plausible may have counted it.
    Unanswered = "rejected" / "unknown",
    /// Answered with a 2xx that is not Plausible's 202, by a gateway or a login page: it was probably taken, and is
    /// not sent again.
    Unclear = "rejected" / "unclear",
    /// The spooled record could not be read back.
    Corrupt = "rejected" / "corrupt",
    /// The spooled record was written by a newer relay; it is kept in quarantine.
    Newer = "rejected" / "newer",
    /// The event waited longer than the spool keeps events.
    Expired = "expired" / "",
    /// The engagement waited until its session had ended; Plausible would have thrown it away.
    EngagementExpired = "expired" / "engagement",
    /// The switch was turned off, or site or event left the configuration, while the event waited.
    Purged = "purged" / "",
    /// The relay lost track of the event: a defect of ours, alerted on.
    Lost = "lost" / "",
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
