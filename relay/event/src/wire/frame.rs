//! Splits a batch into its parts before any part is parsed.
//!
//! A JSON parser rejects a document as a whole, so half a surrogate pair in one event would cost all the others. This
//! scanner looks only at brackets, quotes and commas. It finds the bytes of `site`, `consent`, `token`, the visitor's
//! values and each event, and each part is parsed separately later. In valid JSON it finds exactly the parts that a
//! parser finds. In broken JSON it relies on balance: a string ends at its quote, and a closing bracket closes the
//! nearest opening one of its kind, within one event. If an event leaves a string or a bracket open, the start of the
//! next event is undefined, and the whole batch is unreadable.

use crate::event::BATCH_EVENTS_MAX;
use std::ops::Range;

/// The parts of a batch, as ranges of its bytes. None of them has been parsed yet.
pub(super) struct Frame {
    /// The site, if the batch names one.
    pub(super) site: Option<Range<usize>>,
    /// The consent, if the batch has one.
    pub(super) consent: Option<Range<usize>>,
    /// The page token, if the batch has one.
    pub(super) token: Option<Range<usize>>,
    /// The visitor's values of this day and of the one before.
    pub(super) visitor: [Option<Range<usize>>; 2],
    /// The events in order: at most one more than a batch may hold; the scan stops there.
    pub(super) events: Vec<Range<usize>>,
}

impl Frame {
    /// Splits a body. Of two equal keys the first counts.
    ///
    /// # Errors
    /// The offset from which the body no longer has the frame of a batch.
    pub(super) fn split(body: &[u8]) -> Result<Self, usize> {
        let mut scanner = Scanner {
            body,
            at: 0,
            open: Open::default(),
        };
        scanner.frame().ok_or(scanner.at)
    }
}

/// The meaning of a key of the frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Site,
    Consent,
    Token,
    /// The visitor's value of this day (0) or the one before (1).
    Visitor(usize),
    Events,
    Other,
}

impl Key {
    /// Reads a key with its quotes. An unreadable key counts as unknown.
    fn of(quoted: &[u8]) -> Self {
        match quoted {
            br#""site""# => return Self::Site,
            br#""consent""# => return Self::Consent,
            br#""token""# => return Self::Token,
            br#""events""# => return Self::Events,
            br#""visitor""# => return Self::Visitor(0),
            br#""visitor_before""# => return Self::Visitor(1),
            _ => {}
        }
        // A key may contain escapes.
        match serde_json::from_slice::<String>(quoted).as_deref() {
            Ok("site") => Self::Site,
            Ok("consent") => Self::Consent,
            Ok("token") => Self::Token,
            Ok("events") => Self::Events,
            Ok("visitor") => Self::Visitor(0),
            Ok("visitor_before") => Self::Visitor(1),
            _ => Self::Other,
        }
    }
}

/// Walks over the bytes once, forwards. `None` means that the frame ends before it is complete.
struct Scanner<'b> {
    body: &'b [u8],
    at: usize,
    open: Open,
}

impl Scanner<'_> {
    fn frame(&mut self) -> Option<Frame> {
        let (mut site, mut consent, mut token, mut events) = (None, None, None, None);
        let mut visitor = [None, None];
        self.take(b'{')?;
        loop {
            self.skip_space();
            let key = self.string()?;
            let key = Key::of(&self.body[key]);
            self.take(b':')?;
            self.skip_space();
            if key == Key::Events && events.is_none() {
                let found = self.events()?;
                if found.len() > BATCH_EVENTS_MAX {
                    // Too many events; the rest does not matter.
                    let events = found;
                    return Some(Frame {
                        site,
                        consent,
                        token,
                        visitor,
                        events,
                    });
                }
                events = Some(found);
            } else {
                let value = Some(self.value(b'}')?);
                match key {
                    Key::Site if site.is_none() => site = value,
                    Key::Consent if consent.is_none() => consent = value,
                    Key::Token if token.is_none() => token = value,
                    Key::Visitor(which) if visitor[which].is_none() => visitor[which] = value,
                    _ => {}
                }
            }
            if self.ends(b'}')? {
                break;
            }
        }
        self.skip_space();
        (self.at == self.body.len()).then_some(())?;
        let events = events?;
        Some(Frame {
            site,
            consent,
            token,
            visitor,
            events,
        })
    }

    /// The list of events, without its brackets.
    fn events(&mut self) -> Option<Vec<Range<usize>>> {
        let mut events = Vec::new();
        self.take(b'[')?;
        self.skip_space();
        if self.body.get(self.at) == Some(&b']') {
            self.at += 1;
            return Some(events);
        }
        while events.len() <= BATCH_EVENTS_MAX {
            events.push(self.value(b']')?);
            if self.ends(b']')? {
                break;
            }
        }
        Some(events)
    }

    /// Everything up to the next comma or `closer` outside of strings and brackets.
    fn value(&mut self, closer: u8) -> Option<Range<usize>> {
        let start = self.at;
        loop {
            let byte = *self.body.get(self.at)?;
            if self.open.is_empty() && (byte == b',' || byte == closer) {
                return Some(start..self.at);
            }
            match byte {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => self.open.push(byte == b'{'),
                b'}' | b']' => self.open.close(byte == b'}'),
                _ => {}
            }
            self.at += 1;
        }
    }

    /// A string with its quotes. Its escapes are not decoded.
    fn string(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        (self.body.get(start) == Some(&b'"')).then_some(())?;
        self.at += 1;
        loop {
            let rest = self.body.get(self.at..)?;
            let stop = rest.iter().position(|b| matches!(b, b'"' | b'\\'))?;
            let is_escape = rest[stop] == b'\\';
            self.at += stop + 1 + usize::from(is_escape);
            if !is_escape {
                return Some(start..self.at);
            }
        }
    }

    /// Whether the list or object ends here with `closer`; otherwise consumes a comma.
    fn ends(&mut self, closer: u8) -> Option<bool> {
        self.skip_space();
        let byte = *self.body.get(self.at)?;
        (byte == b',' || byte == closer).then(|| self.at += 1)?;
        Some(byte == closer)
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.skip_space();
        (self.body.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    fn skip_space(&mut self) {
        let rest = self.body.get(self.at..).unwrap_or_default();
        let space = |b: &&u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
        self.at += rest.iter().take_while(space).count();
    }
}

/// The open brackets, outermost first; never more than the body has bytes.
#[derive(Default)]
struct Open {
    /// Whether each is an object's.
    kinds: Vec<bool>,
    /// How many of them are objects.
    objects: usize,
}

impl Open {
    fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    fn push(&mut self, is_object: bool) {
        self.kinds.push(is_object);
        self.objects += usize::from(is_object);
    }

    /// Closes the nearest bracket of this kind and those within it; if there is none, closes nothing. Each bracket is
    /// closed once, so a body full of brackets costs no more than any other.
    fn close(&mut self, is_object: bool) {
        let of_kind = match is_object {
            true => self.objects,
            false => self.kinds.len() - self.objects,
        };
        if of_kind == 0 {
            return;
        }
        while let Some(kind) = self.kinds.pop() {
            self.objects -= usize::from(kind);
            if kind == is_object {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
