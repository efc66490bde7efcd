//! The commands that change something: the running relay makes the change if there is one, so that its ledger stays
//! correct.

use super::{PurgeArgs, ago, load};
use crate::cli::run::block_on;
use crate::cli::{CommandResult, manage};
use crate::clock::Clock;
use crate::config::Config;
use crate::data_folder::{DataFolder, FolderError};
use crate::metrics::Registry;
use crate::spool::{Purge, Replayed, inspect};
use crate::store::{self, OpenError};
use anyhow::bail;
use axum::http::Method;
use serde_json::{Value, json};
use std::io::{BufRead, IsTerminal};
use std::path::Path;

/// Changes the spool: in this process, or in the running relay.
async fn change<T>(
    config: &Config,
    here: impl AsyncFnOnce(&DataFolder) -> anyhow::Result<T>,
    there: impl AsyncFnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    // If there is no database yet, this must not create one.
    drop(store::open_to_look(&config.data_dir)?);
    match DataFolder::open(config, &Clock::system(), &mut Registry::default()).await {
        Ok(folder) => {
            let done = here(&folder).await;
            manage::report_rebuild(&folder);
            folder.close().await;
            done
        }
        Err(FolderError::Open(OpenError::InUse(..))) => there().await,
        Err(error) => Err(error.into()),
    }
}

pub(super) fn replay(path: &Path) -> CommandResult {
    let config = load(path, None)?;
    block_on(async {
        let replayed = change(
            &config,
            async |folder| Ok(folder.spool.replay().await?),
            async || manage::ask_running(&config, Method::POST, "/spool/replay", &json!({})).await,
        );
        let Replayed {
            replayed,
            too_old,
            no_space,
            unreadable,
            due,
        } = replayed.await?;
        say!("{replayed} record(s) were moved from quarantine back into the spool");
        say!("{due} parked event(s) are due now");
        for (count, why) in [
            (
                too_old,
                "because they are older than `spool.age_max_s`; raise it to deliver them",
            ),
            (no_space, "because the spool has no space for them; retry later"),
            (unreadable, "because they cannot be read"),
        ] {
            if count > 0 {
                say!("{count} record(s) stay in quarantine {why}");
            }
        }
        Ok(())
    })
}

pub(super) fn purge(args: PurgeArgs) -> CommandResult {
    let config = load(&args.config.config, args.site.as_deref())?;
    let before = args.older_than.map(|time| ago(Clock::system().now(), time));
    let purge = Purge {
        site: args.site,
        before,
        quarantine: args.quarantine,
    };
    if !args.yes {
        let count = inspect::would_purge(&store::open_to_look(&config.data_dir)?, &purge)?;
        ask(count, purge.quarantine)?;
    }
    block_on(async {
        let json = serde_json::to_value(&purge)?;
        let (purged, quarantined) = change(
            &config,
            async |folder| {
                let removed = folder.spool.purge(purge).await?;
                Ok((removed.events, removed.quarantined))
            },
            async || {
                let answer: Value = manage::ask_running(&config, Method::POST, "/spool/purge", &json).await?;
                let count = |key: &str| answer[key].as_u64().unwrap_or(0);
                Ok((count("purged"), count("quarantined")))
            },
        )
        .await?;
        match args.quarantine {
            true => say!("{quarantined} quarantined record(s) were deleted"),
            false => say!("{purged} waiting event(s) were purged"),
        }
        Ok(())
    })
}

/// Asks for confirmation. A script must pass --yes.
fn ask(count: u64, quarantine: bool) -> CommandResult {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        bail!(
            "this permanently deletes {count} record(s), and there is no terminal for the confirmation; add --yes"
        );
    }
    let what = if quarantine {
        "quarantined record(s)"
    } else {
        "waiting event(s)"
    };
    complain!("This permanently deletes {count} {what}. Type yes to continue:");
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    if line.trim() != "yes" {
        bail!("nothing was deleted");
    }
    Ok(())
}
