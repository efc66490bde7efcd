//! `[[tool]]`: programs other than browsers that may send events, each with its own token.

use crate::config::toml::Table;
use crate::config::{Env, Secret, SecretSource, SiteConfig};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Maximum number of tools, because each is a metric label. More is a mistake.
const TOOLS_MAX: usize = 64;
/// Longest name of a tool, in characters. A longer one is a mistake.
const NAME_CHARS_MAX: usize = 40;
/// Shortest token, in characters: `openssl rand -hex 16` generates one of this length. A shorter one is a mistake.
const TOKEN_CHARS_MIN: usize = 32;
/// Longest token, in characters. A longer one is a mistake, and a longer guess is not compared.
const TOKEN_CHARS_MAX: usize = 512;

/// A program that may send events without being a page. The relay stores a hash of its token.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Its name in metrics.
    pub name: String,
    /// The origin of its token, so that the relay can report who else may read it.
    pub token_source: SecretSource,
    digest: [u8; 32],
    /// The sites it may send events for; empty means all sites.
    sites: Vec<String>,
}

impl Tool {
    /// Whether it may send events for a site.
    pub fn may_send_for(&self, site: &str) -> bool {
        self.sites.is_empty() || self.sites.iter().any(|known| known == site)
    }
}

/// The configured tools.
#[derive(Clone, Debug, Default)]
pub struct Tools(Vec<Arc<Tool>>);

impl Tools {
    /// The tool with this token. Compares the hashes of all tools, each in constant time, so that the duration
    /// reveals nothing about a token.
    pub fn with_token(&self, token: &str) -> Option<&Arc<Tool>> {
        if self.0.is_empty() || token.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let digest = digest(token);
        let is = |tool: &Tool| bool::from(tool.digest.ct_eq(&digest));
        self.0
            .iter()
            .fold(None, |found, tool| if is(tool) { Some(tool) } else { found })
    }

    /// All configured tools.
    pub fn iter(&self) -> impl Iterator<Item = &Tool> {
        self.0.iter().map(Arc::as_ref)
    }

    pub(super) fn read(root: &Table<'_>, folder: &Path, sites: &[SiteConfig], env: Env<'_>) -> Self {
        let (mut names, mut digests) = (HashSet::new(), HashSet::new());
        let tools = root.sections("tool", |section| {
            let tool = read(section, folder, sites, env)?;
            if !names.insert(variable(&tool.name)) {
                section.mistake("name", "is already the name of another tool");
            }
            if !digests.insert(tool.digest) {
                section.mistake("token", "is already the token of another tool; give each its own");
            }
            Some(Arc::new(tool))
        });
        if tools.len() > TOOLS_MAX {
            root.mistake("tool", format!("has more than {TOOLS_MAX} entries"));
        }
        Self(tools.into_iter().flatten().collect())
    }
}

fn read(section: &Table<'_>, folder: &Path, sites: &[SiteConfig], env: Env<'_>) -> Option<Tool> {
    let what =
        format!("a name of up to {NAME_CHARS_MAX} letters, digits, \"-\" and \"_\", such as \"smoke-test\"");
    let name = section.parsed("name", &what, |text| is_name(text).then(|| text.to_owned()));
    section.require("name", &what);
    let known = |text: &str| match sites.iter().find(|site| site.domain.eq_ignore_ascii_case(text)) {
        Some(site) => Ok(site.domain.clone()),
        None => Err(format!("{text:?} is not the domain of a [[site]]")),
    };
    let listed = section.list("sites", "domains of [[site]]", known);
    if listed.as_ref().is_some_and(Vec::is_empty) {
        section.mistake(
            "sites",
            "lists no site that the tool may send for; leave it out to allow all sites",
        );
    }
    let variable = name.as_deref().map(variable).unwrap_or_default();
    let token = Secret::read(section, "token", folder, &variable, env);
    let Some(secret) = token else {
        if !section.has("token") && !section.has("token_file") {
            let variable = name
                .as_deref()
                .map_or("FEEDBACK_RELAY_TOOL_NAME_TOKEN", |_| &variable);
            section.mistake(
                "token",
                format!("is missing: set `token_file`, `token` or the environment variable {variable}"),
            );
        }
        return None;
    };
    let token = secret.exposed();
    if !(TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&token.len())
        || !token.bytes().all(|b| b.is_ascii_graphic())
    {
        section.mistake(
            "token",
            format!(
                "must have {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} letters, digits and signs without spaces; \
                 `openssl rand -hex 32` generates one"
            ),
        );
        return None;
    }
    Some(Tool {
        name: name?,
        token_source: secret.source().clone(),
        digest: digest(token),
        sites: listed.unwrap_or_default(),
    })
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.chars().all(plain)
}

