//! Turns page activity into events: pageviews, engagement, ratings. Pure: time and random ids are arguments, the result
//! is an [`Action`], and no browser type appears.

use crate::address::{Address, URL_BYTES_MAX, is_own_page, shortened};
use crate::delivery::{Action, Answer, Delivery};
use crate::engagement::{Engagement, Report};
use crate::json::{Object, text};
use crate::queue::Worth;

/// Returns a new random event id, 32 lower-case hexadecimal digits.
pub(crate) type NewId<'a> = &'a mut dyn FnMut() -> String;

/// The category of pageviews, engagement and all events that the page names itself.
const USAGE: &str = "usage";
/// The category of ratings.
const FEEDBACK: &str = "feedback";
/// The event name of a rating.
const RATED: &str = "Activity Rated";
/// Plausible rejects a longer event name (in characters).
const NAME_CHARS_MAX: usize = 120;
/// Within this time after a page was shown, a replaced address is a router's correction, such as from `/` to `/#/home`.
/// Later a replaced address is the next page, for example after a login. Longer than the wait for the first batch.
const CORRECTION_MS_MAX: u32 = 4000;
/// Plausible keeps no more properties of one event.
const PROPS_MAX: usize = 30;
/// Plausible rejects the whole event over a longer key.
const KEY_BYTES_MAX: usize = 300;
/// Plausible rejects the whole event over a longer value.
const VALUE_BYTES_MAX: usize = 2000;

/// The categories the user agreed to, the plan's version, and the site.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Consent<'a> {
    site: &'a str,
    plan: u32,
    categories: &'a str,
}

impl<'a> Consent<'a> {
    /// `categories` are separated by commas.
    pub(crate) fn new(site: &'a str, plan: u32, categories: &'a str) -> Self {
        Self {
            site,
            plan,
            categories,
        }
    }

    fn categories(self) -> impl Iterator<Item = &'a str> {
        self.categories.split(',').filter(|c| !c.is_empty())
    }
}

/// A snapshot of the page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    now_ms: u32,
    url: &'a str,
    visible: bool,
    focused: bool,
}

impl<'a> View<'a> {
    pub(crate) fn new(now_ms: u32, url: &'a str, visible: bool, focused: bool) -> Self {
        Self {
            now_ms,
            url,
            visible,
            focused,
        }
    }
}

/// How an address changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// The previous address is no longer in the history.
    replaced: bool,
    /// The user has not interacted with this page yet.
    unasked: bool,
}

impl Change {
    pub(crate) fn new(replaced: bool, unasked: bool) -> Self {
        Self { replaced, unasked }
    }
}

/// One page, from the opt-in until it is closed or the user opts out.
#[derive(Debug)]
pub(crate) struct Client {
    usage: bool,
    feedback: bool,
    referrer: String,
    address: Address,
    /// Whether the page at `address` has had its pageview; a page that was never visible has not.
    viewed: bool,
    viewed_ms: u32,
    engagement: Engagement,
    delivery: Delivery,
}

impl Client {
    pub(crate) fn new(consent: Consent<'_>, referrer: &str) -> Self {
        Self {
            usage: consent.categories().any(|c| c == USAGE),
            feedback: consent.categories().any(|c| c == FEEDBACK),
            referrer: referrer.to_owned(),
            address: Address::default(),
            viewed: false,
            viewed_ms: 0,
            engagement: Engagement::default(),
            delivery: Delivery::new(head(consent)),
        }
    }

    /// The page is shown for the first time, or again from the back-forward cache.
    pub(crate) fn open(&mut self, view: View<'_>, new_id: NewId<'_>) -> Action {
        self.viewed = false;
        self.address = Address::default();
        self.attend(view, new_id)
    }

    /// The address may have changed. A change that leads to the same page is ignored.
    pub(crate) fn navigate(&mut self, view: View<'_>, change: Change, new_id: NewId<'_>) -> Action {
        let next = Address::reduce(view.url);
        if !self.viewed {
            self.address.follow(next);
        } else if self.is_corrected(view.now_ms, change, &next) {
            let before = self.start_of_event();
            self.address.follow(next);
            let start = self.start_of_event();
            self.delivery.rename(&before, &start);
        } else if !self.address.is_page_of(&next) {
            self.report(view.now_ms, new_id);
            self.address = next;
            self.show(view.now_ms, new_id);
        }
        self.delivery.settle()
    }

    /// The page was shown or hidden, or gained or lost focus.
    pub(crate) fn attend(&mut self, view: View<'_>, new_id: NewId<'_>) -> Action {
        let attentive = view.visible && view.focused;
        self.engagement.attend(view.now_ms, attentive);
        if !self.viewed {
            self.address.follow(Address::reduce(view.url));
            if view.visible {
                self.show(view.now_ms, new_id);
            }
        } else if !attentive {
            self.report(view.now_ms, new_id);
        }
        self.delivery.settle()
    }

    /// The lower edge of the visible part is at `bottom` of `height`, in CSS pixels; `elsewhere` means that a different
    /// part of the page is measured than before.
    pub(crate) fn scroll(&mut self, bottom: u32, height: u32, elsewhere: bool) {
        self.engagement.scroll(bottom, height, elsewhere);
    }

