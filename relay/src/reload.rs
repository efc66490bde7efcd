//! Files that a running relay takes up again when they change, or when it is asked to by SIGHUP.
//!
//! One mechanism for all of them: the policy, the listeners' certificates and the files of `[upstream]`. It notices a
//! change by the file's metadata; what reads the file judges it as a whole and keeps what it had if it is not fit.

use rustix::fs::OFlags;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// By what a changed file is noticed before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
    /// A file moved over another may have the same age and length.
    inode: u64,
}

/// The stamps of several files, in their order. A file that is missing has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamps(Vec<Option<Stamp>>);

impl Stamps {
    /// The files as they are now.
    pub fn of<'p>(files: impl IntoIterator<Item = &'p Path>) -> Self {
        let stamp = |path: &Path| {
            let meta = std::fs::metadata(path).ok()?;
            Some(Stamp {
                modified: meta.modified().ok()?,
                bytes: meta.len(),
                inode: meta.ino(),
            })
        };
        Self(files.into_iter().map(stamp).collect())
    }
}

/// Something that is read from files.
pub trait Reload: Send + Sync + 'static {
    /// The files as they were when they were last read.
    fn seen(&self) -> Stamps;

    /// The files as they are now.
    fn look(&self) -> Stamps;

    /// Reads them again and puts them to use if they are fit. Logs, counts and keeps for health if they are not.
    fn reload(&self) -> impl Future<Output = ()> + Send;
}

/// Reloads when it is asked to, and when the files have changed, until the relay stops.
pub async fn watch<R: Reload>(
    what: Arc<R>,
    look_every: Duration,
    asked: Arc<Notify>,
    stop: CancellationToken,
) {
    // The files are left alone until two looks find them the same: they may still be written, or only one of
    // several may be.
    let mut settling = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(look_every) => {
                let now = what.look();
                if now == what.seen() {
                    settling = None;
                    continue;
                }
                if settling.as_ref() != Some(&now) {
                    settling = Some(now);
                    continue;
                }
            }
            () = asked.notified() => {}
            () = stop.cancelled() => return,
        }
        settling = None;
        // What a reload leaves half done when the relay stops is not in use yet.
        tokio::select! {
            () = what.reload() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Reads a file of at most this many bytes.
///
/// # Errors
/// The operating system's; [`io::ErrorKind::FileTooLarge`] for a longer file.
pub fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its other end, and reading a device might never end.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Takes up whatever the files hold.
    struct Counting {
        files: Vec<std::path::PathBuf>,
        seen: Mutex<Stamps>,
        reloads: AtomicUsize,
    }

    impl Reload for Counting {
        fn seen(&self) -> Stamps {
            self.seen.lock().unwrap().clone()
        }

        fn look(&self) -> Stamps {
            Stamps::of(self.files.iter().map(|file| file.as_path()))
        }

        async fn reload(&self) {
            *self.seen.lock().unwrap() = self.look();
            self.reloads.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_taken_up_once_it_has_settled_and_a_request_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<_> = ["a", "b"].map(|name| folder.path().join(name)).into();
        std::fs::write(&files[0], "one").unwrap();
        let what = Arc::new(Counting {
            files: files.clone(),
            seen: Mutex::default(),
            reloads: AtomicUsize::new(0),
        });
        what.reload().await;
        let (asked, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let second = Duration::from_secs(1);
        let watching = tokio::spawn(watch(Arc::clone(&what), second, Arc::clone(&asked), stop.clone()));
        let check = async |looks: u32, want: usize, why: &str| {
            // Half a second off the looks, so that each is clearly before or after.
            tokio::time::sleep(second * looks).await;
            assert_eq!(what.reloads.load(Ordering::SeqCst), want, "{why}");
        };
        tokio::time::sleep(second / 2).await;
        check(3, 1, "nothing changed").await;
        std::fs::write(&files[0], "three").unwrap();
        check(1, 1, "it may still be written").await;
        check(1, 2, "two looks found it the same").await;
        check(3, 2, "and no more").await;
        // One that moves over another with the same length; and one that is written for three looks.
        std::fs::write(folder.path().join("new"), "three").unwrap();
        std::fs::rename(folder.path().join("new"), &files[0]).unwrap();
        check(2, 3, "another file").await;
        for length in 1..4 {
            std::fs::write(&files[1], "x".repeat(length)).unwrap();
            check(1, 3, "it is being written").await;
        }
        check(1, 4, "it has settled").await;
        std::fs::remove_file(&files[1]).unwrap();
        check(2, 5, "it is gone").await;
        asked.notify_one();
        tokio::time::sleep(second / 100).await;
        assert_eq!(what.reloads.load(Ordering::SeqCst), 6, "asked");
        stop.cancel();
        watching.await.unwrap();
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read_bounded(&file, 5).unwrap(), b"12345");
        let error = read_bounded(&file, 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let error = read_bounded(&folder.path().join("none"), 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        // What would wait for ever, or never end.
        let pipe = folder.path().join("pipe");
        let kind = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
        for path in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
            let error = read_bounded(path, 4).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{}", path.display());
        }
    }
}
