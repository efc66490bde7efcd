//! `user`: the accounts that may use the admin page.
//!
//! Every command changes the database, beside a relay that may be running. The relay asks the database at each request
//! of a session, so a change holds from the next request on, and no relay has to be reached for it.

use crate::accounts::{self, Account};
use crate::cli::manage::{load, open};
use crate::cli::{ConfigArg, Outcome, complain, say};
use crate::clock::Clock;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use rusqlite::Connection;
use std::io::{BufRead, IsTerminal, Write};

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Make an account. Asks for the password.
    Add(PasswordArgs),
    /// Give an account a new password, and end its sessions. Asks for the password.
    Passwd(PasswordArgs),
    /// Keep an account from logging in, and end its sessions. It keeps its name and password.
    Disable(LastArgs),
    /// Let a disabled account log in again.
    Enable(UserArgs),
    /// Remove an account, and end its sessions. The history of the switches keeps its name.
    Remove(LastArgs),
    /// List the accounts: name, when it was made, and whether it can log in.
    List(ConfigArg),
}

#[derive(Debug, Args)]
pub(super) struct UserArgs {
    /// The account's name.
    name: String,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Args)]
pub(super) struct PasswordArgs {
    #[command(flatten)]
    user: UserArgs,
    /// Read the password from the first line of standard input instead of asking twice.
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Debug, Args)]
pub(super) struct LastArgs {
    #[command(flatten)]
    user: UserArgs,
    /// Do not ask, even if it is the last account that can log in.
    #[arg(long)]
    yes: bool,
}

/// Runs a command.
pub(super) fn run(command: UserCommand) -> Outcome {
    match command {
        UserCommand::Add(args) => add(&args),
        UserCommand::Passwd(args) => passwd(&args),
        UserCommand::Disable(args) => disable(&args),
        UserCommand::Enable(args) => enable(&args),
        UserCommand::Remove(args) => remove(&args),
        UserCommand::List(config) => list(&config),
    }
}

fn add(args: &PasswordArgs) -> Outcome {
    let (db, name) = (args.user.open()?, &args.user.name);
    let password = ask_password(args.password_stdin)?;
    accounts::add(&db, name, &password, Clock::system().now())?;
    say(&format!("account {name} was made"));
    Ok(())
}

fn passwd(args: &PasswordArgs) -> Outcome {
    let (db, name) = (args.user.open()?, &args.user.name);
    let password = ask_password(args.password_stdin)?;
    accounts::change_password(&db, name, &password)?;
    say(&format!(
        "account {name} has a new password; its sessions have ended"
    ));
    if find(&db, name)?.is_some_and(|account| account.disabled_at.is_some()) {
        complain(&format!(
            "{name} is disabled and cannot log in; `user enable {name}` lets it"
        ));
    }
    Ok(())
}

fn disable(args: &LastArgs) -> Outcome {
    let (db, name) = (args.user.open()?, &args.user.name);
    args.confirm(&db)?;
    accounts::disable(&db, name, Clock::system().now())?;
    say(&format!("account {name} is disabled; its sessions have ended"));
    Ok(())
}

fn enable(args: &UserArgs) -> Outcome {
    let db = args.open()?;
    accounts::enable(&db, &args.name)?;
    say(&format!("account {} can log in", args.name));
    Ok(())
}

fn remove(args: &LastArgs) -> Outcome {
    let (db, name) = (args.user.open()?, &args.user.name);
    args.confirm(&db)?;
    accounts::remove(&db, name)?;
    say(&format!("account {name} was removed; its sessions have ended"));
    Ok(())
}

fn list(config: &ConfigArg) -> Outcome {
    let accounts = accounts::list(&open(&load(&config.config)?)?)?;
    if accounts.is_empty() {
        complain("there are no accounts yet; `user add NAME` makes one");
    }
    for account in accounts {
        let state = match account.disabled_at {
            Some(at) => format!("disabled since {}", at.rfc3339()),
            None => "enabled".to_owned(),
        };
        say(&format!(
            "{}\t{}\t{state}",
            account.name,
            account.created_at.rfc3339()
        ));
    }
    Ok(())
}

impl UserArgs {
    fn open(&self) -> anyhow::Result<Connection> {
        Ok(open(&load(&self.config.config)?)?)
    }
}

impl LastArgs {
    /// Asks before the last account that can log in is taken away.
    fn confirm(&self, db: &Connection) -> Outcome {
        let name = &self.user.name;
        let enabled = |account: &Account| account.disabled_at.is_none();
        let accounts = accounts::list(db)?;
        let mut able = accounts.iter().filter(|account| enabled(account));
        let is_last = able.next().is_some_and(|first| first.name == *name) && able.next().is_none();
        if !is_last || self.yes {
            return Ok(());
        }
        let what = format!(
            "{name} is the last account that can log in; without it only `feedback-relay switch` turns the switches"
        );
        if !std::io::stdin().is_terminal() {
            bail!("{what}. Repeat the command with --yes to do it all the same");
        }
        eprint!("{what}.\nGo on? [y/N] ");
        std::io::stderr().flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => bail!("nothing was changed"),
        }
    }
}

fn find(db: &Connection, name: &str) -> anyhow::Result<Option<Account>> {
    let accounts = accounts::list(db)?;
    Ok(accounts.into_iter().find(|account| account.name == name))
}

/// Reads a password without showing it where there is a terminal.
fn ask_password(from_stdin: bool) -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if from_stdin || !stdin.is_terminal() {
        let mut line = String::new();
        stdin
            .lock()
            .read_line(&mut line)
            .context("the password cannot be read from standard input")?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    complain(&format!(
        "A password has at least {} characters.",
        accounts::PASSWORD_CHARS_MIN
    ));
    let password = rpassword::prompt_password("Password: ")?;
    if rpassword::prompt_password("Again: ")? != password {
        bail!("the two passwords differ");
    }
    Ok(password)
}
