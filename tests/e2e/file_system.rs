//! Trouble with a real file system: one that is full, one that is read-only when the relay starts, one that the
//! kernel makes read-only while it runs. Each is mounted where only the test and its relay see it.
//!
//! Nobody else can make a file system read-only under a running relay: while a file is open for writing, the kernel
//! refuses to. When it does so itself, on an error of the disk, it takes nothing back before the file system is
//! mounted anew, for which the relay has to be stopped.
//!
//! That needs namespaces, which some containers forbid, and the last one root and a loop device. Where a test cannot
//! be run it says so on standard output, past the capture of passing tests; `cargo xtask test` lists it at the end.

use crate::{EXE, LONG};
use feedback_tests::{ChildRelay, MiniPlausible, Post, Sent, Setup, load, within};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The namespaces of a room: as an ordinary user, who is root in one of their own, and as root.
const OWN_USER: &[&str] = &["--user", "--mount"];
const ROOT: &[&str] = &["--mount"];

/// A mount namespace with a shell in it. What is mounted there is gone when the shell is.
struct Room {
    shell: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// Where the relay's data folder is, and where something is to be mounted.
    data: PathBuf,
    /// Runs the relay inside.
    exe: String,
}

impl Room {
    /// With a tmpfs as data folder: large enough for the relay to be content with its disk.
    fn with_a_tmpfs(setup: &Setup) -> Result<Self, String> {
        let mount = "mount -t tmpfs -o size=32m,mode=700 tmpfs DATA";
        Self::open(OWN_USER, setup, mount).or_else(|_| Self::open(ROOT, setup, mount))
    }

