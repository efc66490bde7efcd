//! The compiler's process: the relay's own binary, run as `feedback-relay compile-policy`.
//!
//! Standard input carries a key and a component, standard output the sealed native code, standard error the reason if
//! there is none. The child limits itself before it reads. The parent gives it nothing else: no environment but
//! a setting of the heap, no files, no network. It dies with its parent.

use super::{CompileError, Priority};
use crate::os::malloc;
use crate::policy::sandbox::{LoadError, engine, first_line, is_out_of_memory};
use policy_artifact::{KEY_BYTES, Key};
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit,
};
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The subcommand. Hidden: not for users.
pub const COMMAND: &str = "compile-policy";

/// Processor time of a compilation. At the limit the kernel ends the child: [`CompileError::Time`]. The built-in
/// policy, 0.7 MB, takes 1.6 s in a debug build and a fraction of that in a release build; the policies in C and Rust
/// that docs/POLICY.md describes take 0.1 s.
pub const CPU_MAX: Duration = Duration::from_secs(15);
/// Address space of the child in bytes, including the program itself. At the limit an allocation fails and the child
/// aborts: [`CompileError::Memory`]. The built-in policy needs less than 200 MiB, of which 75 MiB are memory.
pub const MEMORY_BYTES_MAX: u64 = 512 << 20;
/// Wall-clock time of the child, however busy the machine is. At the limit the parent kills it:
/// [`CompileError::Busy`].
pub const WALL_MAX: Duration = Duration::from_secs(90);
/// Largest sealed native code in bytes. The parent stops reading there: [`CompileError::Size`]. The built-in policy
/// compiles to 2 MB.
pub const ARTIFACT_BYTES_MAX: usize = 64 << 20;
/// Maximum bytes of a reason. The rest is not read.
const REASON_BYTES_MAX: u64 = 4096;
/// How often the parent checks whether the child has ended or the relay stops.
const POLL: Duration = Duration::from_millis(5);
/// Niceness of the child while the relay serves.
const LOW_PRIORITY: i32 = 10;

/// The component is not valid (`EX_DATAERR` of sysexits(3)).
const EXIT_INVALID: u8 = 65;
/// The child cannot set its limits (`EX_SOFTWARE`).
const EXIT_UNCONFINED: u8 = 70;
/// There is no memory left (`EX_OSERR`).
const EXIT_MEMORY: u8 = 71;
/// A pipe to the parent is broken (`EX_IOERR`).
const EXIT_PIPE: u8 = 74;

/// Runs the child and returns the sealed native code.
pub(super) fn compile(
    wasm: &[u8],
    key: &Key,
    priority: Priority,
    stop: &CancellationToken,
) -> Result<Vec<u8>, LoadError> {
    let Done { status, out, err } = run(wasm, key, priority, stop)?;
    if stop.is_cancelled() {
        return Err(CompileError::Stopped.into());
    }
    if out.len() > ARTIFACT_BYTES_MAX {
        return Err(CompileError::Size.into());
    }
    if status.success() {
        return Ok(out);
    }
    let reason = String::from_utf8_lossy(&err);
    let reason = reason
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    Err(why(status, reason, is_limited()))
}

/// Why a child with this exit status compiled nothing. `is_limited`: it inherited stricter limits than its own.
fn why(status: ExitStatus, reason: &str, is_limited: bool) -> LoadError {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let error = match (code, status.signal().and_then(Signal::from_named_raw)) {
        (Some(EXIT_INVALID), _) => return LoadError::NotAComponent(reason.to_owned()),
        (Some(EXIT_UNCONFINED | EXIT_PIPE), _) => {
            CompileError::Unavailable(io::Error::other(reason.to_owned()))
        }
        // Sent by the kernel, for lack of memory, or by an operator: `run` kills only if it returns an error.
        (_, Some(Signal::KILL)) => CompileError::Killed(status),
        // Sent by an operator or a service manager.
        (_, Some(Signal::TERM | Signal::INT | Signal::HUP | Signal::QUIT)) => {
            CompileError::Unavailable(io::Error::other(status.to_string()))
        }
        // Covers crashes too: too little address space has many symptoms.
        _ if is_limited => CompileError::Inherited(status),
        (Some(EXIT_MEMORY), _) => CompileError::Memory,
        (_, Some(Signal::XCPU)) => CompileError::Time,
        // Printed by the standard library before it aborts.
        (_, Some(Signal::ABORT)) if reason.starts_with("memory allocation of") => CompileError::Memory,
        _ => CompileError::Crash(format!("{status}: {reason}")),
    };
    error.into()
}

