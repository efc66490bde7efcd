//! The commands that change something: done by the running relay where there is one, so that its ledger
//! stays right.

use super::{PurgeArgs, ago, load};
use crate::app::StartError;
use crate::cli::run::block_on;
use crate::cli::{Outcome, complain, manage, say};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::PurgeOrder;
use crate::data_folder::DataFolder;
use crate::metrics::Metrics;
use crate::spool::{Purge, Replayed, inspect};
use crate::store::{self, OpenError};
use anyhow::{Context, bail};
use axum::http::Method;
use serde_json::json;
use std::io::{BufRead, IsTerminal};
use std::path::Path;
use std::sync::Arc;

/// Does something with the spool: in this process, or in the relay that runs.
async fn change<T>(
    config: &Config,
    here: impl AsyncFnOnce(&DataFolder) -> anyhow::Result<T>,
    there: impl AsyncFnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    // Where there is no database yet, none is made for this.
    drop(store::open_to_look(&config.data_dir)?);
    let metrics = Arc::new(Metrics::new(config));
    match DataFolder::open(config, &Clock::system(), &metrics).await {
        Ok(folder) => {
            let done = here(&folder).await;
            folder.close().await;
            manage::tell_of_rebuild(&metrics);
            done
        }
        Err(StartError::Open(OpenError::InUse(..))) => there().await,
        Err(error) => Err(error.into()),
    }
}

pub(super) fn replay(path: &Path) -> Outcome {
    let config = load(path, None)?;
    block_on(async {
        let replayed = change(
            &config,
            async |folder| Ok(folder.spool.replay().await?),
            async || {
                let answer = manage::ask_running(&config, Method::POST, "/spool/replay", &json!({})).await?;
                serde_json::from_value(answer).context("the running relay's answer cannot be read")
            },
        );
        let Replayed {
            replayed,
            too_old,
            no_room,
            unreadable,
            due,
        } = replayed.await?;
        say(&format!(
            "{replayed} record(s) of the quarantine wait for delivery again"
        ));
        say(&format!("{due} parked event(s) are due now"));
        for (count, why) in [
            (too_old, "older than `spool.age_max_s`; raise it to deliver them"),
            (no_room, "of those the spool has no room for; come back later"),
            (unreadable, "that cannot be read"),
        ] {
            if count > 0 {
                say(&format!("{count} record(s) stay in quarantine {why}"));
            }
        }
        Ok(())
    })
}

pub(super) fn purge(args: PurgeArgs) -> Outcome {
    let config = load(&args.config.config, args.site.as_deref())?;
    let before = args.older_than.map(|time| ago(Clock::system().now(), time));
    let order = PurgeOrder {
        site: args.site,
        before: before.map(|before| before.0),
        quarantine: args.quarantine,
    };
    if !args.yes {
        let purge = Purge {
            site: order.site.clone(),
            before,
            quarantine: order.quarantine,
        };
        let count = inspect::would_purge(&store::open_to_look(&config.data_dir)?, &purge)?;
        ask(count, order.quarantine)?;
    }
    block_on(async {
        let json = serde_json::to_value(&order)?;
        let (purged, quarantined) = change(
            &config,
            async |folder| {
                let removed = folder.spool.purge(order.into()).await?;
                Ok((removed.events, removed.quarantined))
            },
            async || {
                let answer = manage::ask_running(&config, Method::POST, "/spool/purge", &json).await?;
                let count = |key: &str| answer[key].as_u64().unwrap_or(0);
                Ok((count("purged"), count("quarantined")))
            },
        )
        .await?;
        say(&match args.quarantine {
            true => format!("{quarantined} quarantined record(s) were deleted"),
            false => format!("{purged} waiting event(s) were purged"),
        });
        Ok(())
    })
}

/// Has a person say yes. A script has to say --yes.
fn ask(count: u64, quarantine: bool) -> Outcome {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        bail!("this deletes {count} record(s) for good; add --yes where nobody can be asked");
    }
    let what = if quarantine {
        "quarantined record(s)"
    } else {
        "waiting event(s)"
    };
    complain(&format!(
        "This deletes {count} {what} for good. Type yes to go on:"
    ));
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    if line.trim() != "yes" {
        bail!("nothing was deleted");
    }
    Ok(())
}
