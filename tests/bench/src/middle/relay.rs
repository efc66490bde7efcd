//! The relay, with everything on.

use super::{Place, free_port};
use crate::load::{SITE, with_numbers};
use anyhow::{Context as _, Result};
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use tests_common::step;
use tests_common::workspace::root;

/// A configuration of the relay.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Setup {
    /// One site, with the shipped plan.
    Shipped,
    /// One site, with the shipped plan and numbers in its events.
    Numbered,
    /// [`MANY_SITES`] sites, each with a plan that lists a page more than the shipped one.
    ManySites,
    /// One site, with the shipped plan, whose page a server on this machine has.
    Page(SocketAddr),
}

/// The number of sites, if they are many.
pub(crate) const MANY_SITES: usize = 100;

/// The domain of one of many sites.
pub(crate) fn site_name(nth: usize) -> String {
    format!("panel-{nth}.example.com")
}

/// Everything is on, as shipped, except the limits per client and site, because the generator is one site, and page
/// tokens, because its requests are built before there is a relay to request one from. `under` are the words of a
/// command that runs the relay in place of itself; empty without one.
pub(super) fn command(place: &Place<'_>, setup: Setup, under: &[String]) -> Result<Command> {
    let Place {
        program,
        folder,
        address,
        sink,
    } = place;
    let sites = sites(place, setup)?;
    let text = format!(
        r#"data_dir = {data}

[public]
listen = "{address}"
trusted_proxies = ["127.0.0.1"]
rate_per_client = 0
rate_per_site = 0
require_page_token = false

[budget]
exempt = ["127.0.0.0/8"]

[admin]
listen = "{admin}"

[metrics]
password = "of the benchmark"

[upstream]
url = "http://{sink}"
{sites}"#,
        // A JSON string is a TOML string.
        data = serde_json::Value::from(folder.join("data").display().to_string()),
        admin = free_port()?,
        sites = sites.iter().map(Site::table).collect::<String>(),
    );
    let config = place.write("relay.toml", &text)?;
    for site in &sites {
        let switch = ["switch", "on", "--site", &site.domain, "--config", &config];
        step::output(Command::new(program).args(switch))?;
    }
    // `env` replaces itself by the command that it is given.
    let mut command = Command::new("env");
    command.args(under).arg(program);
    command.args(["serve", "--config", &config]);
    Ok(command)
}

/// A site, the origin of its pages, and the file of its own plan.
struct Site {
    domain: String,
    origin: String,
    plan: Option<String>,
}

impl Site {
    fn table(&self) -> String {
        let Self { domain, origin, .. } = self;
        let mut table = format!("\n[[site]]\ndomain = \"{domain}\"\norigins = [\"{origin}\"]\n");
        if let Some(plan) = &self.plan {
            table += &format!("plan = \"{plan}\"\n");
        }
        table
    }
}

/// The sites, after their plans have been written.
fn sites(place: &Place<'_>, setup: Setup) -> Result<Vec<Site>> {
    let planned = |domain: String, plan: &str| {
        let file = format!("{domain}.plan.toml");
        place.write(&file, plan)?;
        Ok(Site {
            origin: format!("https://{domain}"),
            domain,
            plan: Some(file),
        })
    };
    let shipped = |origin| {
        vec![Site {
            domain: SITE.to_owned(),
            origin,
            plan: None,
        }]
    };
    match setup {
        Setup::Shipped => Ok(shipped(format!("https://{SITE}"))),
        Setup::Page(address) => Ok(shipped(format!("http://{address}"))),
        Setup::Numbered => Ok(vec![planned(SITE.to_owned(), &with_numbers(&shipped_plan()?))?]),
        Setup::ManySites => {
            let plan = shipped_plan()?;
            let own = |nth| plan.replace("routes = [\n", &format!("routes = [\n  \"/only-here-{nth}\",\n"));
            (0..MANY_SITES)
                .map(|nth| planned(site_name(nth), &own(nth)))
                .collect()
        }
    }
}

fn shipped_plan() -> Result<String> {
    fs::read_to_string(root().join("relay/plan.toml")).context("cannot read the shipped plan")
}
