//! The command line: one subcommand per operator task.

/// Prints a line of a command's result, for people and scripts.
macro_rules! say {
    ($($line:tt)+) => { $crate::cli::say(format_args!($($line)+)) };
}

/// Prints a message for people to standard error.
macro_rules! complain {
    ($($line:tt)+) => { $crate::cli::complain(format_args!($($line)+)) };
}

mod doctor;
mod manage;
mod plan;
mod policy;
mod rules;
mod run;
mod scrub;
mod spool;
mod switch;
mod user;

use crate::config::toml::Diagnostics;
use crate::policy::sandbox::compiler;
use crate::store;
use crate::version;
use axum::http::Uri;
use clap::{Args, Parser, Subcommand};
use feedback_demo::panel::Links;
use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A privacy-friendly product-feedback relay between browsers and Plausible.
#[derive(Debug, Parser)]
#[command(name = "feedback-relay", version = version::PACKAGE, arg_required_else_help = true, after_help = "\
Getting started:
  feedback-relay check-config --config relay.toml      report every mistake in the configuration
  feedback-relay user add alice --config relay.toml    create an admin account
  feedback-relay serve --config relay.toml             run the relay
  feedback-relay switch on --site panel.example.com --config relay.toml

Collection is off until you switch it on, per site.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay until SIGINT or SIGTERM.
    Serve(ConfigArg),
    /// Check the configuration and the tracking plan, and report every mistake with its key and line.
    CheckConfig(ConfigArg),
    /// Check a tracking plan, or write its privacy page or its TypeScript types.
    #[command(subcommand)]
    Plan(plan::PlanCommand),
    /// Switch a site's collection on or off, or show its state.
    ///
    /// Works whether or not a relay is running. Once "off" has been acknowledged, no more events leave, and waiting
    /// events are purged.
    #[command(subcommand)]
    Switch(SwitchCommand),
    /// List, check, replay, purge or export the events that wait for delivery.
    #[command(subcommand)]
    Spool(spool::SpoolCommand),
    /// Judge a scrubbing policy, or show its effect on each field.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Create, change, disable, remove and list the accounts for the admin page.
    ///
    /// Works whether or not a relay is running. A running relay ends the sessions of a changed account at their next
    /// request.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Check whether a running relay is ready; exits 0 or 1. For container health checks.
    Health(ConfigArg),
    /// Check everything the relay needs, from the configuration to Plausible, and print how to fix each problem.
    ///
    /// Exits 1 if something is wrong. Changes nothing, and sends no countable event to Plausible unless asked to.
    Doctor(DoctorArgs),
    /// Run a stand-in for Plausible that accepts a relay's events and shows them on a live page.
    ///
    /// For a first look and for tests. It keeps everything in memory.
    Receiver {
        /// The address to listen on.
        #[arg(long, default_value = "127.0.0.1:8700", value_name = "ADDRESS")]
        listen: SocketAddr,
        /// A site to accept; may be repeated. Default: events of every site are accepted.
        #[arg(long = "site", value_name = "DOMAIN")]
        sites: Vec<String>,
    },
    /// Run a demo page in the style of meshPanel, with the relay mounted below /feedback.
    DemoPanel {
        /// The address to listen on.
        #[arg(long, default_value = "127.0.0.1:8600", value_name = "ADDRESS")]
        listen: SocketAddr,
        /// The relay's public listener.
        #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
        relay: Uri,
        /// The URL of the receiver's page, for a link.
        #[arg(long, value_name = "URL")]
        receiver: Option<String>,
        /// The URL of the relay's admin page, for a link.
        #[arg(long, value_name = "URL")]
        admin: Option<String>,
    },
    /// Show the form in which events would leave, without storing or sending anything.
    Scrub(scrub::ScrubArgs),
    /// Show the version of this binary and the commit it was built from.
    Version,
    /// The policy compiler: the relay starts it when needed.
    #[command(name = compiler::child::COMMAND, hide = true)]
    CompilePolicy {
        /// Run at low priority, because a relay is serving.
        #[arg(long)]
        low_priority: bool,
    },
}

