//! The privacy page: the tracking plan for users. Its statements about data come only from the plan,
//! so that it cannot omit data that is sent.

use super::events_of;
use super::prose::{self, Block, Inline, Line, either, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use relay_event::event::ENGAGEMENT;
use relay_event::plan::{Category, EventPlan, Plan, PropKind, PropPlan, Unmatched};
use relay_event::route::{OTHER, Segment, Template};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Texts that the plan does not contain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The product's name for users.
    pub product_name: Option<String>,
    /// The operator of the Plausible server that receives the events.
    pub recipient: Option<String>,
    /// The contact for questions: an e-mail address or a page.
    pub contact: Option<String>,
}

impl About {
    fn product(&self) -> &str {
        self.product_name.as_deref().unwrap_or("this site")
    }

    /// The product with its preposition.
    fn within(&self) -> String {
        match &self.product_name {
            Some(name) => format!("in {name}"),
            None => "on this site".to_owned(),
        }
    }
}

/// The page as Markdown.
pub fn markdown(plan: &Plan, about: &About) -> String {
    prose::markdown(&blocks(plan, about))
}

/// The page as one self-contained HTML document. [`content_security_policy`] matches it.
pub fn html(plan: &Plan, about: &About) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<main>\n{}</main>\n</body>\n</html>\n",
        prose::escape(&title(about)),
        prose::html(&blocks(plan, about)),
    )
}

/// The permissions of the HTML page: its own style only. No script, no image, no connection.
pub fn content_security_policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

const STYLE: &str = include_str!("page.css");

fn title(about: &About) -> String {
    format!("Feedback and privacy {}", about.within())
}

fn blocks(plan: &Plan, about: &About) -> Vec<Block> {
    let mut page = Vec::new();
    introduction(plan, about, &mut page);
    what_is_collected(plan, &mut page);
    pages(plan, &mut page);
    what_never_leaves(plan, &mut page);
    visitors(&mut page);
    recipient(about, &mut page);
    choice(about, &mut page);
    page.push(Block::Footer(text(format!(
        "Version {} of the tracking plan. If more data is added, the version changes and you are asked again: \
         your consent covers only what you could read when you gave it.",
        plan.version
    ))));
    page
}

fn heading(level: u8, title: impl Into<String>) -> Block {
    Block::Heading(level, text(title))
}

fn paragraph(words: impl Into<String>) -> Block {
    Block::Paragraph(text(words))
}

fn list(items: impl IntoIterator<Item = String>) -> Block {
    Block::List(items.into_iter().map(text).collect())
}

fn introduction(plan: &Plan, about: &About, page: &mut Vec<Block>) {
    let product = about.product();
    page.push(heading(1, title(about)));
    let listed = match plan.unmatched {
        Unmatched::Other => {
            "This page lists everything they receive. It is generated from the tracking plan that controls what may \
             be sent: data that is not listed here is not passed on."
        }
        Unmatched::Scrub => {
            "This page describes what they receive. It is generated from the tracking plan that controls what may \
             be sent."
        }
    };
    page.push(Block::Lead(text(format!(
        "If you agree, the makers of {product} learn how it is used and how satisfied you are, but not who you \
         are. {listed}"
    ))));
    let point = |strong: &str, rest: String| vec![Inline::Strong(strong.to_owned()), Inline::Text(rest)];
    page.push(Block::List(vec![
        point(
            "Nothing is sent unless you say yes.",
            " If you do not answer, that counts as a no. If your browser sends Global Privacy Control or Do Not \
             Track, that counts as a no until you say yes yourself."
                .to_owned(),
        ),
        point(
            "Your browser contacts no third party.",
            format!(
                " The data goes to a relay on the web server of {product}. The relay removes data that could identify \
                 you or your organisation and passes on the rest."
            ),
        ),
        point(
            "You are not recognised.",
            " There are no cookies and no fingerprinting, and each day you count as a new visitor.".to_owned(),
        ),
        point(
            "You can change your mind at any time.",
            " From then on, nothing more is sent.".to_owned(),
        ),
    ]));
}

fn what_is_collected(plan: &Plan, page: &mut Vec<Block>) {
    page.push(heading(2, "What is collected"));
    if plan.categories.len() > 1 {
        page.push(paragraph("You can agree to each of these categories separately."));
    }
    for category in &plan.categories {
        page.push(heading(3, capitalised(&category.name)));
        page.push(paragraph(category.description.trim()));
        let rows: Vec<_> = events_of(plan, &category.name).map(event_row).collect();
        if !rows.is_empty() {
            page.push(Block::Table {
                head: vec!["Event", "Meaning", "Data sent with it"],
                rows,
            });
        }
        if let Some(unlisted) = unlisted(plan, category) {
            page.push(unlisted);
        }
    }
    page.push(paragraph("Each event also includes:"));
    let mut with = vec![
        "the kind of page you were on, from the list below;".to_owned(),
        "the site you came from, if it was another one: its host name, never the page;".to_owned(),
        "the name and major version of your browser, and the name of your operating system;".to_owned(),
        "a pseudonym that changes every day (see below);".to_owned(),
    ];
    if plan.campaigns {
        with.push(
            "the campaign in the page's address (utm_source and similar), without values that look personal;"
                .to_owned(),
        );
    }
    with.push("the time when it arrives.".to_owned());
    page.push(list(with));
}

