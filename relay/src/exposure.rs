//! Permissions and settings that let other users or machines read or replace what the relay depends on.
//!
//! `check-config`, `doctor` and `serve` report all findings. `serve` refuses to start if a file or the data folder is
//! world-writable, because any local user could then take over the relay. Everything else is a warning: platforms mount
//! secrets world-readable inside a container, which has no other users.

use crate::config::toml::Diagnostics;
use crate::config::{Config, ProxySource, Secret, SecretSource, TlsFiles, Way};
use crate::finding::{Finding, Grade};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Permission bits, as in chmod(1).
const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITE: u32 = 0o020;
const GROUP_AND_OTHERS: u32 = 0o077;
/// In a sticky folder users can create files, but rename or remove only their own.
const STICKY: u32 = 0o1000;

/// Returns all findings for the current state of the files. A file whose metadata cannot be read is skipped: its reader
/// reports that. `path` is the configuration file.
pub fn look(path: &Path, config: &Config) -> Vec<Finding> {
    let mut findings = besides_data(path, config);
    findings.extend(data(&config.data_dir));
    let listeners = [
        ("public", &config.public.trusted_proxies),
        ("admin", &config.admin.trusted_proxies),
    ];
    let open = |(listener, trusted): (&str, &Vec<IpNet>)| all_trusted(listener, trusted, Grade::Warning);
    findings.extend(listeners.into_iter().filter_map(open));
    findings
}

/// Returns the findings for the files that the configuration names, their folders, and the admin listener.
pub fn besides_data(path: &Path, config: &Config) -> Vec<Finding> {
    let files = files(path, config);
    let trusted = files.iter().map(|file| file.path.as_path());
    let found = files.iter().filter_map(File::finding);
    found
        .chain(above(trusted.chain([config.data_dir.as_path()])))
        .chain(listener(config.admin.listen, config.admin.tls.as_ref()))
        .collect()
}

/// Refuses to start with findings of [`Grade::Wrong`].
///
/// # Errors
/// Those findings, as mistakes of the configuration.
pub fn refuse_worst(path: &Path, findings: &[Finding]) -> Result<(), Diagnostics> {
    let mut mistakes = Diagnostics::default();
    for finding in findings.iter().filter(|finding| finding.grade == Grade::Wrong) {
        mistakes.merge(Diagnostics::of_file(path, line(finding)));
    }
    mistakes.into_result()
}

/// A finding in one line, with what to do about it.
pub fn line(finding: &Finding) -> String {
    let advice = finding.advice.as_deref().unwrap_or_default();
    format!("{}: {}; {advice}", finding.what, finding.says)
}

/// A file that the relay trusts.
struct File {
    /// The setting that names it.
    setting: String,
    path: PathBuf,
    is_secret: bool,
}

impl File {
    fn finding(&self) -> Option<Finding> {
        let mode = mode(&self.path)?;
        let (setting, path) = (self.setting.as_str(), self.path.display());
        Some(if mode & OTHERS_WRITE != 0 {
            Finding::wrong(setting, format!("it is world-writable: {path}")).advise(format!(
                "run `chmod o-w {path}` and check that its content is yours"
            ))
        } else if self.is_secret && mode & OTHERS_READ != 0 {
            Finding::warning(
                setting,
                format!("it holds a secret and is world-readable: {path}"),
            )
            .advise(format!("run `chmod o= {path}`"))
        } else if mode & GROUP_WRITE != 0 {
            Finding::warning(setting, format!("it is group-writable: {path}")).advise(format!(
                "run `chmod g-w {path}`, unless you trust the whole group"
            ))
        } else {
            return None;
        })
    }
}

/// All files that hold secrets or decide which data leaves and where it goes.
fn files(path: &Path, config: &Config) -> Vec<File> {
    let upstream = &config.upstream;
    let secrets = [
        ("metrics.password_file", config.metrics.password.as_ref()),
        (
            "upstream.stats_key_file",
            upstream.stats.as_ref().map(|stats| &stats.key),
        ),
    ];
    let of_tools = config
        .tools
        .iter()
        .map(|tool| ("tool.token_file", &tool.token_source));
    let sources: Vec<_> = secrets
        .iter()
        .filter_map(|(setting, secret)| Some((*setting, secret.map(Secret::source)?)))
        .chain(of_tools)
        .collect();
    let proxy_is_secret =
        matches!(&upstream.way, Way::Proxy(proxy, ProxySource::Setting) if proxy.authorization.is_some());
    let file = |setting: &str, path: &Path, is_secret| File {
        setting: setting.to_owned(),
        path: path.to_owned(),
        is_secret,
    };
    let holds_secret = proxy_is_secret || sources.iter().any(|(_, source)| **source == SecretSource::Inline);
    let mut all = vec![file("configuration", path, holds_secret)];
    for (setting, source) in sources {
        if let SecretSource::File(path) = source {
            all.push(file(setting, path, true));
        }
    }
    for (listener, tls) in config.tls() {
        all.push(file(&format!("{listener}.tls.cert_file"), &tls.cert_file, false));
        all.push(file(&format!("{listener}.tls.key_file"), &tls.key_file, true));
    }
    let client = upstream.files.client.as_ref();
    let optional = [
        ("policy.file", config.policy.file.as_ref(), false),
        ("upstream.ca_file", upstream.files.ca.as_ref(), false),
        ("upstream.headers_file", upstream.files.headers.as_ref(), true),
        ("upstream.client_cert_file", client.map(|(cert, _)| cert), false),
        ("upstream.client_key_file", client.map(|(_, key)| key), true),
    ];
    for (setting, path, is_secret) in optional {
        all.extend(path.map(|path| file(setting, path, is_secret)));
    }
    all.extend(
        config
            .plans
            .iter()
            .filter_map(|plan| plan.file())
            .map(|path| file("plan", path, false)),
    );
    all
}