    /// Opens a room and mounts the data folder there; tells why it cannot be.
    fn open(namespaces: &[&str], setup: &Setup, mount: &str) -> Result<Self, String> {
        let mut unshare = Command::new("unshare");
        unshare.args(namespaces);
        if namespaces.contains(&"--user") {
            unshare.arg("--map-root-user");
        }
        let mut shell = unshare
            .args(["--", "sh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let exe = setup.folder().join("relay-in-its-room");
        let mut room = Self {
            stdin: shell.stdin.take().unwrap(),
            stdout: BufReader::new(shell.stdout.take().unwrap()),
            data: setup.data_dir(),
            exe: exe.display().to_string(),
            shell,
        };
        if !room.run("true") {
            return Err(format!("unshare {} is not allowed here", namespaces.join(" ")));
        }
        let mount = mount.replace("DATA", &room.data.display().to_string());
        if !room.run(&format!("mkdir -p '{}' && {mount}", room.data.display())) {
            return Err(format!("`{mount}` is not allowed here"));
        }
        // Written by the shell: while a file is open for writing here, a child of another test would inherit it, and
        // nobody could run it.
        let enter = format!(
            "exec nsenter --target {} {} --preserve-credentials -- {EXE} \"$@\"",
            room.shell.id(),
            namespaces.join(" ")
        );
        let script = format!(
            "printf '#!/bin/sh\\n%s\\n' '{enter}' > '{0}' && chmod +x '{0}'",
            exe.display()
        );
        assert!(room.run(&script), "{script}");
        Ok(room)
    }

    /// Runs a line in the shell. `false` when it fails, or there is no shell.
    fn run(&mut self, line: &str) -> bool {
        let line = line.replace("DATA", &self.data.display().to_string());
        // A shell that could not be started is seen at the read.
        let _ = writeln!(self.stdin, "{line}\necho \"done $?\"");
        let mut said = String::new();
        while self.stdout.read_line(&mut said).is_ok_and(|n| n > 0) {
            if let Some(code) = said.trim_end().strip_prefix("done ") {
                return code == "0";
            }
            said.clear();
        }
        false
    }

    #[track_caller]
    fn must(&mut self, line: &str) {
        assert!(self.run(line), "{line}");
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // What is mounted goes with the last process inside.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// Says where everybody sees it that a test was not run.
fn not_run(test: &str, why: &str) {
    let _ = writeln!(std::io::stdout(), "\nnot run: file_system::{test}: {why}");
}

fn away() -> (MiniPlausible, Setup) {
    let plausible = MiniPlausible::away();
    // The policy built in: that the small one is to be trusted would be written where the room's mount hides it.
    let setup = Setup::new(&plausible.url());
    (plausible, setup)
}

async fn send(relay: &ChildRelay, n: usize) -> Sent {
    relay.try_send(&Post::batch(&[load(n)])).await.unwrap()
}

/// Sends numbered events until one is refused, and gives back its number; `worsen` comes before each.
async fn until_refused(relay: &ChildRelay, first: usize, mut worsen: impl FnMut()) -> usize {
    let mut n = first;
    let refused = within(LONG, "an event is refused", async || {
        worsen();
        let sent = send(relay, n).await;
        if sent.status == 202 {
            n += 1;
            return None;
        }
        Some(sent)
    })
    .await;
    assert_eq!((refused.status, refused.problem().as_str()), (503, "unavailable"));
    let seconds: u32 = refused.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    n
}

/// Waits until readiness says 503 and gives this reason.
async fn is_not_ready(relay: &ChildRelay, reason: &str) {
    within(LONG, &format!("readiness tells: {reason}"), async || {
        let ready = relay.get("/actuator/health/readiness").await;
        (ready.status == 503 && ready.json()["reason"] == reason).then_some(())
    })
    .await;
    let alive = relay.get("/actuator/health/liveness").await;
    assert_eq!(alive.status, 200, "a restart would not help");
}

async fn is_ready(relay: &ChildRelay) {
    within(LONG, "readiness recovers", async || {
        (relay.get("/actuator/health/readiness").await.status == 200).then_some(())
    })
    .await;
}

/// Everything that was accepted is delivered, each once.
async fn delivers(mut plausible: MiniPlausible, relay: ChildRelay, accepted: usize) {
    plausible.come_back().await;
    relay.drained_within(LONG).await;
    // A relay that starts anew takes a visitor for another one, so only what one relay took keeps its order.
    let mut numbers = plausible.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..accepted).collect::<Vec<_>>());
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_file_system_is_told_and_used_again_once_there_is_room() {
    let (plausible, setup) = away();
    let mut room = match Room::with_a_tmpfs(&setup) {
        Ok(room) => room,
        Err(why) => {
            return not_run(
                "a_full_file_system_is_told_and_used_again_once_there_is_room",
                &why,
            );
        }
    };
    let setup = setup.switched_on(&room.exe).await;
    let relay = setup.spawn(&room.exe).await;
    is_ready(&relay).await;
    assert_eq!(send(&relay, 0).await.status, 202);
    // Whatever SQLite gives back meanwhile is taken at once, up to the last page.
    let refused = until_refused(&relay, 1, || {
        assert!(!room.run("dd if=/dev/zero bs=64k >> DATA/filler"), "it fills up");
    })
    .await;
    is_not_ready(&relay, "disk full").await;
    room.must("rm DATA/filler");
    is_ready(&relay).await;
    assert_eq!(send(&relay, refused).await.status, 202);
    delivers(plausible, relay, refused + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_does_not_start_on_a_read_only_file_system_and_loses_nothing_by_it() {
    let (plausible, setup) = away();
    let mut room = match Room::with_a_tmpfs(&setup) {
        Ok(room) => room,
        Err(why) => {
            return not_run(
                "a_relay_does_not_start_on_a_read_only_file_system_and_loses_nothing_by_it",
                &why,
            );
        }
    };
    let setup = setup.switched_on(&room.exe).await;
    for orderly in [true, false] {
        let relay = setup.spawn(&room.exe).await;
        assert_eq!(send(&relay, usize::from(!orderly)).await.status, 202);
        if orderly {
            relay.stop().await;
        } else {
            relay.kill();
        }
        room.must("mount -o remount,bind,ro DATA");
        let done = setup.command(&room.exe, &["serve"], "").await;
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.err.to_lowercase().contains("read-only"), "{done:?}");
        room.must("mount -o remount,bind,rw DATA");
    }
    let relay = setup.spawn(&room.exe).await;
    delivers(plausible, relay, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_becomes_read_only_is_told_and_what_was_accepted_is_there_after_its_repair() {
    let (plausible, setup) = away();
    let image = setup.folder().join("disk.img").display().to_string();
    let ext4 = format!(
        "truncate -s 64M '{image}' && mkfs.ext4 -q '{image}' && mount -o loop '{image}' DATA && chmod 700 DATA"
    );
    let mut room = match Room::open(ROOT, &setup, &ext4) {
        Ok(room) => room,
        Err(why) => {
            return not_run(
                "a_file_system_that_becomes_read_only_is_told_and_what_was_accepted_is_there_after_its_repair",
                &why,
            );
        }
    };
    let setup = setup.switched_on(&room.exe).await;
    let relay = setup.spawn(&room.exe).await;
    is_ready(&relay).await;
    assert_eq!(send(&relay, 0).await.status, 202);
    // What the kernel does itself when it meets an error on the disk.
    room.must("mount -o remount,abort DATA");
    let refused = until_refused(&relay, 1, || {}).await;
    // SQLite tells a write that is refused as it tells any other that fails.
    is_not_ready(&relay, "disk error").await;
    relay.kill();
    room.must(&format!("umount DATA && mount -o loop '{image}' DATA"));
    let relay = setup.spawn(&room.exe).await;
    is_ready(&relay).await;
    assert_eq!(send(&relay, refused).await.status, 202);
    delivers(plausible, relay, refused + 1).await;
}