/// The paragraph about unlisted events of a plan that scrubs them, in the first category, which they belong to.
fn unlisted(plan: &Plan, category: &Category) -> Option<Block> {
    let first = plan.categories.first().is_some_and(|c| c == category);
    (plan.unmatched == Unmatched::Scrub && first).then(|| {
        paragraph(
            "Other events, properties and pages are collected as well, under the names that the site gives them. \
             Anything in them that looks personal is removed first: labelled names, e-mail addresses, phone \
             numbers, network addresses, account and card numbers, keys, identifiers and similar data.",
        )
    })
}

fn event_row(event: &EventPlan) -> Vec<Vec<Line>> {
    let mut with: Vec<Line> = event.props.iter().map(property).collect();
    if event.name == ENGAGEMENT {
        with.push(text("How long you had the page in view, in milliseconds."));
        with.push(text("How far you scrolled, in percent."));
    }
    if event.revenue {
        with.push(text("The revenue: an amount and its currency."));
    }
    if with.is_empty() {
        with.push(vec![Inline::Quiet("nothing else".to_owned())]);
    }
    vec![
        vec![text(event.name.clone())],
        vec![text(event.description.trim())],
        with,
    ]
}

/// A property: its key, its description, its allowed values.
fn property(prop: &PropPlan) -> Line {
    let mut line = vec![
        Inline::Code(prop.key.clone()),
        Inline::Text(format!(" {} ", prop.description.trim())),
    ];
    let mut values = |before: &str, values: &[String]| {
        line.push(Inline::Text(before.to_owned()));
        for (i, value) in values.iter().enumerate() {
            if i > 0 {
                line.push(Inline::Text(", ".to_owned()));
            }
            line.push(Inline::Code(value.clone()));
        }
    };
    let rule = match &prop.kind {
        PropKind::Enum { values: listed } => {
            values("One of: ", listed);
            return line;
        }
        PropKind::Duration { buckets } => {
            values("Never the exact value, only one of: ", buckets.labels());
            return line;
        }
        PropKind::Int { min, max } => format!("A whole number from {min} to {max}."),
        PropKind::Bool => "Yes or no.".to_owned(),
        PropKind::Version => "A version number, such as 2026.11.0.".to_owned(),
        PropKind::Text { max } => {
            format!("Free text of up to {max} characters; anything that looks personal is removed.")
        }
        PropKind::Route => "One of the pages listed below.".to_owned(),
        PropKind::Link => "Shortened to the other site's host name.".to_owned(),
        PropKind::File => "Shortened to the file's extension.".to_owned(),
    };
    line.push(Inline::Text(rule));
    line
}

fn pages(plan: &Plan, page: &mut Vec<Block>) {
    page.push(heading(2, "Pages"));
    let mut listed: Vec<(String, Line)> = plan.routes.iter().map(shown).collect();
    listed.sort_by(|(a, _), (b, _)| a.cmp(b));
    let rest = match plan.unmatched {
        Unmatched::Other => vec![
            Inline::Text("Any other page is counted as ".to_owned()),
            Inline::Code(OTHER.to_owned()),
            Inline::Text(".".to_owned()),
        ],
        Unmatched::Scrub => text(
            "Other pages are recorded by their path, without the parts that look like a name, a number or an identifier.",
        ),
    };
    if listed.is_empty() {
        page.push(Block::Paragraph(rest));
        return;
    }
    let hidden = hidden_names(plan);
    let mut words = "Instead of a page's address, only its kind is recorded, as one of these.".to_owned();
    if let Some(example) = hidden.first() {
        words.push_str(&format!(
            " In this list, :{example} stands for any {}; which one it was is not recorded.",
            spaced(example)
        ));
    }
    words.push(' ');
    let mut line = text(words);
    line.extend(rest);
    page.push(Block::Paragraph(line));
    page.push(Block::Columns(listed.into_iter().map(|(_, line)| line).collect()));
}

/// A template as its pages show it: alone, and with the alternatives of one of its parts.
fn shown(template: &Template) -> (String, Line) {
    let mut path = String::new();
    let mut words_of = Vec::new();
    for segment in template.segments() {
        path.push('/');
        match segment {
            Segment::Literal(literal) => path.push_str(literal),
            Segment::Words { name, words } => {
                path.push('…');
                words_of.push(format!(" ({}: {})", spaced(name), words.join(", ")));
            }
            Segment::Typed { name, .. } | Segment::Any { name } => {
                path.push(':');
                path.push_str(name);
            }
        }
    }
    if path.is_empty() {
        path.push('/');
    }
    let mut line = vec![Inline::Code(path.clone())];
    line.extend(words_of.into_iter().map(Inline::Quiet));
    (path, line)
}