/// Checks the data folder: switches, accounts, waiting events. The relay creates a missing one with mode 700.
pub fn data(folder: &Path) -> Option<Finding> {
    let mode = mode(folder)?;
    let what = format!("data folder {}", folder.display());
    let close = format!("run `chmod 700 {}`", folder.display());
    if mode & OTHERS_WRITE != 0 {
        let advice =
            format!("{close}, or set `data_dir` to a new folder inside: the relay creates it with mode 700");
        return Some(Finding::wrong(what, "it is world-writable").advise(advice));
    }
    let says = "other users can read or change it";
    (mode & GROUP_AND_OTHERS != 0).then(|| Finding::warning(what, says).advise(close))
}

/// Reports a listener that trusts every address to name clients: any client can then choose its own address, and with it
/// its budgets and pseudonym.
pub fn all_trusted(listener: &str, trusted: &[IpNet], grade: Grade) -> Option<Finding> {
    let says = "all addresses are trusted, so any client can choose its own address";
    let finding = || {
        Finding::new(format!("{listener}.trusted_proxies"), grade, says)
            .advise("list only the addresses of your proxies")
    };
    trusted
        .iter()
        .any(|network| network.prefix_len() == 0)
        .then(finding)
}

/// Reports each parent folder that is world-writable without the sticky bit, with the files that can be replaced in it.
fn above<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Vec<Finding> {
    let is_open =
        |folder: &&Path| mode(folder).is_some_and(|mode| mode & OTHERS_WRITE != 0 && mode & STICKY == 0);
    let mut open: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for path in paths {
        // Both the folder of a symbolic link and the folder of its target.
        let places = [std::path::absolute(path).ok(), path.canonicalize().ok()];
        for place in places.iter().flatten() {
            for folder in place.ancestors().skip(1).filter(is_open) {
                let inside = open.entry(folder.to_owned()).or_default();
                let name = path.display().to_string();
                if !inside.contains(&name) {
                    inside.push(name);
                }
            }
        }
    }
    let finding = |(folder, inside): (PathBuf, Vec<String>)| {
        let says = format!(
            "it is world-writable, so any local user can replace {}",
            inside.join(", ")
        );
        Finding::warning(format!("folder {}", folder.display()), says)
            .advise(format!("run `chmod o-w {}`", folder.display()))
    };
    open.into_iter().map(finding).collect()
}

/// Reports an admin listener off loopback without TLS.
fn listener(listen: SocketAddr, tls: Option<&TlsFiles>) -> Option<Finding> {
    if tls.is_some() || listen.ip().to_canonical().is_loopback() {
        return None;
    }
    let says = format!(
        "{listen} is reachable over the network without TLS: passwords and sessions can be intercepted"
    );
    Some(Finding::warning("admin.listen", says).advise(
        "listen on 127.0.0.1 and reach it through an SSH tunnel or `kubectl port-forward`, or give it [admin.tls]",
    ))
}

