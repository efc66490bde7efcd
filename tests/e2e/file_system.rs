//! Failures of a real file system: full, read-only when the relay starts, or remounted read-only by the kernel while it
//! runs. Each is mounted in a namespace that only the test and its relay see.
//!
//! Only the kernel can make a file system read-only under a running relay: it refuses a remount while a file is open
//! for writing. After it has done so itself, because of a disk error, writes fail until the file system is mounted
//! again, for which the relay has to be stopped.
//!
//! The tests need namespaces, which some containers forbid; the last one also needs root and a loop device. A test that
//! cannot run reports that on standard output, past the capture of passing tests; `cargo xtask test` lists it at the
//! end.

use crate::{EXE, LONG};
use feedback_tests::{ChildRelay, MiniPlausible, Post, Sent, Setup, load, within};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The namespaces of a room: as an ordinary user, who is root in a user namespace, and as root.
const OWN_USER: &[&str] = &["--user", "--mount"];
const ROOT: &[&str] = &["--mount"];

/// A mount namespace with a shell in it. Its mounts end with the shell.
struct Room {
    shell: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// The relay's data folder, and the mount point.
    data: PathBuf,
    /// Runs the relay inside the room.
    exe: String,
}

impl Room {
    /// With a tmpfs as data folder, large enough for the relay's disk checks.
    fn with_a_tmpfs(setup: &Setup) -> Result<Self, String> {
        let mount = "mount -t tmpfs -o size=32m,mode=700 tmpfs DATA";
        Self::open(OWN_USER, setup, mount).or_else(|_| Self::open(ROOT, setup, mount))
    }

    /// Opens a room and mounts the data folder there. Returns the reason if that is impossible.
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
        // The shell writes it: if this process had the file open for writing, a child of another test would inherit the
        // descriptor, and the file could not be executed (ETXTBSY).
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

    /// Runs a line in the shell. Returns `false` if it fails, or if there is no shell.
    fn run(&mut self, line: &str) -> bool {
        let line = line.replace("DATA", &self.data.display().to_string());
        // A shell that could not be started is noticed at the read.
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
        // The mounts end with the last process inside.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// Reports past the test harness's capture that a test was not run.
fn not_run(test: &str, why: &str) {
    let _ = writeln!(std::io::stdout(), "\nnot run: file_system::{test}: {why}");
}

fn away() -> (MiniPlausible, Setup) {
    let plausible = MiniPlausible::away();
    // The built-in policy: the record that trusts the small one would be written to the folder that the mount hides.
    let setup = Setup::new(&plausible.url());
    (plausible, setup)
}

async fn send(relay: &ChildRelay, n: usize) -> Sent {
    relay.try_send(&Post::batch(&[load(n)])).await.unwrap()
}

/// Sends numbered events until one is refused, and returns its number; `worsen` runs before each.
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

/// Waits until readiness answers 503 with this reason.
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

/// Every accepted event is delivered, exactly once.
async fn delivers(mut plausible: MiniPlausible, relay: ChildRelay, accepted: usize) {
    plausible.come_back().await;
    relay.drained_within(LONG).await;
    // A restarted relay gives a visitor a new identity, so order holds only among events that one process accepted.
    let mut numbers = plausible.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..accepted).collect::<Vec<_>>());
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_file_system_is_reported_and_used_again_once_there_is_room() {
    let (plausible, setup) = away();
    let mut room = match Room::with_a_tmpfs(&setup) {
        Ok(room) => room,
        Err(why) => {
            return not_run(
                "a_full_file_system_is_reported_and_used_again_once_there_is_room",
                &why,
            );
        }
    };
    let setup = setup.switched_on(&room.exe).await;
    let relay = setup.spawn(&room.exe).await;
    is_ready(&relay).await;
    assert_eq!(send(&relay, 0).await.status, 202);
    // Space that SQLite frees meanwhile is used up at once, to the last page.
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
async fn a_file_system_that_becomes_read_only_is_reported_and_accepted_events_are_there_after_its_repair() {
    let (plausible, setup) = away();
    let image = setup.folder().join("disk.img").display().to_string();
    let ext4 = format!(
        "truncate -s 64M '{image}' && mkfs.ext4 -q '{image}' && mount -o loop '{image}' DATA && chmod 700 DATA"
    );
    let mut room = match Room::open(ROOT, &setup, &ext4) {
        Ok(room) => room,
        Err(why) => {
            return not_run(
                "a_file_system_that_becomes_read_only_is_reported_and_accepted_events_are_there_after_its_repair",
                &why,
            );
        }
    };
    let setup = setup.switched_on(&room.exe).await;
    let relay = setup.spawn(&room.exe).await;
    is_ready(&relay).await;
    assert_eq!(send(&relay, 0).await.status, 202);
    // The same operation as the kernel's reaction to a disk error.
    room.must("mount -o remount,abort DATA");
    let refused = until_refused(&relay, 1, || {}).await;
    // SQLite reports a refused write like any other failed write.
    is_not_ready(&relay, "disk error").await;
    relay.kill();
    room.must(&format!("umount DATA && mount -o loop '{image}' DATA"));
    let relay = setup.spawn(&room.exe).await;
    is_ready(&relay).await;
    assert_eq!(send(&relay, refused).await.status, 202);
    delivers(plausible, relay, refused + 1).await;
}
