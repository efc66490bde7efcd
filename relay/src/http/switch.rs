//! Switches over HTTP, for the admin page and the control socket alike.

use crate::app::App;
use crate::forward::sites::status::SiteStatus;
use crate::http::problem::{Kind, Problem, sentence};
use crate::switch::{Actor, Recorded, SetBy, SetError, Site};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The body of a request that sets a switch.
#[derive(Deserialize)]
pub(crate) struct SetSwitch {
    on: bool,
}

/// The state of a site's switch.
#[derive(Deserialize, Serialize)]
pub(crate) struct SwitchStatus {
    pub(crate) site: String,
    pub(crate) on: bool,
    pub(crate) locked: bool,
    pub(crate) changed_at: Option<String>,
    pub(crate) changed_by: Option<String>,
    /// How durably the state is recorded.
    pub(crate) recorded: Recorded,
    /// Whether Plausible accepts its events.
    pub(crate) plausible: SiteStatus,
}

impl SwitchStatus {
    pub(crate) fn new(
        site: &str,
        on: bool,
        locked: bool,
        set_by: Option<SetBy>,
        recorded: Recorded,
        plausible: SiteStatus,
    ) -> Self {
        Self {
            site: site.to_owned(),
            on,
            locked,
            changed_at: set_by.as_ref().map(|set_by| set_by.at.rfc3339()),
            changed_by: set_by.map(|set_by| set_by.by),
            recorded,
            plausible,
        }
    }

    /// The switches of all sites.
    pub(crate) fn of_all(app: &App) -> Vec<Self> {
        let of = |site: &Arc<Site>| {
            let (on, locked) = (site.is_on(), site.operator_lock);
            let shown = app.sites.shown(&site.domain).unwrap_or_default();
            let plausible = SiteStatus::of(&site.domain, &shown, on);
            Self::new(
                &site.domain,
                on,
                locked,
                site.set_by(),
                site.recorded(),
                plausible,
            )
        };
        app.switches.sites().map(of).collect()
    }
}

/// Sets a switch, and returns how many waiting events were purged.
pub(crate) async fn set(
    app: &App,
    site: &str,
    body: Result<Json<SetSwitch>, JsonRejection>,
    by: impl Into<Actor>,
) -> Result<Json<Value>, Problem> {
    let Json(SetSwitch { on }) =
        body.map_err(|_| Problem::invalid("Send {\"on\": true} or {\"on\": false} as application/json."))?;
    let purged = app
        .switches
        .set(site, on, by)
        .await
        .map_err(|error| refused(&error))?;
    Ok(Json(json!({ "site": site, "on": on, "purged": purged })))
}

fn refused(error: &SetError) -> Problem {
    let problem = |kind| Problem::new(kind, sentence(error));
    match error {
        SetError::UnknownSite(_) => problem(Kind::SITE),
        SetError::Revoked => problem(Kind::REVOKED),
        SetError::Locked => problem(Kind::LOCKED),
        SetError::Tombstone(_) => problem(Kind::TOMBSTONE),
        // The running relay has switched the site off.
        SetError::Unrecorded { .. } => problem(Kind::UNRECORDED).retry_in(Duration::from_secs(5)),
    }
}