/// A file's permission bits, links followed.
fn mode(path: &Path) -> Option<u32> {
    std::fs::metadata(path)
        .ok()
        .map(|about| about.permissions().mode())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    const CONFIG: &str =
        "[[site]]\ndomain = \"panel.example.com\"\n[upstream]\nurl = \"https://plausible.example.com\"\n";

    /// A folder with every file that a configuration can name, each accessible to its owner only.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            std::fs::create_dir(machine.path("data")).unwrap();
            machine.set("data", 0o700);
            for name in [
                "relay.toml",
                "plan.toml",
                "policy.wasm",
                "secret",
                "cert.pem",
                "key.pem",
            ] {
                std::fs::write(machine.path(name), crate::config::DEFAULT_PLAN).unwrap();
                machine.set(name, 0o600);
            }
            machine
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn set(&self, name: &str, mode: u32) {
            std::fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
        }

        fn look(&self, more: &str) -> Vec<Finding> {
            let text = format!("{more}\n{CONFIG}");
            let config = Config::parse("relay.toml", &text, self.0.path(), &|_| None).unwrap();
            look(&self.path("relay.toml"), &config)
        }
    }

    #[test]
    fn what_others_may_read_is_a_warning_and_what_they_may_replace_is_refused() {
        use Grade::{Warning, Wrong};
        let check = |more: &str, name: &str, mode: u32, want: Option<Grade>| {
            let machine = Machine::new();
            assert_eq!(machine.look(more), [], "{more}");
            machine.set(name, mode);
            let found = machine.look(more);
            let grades: Vec<Grade> = found.iter().map(|finding| finding.grade).collect();
            assert_eq!(grades, Vec::from_iter(want), "{more} {name} {mode:o}: {found:?}");
            assert_eq!(
                refuse_worst(Path::new(""), &found).is_err(),
                want == Some(Wrong),
                "{more} {name} {mode:o}"
            );
        };
        for inline in [
            "[metrics]\npassword = \"a long enough password\"",
            "[metrics]\nusername = \"a\"\npassword = \"\"",
        ] {
            check(inline, "relay.toml", 0o644, Some(Warning));
            check(inline, "relay.toml", 0o640, None);
            check(inline, "relay.toml", 0o660, Some(Warning));
            check(inline, "relay.toml", 0o602, Some(Wrong));
        }
        check("", "relay.toml", 0o644, None);
        check("", "relay.toml", 0o666, Some(Wrong));
        let password = "[metrics]\npassword_file = \"secret\"";
        check(password, "secret", 0o604, Some(Warning));
        check(password, "secret", 0o440, None);
        check(password, "secret", 0o666, Some(Wrong));
        check(password, "relay.toml", 0o644, None);
        for listener in ["public", "admin"] {
            let tls = format!("[{listener}.tls]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"");
            check(&tls, "key.pem", 0o644, Some(Warning));
            check(&tls, "key.pem", 0o640, None);
            check(&tls, "key.pem", 0o646, Some(Wrong));
            check(&tls, "cert.pem", 0o644, None);
            check(&tls, "cert.pem", 0o646, Some(Wrong));
        }
        let policy = "[policy]\nfile = \"policy.wasm\"";
        check(policy, "policy.wasm", 0o644, None);
        check(policy, "policy.wasm", 0o664, Some(Warning));
        check(policy, "policy.wasm", 0o777, Some(Wrong));
        let plan = "plan = \"plan.toml\"";
        check(plan, "plan.toml", 0o644, None);
        check(plan, "plan.toml", 0o666, Some(Wrong));
        check("", "data", 0o750, Some(Warning));
        check("", "data", 0o770, Some(Warning));
        check("", "data", 0o711, Some(Warning));
        check("", "data", 0o777, Some(Wrong));
        check("", "data", 0o1777, Some(Wrong));
        // The parent folder of all of them.
        check("", "", 0o777, Some(Warning));
        check("", "", 0o1777, None);
        check(plan, "", 0o777, Some(Warning));
    }

    #[test]
    fn a_folder_that_is_not_there_yet_exposes_nothing() {
        let machine = Machine::new();
        assert_eq!(machine.look("data_dir = \"later\""), []);
    }

    #[test]
    fn to_trust_everybody_as_a_proxy_is_a_warning() {
        let check = |text: &str, want: usize| {
            let found = Machine::new().look(text);
            assert_eq!(found.len(), want, "{text}: {found:?}");
        };
        check("[public]\ntrusted_proxies = [\"10.0.0.0/8\"]", 0);
        check("[public]\ntrusted_proxies = [\"10.0.0.0/8\", \"0.0.0.0/0\"]", 1);
        check("[admin]\ntrusted_proxies = [\"::/0\"]", 1);
    }

    #[test]
    fn passwords_go_over_loopback_or_tls() {
        let check = |admin: &str, want: bool| {
            let found = Machine::new().look(&format!("[admin]\n{admin}"));
            assert_eq!(found.len(), usize::from(want), "{admin}: {found:?}");
            assert!(refuse_worst(Path::new(""), &found).is_ok(), "{admin}");
        };
        let tls = "[admin.tls]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"";
        check("", false);
        check("listen = \"127.0.0.1:8081\"", false);
        check("listen = \"127.9.9.9:8081\"", false);
        check("listen = \"[::1]:8081\"", false);
        check("listen = \"[::ffff:127.0.0.1]:8081\"", false);
        check("listen = \"0.0.0.0:8081\"", true);
        check("listen = \"[::]:8081\"", true);
        check("listen = \"10.0.0.1:8081\"", true);
        check(&format!("listen = \"0.0.0.0:8081\"\n{tls}"), false);
    }
}