/// The names of parameters, the most frequent first.
fn hidden_names(plan: &Plan) -> Vec<&str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for segment in plan.routes.iter().flat_map(Template::segments) {
        match segment {
            Segment::Typed { name, .. } | Segment::Any { name } => *counts.entry(name).or_default() += 1,
            Segment::Literal(_) | Segment::Words { .. } => {}
        }
    }
    let mut names: Vec<(&str, usize)> = counts.into_iter().collect();
    names.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    names.into_iter().map(|(name, _)| name).collect()
}

fn what_never_leaves(plan: &Plan, page: &mut Vec<Block>) {
    page.push(heading(2, "What is never passed on"));
    let kind = |wanted: fn(&PropKind) -> bool| {
        let mut props = plan.events.iter().flat_map(|event| &event.props);
        props.any(|prop| wanted(&prop.kind))
    };
    let scrubs = plan.unmatched == Unmatched::Scrub;
    // If free text is collected, its content cannot be guaranteed.
    let texts = scrubs || kind(|kind| matches!(kind, PropKind::Text { .. }));
    let mut never = vec![if texts {
        "Your name, your e-mail address and your account, if they are recognised in a text. No program finds \
         everything, so please do not write about yourself in free text."
            .to_owned()
    } else {
        "Your name, your e-mail address and your account.".to_owned()
    }];
    let hidden: Vec<String> = hidden_names(plan).into_iter().map(spaced).collect();
    if !hidden.is_empty() {
        let place = if scrubs {
            "on the pages listed above"
        } else {
            "in your organisation"
        };
        never.push(format!(
            "Names {place}: the name or number of any {}.",
            either(&hidden)
        ));
    }
    never.extend([
        "Your network address. The relay needs it for the pseudonym, holds it in memory only while you are \
         connected, and never stores it."
            .to_owned(),
        "Details that would distinguish your browser from others: its exact version, your device's model, your \
         languages and the size of your screen."
            .to_owned(),
        "The full address of a page, or of the page you came from.".to_owned(),
    ]);
    if !texts {
        never.push("Anything you type.".to_owned());
    }
    if kind(|kind| matches!(kind, PropKind::Duration { .. })) {
        never.push("The exact duration of anything for which only ranges are listed above.".to_owned());
    }
    if !scrubs {
        never.push("Anything else that this page does not list.".to_owned());
    }
    page.push(list(never));
}

fn visitors(page: &mut Vec<Block>) {
    page.push(heading(2, "How visitors are counted"));
    page.push(paragraph(
        "To distinguish a hundred visits by one person from one visit each by a hundred people, the relay gives you \
         a pseudonym. It computes the pseudonym from your network address, your browser's description and, once \
         you have said yes, a random value that your browser generates each day. The computation uses a random \
         key. The relay keeps the key only in memory, replaces it every day (UTC) and destroys the old one. After \
         that, not even the operators of the relay can find out whose pseudonym it was or recognise you. If you \
         say no, your browser removes its value. A visit that continues past midnight may keep its pseudonym \
         until it ends.",
    ));
}

fn recipient(about: &About, page: &mut Vec<Block>) {
    page.push(heading(2, "Who receives it"));
    let who = match &about.recipient {
        Some(recipient) => format!("a Plausible server run by {recipient}"),
        None => format!(
            "the one Plausible server chosen by the operators of {}",
            about.product()
        ),
    };
    page.push(paragraph(format!(
        "The relay delivers the events to {who}. Plausible is a web analytics program that works without cookies; \
         it counts the events and shows totals. Events that cannot be delivered at once wait on the relay's disk, \
         with personal data already removed, and are deleted once they are delivered or too old. No one else \
         receives them.",
    )));
}

fn choice(about: &About, page: &mut Vec<Block>) {
    page.push(heading(2, "Your choice"));
    page.push(paragraph(format!(
        "You can say yes or no, or change your mind, {}, where you were asked. Your answer is stored in your \
         browser. After a no, your browser discards everything it has not sent yet and sends nothing more. Data \
         that was sent earlier cannot be found again and deleted, because nothing in it names you.",
        about.within()
    )));
    if let Some(contact) = &about.contact {
        page.push(paragraph(format!("Questions? Ask {contact}.")));
    }
}

fn capitalised(name: &str) -> String {
    let name = spaced(name);
    let mut chars = name.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

/// A name as words.
fn spaced(name: &str) -> String {
    name.replace(['-', '_'], " ")
}