    /// The page reports a user action. `props` are alternating keys and values, each terminated by NUL; a value starts
    /// with `s` if it is text, otherwise it is JSON already.
    pub(crate) fn track(&mut self, name: &str, props: &str, new_id: NewId<'_>) -> Action {
        let name = name.trim();
        if !self.usage || name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
            self.delivery.refuse();
            return Action::Rest;
        }
        let mut event = self.event(name, new_id);
        let props = written(props);
        if !props.is_empty() {
            event.raw("props", &props.close());
        }
        self.delivery.push(event.close(), Worth::Event);
        self.delivery.settle()
    }

    /// The user rates an activity: a whole number from 1, very dissatisfied, to 5, very satisfied.
    pub(crate) fn rate(&mut self, activity: &str, rating: f64, new_id: NewId<'_>) -> Action {
        let activity = shortened(activity.trim(), VALUE_BYTES_MAX);
        let rating = (1..=5u8).find(|n| f64::from(*n) == rating);
        let (true, false, Some(rating)) = (self.feedback, activity.is_empty(), rating) else {
            self.delivery.refuse();
            return Action::Rest;
        };
        let mut props = Object::new();
        props.text("activity", activity);
        props.number("rating", rating.into());
        let mut event = self.event(RATED, new_id);
        event.raw("props", &props.close());
        self.delivery.push(event.close(), Worth::Rating);
        self.delivery.settle()
    }

    /// Sets the time for the calls that follow.
    pub(crate) fn at(&mut self, now_ms: u32) {
        self.delivery.at(now_ms);
    }

    /// The browser's values of the day; see [`Delivery::visitor`].
    pub(crate) fn visitor(&mut self, values: &str) {
        self.delivery.visitor(values);
    }

    /// The timer has fired.
    pub(crate) fn wake(&mut self) -> Action {
        self.delivery.wake()
    }

    /// The relay has answered.
    pub(crate) fn answer(&mut self, answer: Answer) -> Action {
        self.delivery.answer(answer)
    }

    /// The browser is online again.
    pub(crate) fn online(&mut self) -> Action {
        self.delivery.online()
    }

    /// The next body to send while the page goes away.
    pub(crate) fn part(&mut self) -> Option<String> {
        self.delivery.part()
    }

    /// The number of the last request.
    pub(crate) fn flight(&self) -> u32 {
        self.delivery.flight()
    }

    /// Events refused or lost so far.
    pub(crate) fn dropped(&self) -> u32 {
        self.delivery.dropped()
    }

    fn show(&mut self, now_ms: u32, new_id: NewId<'_>) {
        self.viewed = true;
        self.viewed_ms = now_ms;
        self.engagement.restart(now_ms);
        self.delivery.turn_page();
        if !self.usage {
            return;
        }
        let mut event = self.event("pageview", new_id);
        // All pages of a visit share its origin, so only the first pageview carries it.
        let referrer = std::mem::take(&mut self.referrer);
        if !referrer.is_empty() && !is_own_page(&referrer, &self.address.written()) {
            event.text("referrer", shortened(&referrer, URL_BYTES_MAX));
        }
        self.delivery.push(event.close(), Worth::Pageview);
    }

    /// Whether a change corrects the address of the current page, whose pageview has not been sent yet.
    fn is_corrected(&self, now_ms: u32, change: Change, next: &Address) -> bool {
        let by_router = change.replaced || (change.unasked && self.address.is_completed_by(next));
        by_router && now_ms.saturating_sub(self.viewed_ms) <= CORRECTION_MS_MAX && self.delivery.holds_page()
    }

    fn report(&mut self, now_ms: u32, new_id: NewId<'_>) {
        let Some(Report {
            engaged_ms,
            scroll_depth,
        }) = self.engagement.report(now_ms)
        else {
            return;
        };
        if !self.usage {
            return;
        }
        let mut event = self.event("engagement", new_id);
        event.number("engagement_ms", engaged_ms);
        if let Some(scroll_depth) = scroll_depth {
            event.number("scroll_depth", scroll_depth);
        }
        self.delivery.push(event.close(), Worth::Engagement);
    }

    /// An event on the current page, open for further members.
    fn event(&self, name: &str, new_id: NewId<'_>) -> Object {
        let mut event = Object::new();
        event.text("url", &self.address.written());
        event.text("id", &new_id());
        event.text("name", name);
        event
    }

    /// The first member of every event on the current page, and of no other.
    fn start_of_event(&self) -> String {
        let mut start = Object::new();
        start.text("url", &self.address.written());
        let mut start = start.close();
        start.pop();
        start
    }
}

/// The start of every body, up to the bracket that opens the list of events.
fn head(consent: Consent<'_>) -> String {
    let mut list = String::from("[");
    for category in consent.categories() {
        if list.len() > 1 {
            list.push(',');
        }
        text(&mut list, category);
    }
    list.push(']');
    let mut agreed = Object::new();
    agreed.number("plan", consent.plan);
    agreed.raw("categories", &list);
    let mut body = Object::new();
    body.text("site", consent.site);
    body.raw("consent", &agreed.close());
    let mut head = body.close();
    head.pop();
    head.push_str(",\"events\":[");
    head
}

/// Parses the page's format for properties. Omits those that Plausible would not keep.
fn written(props: &str) -> Object {
    let mut object = Object::new();
    let mut parts = props.split('\0');
    let mut count = 0;
    while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
        if count == PROPS_MAX {
            break;
        }
        if key.trim().is_empty() || key.len() > KEY_BYTES_MAX {
            continue;
        }
        match value.strip_prefix('s') {
            Some(value) if value.trim().is_empty() => continue,
            Some(value) => object.text(key, shortened(value, VALUE_BYTES_MAX)),
            None => object.raw(key, value),
        }
        count += 1;
    }
    object
}

#[cfg(test)]
mod tests;
