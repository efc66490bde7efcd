//! Reloads files when they change, or on SIGHUP.
//!
//! One mechanism serves all of them: the policy, the listeners' certificates and the files of `[upstream]`. It
//! detects a change by the file's metadata; the reader validates the file as a whole and keeps the previous content
//! if it is invalid.

use rustix::fs::OFlags;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch as channel;
use tokio_util::sync::CancellationToken;

/// The metadata by which a change is detected before the file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
    /// A file moved over another may have the same age and length.
    inode: u64,
}

/// The stamps of several files, in order. A missing file has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamps(Vec<Option<Stamp>>);

impl Stamps {
    /// Takes the stamps of the files now.
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

    fn are_of_no_file(&self) -> bool {
        self.0.is_empty()
    }
}

/// A value that is read from files.
pub trait Reload: Send + Sync + 'static {
    /// How often the files are checked for a change.
    fn interval(&self) -> Duration;

    /// The stamps of the files when they were last read.
    fn seen(&self) -> Stamps;

    /// The stamps of the files now.
    fn look(&self) -> Stamps;

    /// Reads the files again and applies them if they are valid. Otherwise logs and counts the failure and keeps it
    /// for health.
    fn reload(&self) -> impl Future<Output = ()> + Send;
}

/// Reloads on request and when the files have changed, until the relay stops.
pub async fn watch<R: Reload>(what: Arc<R>, mut asked: channel::Receiver<()>, stop: CancellationToken) {
    // Wait until two checks in a row find the same stamps: a file may be half written, or only one of several may
    // have been replaced.
    let mut settling = None;
    // Which files there are does not change while the relay runs.
    let has_files = !what.look().are_of_no_file();
    loop {
        tokio::select! {
            () = tokio::time::sleep(what.interval()), if has_files => {
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
            Ok(()) = asked.changed() => {}
            () = stop.cancelled() => return,
        }
        settling = None;
        // A reload that is interrupted when the relay stops has applied nothing.
        tokio::select! {
            () = what.reload() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Reads a file of at most this many bytes.
///
/// # Errors
/// The operating system's error; [`io::ErrorKind::FileTooLarge`] for a longer file.
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

    const SECOND: Duration = Duration::from_secs(1);

    /// Accepts any content.
    struct Counting {
        files: Vec<std::path::PathBuf>,
        seen: Mutex<Stamps>,
        reloads: AtomicUsize,
    }

    impl Reload for Counting {
        fn interval(&self) -> Duration {
            SECOND
        }

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
        let (ask, asked) = channel::channel(());
        let stop = CancellationToken::new();
        let watching = tokio::spawn(watch(Arc::clone(&what), asked, stop.clone()));
        let check = async |looks: u32, want: usize, why: &str| {
            // Checks fall half a second away from each step of the test, so that each is clearly before or after.
            tokio::time::sleep(SECOND * looks).await;
            assert_eq!(what.reloads.load(Ordering::SeqCst), want, "{why}");
        };
        tokio::time::sleep(SECOND / 2).await;
        check(3, 1, "nothing changed").await;
        std::fs::write(&files[0], "three").unwrap();
        check(1, 1, "it may still be written").await;
        check(1, 2, "two looks found it the same").await;
        check(3, 2, "and no more").await;
        // One file is moved over another of the same length; one is written during three checks.
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
        ask.send(()).unwrap();
        tokio::time::sleep(SECOND / 100).await;
        assert_eq!(what.reloads.load(Ordering::SeqCst), 6, "asked");
        stop.cancel();
        watching.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn without_files_only_a_request_reloads() {
        #[derive(Default)]
        struct NoFiles {
            looks: AtomicUsize,
            reloads: AtomicUsize,
        }
        impl Reload for NoFiles {
            fn interval(&self) -> Duration {
                SECOND
            }

            fn seen(&self) -> Stamps {
                Stamps::default()
            }

            fn look(&self) -> Stamps {
                self.looks.fetch_add(1, Ordering::SeqCst);
                Stamps::default()
            }

            async fn reload(&self) {
                self.reloads.fetch_add(1, Ordering::SeqCst);
            }
        }
        let what = Arc::new(NoFiles::default());
        let counts = || [&what.looks, &what.reloads].map(|count| count.load(Ordering::SeqCst));
        let (ask, asked) = channel::channel(());
        let stop = CancellationToken::new();
        let watching = tokio::spawn(watch(Arc::clone(&what), asked, stop.clone()));
        tokio::time::sleep(SECOND * 9).await;
        assert_eq!(counts(), [1, 0]);
        ask.send(()).unwrap();
        tokio::time::sleep(SECOND * 9).await;
        assert_eq!(counts(), [1, 1]);
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
        // Reading these would block forever, or never end.
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
