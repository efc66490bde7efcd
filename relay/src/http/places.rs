//! Places of the admin listener: how many requests of one kind may be under way.
//!
//! Probes, scrapes, logins, switches and pages each have places of their own, so that no kind keeps another out. A
//! request without a place waits a moment for one, in a bounded queue.

use crate::http::problem::Problem;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Requests of one kind that are worked on at once. A further one waits.
const PLACES: usize = 32;
/// Requests of one kind that wait for a place. A further one is answered 503 with Retry-After.
const WAITING_MAX: usize = 128;
/// Longest wait for a place. Then the answer is 503 with Retry-After.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Bodies of logins that have not arrived, of strangers and of known devices each. For a further one the one that is
/// awaited longest is given up: a browser sends a login's few bytes together with its head.
const BODIES_MAX: usize = 64;
/// Longest wait for a login's body. Then the answer is 408.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The places of one kind of requests.
#[derive(Debug)]
pub(super) struct Room {
    places: Semaphore,
    queue: Semaphore,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            places: Semaphore::new(PLACES),
            queue: Semaphore::new(WAITING_MAX),
        }
    }
}

impl Room {
    /// A layer: lets a request in when there is a place.
    pub(super) async fn enter(State(room): State<Arc<Self>>, request: Request, next: Next) -> Response {
        let Ok(waiting) = room.queue.try_acquire() else {
            return busy().into_response();
        };
        let place = tokio::time::timeout(WAIT_MAX, room.places.acquire()).await;
        drop(waiting);
        match place {
            Ok(Ok(_place)) => next.run(request).await,
            Ok(Err(_)) | Err(_) => busy().into_response(),
        }
    }
}

/// The answer when there is no room.
pub(super) fn busy() -> Problem {
    let detail = "Too many requests of this kind are under way. Come back in a moment.";
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "overloaded",
        "Overloaded",
        detail,
    )
    .retry_after(1)
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
    /// It is larger than may be.
    TooLarge,
    /// It did not arrive in time, or not whole.
    Incomplete,
    /// It made room for another.
    Displaced,
}

impl Bodies {
    /// Reads a login's body of up to `bytes_max`.
    ///
    /// # Errors
    /// Why it was not read.
    pub(super) async fn read(&self, body: Body, bytes_max: usize, is_device: bool) -> Result<Bytes, Unread> {
        let awaited = if is_device {
            &self.of_devices
        } else {
            &self.of_strangers
        };
        let place = awaited.enter();
        let read = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, bytes_max).collect());
        tokio::select! {
            // One that has arrived is read, whatever else happened.
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

/// The bodies that are awaited, the oldest first.
#[derive(Debug, Default)]
struct Awaited(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    places: VecDeque<(u64, CancellationToken)>,
}

/// A body's place, until it is dropped.
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

    /// A panic while holding the lock leaves a queue that is still right.
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
            .layer(from_fn_with_state(Arc::new(Room::default()), Room::enter));
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..PLACES + WAITING_MAX + 3 {
            let request = Request::new(Body::empty());
            asked.spawn(router.clone().oneshot(request));
        }
        for n in 0..3 + WAITING_MAX {
            let answer = asked.join_next().await.unwrap().unwrap().unwrap();
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{n}");
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
        // The first body that came displaced one; the others found that place free.
        assert_eq!(of(Unread::Displaced), BODIES_MAX * 2 + 1);
        let left = BODIES_MAX - 1;
        assert_eq!(of(Unread::Incomplete), left + 1, "the device's among them");
        assert!(bodies.of_strangers.lock().places.is_empty());
    }
}
