//! What a page does becomes events: pageviews, engagement, ratings. Pure: time and random ids come in
//! as arguments, the outcome is an [`Action`], and no type of the browser is named.

use crate::delivery::{Action, Answer, Delivery};
use crate::engagement::{Engagement, Report};
use crate::json::{Object, text};
use crate::queue::Worth;

/// Gives a new random event id, 32 lower-case hexadecimal digits.
pub(crate) type NewId<'a> = &'a mut dyn FnMut() -> String;

/// The category of pageviews, engagement and all events the page names itself.
const USAGE: &str = "usage";
/// The category of ratings.
const FEEDBACK: &str = "feedback";
/// The event a rating becomes.
const RATED: &str = "Activity Rated";
/// Plausible rejects a longer event name (in characters).
const NAME_CHARS_MAX: usize = 120;
/// Plausible rejects a longer address; a route is told from far less.
const URL_BYTES_MAX: usize = 2000;
/// Plausible keeps no more properties of one event.
const PROPS_MAX: usize = 30;
/// Plausible rejects the whole event over a longer key.
const KEY_BYTES_MAX: usize = 300;
/// Plausible rejects the whole event over a longer value.
const VALUE_BYTES_MAX: usize = 2000;

/// What the user agreed to, and for which site.
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

/// The page as it is at one moment.
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

/// One page, from the opt-in until it is closed or the user opts out.
#[derive(Debug)]
pub(crate) struct Client {
    usage: bool,
    feedback: bool,
    referrer: String,
    url: String,
    /// Whether the page at `url` has had its pageview; a page that was never visible has none yet.
    viewed: bool,
    bottom: u32,
    engagement: Engagement,
    delivery: Delivery,
}

impl Client {
    pub(crate) fn new(consent: Consent<'_>, referrer: &str) -> Self {
        Self {
            usage: consent.categories().any(|c| c == USAGE),
            feedback: consent.categories().any(|c| c == FEEDBACK),
            referrer: referrer.to_owned(),
            url: String::new(),
            viewed: false,
            bottom: 0,
            engagement: Engagement::default(),
            delivery: Delivery::new(head(consent)),
        }
    }

    /// The page is shown for the first time, or again from the back-forward cache.
    pub(crate) fn open(&mut self, view: View<'_>, new_id: NewId<'_>) -> Action {
        self.viewed = false;
        self.stand_at(view.url);
        self.attend(view, new_id)
    }

    /// The address may have changed. A change of the query alone is no new page.
    pub(crate) fn navigate(&mut self, view: View<'_>, new_id: NewId<'_>) -> Action {
        if !self.viewed {
            self.stand_at(view.url);
        } else if !same_page(&self.url, view.url) {
            self.report(view.now_ms, new_id);
            self.show(view, new_id);
        }
        self.delivery.settle()
    }

    /// The page was shown or hidden, or gained or lost the focus.
    pub(crate) fn attend(&mut self, view: View<'_>, new_id: NewId<'_>) -> Action {
        let attentive = view.visible && view.focused;
        self.engagement.attend(view.now_ms, attentive);
        if !self.viewed {
            if view.visible {
                self.show(view, new_id);
            }
        } else if !attentive {
            self.report(view.now_ms, new_id);
        }
        self.delivery.settle()
    }

    /// The lower edge of the window is at `bottom` in a document of `height`, in CSS pixels.
    pub(crate) fn scroll(&mut self, bottom: u32, height: u32) {
        self.bottom = bottom;
        self.engagement.scroll(bottom, height);
    }

    /// The page tells of something its user did. `props` are keys and values in turn, each ended by
    /// NUL; a value starts with `s` when it is text and with anything else when it is JSON already.
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

    /// The user is `rating` content with an activity: a whole number from 1, very dissatisfied, to 5.
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

    /// The time of what comes next.
    pub(crate) fn at(&mut self, now_ms: u32) {
        self.delivery.at(now_ms);
    }

    /// The browser's values of the day; see [`Delivery::visitor`].
    pub(crate) fn visitor(&mut self, values: &str) {
        self.delivery.visitor(values);
    }

    /// The timer has run out.
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

    /// The number of the request that was last given out.
    pub(crate) fn flight(&self) -> u32 {
        self.delivery.flight()
    }

    /// Events refused or lost so far.
    pub(crate) fn dropped(&self) -> u32 {
        self.delivery.dropped()
    }

    fn show(&mut self, view: View<'_>, new_id: NewId<'_>) {
        self.viewed = true;
        self.stand_at(view.url);
        self.engagement.restart(view.now_ms, self.bottom);
        if !self.usage {
            return;
        }
        let mut event = self.event("pageview", new_id);
        // Where a visitor came from is the same for all pages of one stay, so it is said once.
        let referrer = std::mem::take(&mut self.referrer);
        if !referrer.is_empty() {
            event.text("referrer", shortened(&referrer, URL_BYTES_MAX));
        }
        self.delivery.push(event.close(), Worth::Pageview);
    }

    fn stand_at(&mut self, url: &str) {
        self.url = shortened(url, URL_BYTES_MAX).to_owned();
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
        event.number("scroll_depth", scroll_depth);
        self.delivery.push(event.close(), Worth::Engagement);
    }

    /// An event on the current page, open for more members.
    fn event(&self, name: &str, new_id: NewId<'_>) -> Object {
        let mut event = Object::new();
        event.text("id", &new_id());
        event.text("name", name);
        event.text("url", &self.url);
        event
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

/// Properties from the form in which the page hands them over. What Plausible would not keep is left out.
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

/// Whether two addresses differ in nothing but their queries: the one before the fragment, and the
/// one that a hash router keeps inside it.
fn same_page(one: &str, other: &str) -> bool {
    let path = |url| without_query(split_fragment(url).0);
    let route = |url| without_query(split_fragment(url).1);
    path(one) == path(other) && route(one) == route(other)
}

fn split_fragment(url: &str) -> (&str, &str) {
    url.split_once('#').unwrap_or((url, ""))
}

fn without_query(text: &str) -> &str {
    text.split_once('?').map_or(text, |(before, _)| before)
}

/// The longest start of a text that has at most `bytes_max` bytes.
fn shortened(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
