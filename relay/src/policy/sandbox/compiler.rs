//! Compiles a policy to native code, in a separate process.
//!
//! A component determines how much time and memory its compilation takes, and a compilation cannot be interrupted
//! from within the process. So the relay never compiles itself: it starts its own binary as a compiler with limits
//! ([`child`]), keeps the result in the data folder (`folder`), and loads only artifacts that carry its own seal
//! ([`policy_artifact`]).

pub mod child;
mod folder;

use super::{Fault, LoadError, engine, first_line};
use folder::Folder;
pub use folder::NAME as FOLDER;
use policy_artifact::Key;
use std::collections::HashMap;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;
use wasmtime::component::Component;

/// Largest component, in bytes. A larger one is refused before compilation.
pub const COMPONENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The magic bytes of all WebAssembly.
const WASM: &[u8] = b"\0asm";
/// The first bytes of a core module, as compilers emit it before it becomes a component.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Why a valid policy was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// It exceeds the processor time.
    #[error("compiling the policy took more than {} s of processor time", child::CPU_MAX.as_secs())]
    Time,
    /// It exceeds the memory limit.
    #[error("compiling the policy took more than {} MiB of memory", child::MEMORY_BYTES_MAX >> 20)]
    Memory,
    /// Its native code is too large.
    #[error("the compiled policy is larger than {} MiB", child::ARTIFACT_BYTES_MAX >> 20)]
    Size,
    /// The compiler crashed: a compiler bug that this policy triggers.
    #[error("compiling the policy crashed the compiler: {0}")]
    Crash(String),
    /// The machine is too busy. Not the policy's fault.
    #[error(
        "the policy was not compiled within {} s, because the machine is too busy",
        child::WALL_MAX.as_secs()
    )]
    Busy,
    /// The kernel (out of memory) or an operator killed the compiler. Not the policy's fault.
    #[error(
        "the policy's compiler was killed ({0}): the machine or the container is out of memory, or an operator killed it"
    )]
    Killed(ExitStatus),
    /// It failed under inherited limits that are stricter than the compiler's own. Not the policy's fault.
    #[error(
        "the policy was not compiled ({0}): the relay runs under a stricter limit of address space (`ulimit -Hv`) or \
         processor time (`ulimit -Ht`) than compiling needs"
    )]
    Inherited(ExitStatus),
    /// The compiler could not be run. Not the policy's fault.
    #[error("the policy's compiler cannot be run: {0}")]
    Unavailable(std::io::Error),
    /// The relay is stopping.
    #[error("the policy was not compiled, because the relay is stopping")]
    Stopped,
}

impl CompileError {
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Time | Self::Memory | Self::Size | Self::Crash(_) => Fault::Policy,
            Self::Busy | Self::Killed(_) | Self::Unavailable(_) => Fault::Machine,
            Self::Inherited(_) | Self::Stopped => Fault::Other,
        }
    }
}

/// The priority of a compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Startup or a command waits for the result.
    Normal,
    /// The relay is serving, and serving has priority.
    Low,
}

/// Compiles components to native code.
#[derive(Clone, Debug)]
pub struct Compiler {
    way: Way,
    stop: CancellationToken,
}

#[derive(Clone, Debug)]
enum Way {
    /// In a child process; artifacts kept in a folder if there is one.
    Child(Option<Arc<Folder>>),
    /// In this process; artifacts kept in memory.
    InProcess(Key, Arc<Mutex<HashMap<String, Vec<u8>>>>),
}

/// Maximum number of artifacts that [`Compiler::in_process`] keeps in memory. At the limit it drops all of them.
const IN_MEMORY_MAX: usize = 32;

impl Compiler {
    /// Compiles in a child process with limits. Cancelling `stop` ends the child. Only for the relay's own binary,
    /// because the child runs the current executable.
    pub fn child(stop: CancellationToken) -> Self {
        let way = Way::Child(None);
        Self { way, stop }
    }

    /// Compiles in this process, without limits, and keeps the results in memory. For tests, whose executable is not
    /// the relay.
    pub fn in_process() -> Self {
        let key = Key::new(crate::clock::random());
        Self {
            way: Way::InProcess(key, Arc::default()),
            stop: CancellationToken::new(),
        }
    }

