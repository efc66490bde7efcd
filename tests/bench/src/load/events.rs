//! The events: those that meshPanel's pages send while people work with them, as complete requests that are built once
//! and sent repeatedly.

use fastrand::Rng;
use serde_json::{Value, json};

/// The site of the events, if no other is given.
pub(crate) const SITE: &str = "panel.example.com";
/// The version of the shipped plan, to which the pages' users consented.
const PLAN: u32 = 1;
/// Distinct requests; after them the sequence repeats.
const TEMPLATES: usize = 4096;
/// Distinct people. Each has a different address, and the relay distributes them over its lanes.
const PEOPLE: usize = 1024;
/// Events of one batch.
const BATCH: usize = 10;
/// The placeholder of an event's id until the event is sent.
const NO_ID: &str = "00000000000000000000000000000000";
/// The property with an event's number, and what precedes the number in the requests of generator and relay.
const NUMBER: &str = "nth";
const BEFORE_NUMBER: &str = "\"nth\":";
/// The first number, which is also the placeholder: all numbers have as many digits.
const NUMBER_FIRST: u64 = 1_000_000;
const NUMBER_MAX: u64 = 9_999_999;

/// The contents of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One event in Plausible's format; Plausible accepts nothing else.
    Single,
    /// Ten events in the format of the relay's browser module.
    Batch,
    /// One event in Plausible's format, with a running number. Each connection sends for people of its own, so that each
    /// person's events leave in the order of their numbers.
    Numbered,
}

impl Shape {
    /// Events in a request.
    pub(crate) fn events(self) -> usize {
        match self {
            Self::Single | Self::Numbered => 1,
            Self::Batch => BATCH,
        }
    }
}

/// A complete request, except for the ids of its events.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) bytes: Vec<u8>,
    ids: Vec<usize>,
    number: Option<usize>,
}

impl Template {
    /// Writes ids into a copy of the bytes, `space` and then a running number, or one number of both: a million for each
    /// space. After the last number it is repeated, which the sink reports.
    pub(super) fn number(&self, copy: &mut [u8], space: u64, next: &mut u64) {
        if let Some(at) = self.number {
            let number = (space * NUMBER_FIRST + *next)
                .clamp(NUMBER_FIRST, NUMBER_MAX)
                .to_string();
            copy[at..at + number.len()].copy_from_slice(number.as_bytes());
            *next += 1;
        }
        for at in &self.ids {
            let id = format!("{space:016x}{next:016x}");
            copy[*at..*at + NO_ID.len()].copy_from_slice(id.as_bytes());
            *next += 1;
        }
    }
}

/// The requests of a seed.
pub(super) fn templates(shape: Shape, seed: u64) -> Vec<Template> {
    let mut random = Rng::with_seed(seed);
    let person = |nth, random: &mut Rng| match shape {
        Shape::Numbered => nth % PEOPLE,
        Shape::Single | Shape::Batch => random.usize(..PEOPLE),
    };
    (0..TEMPLATES)
        .map(|nth| template(shape, SITE, person(nth, &mut random), &mut random))
        .collect()
}

/// A request for each of these sites, without ids, from one person after the other.
pub(super) fn one_each<'s>(
    shape: Shape,
    sites: impl Iterator<Item = &'s str>,
    seed: u64,
) -> impl Iterator<Item = Vec<u8>> {
    let mut random = Rng::with_seed(seed);
    sites
        .enumerate()
        .map(move |(nth, site)| template(shape, site, nth % PEOPLE, &mut random).bytes)
}

