//! Measures how long and how far a page was read, by Plausible's rules; independent of pages and events.

/// Shorter attention is only reported together with deeper scrolling (Plausible's rule).
const ENGAGED_MS_MIN: u32 = 3000;

/// The attention given to one page. Time counts only while the page is visible and focused.
#[derive(Debug, Default)]
pub(crate) struct Engagement {
    attentive: bool,
    since: Option<u32>,
    engaged_ms: u32,
    deepest: u32,
    reported: Option<u32>,
    height: u32,
}

/// The content of an `engagement` event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) engaged_ms: u32,
    /// Percent of the page's height, 0 to 100; none if the page was not measured.
    pub(crate) scroll_depth: Option<u32>,
}

impl Engagement {
    /// A new page is shown: nothing of it has been reported or measured yet, because the browser might not have drawn
    /// it.
    pub(crate) fn restart(&mut self, now_ms: u32) {
        self.engaged_ms = 0;
        self.deepest = 0;
        self.height = 0;
        self.reported = None;
        self.since = self.attentive.then_some(now_ms);
    }

    /// The page gains or loses the user's attention.
    pub(crate) fn attend(&mut self, now_ms: u32, attentive: bool) {
        self.pause(now_ms);
        self.attentive = attentive;
        self.since = attentive.then_some(now_ms);
    }

    /// The lower edge of the visible part is at `bottom` of `height`, in CSS pixels. With `elsewhere`, they belong to
    /// another part of the page and are not comparable with earlier ones.
    pub(crate) fn scroll(&mut self, bottom: u32, height: u32, elsewhere: bool) {
        if elsewhere {
            self.deepest = 0;
            self.reported = self.reported.map(|_| 0);
        }
        self.deepest = self.deepest.max(bottom);
        self.height = height;
    }

    /// The change since the last report, if it is worth one. The first report of a page always is: it contains at least
    /// how much of the page the window shows.
    pub(crate) fn report(&mut self, now_ms: u32) -> Option<Report> {
        self.pause(now_ms);
        self.since = self.attentive.then_some(now_ms);
        let deeper = self.reported.is_none_or(|reported| self.deepest > reported);
        if !deeper && self.engaged_ms < ENGAGED_MS_MIN {
            return None;
        }
        let engaged_ms = std::mem::take(&mut self.engaged_ms);
        self.reported = Some(self.deepest);
        Some(Report {
            engaged_ms,
            scroll_depth: percent(self.deepest, self.height),
        })
    }

    fn pause(&mut self, now_ms: u32) {
        if let Some(since) = self.since.take() {
            self.engaged_ms = self.engaged_ms.saturating_add(now_ms.saturating_sub(since));
        }
    }
}

/// None if nothing was measured.
fn percent(part: u32, whole: u32) -> Option<u32> {
    if part >= whole {
        return (whole > 0).then_some(100);
    }
    // This never overflows: browsers limit a document to about 33 million pixels.
    Some((part.saturating_mul(100).saturating_add(whole / 2)) / whole)
}

#[cfg(test)]
mod tests {
    use super::{Engagement, Report, percent};

    enum Do {
        /// Milliseconds, visible and focused.
        Attend(u32, bool),
        Scroll(u32),
        /// Bottom and height of another part of the page.
        Elsewhere(u32, u32),
        Restart(u32),
        Report(u32, Option<(u32, Option<u32>)>),
    }
    use Do::{Attend, Elsewhere, Report as Expect, Restart, Scroll};

    fn check(name: &str, steps: &[Do]) {
        let mut engagement = Engagement::default();
        engagement.attend(0, true);
        engagement.restart(0);
        engagement.scroll(500, 1000, false);
        for (n, step) in steps.iter().enumerate() {
            match step {
                Attend(now, attentive) => engagement.attend(*now, *attentive),
                Scroll(bottom) => engagement.scroll(*bottom, 1000, false),
                Elsewhere(bottom, height) => engagement.scroll(*bottom, *height, true),
                Restart(now) => engagement.restart(*now),
                Expect(now, expected) => {
                    let expected = expected.map(|(engaged_ms, scroll_depth)| Report {
                        engaged_ms,
                        scroll_depth,
                    });
                    assert_eq!(engagement.report(*now), expected, "{name}, step {n}");
                }
            }
        }
    }

    #[test]
    fn plausibles_rules_hold() {
        check(
            "the first report is always made",
            &[Expect(10, Some((10, Some(50))))],
        );
        check(
            "the second needs three seconds",
            &[
                Expect(10, Some((10, Some(50)))),
                Expect(3009, None),
                Expect(3010, Some((3000, Some(50)))),
            ],
        );
        check(
            "or deeper scrolling",
            &[
                Expect(10, Some((10, Some(50)))),
                Scroll(800),
                Expect(20, Some((10, Some(80)))),
            ],
        );
        check(
            "scrolling back up is not deeper",
            &[
                Scroll(800),
                Expect(10, Some((10, Some(80)))),
                Scroll(600),
                Expect(20, None),
            ],
        );
        check(
            "time without attention does not count",
            &[
                Attend(1000, false),
                Attend(61_000, true),
                Attend(63_000, false),
                Expect(99_000, Some((3000, Some(50)))),
            ],
        );
        check(
            "short times add up",
            &[
                Expect(0, Some((0, Some(50)))),
                Expect(2000, None),
                Attend(2000, false),
                Attend(9000, true),
                Expect(10_000, Some((3000, Some(50)))),
            ],
        );
        check(
            "a new page starts anew",
            &[
                Scroll(900),
                Expect(5000, Some((5000, Some(90)))),
                Restart(5000),
                Scroll(400),
                Expect(5001, Some((1, Some(40)))),
            ],
        );
        check(
            "a page that was not measured has no depth",
            &[Scroll(900), Restart(5000), Expect(5001, Some((1, None)))],
        );
        check(
            "another part of the page is measured anew",
            &[
                Scroll(1000),
                Expect(10, Some((10, Some(100)))),
                Elsewhere(900, 6000),
                Expect(20, Some((10, Some(15)))),
                Elsewhere(2000, 6000),
                Expect(30, Some((10, Some(33)))),
                Expect(40, None),
            ],
        );
        check(
            "a clock that goes back counts nothing",
            &[Attend(50, true), Expect(20, Some((50, Some(50))))],
        );
    }

    #[test]
    fn depth_is_a_percentage() {
        for (part, whole, expected) in [
            (0, 0, None),
            (9, 0, None),
            (0, 100, Some(0)),
            (1, 3, Some(33)),
            (2, 3, Some(67)),
            (3, 3, Some(100)),
            (9, 3, Some(100)),
            (2000, 6000, Some(33)),
            (u32::MAX, 1, Some(100)),
        ] {
            assert_eq!(percent(part, whole), expected, "{part}/{whole}");
        }
    }
}