#[derive(Debug, Subcommand)]
enum SwitchCommand {
    /// Start collecting a site's events.
    On(SwitchArgs),
    /// Stop at once, and purge waiting events.
    Off(SwitchArgs),
    /// Show the switch of every site or of one site.
    Status {
        /// The site. Default: all sites.
        #[arg(long, value_name = "DOMAIN")]
        site: Option<String>,
        #[command(flatten)]
        config: ConfigArg,
    },
}

#[derive(Debug, Args)]
struct SwitchArgs {
    /// The site, as written in [[site]].
    #[arg(long, value_name = "DOMAIN")]
    site: String,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// Contact Plausible for sites that are off as well; by default nothing is sent for them.
    #[arg(long)]
    even_if_off: bool,
    /// Send countable events, named "Relay Test": there is no other way to see whether Plausible stores a site's
    /// events. With a Stats API key, two per site, whose visitors are then read back; with `upstream.test_site`, only
    /// to that site.
    #[arg(long)]
    send_test_event: bool,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Args)]
struct ConfigArg {
    /// The configuration file.
    #[arg(long, default_value = "relay.toml", value_name = "FILE")]
    config: PathBuf,
}

/// Runs the command line. Exit codes: 0 success, 1 failure, 2 wrong arguments, 78 wrong configuration (`EX_CONFIG` of
/// sysexits(3)).
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(config) => run::serve(&config.config),
        Command::CheckConfig(config) => manage::check_config(&config.config),
        Command::Plan(command) => plan::run(command),
        Command::Switch(SwitchCommand::On(args)) => switch::set(&args.config.config, &args.site, true),
        Command::Switch(SwitchCommand::Off(args)) => switch::set(&args.config.config, &args.site, false),
        Command::Switch(SwitchCommand::Status { site, config }) => {
            switch::status(&config.config, site.as_deref())
        }
        Command::Spool(command) => spool::run(command),
        Command::Policy(command) => policy::run(command),
        Command::User(command) => user::run(command),
        Command::Health(config) => run::health(&config.config),
        Command::Doctor(args) => doctor::run(&args),
        Command::Receiver { listen, sites } => run::receiver(listen, sites),
        Command::DemoPanel {
            listen,
            relay,
            receiver,
            admin,
        } => run::demo_panel(
            listen,
            Links {
                relay,
                receiver,
                admin,
            },
        ),
        Command::Scrub(args) => scrub::run(&args),
        Command::CompilePolicy { low_priority } => return compiler::child::serve(low_priority),
        Command::Version => {
            say!(
                "feedback-relay {} (commit {}, branch {})",
                version::PACKAGE,
                version::COMMIT,
                version::BRANCH
            );
            Ok(())
        }
    };
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    if let Some(mistakes) = error.downcast_ref::<Diagnostics>() {
        complain!("{mistakes}");
        return ExitCode::from(78);
    }
    if error.chain().any(store::is_damage) {
        complain!("error: {DAMAGED}");
    } else if !error.is::<policy::NotUsable>() {
        complain!("error: {error:#}");
    }
    ExitCode::FAILURE
}

type CommandResult = anyhow::Result<()>;

/// Whether a command may create files in this folder for the relay. The relay could not use files of another user.
fn is_own_data(data_dir: &Path) -> bool {
    let owner = std::fs::metadata(data_dir).map(|meta| meta.uid());
    owner.is_ok_and(|owner| owner == rustix::process::geteuid().as_raw())
}

/// Replaces SQLite's own message, which does not say what to do.
const DAMAGED: &str =
    "the database is damaged; `serve` sets it aside at its start and saves its readable rows";

fn say(text: impl Display) {
    // A reader that closes early, such as `head`, is not a failure.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn complain(text: impl Display) {
    // A reader that closes early is not a failure, and `eprintln!` would panic.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
