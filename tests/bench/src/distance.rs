//! The relay far away from Plausible: every answer takes its time, and all events must arrive nevertheless, as they come
//! and each visitor's in their order.

use crate::compare::{CONNECTIONS, WARM_UP_S};
use crate::load::{Manner, Shape, Sink, Stream};
use crate::middle::{Measured, Programs, Setup};
use anyhow::Result;
use std::time::Duration;

/// Events per second, one per request.
pub(crate) const RATE: f64 = 5_000.0;
/// From a request's arrival at the sink to its answer.
pub(crate) const ANSWERS_AFTER: Duration = Duration::from_millis(50);
/// Seconds for which events are sent; with `--quick` four tenths of it.
const SENT_S: f64 = 8.0;

/// The stream, and how many of its events overtook an earlier one of the same visitor.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Distant {
    pub(crate) measured: Measured,
    pub(crate) disordered: f64,
}

/// Sends through a fresh relay. Fails if an event is missing or arrives twice.
pub(crate) fn measure(programs: &Programs, pace: f64) -> Result<Distant> {
    let sink = Sink::start_with(Manner {
        answers_after: ANSWERS_AFTER,
        checks_order: true,
    })?;
    let mut running = programs.start_relay(Setup::Numbered, sink.address)?;
    let mut stream = Stream::busy(Shape::Numbered, CONNECTIONS, pace * WARM_UP_S);
    stream.rate = Some(RATE);
    sink.send(running.address, &stream, 1)?;
    running.reset_peak()?;
    stream.seconds = pace * SENT_S;
    let measured = running.measure(|address| sink.send(address, &stream.next(), 1))?;
    Ok(Distant {
        measured,
        disordered: sink.disordered() as f64,
    })
}