/// Whether a child inherits stricter limits than it would set itself.
fn is_limited() -> bool {
    let is_less = |resource, wanted| {
        getrlimit(resource)
            .maximum
            .is_some_and(|inherited| inherited < wanted)
    };
    is_less(Resource::As, MEMORY_BYTES_MAX) || is_less(Resource::Cpu, CPU_MAX.as_secs() + 1)
}

struct Done {
    status: ExitStatus,
    out: Vec<u8>,
    err: Vec<u8>,
}

/// A child process that does not outlive this value.
struct Mortal(Child);

impl Drop for Mortal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(wasm: &[u8], key: &Key, priority: Priority, stop: &CancellationToken) -> Result<Done, CompileError> {
    let started = Instant::now();
    let mut child = Mortal(command(priority).spawn().map_err(CompileError::Unavailable)?);
    let (input, output, error) = (child.0.stdin.take(), child.0.stdout.take(), child.0.stderr.take());
    thread::scope(|scope| {
        let named = || thread::Builder::new().name("policy-compiler".to_owned());
        // Each thread ends with the child, because only the child holds the other ends of the pipes.
        let write = move || {
            // A child that ends early, at a limit, does not read all of it.
            input.map(|mut pipe| pipe.write_all(key.bytes()).and_then(|()| pipe.write_all(wasm)))
        };
        named()
            .spawn_scoped(scope, write)
            .map_err(CompileError::Unavailable)?;
        let out = named().spawn_scoped(scope, move || read(output, ARTIFACT_BYTES_MAX as u64 + 1));
        let out = out.map_err(CompileError::Unavailable)?;
        let err = named().spawn_scoped(scope, move || read(error, REASON_BYTES_MAX));
        let err = err.map_err(CompileError::Unavailable)?;
        let status = wait(&mut child, started, stop)?;
        Ok(Done {
            status,
            out: out.join().unwrap_or_default(),
            err: err.join().unwrap_or_default(),
        })
    })
}

fn wait(child: &mut Mortal, started: Instant, stop: &CancellationToken) -> Result<ExitStatus, CompileError> {
    let ended = loop {
        if let Some(status) = child.0.try_wait().map_err(CompileError::Unavailable)? {
            return Ok(status);
        }
        if stop.is_cancelled() {
            break CompileError::Stopped;
        }
        if started.elapsed() > WALL_MAX {
            break CompileError::Busy;
        }
        thread::sleep(POLL);
    };
    // Kill before joining the threads, which wait for the child's end.
    let _ = child.0.kill();
    Err(ended)
}

/// This executable, even after an upgrade replaced its file.
fn command(priority: Priority) -> Command {
    let program = match cfg!(target_os = "linux") {
        true => Ok("/proc/self/exe".into()),
        false => std::env::current_exe(),
    };
    // If the path is unknown, spawning fails and reports it.
    let mut command = Command::new(program.unwrap_or_default());
    command
        .arg0("feedback-relay")
        .arg(COMMAND)
        .env_clear()
        .env(malloc::TRIM.0, malloc::TRIM.1)
        .current_dir("/")
        // A terminal's Ctrl-C must reach only the relay, which then ends the child.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if priority == Priority::Low {
        command.arg("--low-priority");
    }
    command
}

/// Reads at most `bytes_max` bytes; bytes read before an error count. Closes the pipe, so that a child that writes
/// more ends.
fn read(pipe: Option<impl Read>, bytes_max: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.take(bytes_max).read_to_end(&mut bytes);
    }
    bytes
}

