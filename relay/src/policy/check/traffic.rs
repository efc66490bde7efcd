//! Generated ordinary traffic: any number of different events, all of which fit the plan.
//!
//! A fixed corpus shows how a policy treats one event of each kind. A policy that fails on one event in several
//! hundred, by its content or by how many it has seen, shows only in long and varied traffic.

use super::probe;
use relay_event::Event;
use relay_event::event::{Engagement, Prop, Value};
use relay_event::plan::{EventPlan, Plan, PropKind};
use relay_event::route::{Form, Segment, Template};

/// Names as users give them to workspaces and projects.
const SLUGS: &[&str] = &[
    "acme", "billing", "prod", "test", "team", "data", "platform", "web", "infra", "demo", "eu", "north",
    "sandbox", "core",
];
/// Words as users write them about a product.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "it", "works", "very", "well", "but", "the", "list", "of", "projects", "is", "slow", "today", "I", "would", "like", "a",
    "filter", "for", "costs", "and", "export", "please", "läuft", "schön", "größer", "wäre", "besser", "тест", "検索", "👍", "ok",
    "great", "confusing", "where", "do", "find", "settings", "thanks", "nicht", "übersichtlich",
];
/// Origins of sites. The first is the most common.
const HOSTS: &[&str] = &[
    "https://panel.example.com",
    "https://app.example.org:8443",
    "https://a-rather-long-name.of.some-department.example.net",
    "http://intranet",
    "https://xn--bcher-kva.example",
    "https://192.0.2.7",
];
const REFERRERS: &[&str] = &[
    "https://search.example.org/results?q=panel",
    "https://news.example.net/",
    "https://docs.example.org/guides/start",
    "https://panel.example.com/#/home",
    "android-app://com.example.mail/",
];
const CAMPAIGNS: &[&str] = &[
    "?utm_source=newsletter",
    "?utm_source=docs&utm_medium=link",
    "?tab=all",
    "?ref=start",
];
const EXTENSIONS: &[&str] = &["pdf", "csv", "xlsx", "tar.gz", "zip"];

/// A generator that yields the same events for the same seed and plan.
#[derive(Debug)]
pub(super) struct Traffic<'p> {
    rules: Vec<EventPlan>,
    routes: Vec<&'p Template>,
    dice: Dice,
}

impl<'p> Traffic<'p> {
    pub(super) fn new(plan: &'p Plan, seed: u64) -> Self {
        Self {
            rules: probe::events(plan),
            routes: plan.routes.iter().collect(),
            dice: Dice(seed),
        }
    }

    fn page(&mut self) -> String {
        let Self { routes, dice, .. } = self;
        let mut path = match routes.is_empty() || dice.one_in(20) {
            true => format!("/{}/{}", slug(dice), slug(dice)),
            false => match routes[dice.below(routes.len())].segments() {
                [] => "/".to_owned(),
                segments => segments.iter().map(|segment| filled(segment, dice)).collect(),
            },
        };
        if dice.one_in(30) {
            path.push('/');
        }
        let mut query = if dice.one_in(8) { dice.pick(CAMPAIGNS) } else { "" }.to_owned();
        if query.is_empty() && dice.one_in(20) {
            // Table filters, as panels keep them in the address.
            query = format!("?filter={}", vec![slug(dice); dice.below(100)].join(","));
        }
        let host = if dice.one_in(4) {
            dice.pick(HOSTS)
        } else {
            HOSTS[0]
        };
        match dice.one_in(4) {
            true => format!("{host}{path}{query}"),
            false => format!("{host}/{query}#{path}"),
        }
    }

    fn value(&mut self, kind: &PropKind) -> Value {
        match kind {
            PropKind::Route => return Value::Text(self.page()),
            PropKind::Enum { values } => return Value::Text(self.dice.pick_owned(values)),
            PropKind::Int { min, max } => return Value::Integer(self.dice.between(*min, *max)),
            PropKind::Bool => return Value::Boolean(self.dice.one_in(2)),
            PropKind::Duration { .. } => {
                let magnitude = self.dice.below(8);
                return Value::Integer(
                    self.dice
                        .between(0, 10_i64.pow(u32::try_from(magnitude).unwrap_or(0))),
                );
            }
            PropKind::Version | PropKind::Text { .. } | PropKind::Link | PropKind::File => {}
        }
        let dice = &mut self.dice;
        Value::Text(match kind {
            PropKind::Version => format!("{}.{}.{}", dice.between(1, 2030), dice.below(13), dice.below(40)),
            PropKind::Text { max } => sentence(dice, *max),
            PropKind::Link => format!(
                "https://{}.example.org/{}?from={}",
                slug(dice),
                slug(dice),
                slug(dice)
            ),
            _ => format!(
                "https://panel.example.com/files/{}.{}",
                slug(dice),
                dice.pick(EXTENSIONS)
            ),
        })
    }

