//! The events: what meshPanel's pages send while people work with them, as whole requests, made once and sent again
//! and again.

use crate::random::Random;

/// The site of the events.
const SITE: &str = "panel.example.com";
/// The version of the shipped plan, to which the pages' users consented.
const PLAN: u32 = 1;
/// Different requests that are made; then they repeat.
const TEMPLATES: usize = 4096;
/// Different people. Each has an address of its own, and the relay's lanes share them out.
const PEOPLE: usize = 1024;
/// Events of one batch.
pub(crate) const BATCH: usize = 10;
/// What stands for an event's id until it is sent.
const NO_ID: &str = "00000000000000000000000000000000";

/// What one request holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shape {
    /// One event in Plausible's format, which is all that Plausible takes
    Single,
    /// Ten events as the relay's browser module sends them
    Batch,
}

impl Shape {
    /// Events in a request.
    pub(crate) fn events(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Batch => BATCH,
        }
    }
}

/// A request, whole but for the ids of its events.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) bytes: Vec<u8>,
    ids: Vec<usize>,
}

impl Template {
    /// Writes ids into a copy of the bytes: `space`, then a number that counts on.
    pub(crate) fn number(&self, copy: &mut [u8], space: u64, next: &mut u64) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for at in &self.ids {
            let id = (u128::from(space) << 64) | u128::from(*next);
            *next += 1;
            for (n, byte) in copy[*at..*at + NO_ID.len()].iter_mut().enumerate() {
                *byte = DIGITS[usize::try_from((id >> (124 - 4 * n)) & 0xf).unwrap_or_default()];
            }
        }
    }
}

/// The requests of a seed.
pub(crate) fn templates(shape: Shape, seed: u64) -> Vec<Template> {
    let mut random = Random::new(seed);
    (0..TEMPLATES).map(|_| template(shape, &mut random)).collect()
}

