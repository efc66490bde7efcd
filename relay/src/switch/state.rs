//! The state of one site's switch, and how events change it. Pure, so that a table can test every pair.

use super::{Recorded, SetBy};
use crate::permit::Opens;

/// The state of a switch. Only [`State::On`] gives out permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Collection is off.
    Off(Recorded),
    /// Off; "on" is being written to the database.
    Opening,
    /// Like [`State::Opening`], but the database was rebuilt meanwhile and may have lost the record.
    OpeningInDoubt,
    /// Collection is on, in memory and in the database.
    On,
    /// A rebuilt database no longer lists the site as on: nothing is stored or sent until that is reconciled.
    InDoubt,
    /// Being switched off: no new permits, and the relay waits for those that are out. The place where "off" was recorded
    /// before.
    Closing(Recorded),
}

/// An event in the life of a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The database was read at the start, and lists the site as on.
    FoundOn,
    /// The site is being switched off.
    Close,
    /// All permits came back.
    Drained,
    /// An actor switches it on; the record is about to be written.
    Open,
    /// "On" was recorded.
    RecordedOn,
    /// "On" was not recorded, because the actor lost the right to set the switch.
    Refused,
    /// "Off" is recorded here. Also the end of a failed attempt to record "on".
    RecordedOff(Recorded),
    /// A rebuilt database does not list the site as on.
    Lost,
    /// The database lists the site as on after all.
    Confirmed,
}

impl State {
    /// The state after an event. An event that does not fit the state changes nothing: no mistake of the caller turns a
    /// switch on.
    pub(super) fn after(self, event: Event) -> Self {
        use Event as E;
        match (self, event) {
            (Self::Off(Recorded::Database), E::FoundOn) => Self::On,
            (Self::Off(recorded) | Self::Closing(recorded), E::Close) => Self::Closing(recorded),
            (_, E::Close) => Self::Closing(Recorded::Database),
            (Self::Closing(recorded), E::Drained) => Self::Off(recorded),
            (Self::Off(Recorded::Database), E::Open) => Self::Opening,
            // The task of an earlier attempt panicked.
            (Self::OpeningInDoubt, E::Open) => Self::Opening,
            (Self::Opening, E::RecordedOn) => Self::On,
            (Self::OpeningInDoubt, E::RecordedOn) => Self::InDoubt,
            (Self::Opening | Self::OpeningInDoubt, E::Refused) => Self::Off(Recorded::Database),
            (Self::Off(_) | Self::Opening | Self::OpeningInDoubt, E::RecordedOff(recorded)) => {
                Self::Off(recorded)
            }
            (Self::On, E::Lost) => Self::InDoubt,
            (Self::Opening, E::Lost) => Self::OpeningInDoubt,
            (Self::InDoubt, E::Confirmed) => Self::On,
            (Self::OpeningInDoubt, E::Confirmed) => Self::Opening,
            (unchanged, _) => unchanged,
        }
    }

    /// The place where the state, on or off, is recorded.
    pub(super) fn recorded(self) -> Recorded {
        match self {
            Self::Off(recorded) | Self::Closing(recorded) => recorded,
            Self::Opening | Self::OpeningInDoubt | Self::On | Self::InDoubt => Recorded::Database,
        }
    }
}

/// The full state of a site's switch. It lives in the site's [`PermitLock`](crate::permit::PermitLock).
#[derive(Debug)]
pub(super) struct Switch {
    pub(super) state: State,
    /// Number of events so far: a reading of the database that is older than the last event is out of date.
    pub(super) version: u64,
    /// Who set the switch last.
    pub(super) set_by: Option<SetBy>,
    /// Events up to this sequence number were purged, whether or not a lane still holds one.
    pub(super) purged_up_to: i64,
}

impl Switch {
    pub(super) fn new() -> Self {
        Self {
            state: State::Off(Recorded::Database),
            version: 0,
            set_by: None,
            purged_up_to: 0,
        }
    }

    pub(super) fn apply(&mut self, event: Event) {
        self.state = self.state.after(event);
        self.version += 1;
    }
}

impl Opens for Switch {
    fn is_open(&self) -> bool {
        self.state == State::On
    }
}

#[cfg(test)]
mod tests {
    use super::Event as E;
    use super::State::{Closing, InDoubt, Off, On, Opening, OpeningInDoubt};
    use super::*;
    use Recorded::{Database, Nowhere, Tombstone};

    /// Every state under every event; `same` is written as the state itself.
    #[test]
    fn each_event_changes_each_state_as_the_table_says() {
        let events = [
            E::FoundOn,
            E::Close,
            E::Drained,
            E::Open,
            E::RecordedOn,
            E::Refused,
            E::RecordedOff(Tombstone),
            E::Lost,
            E::Confirmed,
        ];
        let check = |state: State, after: [State; 9]| {
            for (event, want) in events.into_iter().zip(after) {
                assert_eq!(state.after(event), want, "{state:?} after {event:?}");
            }
        };
        // Columns as in `events`.
        let (off, closing) = (Off(Database), Closing(Database));
        check(
            off,
            [On, closing, off, Opening, off, off, Off(Tombstone), off, off],
        );
        check(
            Opening,
            [
                Opening,
                closing,
                Opening,
                Opening,
                On,
                off,
                Off(Tombstone),
                OpeningInDoubt,
                Opening,
            ],
        );
        check(
            OpeningInDoubt,
            [
                OpeningInDoubt,
                closing,
                OpeningInDoubt,
                Opening,
                InDoubt,
                off,
                Off(Tombstone),
                OpeningInDoubt,
                Opening,
            ],
        );
        check(On, [On, closing, On, On, On, On, On, InDoubt, On]);
        check(
            InDoubt,
            [
                InDoubt, closing, InDoubt, InDoubt, InDoubt, InDoubt, InDoubt, InDoubt, On,
            ],
        );
        check(
            closing,
            [
                closing, closing, off, closing, closing, closing, closing, closing, closing,
            ],
        );
        for recorded in [Tombstone, Nowhere] {
            let (off, closing) = (Off(recorded), Closing(recorded));
            // Nothing turns it on before "off" is recorded in the database and the waiting events are purged.
            check(off, [off, closing, off, off, off, off, Off(Tombstone), off, off]);
            check(
                closing,
                [
                    closing, closing, off, closing, closing, closing, closing, closing, closing,
                ],
            );
        }
    }

    #[test]
    fn only_on_gives_out_permits() {
        let check = |state: State, want: bool| {
            let switch = Switch {
                state,
                ..Switch::new()
            };
            assert_eq!(switch.is_open(), want, "{state:?}");
        };
        check(On, true);
        for state in [
            Off(Database),
            Off(Tombstone),
            Off(Nowhere),
            Opening,
            OpeningInDoubt,
            InDoubt,
            Closing(Database),
        ] {
            check(state, false);
        }
    }

    #[test]
    fn on_is_reached_only_by_a_record_that_says_on() {
        let all = [
            Off(Database),
            Off(Tombstone),
            Off(Nowhere),
            Opening,
            OpeningInDoubt,
            InDoubt,
            Closing(Database),
            Closing(Nowhere),
        ];
        let events = [
            E::Close,
            E::Drained,
            E::Open,
            E::Refused,
            E::RecordedOff(Database),
            E::RecordedOff(Nowhere),
            E::Lost,
        ];
        for state in all {
            for event in events {
                assert_ne!(state.after(event), On, "{state:?} after {event:?}");
            }
        }
    }
}