    fn props(&mut self, rules: &EventPlan) -> Vec<Prop> {
        let mut props = Vec::new();
        for listed in &rules.props {
            if listed.required || !self.dice.one_in(4) {
                let value = self.value(&listed.kind);
                props.push(Prop {
                    key: listed.key.clone(),
                    value,
                });
            }
        }
        // The relay drops a property that the plan does not list, and the event continues.
        let unlisted = match self.dice.below(60) {
            0 => 30,
            1..7 => 1,
            _ => 0,
        };
        for nth in 0..unlisted {
            let value = match self.dice.below(4) {
                0 => Value::Integer(self.dice.between(-1, 100_000)),
                1 => Value::Decimal(self.dice.between(0, 1000) as f64 / 8.0),
                2 => Value::Boolean(self.dice.one_in(2)),
                _ => Value::Text(sentence(&mut self.dice, 60)),
            };
            props.push(Prop {
                key: format!("theme-{nth}"),
                value,
            });
        }
        if props.len() > 1 && self.dice.one_in(3) {
            let by = self.dice.below(props.len());
            props.rotate_left(by);
        }
        props
    }
}

impl Iterator for Traffic<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if self.rules.is_empty() {
            return None;
        }
        let rules = self.rules[self.dice.below(self.rules.len())].clone();
        let engagement = (rules.name == relay_event::event::ENGAGEMENT).then(|| Engagement {
            ms: self.dice.next() % 600_000,
            scroll_depth: u8::try_from(self.dice.below(101)).unwrap_or(100),
        });
        Some(Event {
            id: None,
            url: self.page(),
            referrer: self.dice.one_in(3).then(|| self.dice.pick(REFERRERS).to_owned()),
            props: self.props(&rules),
            name: rules.name,
            site: "panel.example.com".to_owned(),
            interactive: !self.dice.one_in(5),
            engagement,
            revenue: None,
        })
    }
}

fn filled(segment: &Segment, dice: &mut Dice) -> String {
    match segment {
        Segment::Literal(text) => format!("/{text}"),
        Segment::Words { words, .. } => format!("/{}", dice.pick_owned(words)),
        Segment::Typed { form: Form::Int, .. } => format!("/{}", dice.between(0, 99_999)),
        Segment::Typed { form: Form::Uuid, .. } => {
            let (high, low) = (dice.next(), dice.next());
            format!(
                "/{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
                high >> 32,
                high >> 16 & 0xffff,
                high & 0xfff,
                low >> 52,
                low & 0xffff_ffff_ffff
            )
        }
        Segment::Typed { form: Form::Slug, .. } | Segment::Any { .. } => format!("/{}", slug(dice)),
    }
}

fn slug(dice: &mut Dice) -> String {
    let name = dice.pick(SLUGS);
    match dice.below(3) {
        0 => name.to_owned(),
        1 => format!("{name}-{}", dice.pick(SLUGS)),
        _ => format!("{name}-{}", dice.below(1000)),
    }
}

/// Several words, at most `chars_max` characters.
fn sentence(dice: &mut Dice, chars_max: usize) -> String {
    let mut text = String::new();
    let words = if dice.one_in(20) {
        dice.below(200)
    } else {
        dice.below(12)
    };
    for _ in 0..=words {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(dice.pick(WORDS));
    }
    text.chars().take(chars_max).collect::<String>().trim().to_owned()
}

/// SplitMix64: not cryptographic, and the same on every machine.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, or 0.
    fn below(&mut self, n: usize) -> usize {
        let n = u64::try_from(n).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % n).unwrap_or(0)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn between(&mut self, min: i64, max: i64) -> i64 {
        let span = max.abs_diff(min).saturating_add(1);
        min.saturating_add_unsigned(self.next() % span)
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from.get(self.below(from.len())).copied().unwrap_or_default()
    }

    fn pick_owned(&mut self, from: &[String]) -> String {
        from.get(self.below(from.len())).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use relay_event::scrub::{Visible, scrub};
    use std::collections::HashSet;

    fn pages(plan: &Plan, seed: u64) -> Vec<String> {
        Traffic::new(plan, seed)
            .take(100)
            .map(|event| event.url)
            .collect()
    }

    #[test]
    fn the_traffic_fits_its_plan_and_hardly_repeats() {
        for plan in [config::SitePlan::built_in().unwrap(), Plan::unplanned().into()] {
            let mut seen = HashSet::new();
            for event in Traffic::new(&plan, 1).take(2000) {
                let visible = Visible::of(&event, &plan);
                assert!(scrub(&visible, &plan).is_ok(), "{} is not ordinary", event.name);
                seen.insert(format!("{} {} {}", event.name, event.url, event.props.len()));
            }
            assert!(seen.len() > 1000, "only {} different events", seen.len());
            assert_eq!(pages(&plan, 1), pages(&plan, 1));
            assert_ne!(pages(&plan, 1), pages(&plan, 2));
        }
    }
}