fn template(shape: Shape, random: &mut Random) -> Template {
    let (path, media_type, body) = match shape {
        Shape::Single => (
            format!("/api/event?consent={PLAN}"),
            "text/plain",
            Event::draw(random).plausible(),
        ),
        Shape::Batch => {
            let events: Vec<String> = (0..BATCH).map(|_| Event::draw(random).of_batch()).collect();
            let events = events.join(",");
            (
                "/api/events".to_owned(),
                "application/json",
                format!(r#"{{"site":"{SITE}","consent":{{"plan":{PLAN}}},"events":[{events}]}}"#),
            )
        }
    };
    let person = random.below(PEOPLE);
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {SITE}\r\nUser-Agent: {agent}\r\nAccept: */*\r\n\
         Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\nContent-Type: {media_type}\r\nOrigin: https://{SITE}\r\n\
         Referer: https://{SITE}/\r\nX-Forwarded-For: 198.18.{}.{}\r\nContent-Length: {}\r\n\r\n{body}",
        person / 256,
        person % 256,
        body.len(),
        agent = agent(person),
    );
    let ids = request.match_indices(NO_ID).map(|(at, _)| at).collect();
    Template {
        bytes: request.into_bytes(),
        ids,
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

/// An event, before it is written in one format or the other. Its words need no escapes in JSON.
#[derive(Debug)]
struct Event {
    name: &'static str,
    url: String,
    referrer: Option<String>,
    /// JSON, without the braces.
    props: String,
    /// Milliseconds on the page, and how far it was scrolled.
    engagement: Option<(usize, usize)>,
}

impl Event {
    /// Mostly pages, then how long they were looked at, features, and now and then a rating.
    fn draw(random: &mut Random) -> Self {
        let mut event = Self {
            name: "pageview",
            url: format!("https://{SITE}/#{}", route(random)),
            referrer: None,
            props: String::new(),
            engagement: None,
        };
        match random.below(100) {
            0..60 => {
                event.referrer = match random.below(10) {
                    0..7 => Some(format!("https://{SITE}/#{}", route(random))),
                    7 => Some("https://login.example.com/realms/panel/protocol?state=8d1f2a".to_owned()),
                    _ => None,
                };
            }
            60..75 => {
                event.name = "engagement";
                event.engagement = Some((500 + random.below(120_000), random.below(101)));
            }
            75..95 => {
                event.name = "Feature Used";
                event.props = format!(
                    r#""feature":"{}""#,
                    random.one_of(&[
                        "search",
                        "filter",
                        "export",
                        "favorite",
                        "copy-id",
                        "create-tenant",
                        "help"
                    ])
                );
            }
            _ => {
                event.name = "Activity Rated";
                event.props = format!(
                    r#""activity":"{}","rating":{}"#,
                    random.one_of(&[
                        "workspace-created",
                        "project-created",
                        "tenant-created",
                        "role-assigned"
                    ]),
                    1 + random.below(5)
                );
            }
        }
        event
    }

    /// As Plausible's tracker writes it.
    fn plausible(&self) -> String {
        let Self { name, url, props, .. } = self;
        let referrer = match &self.referrer {
            Some(referrer) => format!(r#""{referrer}""#),
            None => "null".to_owned(),
        };
        let mut body = format!(r#"{{"n":"{name}","v":24,"u":"{url}","d":"{SITE}","r":{referrer},"h":1"#);
        if let Some((ms, depth)) = self.engagement {
            body.push_str(&format!(r#","sd":{depth},"e":{ms}"#));
        }
        if !props.is_empty() {
            body.push_str(&format!(r#","p":{{{props}}}"#));
        }
        body.push('}');
        body
    }

    /// As the relay's browser module writes it.
    fn of_batch(&self) -> String {
        let Self { name, url, props, .. } = self;
        let mut body = format!(r#"{{"id":"{NO_ID}","name":"{name}","url":"{url}""#);
        if let Some(referrer) = &self.referrer {
            body.push_str(&format!(r#","referrer":"{referrer}""#));
        }
        if let Some((ms, depth)) = self.engagement {
            body.push_str(&format!(r#","engagement_ms":{ms},"scroll_depth":{depth}"#));
        }
        if !props.is_empty() {
            body.push_str(&format!(r#","props":{{{props}}}"#));
        }
        body.push('}');
        body
    }
}

/// A page of the panel, with a workspace's and a project's name in it.
fn route(random: &mut Random) -> String {
    let team = random.one_of(&["acme", "globex", "initech", "umbrella", "hooli", "stark"]);
    let stage = random.one_of(&["prod", "dev", "test", "sandbox"]);
    let page = random.one_of(&[
        "overview",
        "tenants",
        "costs",
        "settings",
        "services",
        "access-management/users",
    ]);
    let number = random.below(60);
    match random.below(10) {
        0 => "/home".to_owned(),
        1 => format!("/marketplace/managed-database-{number}"),
        2..4 => format!("/w/{team}-{stage}/projects"),
        4..9 => format!("/w/{team}-{stage}/p/billing-{number}/{page}"),
        _ => format!(
            "/w/{team}-{stage}/p/billing-{number}/i/region-{}.aws/overview/aws",
            number % 5
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{BATCH, Shape, TEMPLATES, templates};
    use crate::http::message;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn requests_are_whole_repeat_with_their_seed_and_differ_among_themselves() {
        for shape in [Shape::Single, Shape::Batch] {
            let made = templates(shape, 5);
            assert_eq!(made.len(), TEMPLATES);
            assert_eq!(made[7].bytes, templates(shape, 5)[7].bytes);
            assert_ne!(made[7].bytes, templates(shape, 6)[7].bytes);
            assert_ne!(made[7].bytes, made[8].bytes);
            for template in &made {
                let whole = message(&template.bytes).unwrap().unwrap();
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
            assert!(text(&copy).contains(&format!(r#"{{"id":"{id}","#)), "{id}");
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
}
