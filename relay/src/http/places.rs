//! Places of the admin listener: limits on requests in flight, by kind.
//!
//! Probes, scrapes, logins, switches and pages each have their own places, so that no kind blocks another. A request
//! without a place waits briefly for one, in a bounded queue.

use crate::http::problem::{Kind, Problem};
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Most requests of one kind in flight. A further one waits.
const PLACES: usize = 32;
/// Most requests of one kind that wait for a place. Above it: 503 with Retry-After.
const WAITING_MAX: usize = 128;
/// Longest wait for a place. After that: 503 with Retry-After.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Most login bodies that have not arrived, for strangers and for known devices each. Above it the one that has
/// waited longest is dropped: a browser sends a login's few bytes together with its head.
const BODIES_MAX: usize = 64;
/// Longest wait for a login's body. After that: 408.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The places for one kind of requests.
#[derive(Debug)]
pub(super) struct Places {
    places: Semaphore,
    queue: Semaphore,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            places: Semaphore::new(PLACES),
            queue: Semaphore::new(WAITING_MAX),
        }
    }
}

impl Places {
    /// A layer that admits a request when a place is free.
    pub(super) async fn enter(
        State(places): State<Arc<Self>>,
        request: Request,
        next: Next,
    ) -> Result<Response, Problem> {
        let waiting = places.queue.try_acquire().map_err(|_| busy())?;
        let place = tokio::time::timeout(WAIT_MAX, places.places.acquire()).await;
        drop(waiting);
        match place {
            Ok(Ok(_place)) => Ok(next.run(request).await),
            Ok(Err(_)) | Err(_) => Err(busy()),
        }
    }
}

/// The response if no place is free.
pub(super) fn busy() -> Problem {
    let detail = "Too many requests of this kind are in progress. Retry later; see `Retry-After`.";
    Problem::new(Kind::OVERLOADED, detail).retry_in(Duration::from_secs(1))
}

/// Logins whose bodies have not arrived.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    of_strangers: Awaited,
    of_devices: Awaited,
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is too large.
    TooLarge,
    /// It did not arrive in time, or not completely.
    Incomplete,
    /// It was dropped to make room for another.
    Displaced,
}

impl Bodies {
    /// Reads a login's body of up to `bytes_max`.
    ///
    /// # Errors
    /// Why the body was not read.
    pub(super) async fn read(&self, body: Body, bytes_max: usize, is_device: bool) -> Result<Bytes, Unread> {
        let awaited = if is_device {
            &self.of_devices
        } else {
            &self.of_strangers
        };
        let place = awaited.enter();
        let read = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, bytes_max).collect());
        tokio::select! {
            // A body that has arrived is read, even if it was also dropped or timed out.
            biased;
            read = read => match read {
                Ok(Ok(read)) => Ok(read.to_bytes()),
                Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Unread::TooLarge),
                Ok(Err(_)) | Err(_) => Err(Unread::Incomplete),
            },
            () = place.go.cancelled() => Err(Unread::Displaced),
        }
    }
}

/// The awaited bodies, the oldest first.
#[derive(Debug, Default)]
struct Awaited(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    places: VecDeque<(u64, CancellationToken)>,
}

/// A body's place. Dropping it frees the place.
struct Place<'a> {
    all: &'a Awaited,
    number: u64,
    go: CancellationToken,
}

impl Awaited {
    fn enter(&self) -> Place<'_> {
        let mut queue = self.lock();
        if queue.places.len() >= BODIES_MAX
            && let Some((_, oldest)) = queue.places.pop_front()
        {
            oldest.cancel();
        }
        queue.next += 1;
        let (number, go) = (queue.next, CancellationToken::new());
        queue.places.push_back((number, go.clone()));
        Place {
            all: self,
            number,
            go,
        }
    }

    /// The queue is still valid after a panic under the lock.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queue = self.all.lock();
        queue.places.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::Never;
    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tower::ServiceExt;

    #[tokio::test(start_paused = true)]
    async fn a_room_has_so_many_places_and_a_queue_that_ends() {
        let started = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&started);
        let never = move || {
            count.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>()
        };
        let router = Router::new()
            .route("/", get(never))
            .layer(from_fn_with_state(Arc::new(Places::default()), Places::enter));
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..PLACES + WAITING_MAX + 3 {
            let request = Request::new(Body::empty());
            asked.spawn(router.clone().oneshot(request));
        }
        for n in 0..3 + WAITING_MAX {
            let answer = asked.join_next().await.unwrap().unwrap().unwrap();
            assert_eq!(answer.status(), 503, "{n}");
            assert_eq!(answer.headers()["retry-after"], "1");
        }
        assert_eq!((started.load(Ordering::SeqCst), asked.len()), (PLACES, PLACES));
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_do_not_come_keep_none_out_that_comes() {
        let bodies = Arc::new(Bodies::default());
        let mut silent = tokio::task::JoinSet::new();
        let read = |body: Body, is_device: bool| {
            let bodies = Arc::clone(&bodies);
            async move { bodies.read(body, 100, is_device).await }
        };
        silent.spawn(read(Body::new(Never), true));
        for _ in 0..BODIES_MAX * 3 {
            silent.spawn(read(Body::new(Never), false));
            tokio::task::yield_now().await;
        }
        let check = async |what: &str, body: Body, want: Result<&[u8], Unread>| {
            let got = read(body, false).await;
            assert_eq!(got.as_deref(), want.as_ref().copied(), "{what}");
        };
        check("a body", "{}".into(), Ok(b"{}")).await;
        check("as large as may be", vec![b' '; 100].into(), Ok(&[b' '; 100])).await;
        check("a byte larger", vec![b' '; 101].into(), Err(Unread::TooLarge)).await;
        let mut ends = Vec::new();
        while let Some(end) = silent.join_next().await {
            ends.push(end.unwrap().unwrap_err());
        }
        let of = |why| ends.iter().filter(|end| **end == why).count();
        // The first body displaced one; the others used the place that this freed.
        assert_eq!(of(Unread::Displaced), BODIES_MAX * 2 + 1);
        let left = BODIES_MAX - 1;
        assert_eq!(of(Unread::Incomplete), left + 1, "the device's among them");
        assert!(bodies.of_strangers.lock().places.is_empty());
    }
}