    /// Keeps compiled policies in this data folder and reuses them. If the folder is not usable or not trusted, logs
    /// why and compiles each time.
    #[must_use]
    pub fn cached_in(mut self, data_dir: &Path) -> Self {
        if let Way::Child(folder) = &mut self.way {
            match Folder::open(data_dir) {
                Ok(opened) => *folder = Some(Arc::new(opened)),
                Err(error) => tracing::warn!(
                    folder = %data_dir.join(FOLDER).display(), %error,
                    "compiled policies are not kept, so each start compiles the policy again"
                ),
            }
        }
        self
    }

    /// Cancelled when the relay stops. Long work must check it and give up.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Returns a component's native code: from the folder, otherwise compiled now. Blocks the thread.
    ///
    /// # Errors
    /// If it is not a component, or compiling it exceeds a limit.
    pub fn compile(&self, wasm: &[u8], priority: Priority) -> Result<Component, LoadError> {
        looks_like_a_component(wasm)?;
        let engine = engine().map_err(|error| LoadError::NotAComponent(first_line(&error)))?;
        let open = |key: &Key, artifact: &[u8]| policy_artifact::open(&engine, wasm, key, artifact);
        let (key, artifact) = match &self.way {
            Way::Child(None) => {
                let key = Key::new(crate::clock::random());
                let artifact = child::compile(wasm, &key, priority, &self.stop)?;
                (key, artifact)
            }
            Way::Child(Some(folder)) => {
                let sha256 = crate::digest::sha256(wasm);
                match folder.find(&sha256).map(|kept| open(folder.key(), &kept)) {
                    Some(Ok(component)) => return Ok(component),
                    Some(Err(error)) => tracing::warn!(
                        sha256, %error,
                        "the compiled policy on disk is not used; compiling it again"
                    ),
                    None => {}
                }
                tracing::info!(
                    sha256,
                    "compiling the policy; the result is kept for later starts"
                );
                let artifact = child::compile(wasm, folder.key(), priority, &self.stop)?;
                folder.keep(&sha256, &artifact);
                (folder.key().clone(), artifact)
            }
            Way::InProcess(key, memory) => {
                let artifact = in_memory(memory, crate::digest::sha256(wasm), || {
                    policy_artifact::compile(&engine, wasm, key)
                        .map_err(|error| LoadError::NotAComponent(first_line(&error)))
                })?;
                (key.clone(), artifact)
            }
        };
        open(&key, &artifact).map_err(|error| CompileError::Crash(error.to_string()).into())
    }
}

/// An artifact from memory, otherwise compiled now. Two threads that miss at the same time both compile.
fn in_memory(
    memory: &Mutex<HashMap<String, Vec<u8>>>,
    sha256: String,
    compile: impl FnOnce() -> Result<Vec<u8>, LoadError>,
) -> Result<Vec<u8>, LoadError> {
    let lock = || memory.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = lock().get(&sha256).cloned();
    if let Some(kept) = kept {
        return Ok(kept);
    }
    let made = compile()?;
    let mut memory = lock();
    if memory.len() >= IN_MEMORY_MAX {
        memory.clear();
    }
    memory.insert(sha256, made.clone());
    Ok(made)
}

/// Checks the first bytes and the size, which is cheap.
///
/// # Errors
/// If it is too large or not a component.
pub fn looks_like_a_component(wasm: &[u8]) -> Result<(), LoadError> {
    if wasm.len() > COMPONENT_BYTES_MAX {
        return Err(LoadError::TooLarge);
    }
    if wasm.starts_with(CORE_MODULE) {
        return Err(LoadError::NotAComponent(
            "it is a core module; docs/POLICY.md explains how to turn it into a component".to_owned(),
        ));
    }
    if !wasm.starts_with(WASM) {
        return Err(LoadError::NotAComponent("it is not WebAssembly".to_owned()));
    }
    Ok(())
}

/// Compiles for the tests of this crate, each component once.
///
/// # Errors
/// See [`Compiler::compile`].
#[cfg(test)]
pub(crate) fn compiled(wasm: &[u8]) -> Result<Component, LoadError> {
    static SHARED: std::sync::LazyLock<Compiler> = std::sync::LazyLock::new(Compiler::in_process);
    SHARED.compile(wasm, Priority::Normal)
}
