//! The command line: one subcommand per question an operator has.

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

use crate::config::Config;
use crate::document::Mistakes;
use crate::policy::verdicts::Verdicts;
use crate::sandbox::compiler::{self, Compiler};
use crate::store;
use crate::version;
use clap::{Args, Parser, Subcommand};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

/// A privacy-friendly product-feedback relay between browsers and Plausible.
#[derive(Debug, Parser)]
#[command(name = "feedback-relay", version = version::PACKAGE, arg_required_else_help = true, after_help = "\
Getting started:
  feedback-relay check-config --config relay.toml      tells every mistake of the configuration
  feedback-relay user add alice --config relay.toml    makes an admin account
  feedback-relay serve --config relay.toml             runs the relay
  feedback-relay switch on --site panel.example.com --config relay.toml

Collection is off until somebody switches it on, per site.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay until SIGINT or SIGTERM.
    Serve(ConfigArg),
    /// Check the configuration and the tracking plan, and tell every mistake with its key and line.
    CheckConfig(ConfigArg),
    /// Check a tracking plan, or write its privacy page or its TypeScript types.
    #[command(subcommand)]
    Plan(plan::PlanCommand),
    /// Turn a site's collection on or off, or show how it stands.
    ///
    /// Works on a running relay and on a stopped one. When "off" has been answered no event leaves any
    /// more, and those that waited are purged.
    #[command(subcommand)]
    Switch(SwitchCommand),
    /// Look at the events that wait for delivery, check, replay, purge or export them.
    #[command(subcommand)]
    Spool(spool::SpoolCommand),
    /// Judge a scrubbing policy, or see what one does to each field.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Make, change, disable, remove and list the accounts that may use the admin page.
    ///
    /// Works on a running relay and on a stopped one. A running relay ends the sessions of a changed account
    /// at their next request.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Ask a running relay whether it is ready; exits 0 or 1. For container health checks.
    Health(ConfigArg),
    /// Look at everything the relay needs, from the configuration to Plausible, and say what to do about what
    /// is not as it should be.
    ///
    /// Exits 1 when something is wrong. Changes nothing, and counts nothing in Plausible unless told to.
    Doctor(DoctorArgs),
    /// Run a receiver that speaks Plausible's events API and shows what arrives on a live page.
    ///
    /// For a first look and for tests. It keeps everything in memory.
    Receiver {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:8700", value_name = "ADDRESS")]
        listen: SocketAddr,
        /// A site it knows; may be repeated. Without any it takes events of every site.
        #[arg(long = "site", value_name = "DOMAIN")]
        sites: Vec<String>,
    },
    /// Run a demo page in meshPanel's manner, with the relay mounted below /feedback.
    DemoPanel {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:8600", value_name = "ADDRESS")]
        listen: SocketAddr,
        /// The relay's public listener.
        #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
        relay: String,
        /// The receiver's page, to link to.
        #[arg(long, value_name = "URL")]
        receiver: Option<String>,
        /// The relay's admin page, to link to.
        #[arg(long, value_name = "URL")]
        admin: Option<String>,
        /// The site the page belongs to.
        #[arg(long, default_value = "panel.example.com", value_name = "DOMAIN")]
        site: String,
    },
    /// Show what would leave of events, without storing or sending anything.
    Scrub(scrub::ScrubArgs),
    /// Show what this binary was built from.
    Version,
    /// The compiler of policies: the relay starts it when it needs one.
    #[command(name = compiler::child::COMMAND, hide = true)]
    CompilePolicy {
        /// Leave the processor to the relay that serves.
        #[arg(long)]
        low_priority: bool,
    },
}

#[derive(Debug, Subcommand)]
enum SwitchCommand {
    /// Start collecting a site's events.
    On(SwitchArgs),
    /// Stop at once, and purge what waits.
    Off(SwitchArgs),
    /// Show every site's switch, or one site's.
    Status {
        /// The site; all of them without it.
        #[arg(long, value_name = "DOMAIN")]
        site: Option<String>,
        #[command(flatten)]
        config: ConfigArg,
    },
}

#[derive(Debug, Args)]
struct SwitchArgs {
    /// The site, as in [[site]].
    #[arg(long, value_name = "DOMAIN")]
    site: String,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// Ask Plausible for sites that are off as well; otherwise off means that nothing is sent.
    #[arg(long)]
    even_if_off: bool,
    /// Send events that count, named "Relay Test": nothing else shows whether Plausible keeps a site's events. With a
    /// Stats API key two per site, whose visitors are then read back; with `upstream.test_site` only to that site.
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

/// Runs the command line. Exit codes: 0 done, 1 it failed, 2 the arguments are wrong, 78 the
/// configuration is wrong (`EX_CONFIG` of sysexits(3)).
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(config) => run::serve(&config.config),
        Command::CheckConfig(config) => manage::check_config(&config.config),
        Command::Plan(command) => plan::run(command),
        Command::Switch(SwitchCommand::On(args)) => switch::turn(&args.config.config, &args.site, true),
        Command::Switch(SwitchCommand::Off(args)) => switch::turn(&args.config.config, &args.site, false),
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
            site,
        } => run::demo_panel(
            listen,
            crate::demo_panel::Places {
                site,
                relay,
                receiver,
                admin,
            },
        ),
        Command::Scrub(args) => scrub::run(&args),
        Command::CompilePolicy { low_priority } => return compiler::child::serve(low_priority),
        Command::Version => {
            say(&format!(
                "feedback-relay {} (commit {}, branch {})",
                version::PACKAGE,
                version::COMMIT,
                version::BRANCH
            ));
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<policy::NotUsable>() => ExitCode::FAILURE,
        Err(error) => match error.downcast_ref::<Mistakes>() {
            Some(mistakes) => {
                complain(&mistakes.to_string());
                ExitCode::from(78)
            }
            None => {
                match error.chain().any(store::is_damage) {
                    true => complain(&format!("error: {DAMAGED}")),
                    false => complain(&format!("error: {error:#}")),
                }
                ExitCode::FAILURE
            }
        },
    }
}

type Outcome = anyhow::Result<()>;

/// The compiler of policies for a command. Compiled policies are taken from the data folder and kept there, if the
/// command knows a data folder and there is one.
fn compiler(config: Option<&Config>) -> Compiler {
    let compiler = Compiler::child(CancellationToken::new());
    match config {
        Some(config) if is_own_data(&config.data_dir) => compiler.cached_in(&config.data_dir),
        _ => compiler,
    }
}

/// What the relay of this configuration remembers of policies, if this command may write there.
fn verdicts(config: &Config) -> Option<Verdicts> {
    let open = || Verdicts::open(&config.data_dir, &config.policy, &config.plans);
    is_own_data(&config.data_dir).then(open)
}

/// Whether a command may keep files for the relay in this folder. Made by another user, they would be in the relay's way.
fn is_own_data(data_dir: &Path) -> bool {
    let owner = std::fs::metadata(data_dir).map(|meta| meta.uid());
    owner.is_ok_and(|owner| owner == rustix::process::geteuid().as_raw())
}

/// Instead of SQLite's own words, which do not say what to do.
const DAMAGED: &str =
    "the database is damaged; `serve` sets it aside at its start and saves what can still be read";

/// A command's result, for people and scripts.
fn say(text: &str) {
    // A reader that has seen enough, as `head`, is no reason to fail.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// What went wrong, for people.
fn complain(text: &str) {
    eprintln!("{text}");
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