/// The child: compiles standard input to standard output.
pub fn serve(low_priority: bool) -> ExitCode {
    let done = confine(low_priority)
        .map_err(|error| {
            (
                EXIT_UNCONFINED,
                format!("the compiler cannot limit itself: {error}"),
            )
        })
        .and_then(|()| translate());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, reason)) => {
            // The parent may be gone.
            let _ = writeln!(io::stderr(), "{reason}");
            ExitCode::from(code)
        }
    }
}

/// Drops everything that compiling does not need.
fn confine(low_priority: bool) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // If the machine or the container runs out of memory, the kernel should kill this process first. Best effort.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    }
    if low_priority {
        nice(LOW_PRIORITY)?;
    }
    // The soft limit's signal says why the child ended; the hard one also ends a child that ignores signals.
    limit(Resource::Cpu, CPU_MAX.as_secs(), CPU_MAX.as_secs() + 1)?;
    limit(Resource::As, MEMORY_BYTES_MAX, MEMORY_BYTES_MAX)?;
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Fsize, 0, 0)?;
    limit(Resource::Nproc, 0, 0)
}

/// Sets a limit, or keeps a stricter inherited one.
fn limit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let inherited = getrlimit(resource).maximum;
    let least = inherited.map_or(hard, |inherited| inherited.min(hard));
    let new = Rlimit {
        // Keeps the same distance as without an inherited limit, so that the soft limit's signal still comes first.
        current: Some(least.saturating_sub(hard - soft)),
        maximum: Some(least),
    };
    Ok(setrlimit(resource, new)?)
}

type Failed = (u8, String);

fn translate() -> Result<(), Failed> {
    let io = |error: io::Error| (EXIT_PIPE, format!("the compiler's pipe is broken: {error}"));
    let mut input = io::stdin().lock();
    let mut key = [0; KEY_BYTES];
    input.read_exact(&mut key).map_err(io)?;
    let mut wasm = Vec::new();
    input.read_to_end(&mut wasm).map_err(io)?;
    let artifact = engine().and_then(|engine| policy_artifact::compile(&engine, &wasm, &Key::new(key)));
    let artifact = artifact.map_err(|error| match is_out_of_memory(&error) {
        true => (EXIT_MEMORY, "no memory left".to_owned()),
        false => (EXIT_INVALID, first_line(&error)),
    })?;
    let mut output = io::stdout().lock();
    output
        .write_all(&artifact)
        .and_then(|()| output.flush())
        .map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::sandbox::Fault;

    #[test]
    fn only_what_the_compiler_does_by_itself_is_held_against_the_policy() {
        let by = |signal: Signal| ExitStatus::from_raw(signal.as_raw());
        let with = |code: u8| ExitStatus::from_raw(i32::from(code) << 8);
        let check = |status: ExitStatus, reason: &str, is_limited: bool, want: Fault| {
            let error = why(status, reason, is_limited);
            assert_eq!(error.fault(), want, "{status}, {is_limited}: {error}");
        };
        let allocation = "memory allocation of 4096 bytes failed";
        for (status, reason) in [
            (by(Signal::XCPU), ""),
            (by(Signal::ABORT), allocation),
            (by(Signal::SEGV), ""),
            (with(EXIT_MEMORY), "no memory left"),
            (with(101), "a panic"),
        ] {
            check(status, reason, false, Fault::Policy);
            // A limit lasts as long as the relay runs, so a retry would not help.
            check(status, reason, true, Fault::Other);
        }
        for is_limited in [false, true] {
            check(with(EXIT_INVALID), "no component", is_limited, Fault::Policy);
            check(by(Signal::KILL), "", is_limited, Fault::Machine);
            check(by(Signal::TERM), "", is_limited, Fault::Machine);
            check(with(EXIT_UNCONFINED), "", is_limited, Fault::Machine);
            check(with(EXIT_PIPE), "", is_limited, Fault::Machine);
        }
    }
}
