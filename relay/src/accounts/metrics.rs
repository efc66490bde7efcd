//! The metrics of logins.

use crate::metrics;

metrics::label! {
    /// The result of a login.
    pub(super) enum LoginResult {
        /// Name and password were right.
        Ok = "ok",
        /// Name or password was wrong.
        Wrong = "wrong",
        /// Refused without checking the password: too many wrong ones before it.
        Throttled = "throttled",
        /// Refused without checking the password: too many logins at once.
        Overloaded = "overloaded",
        /// The account is disabled.
        Disabled = "disabled",
        /// The body did not arrive in time, or was dropped to make room for others.
        Incomplete = "incomplete",
        /// The database did not answer.
        Unavailable = "unavailable",
    }
}

metrics::declare! {
    /// Logins on the admin listener.
    pub(super) struct Metrics {
        /// Logins on the admin listener, by result.
        pub(super) admin_logins: Counter["result"] = LoginResult::ALL.map(|result| [result.name()]),
    }
}
