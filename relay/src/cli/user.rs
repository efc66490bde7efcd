//! `user`: the accounts for the admin page.
//!
//! Every command changes the database directly, whether or not a relay is running. The relay reads the database on
//! each request of a session, so a change applies from the next request on, and the command need not reach a relay.

use crate::accounts::{self, Account};
use crate::cli::manage::{load, open};
use crate::cli::{CommandResult, ConfigArg};
use crate::clock::Clock;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use rusqlite::Connection;
use std::io::{BufRead, IsTerminal, Write};

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Create an account. Asks for the password.
    Add(PasswordArgs),
    /// Set an account's password, and end its sessions. Asks for the password.
    Passwd(PasswordArgs),
    /// Disable logins to an account, and end its sessions. It keeps its name and password.
    Disable(LastArgs),
    /// Allow a disabled account to log in again.
    Enable(UserArgs),
    /// Remove an account, and end its sessions. The switch history keeps its name.
    Remove(LastArgs),
    /// List the accounts: name, creation time, and whether each can log in.
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
    /// Do not ask for confirmation, even for the last account that can log in.
    #[arg(long)]
    yes: bool,
}

/// Runs a command.
pub(super) fn run(command: UserCommand) -> CommandResult {
    match command {
        UserCommand::Add(args) => add(&args),
        UserCommand::Passwd(args) => passwd(&args),
        UserCommand::Disable(args) => disable(&args),
        UserCommand::Enable(args) => enable(&args),
        UserCommand::Remove(args) => remove(&args),
        UserCommand::List(config) => list(&config),
    }
}

fn add(args: &PasswordArgs) -> CommandResult {
    let (db, name) = (args.user.open()?, &args.user.name);
    let password = ask_password(args.password_stdin)?;
    accounts::add(&db, name, &password, Clock::system().now())?;
    say!("account {name} was created");
    Ok(())
}

fn passwd(args: &PasswordArgs) -> CommandResult {
    let (db, name) = (args.user.open()?, &args.user.name);
    let password = ask_password(args.password_stdin)?;
    accounts::change_password(&db, name, &password)?;
    say!("account {name} has a new password; its sessions have ended");
    if find(&db, name)?.is_some_and(|account| account.disabled_at.is_some()) {
        complain!("account {name} is disabled and cannot log in; `user enable {name}` allows it again");
    }
    Ok(())
}

fn disable(args: &LastArgs) -> CommandResult {
    let (db, name) = (args.user.open()?, &args.user.name);
    args.confirm(&db)?;
    accounts::disable(&db, name, Clock::system().now())?;
    say!("account {name} is disabled; its sessions have ended");
    Ok(())
}

fn enable(args: &UserArgs) -> CommandResult {
    let db = args.open()?;
    accounts::enable(&db, &args.name)?;
    say!("account {} can log in", args.name);
    Ok(())
}

fn remove(args: &LastArgs) -> CommandResult {
    let (db, name) = (args.user.open()?, &args.user.name);
    args.confirm(&db)?;
    accounts::remove(&db, name)?;
    say!("account {name} was removed; its sessions have ended");
    Ok(())
}

fn list(config: &ConfigArg) -> CommandResult {
    let accounts = accounts::list(&open(&load(&config.config)?)?)?;
    if accounts.is_empty() {
        complain!("there are no accounts yet; `user add NAME` creates one");
    }
    for account in accounts {
        let state = match account.disabled_at {
            Some(at) => format!("disabled since {}", at.rfc3339()),
            None => "enabled".to_owned(),
        };
        say!("{}\t{}\t{state}", account.name, account.created_at.rfc3339());
    }
    Ok(())
}

impl UserArgs {
    fn open(&self) -> anyhow::Result<Connection> {
        Ok(open(&load(&self.config.config)?)?)
    }
}

impl LastArgs {
    /// Asks for confirmation before the last account that can log in is disabled or removed.
    fn confirm(&self, db: &Connection) -> CommandResult {
        let name = &self.user.name;
        let enabled = |account: &Account| account.disabled_at.is_none();
        let accounts = accounts::list(db)?;
        let mut able = accounts.iter().filter(|account| enabled(account));
        let is_last = able.next().is_some_and(|first| first.name == *name) && able.next().is_none();
        if !is_last || self.yes {
            return Ok(());
        }
        let what = format!(
            "{name} is the last account that can log in; without it, only `feedback-relay switch` can change the \
             switches"
        );
        if !std::io::stdin().is_terminal() {
            bail!("{what}. Repeat the command with --yes to do it anyway");
        }
        let mut terminal = std::io::stderr();
        write!(terminal, "{what}.\nContinue? [y/N] ")?;
        terminal.flush()?;
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

/// Reads a password; on a terminal, without echo.
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
    complain!(
        "A password must have at least {} characters.",
        accounts::PASSWORD_CHARS_MIN
    );
    let password = rpassword::prompt_password("Password: ")?;
    if rpassword::prompt_password("Again: ")? != password {
        bail!("the two passwords differ");
    }
    Ok(password)
}
