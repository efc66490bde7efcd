//! How many requests go out on a connection before their answers are read.
//!
//! A server or a proxy may mix up requests that arrive together, so they do only after this one has shown that it answers
//! them in order. The fewer answers it gives per second on a connection, the fewer requests wait there.

use super::flight::Landing;
use crate::forward::plausible::Reply;
use std::time::Duration;
use tokio::time::Instant;

/// Most requests in flight on one connection. A connection that breaks leaves as many outcomes unknown.
pub(in crate::forward) const DEPTH_MAX: usize = 16;
/// The same before the server's speed is known, and on a slow server.
const DEPTH_SLOW: usize = 2;
/// The time in which the server should answer what is in flight on one connection.
const ANSWERED_WITHIN: f64 = 0.1;
/// The weight of one batch in the smoothed time between two answers.
const SMOOTHING: f64 = 0.2;
/// How long requests go out one at a time after the server did not answer them as it should.
const ASK_AGAIN: Duration = Duration::from_secs(600);

/// The state of the proof, and the server's speed.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    proof: Proof,
    /// Seconds between two answers.
    gap: Option<f64>,
}

#[derive(Debug, Default)]
enum Proof {
    #[default]
    NotAsked,
    Asking,
    Proven,
    /// Not, or no longer; it is asked again at this time.
    Missing(Instant),
}

impl Pipeline {
    /// Most requests in flight on one connection now.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 2 and 16"
    )]
    pub(super) fn depth(&self) -> usize {
        match (&self.proof, self.gap) {
            (Proof::Proven, Some(gap)) => {
                (ANSWERED_WITHIN / gap).clamp(DEPTH_SLOW as f64, DEPTH_MAX as f64) as usize
            }
            (Proof::Proven, None) => DEPTH_SLOW,
            _ => 1,
        }
    }

    /// Whether to ask the server for the proof.
    pub(super) fn wants_proof(&self, now: Instant) -> bool {
        match self.proof {
            Proof::NotAsked => true,
            Proof::Missing(until) => until <= now,
            Proof::Asking | Proof::Proven => false,
        }
    }

    /// The server is being asked.
    pub(super) fn asks(&mut self) {
        self.proof = Proof::Asking;
    }

    /// The server has answered as it should, or not, or was not asked.
    pub(super) fn was_asked(&mut self, is_proven: Option<bool>, now: Instant) {
        self.proof = match is_proven {
            None => Proof::NotAsked,
            Some(true) => Proof::Proven,
            Some(false) => Proof::Missing(now + ASK_AGAIN),
        };
    }

    /// A batch of `sent` requests has come back.
    pub(super) fn landed(&mut self, results: &[Landing], sent: usize, now: Instant) {
        let (Some(first), Some(last), true) = (results.first(), results.last(), sent > 1) else {
            return;
        };
        if results.iter().any(|landing| landing.reply == Reply::Unknown) {
            self.proof = Proof::Missing(now + ASK_AGAIN);
        } else if results.len() == sent {
            let gap = (last.took - first.took).as_secs_f64() / (sent - 1) as f64;
            self.gap = Some(
                self.gap
                    .map_or(gap, |smoothed| smoothed + SMOOTHING * (gap - smoothed)),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::plausible::Verdict;
    use relay_event::Outcome;

    /// The results of a batch, answered at these milliseconds.
    fn results(reply: Reply, at: &[u64]) -> Vec<Landing> {
        let landing = |ms: &u64| Landing {
            verdict: Verdict::Settled(Outcome::Delivered),
            reply,
            took: Duration::from_millis(*ms),
        };
        at.iter().map(landing).collect()
    }

    #[test]
    fn requests_go_out_together_once_that_is_proven_and_as_many_as_the_server_answers_soon() {
        let now = Instant::now();
        // The times of the answers in milliseconds, and the depth afterwards.
        let check = |what: &str, at: &[u64], want: usize| {
            let mut pipeline = Pipeline::default();
            assert_eq!(pipeline.depth(), 1, "nothing is proven");
            pipeline.asks();
            assert!(!pipeline.wants_proof(now) && pipeline.depth() == 1);
            pipeline.was_asked(Some(true), now);
            assert_eq!(pipeline.depth(), DEPTH_SLOW, "its speed is unknown");
            pipeline.landed(&results(Reply::Accepted, at), at.len(), now);
            assert_eq!(pipeline.depth(), want, "{what}");
        };
        check("at once", &[0, 0, 0], DEPTH_MAX);
        check("far away, and fast", &[500, 501], DEPTH_MAX);
        check("ten milliseconds each", &[10, 20, 30], 10);
        check("slow", &[400, 800], DEPTH_SLOW);
        check("alone, which shows nothing", &[400], DEPTH_SLOW);
    }

    #[test]
    fn after_a_lost_batch_requests_go_out_alone_and_the_server_is_asked_again_later() {
        let now = Instant::now();
        let check = |what: &str, reply: Reply, sent: usize, want: usize| {
            let mut pipeline = Pipeline::default();
            pipeline.was_asked(Some(true), now);
            pipeline.landed(&results(reply, &[1, 2][..sent.min(2)]), sent, now);
            assert_eq!(pipeline.depth(), want, "{what}");
            let is_asked = |after| pipeline.wants_proof(now + after);
            let (soon, later) = (is_asked(ASK_AGAIN - Duration::from_secs(1)), is_asked(ASK_AGAIN));
            assert_eq!((soon, later), (false, want == 1), "{what}");
        };
        check("lost", Reply::Unknown, 2, 1);
        check("lost alone", Reply::Unknown, 1, DEPTH_SLOW);
        check("refused", Reply::Retry, 2, DEPTH_MAX);
        check("cut", Reply::Accepted, 3, DEPTH_SLOW);
        let mut pipeline = Pipeline::default();
        pipeline.was_asked(Some(false), now);
        assert_eq!((pipeline.depth(), pipeline.wants_proof(now)), (1, false));
        pipeline.was_asked(None, now);
        assert_eq!(
            (pipeline.depth(), pipeline.wants_proof(now)),
            (1, true),
            "it was not asked"
        );
    }
}
