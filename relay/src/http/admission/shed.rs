//! Load shedding: at most `public.requests_max` requests are in flight. Above that the relay responds 503 before
//! it reads a body, or after it if other requests took the last places meanwhile.

use crate::metrics::{self, Gauge, Registry};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

metrics::declare! {
    /// Requests in flight.
    struct Metrics {
        /// Requests whose events are on their way to the spool.
        requests_in_progress: Gauge,
    }
}

/// Admits requests, up to the limit.
#[derive(Debug)]
pub struct Admission {
    places: Arc<Semaphore>,
    metrics: Metrics,
}

/// An admitted request. Dropping it frees its place.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    in_progress: Gauge,
}

impl Admission {
    /// Allows `requests_max` requests in flight.
    pub fn new(requests_max: usize, registry: &mut Registry) -> Self {
        Self {
            places: Arc::new(Semaphore::new(requests_max)),
            metrics: Metrics::register(registry),
        }
    }

    /// Whether a request would be refused now. Called before its body is read.
    pub(crate) fn is_full(&self) -> bool {
        self.places.available_permits() == 0
    }

    /// Admits a request whose body was read; `None` if no place is free.
    pub(crate) fn begin(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let in_progress = self.metrics.requests_in_progress.clone();
        in_progress.inc();
        Some(Place {
            _permit: permit,
            in_progress,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_progress.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_requests_max_and_each_is_free_again_when_it_is_dropped() {
        let check = |requests_max: usize| {
            let admission = Admission::new(requests_max, &mut Registry::default());
            let in_progress = || usize::try_from(admission.metrics.requests_in_progress.get()).unwrap();
            for _ in 0..2 {
                assert!(!admission.is_full());
                let mut places: Vec<_> = (0..requests_max).map_while(|_| admission.begin()).collect();
                assert!(admission.is_full() && admission.begin().is_none());
                assert_eq!((places.len(), in_progress()), (requests_max, requests_max));
                places.pop();
                assert!(!admission.is_full());
                assert_eq!(in_progress(), requests_max - 1);
            }
            assert_eq!(in_progress(), 0);
        };
        check(1);
        check(2);
        check(1024);
    }
}