/// The number of the event in a request of the relay.
pub(super) fn number(request: &[u8]) -> Option<u64> {
    let before = BEFORE_NUMBER.as_bytes();
    let at = request
        .windows(before.len())
        .position(|window| window == before)?;
    let digits = request[at + before.len()..]
        .split(|byte| !byte.is_ascii_digit())
        .next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A tracking plan that lists the numbers: this one, with one more property of each event.
pub(crate) fn with_numbers(plan: &str) -> String {
    let property = format!(
        "\n[event.prop.{NUMBER}]\ntype = \"int\"\nmin = {NUMBER_FIRST}\nmax = {NUMBER_MAX}\n\
         description = \"The event's number in the benchmark.\"\n"
    );
    let mut parts = plan.split("\n[[event]]\n");
    let head = parts.next().unwrap_or_default().to_owned();
    parts.fold(head, |text, event| text + "\n[[event]]\n" + event + &property)
}

fn template(shape: Shape, site: &str, person: usize, random: &mut Rng) -> Template {
    let (path, media_type, body) = match shape {
        Shape::Single | Shape::Numbered => (
            format!("/api/event?consent={PLAN}"),
            "text/plain",
            event(shape, site, random),
        ),
        Shape::Batch => {
            let events: Vec<Value> = (0..BATCH).map(|_| event(shape, site, random)).collect();
            let batch = json!({ "site": site, "consent": { "plan": PLAN }, "events": events });
            ("/api/events".to_owned(), "application/json", batch)
        }
    };
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {site}\r\nUser-Agent: {agent}\r\nAccept: */*\r\n\
         Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\nContent-Type: {media_type}\r\nOrigin: https://{site}\r\n\
         Referer: https://{site}/\r\nX-Forwarded-For: 198.18.{}.{}\r\nContent-Length: {}\r\n\r\n{body}",
        person / 256,
        person % 256,
        body.len(),
        agent = agent(person),
    );
    let ids = request.match_indices(NO_ID).map(|(at, _)| at).collect();
    let number = request.find(BEFORE_NUMBER).map(|at| at + BEFORE_NUMBER.len());
    Template {
        bytes: request.into_bytes(),
        ids,
        number,
    }
}

/// The browser of a person, always the same.
fn agent(person: usize) -> String {
    let version = 128 + person % 13;
    match person % 5 {
        0 | 1 => format!(
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 Safari/537.36"
        ),
        2 => format!("Mozilla/5.0 (X11; Linux x86_64; rv:{version}.0) Gecko/20100101 Firefox/{version}.0"),
        3 => format!(
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{}.{} Safari/605.1.15",
            16 + person % 3,
            person % 7
        ),
        _ => format!(
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 Safari/537.36 Edg/{version}.0.0.0"
        ),
    }
}

/// One event in the format of this shape: mostly pageviews, then engagement, features, and now and then a rating.
fn event(shape: Shape, site: &str, random: &mut Rng) -> Value {
    let ([name, url, referrer, ms, depth, props], mut event) = match shape {
        Shape::Single | Shape::Numbered => (
            ["n", "u", "r", "e", "sd", "p"],
            json!({ "v": 24, "d": site, "r": null, "h": 1 }),
        ),
        Shape::Batch => (
            [
                "name",
                "url",
                "referrer",
                "engagement_ms",
                "scroll_depth",
                "props",
            ],
            json!({ "id": NO_ID }),
        ),
    };
    event[url] = page(site, random).into();
    let kind = match random.usize(..100) {
        0..60 => {
            match random.usize(..10) {
                0..7 => event[referrer] = page(site, random).into(),
                7 => event[referrer] = "https://login.example.com/realms/panel/protocol?state=8d1f2a".into(),
                _ => {}
            }
            "pageview"
        }
        60..75 => {
            event[ms] = (500 + random.usize(..120_000)).into();
            event[depth] = random.usize(..101).into();
            "engagement"
        }
        75..95 => {
            let feature = one_of(random, "search filter export favorite copy-id create-tenant help");
            event[props] = json!({ "feature": feature });
            "Feature Used"
        }
        _ => {
            let activities = "workspace-created project-created tenant-created role-assigned";
            let activity = one_of(random, activities);
            event[props] = json!({ "activity": activity, "rating": 1 + random.usize(..5) });
            "Activity Rated"
        }
    };
    event[name] = kind.into();
    if shape == Shape::Numbered {
        event[props][NUMBER] = NUMBER_FIRST.into();
    }
    event
}

fn one_of(random: &mut Rng, words: &'static str) -> &'static str {
    let words: Vec<&str> = words.split(' ').collect();
    words[random.usize(..words.len())]
}

/// A page of the panel, with a workspace's and a project's name in it.
fn page(site: &str, random: &mut Rng) -> String {
    let team = one_of(random, "acme globex initech umbrella hooli stark");
    let stage = one_of(random, "prod dev test sandbox");
    let part = one_of(
        random,
        "overview tenants costs settings services access-management/users",
    );
    let number = random.usize(..60);
    let route = match random.usize(..10) {
        0 => "home".to_owned(),
        1 => format!("marketplace/managed-database-{number}"),
        2..4 => format!("w/{team}-{stage}/projects"),
        4..9 => format!("w/{team}-{stage}/p/billing-{number}/{part}"),
        _ => format!(
            "w/{team}-{stage}/p/billing-{number}/i/region-{}.aws/overview/aws",
            number % 5
        ),
    };
    format!("https://{site}/#/{route}")
}

#[cfg(test)]
mod tests {
    use super::{BATCH, PEOPLE, Shape, TEMPLATES, number, templates, with_numbers};
    use crate::load::http::{client, request};

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn requests_are_whole_repeat_with_their_seed_and_differ_among_themselves() {
        for shape in [Shape::Single, Shape::Batch, Shape::Numbered] {
            let made = templates(shape, 5);
            assert_eq!(made.len(), TEMPLATES);
            assert_eq!(made[7].bytes, templates(shape, 5)[7].bytes);
            assert_ne!(made[7].bytes, templates(shape, 6)[7].bytes);
            assert_ne!(made[7].bytes, made[8].bytes);
            for template in &made {
                let whole = request(&template.bytes).unwrap().unwrap();
                assert_eq!(whole.bytes, template.bytes.len());
            }
        }
    }

    #[test]
    fn each_event_of_a_batch_gets_an_id_that_no_other_has() {
        let made = templates(Shape::Batch, 5);
        let mut next = 9;
        let mut copy = made[0].bytes.clone();
        made[0].number(&mut copy, 0xab, &mut next);
        assert_eq!(next, 9 + BATCH as u64);
        for id in [
            "00000000000000ab0000000000000009",
            "00000000000000ab0000000000000012",
        ] {
            assert!(text(&copy).contains(&format!(r#""id":"{id}","#)), "{id}");
        }
        assert_eq!(copy.len(), made[0].bytes.len());
    }

    #[test]
    fn one_event_in_plausible_s_format_has_no_id() {
        let made = templates(Shape::Single, 5);
        let mut next = 9;
        let mut copy = made[0].bytes.clone();
        made[0].number(&mut copy, 1, &mut next);
        assert_eq!((copy, next), (made[0].bytes.clone(), 9));
    }

    #[test]
    fn a_numbered_event_has_the_next_number_and_the_person_of_its_place() {
        let made = templates(Shape::Numbered, 5);
        let mut next = 41;
        for nth in [0, 1, PEOPLE] {
            let mut copy = made[nth].bytes.clone();
            made[nth].number(&mut copy, 1, &mut next);
            assert_eq!(number(&copy), Some(999_999 + next));
            assert_eq!(request(&copy).unwrap().unwrap().bytes, copy.len());
        }
        assert_eq!(client(&made[0].bytes), client(&made[PEOPLE].bytes));
        assert_ne!(client(&made[0].bytes), client(&made[1].bytes));
    }

    #[test]
    fn a_plan_with_numbers_lists_them_for_each_of_its_events() {
        let plan = "version = 1\n\n[[event]]\nname = \"a\"\n\n[[event]]\nname = \"b\"\n\n[event.prop.c]\ntype = \"bool\"\n";
        let numbered = with_numbers(plan);
        let events: Vec<&str> = numbered.split("[[event]]").collect();
        assert!(events.len() == 3 && !events[0].contains("nth"), "{numbered}");
        for event in &events[1..] {
            assert_eq!(
                event.matches("[event.prop.nth]\ntype = \"int\"").count(),
                1,
                "{numbered}"
            );
        }
    }
}