/// The environment variable that holds the token of a tool.
fn variable(name: &str) -> String {
    let name = name.to_ascii_uppercase().replace('-', "_");
    format!("FEEDBACK_RELAY_TOOL_{name}_TOKEN")
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use std::path::Path;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn read(tools: &str, env: &[(&str, &str)]) -> Result<Config, String> {
        let text = format!(
            "[upstream]\nurl = \"https://p.example\"\n[[site]]\ndomain = \"a.example\"\n[[site]]\ndomain = \"b.example\"\n{tools}"
        );
        let env = |key: &str| {
            let found = env.iter().find(|(known, _)| *known == key)?;
            Some(found.1.to_owned())
        };
        Config::parse("relay.toml", &text, Path::new("/nowhere"), &env)
            .map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn a_tool_is_known_by_its_token_and_sends_for_its_sites() {
        let second = "f".repeat(64);
        let tools = format!(
            "[[tool]]\nname = \"smoke-test\"\ntoken = \"{TOKEN}\"\nsites = [\"A.example\"]\n[[tool]]\nname = \"other\"\n"
        );
        let config = read(&tools, &[("FEEDBACK_RELAY_TOOL_OTHER_TOKEN", &second)]).unwrap();
        let check = |token: &str, want: Option<(&str, bool, bool)>| {
            let found = config.tools.with_token(token);
            let found = found.map(|tool| {
                let may = |site| tool.may_send_for(site);
                (tool.name.as_str(), may("a.example"), may("b.example"))
            });
            assert_eq!(found, want, "{token}");
        };
        check(TOKEN, Some(("smoke-test", true, false)));
        check(&second, Some(("other", true, true)));
        check("", None);
        check(&TOKEN[1..], None);
        check(&TOKEN.to_uppercase(), None);
        check(&format!("{TOKEN} "), None);
        check(&TOKEN.repeat(1000), None);
        let shown = format!("{:?}", config.tools);
        assert!(!shown.contains(TOKEN) && !shown.contains(&second), "{shown}");
    }

    #[test]
    fn mistakes_in_tools_say_what_to_write_and_never_show_a_token() {
        let check = |lines: &str, want: &str| {
            let why = read(&format!("[[tool]]\n{lines}"), &[]).expect_err(lines);
            assert!(why.contains(want), "{lines}: {why}");
            assert!(!why.contains("secret") && !why.contains(TOKEN), "{why}");
        };
        let named = |line: &str| format!("name = \"x\"\n{line}");
        check(&format!("token = \"{TOKEN}\""), "`tool.name` is missing");
        check(
            &format!("name = \"two words\"\ntoken = \"{TOKEN}\""),
            "`tool.name` must be a name",
        );
        check(
            &format!("name = \"\"\ntoken = \"{TOKEN}\""),
            "`tool.name` must be a name",
        );
        check(&named(""), "FEEDBACK_RELAY_TOOL_X_TOKEN");
        check(&named("token = \"secret\""), "openssl rand -hex 32");
        check(
            &named("token = \"secret secret secret secret secret secret\""),
            "without spaces",
        );
        check(&named("token_file = \"missing\""), "cannot be read");
        check(
            &named(&format!("token = \"{TOKEN}\"\nsites = []")),
            "leave it out",
        );
        check(
            &named(&format!("token = \"{TOKEN}\"\nsites = [\"c.example\"]")),
            "is not the domain of a [[site]]",
        );
        let again = format!("name = \"x\"\ntoken = \"{TOKEN}\"\n[[tool]]\n");
        check(
            &format!("{again}name = \"X\"\ntoken = \"{}\"", "f".repeat(32)),
            "name of another tool",
        );
        check(
            &format!("{again}name = \"y\"\ntoken = \"{TOKEN}\""),
            "token of another tool",
        );
    }
}
