//! Networks in which one of Plausible's addresses is dead: namespaces with routes and a hosts file of their own.
//!
//! If this machine allows no namespaces, the test prints that on standard output; `cargo xtask test` lists it at the end.

use crate::EXE;
use feedback_tests::{Done, Setup};
use std::io::Write as _;

/// A Plausible at 192.0.2.1, and a host name for it that has IPv6 addresses as well. The network `2001:db8::/64` drops
/// all packets; on `2001:db8:1::7` no process listens; there is no route to `2001:db8:2::7`.
const SCRIPT: &str = r#"
set -e
mount --bind "$2/hosts" /etc/hosts
ip link set lo up
ip addr add 192.0.2.1/32 dev lo
ip addr add 2001:db8:1::7/128 dev lo
ip -6 route add 2001:db8::/64 dev lo
"$1" receiver --listen 192.0.2.1:8000 > "$2/said" &
while ! grep -q ready "$2/said"; do sleep 0.1; done
echo allowed
"$1" doctor --json --even-if-off --config "$3" || true
kill $!
"#;

/// Runs the doctor in such a network; an error if this machine does not allow one.
async fn doctor(dead: &[&str]) -> Result<String, String> {
    let setup = Setup::new("http://plausible.test:8000");
    let hosts: String = dead
        .iter()
        .chain(&["192.0.2.1"])
        .map(|address| format!("{address} plausible.test\n"))
        .collect();
    std::fs::write(setup.folder().join("hosts"), hosts).unwrap();
    let file = setup.folder().join("relay.toml");
    std::fs::write(&file, setup.text()).unwrap();
    let folder = setup.folder().display().to_string();
    let mut arguments = vec!["--net", "--mount", "--", "sh", "-c", SCRIPT, "sh", EXE, &folder];
    let file = file.display().to_string();
    arguments.push(&file);
    let owned = |arguments: &[&str]| arguments.iter().map(|&a| a.to_owned()).collect::<Vec<_>>();
    let own_user = [&["--user", "--map-root-user"], &arguments[..]].concat();
    let mut done = Done::of("unshare", owned(&arguments), String::new()).await;
    if !done.out.starts_with("allowed") {
        done = Done::of("unshare", owned(&own_user), String::new()).await;
    }
    let found = done.out.strip_prefix("allowed").map(str::to_owned);
    found.ok_or(done.err)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_ipv6_address_beside_a_good_ipv4_one_delivers() {
    for dead in [
        &["2001:db8::7"][..],
        &["2001:db8:1::7"],
        &["2001:db8:2::7"],
        &["2001:db8::7", "2001:db8:1::7", "2001:db8::8"],
    ] {
        match doctor(dead).await {
            Ok(found) => {
                let well = found.contains("it reports that it is healthy");
                assert!(well, "{dead:?}: {found}");
            }
            Err(why) => {
                let test = "network::a_dead_ipv6_address_beside_a_good_ipv4_one_delivers";
                let _ = writeln!(std::io::stdout(), "\nnot run: {test}: {why}");
                return;
            }
        }
    }
}
