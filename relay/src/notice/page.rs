//! The privacy page: the tracking plan as a user reads it. Everything in it follows from the plan, so that it
//! cannot say less than what is sent.

use super::events_of;
use super::prose::{self, Block, Inline, Line, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use relay_event::event::ENGAGEMENT;
use relay_event::plan::{Category, EventPlan, Plan, PropKind, PropPlan, Unmatched};
use relay_event::route::{OTHER, Segment, Template};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// What the plan cannot know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// What the users call the product.
    pub product_name: Option<String>,
    /// Who runs the Plausible that events go to.
    pub recipient: Option<String>,
    /// Whom to ask, as an e-mail address or a page.
    pub contact: Option<String>,
}

impl About {
    fn product(&self) -> &str {
        self.product_name.as_deref().unwrap_or("this site")
    }
}

/// The page as Markdown.
pub fn markdown(plan: &Plan, about: &About) -> String {
    prose::markdown(&blocks(plan, about))
}

/// The page as one HTML document that needs nothing else. [`content_security_policy`] fits it.
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

/// What the HTML page may do: show its own style. No script, no picture, no connection.
pub fn content_security_policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

const STYLE: &str = include_str!("page.css");

fn title(about: &About) -> String {
    format!("Feedback and privacy in {}", about.product())
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
        "Version {} of the tracking plan. When it lists more, its version changes and you are asked again: \
         a consent covers what could be read when it was given.",
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
            "This page lists all of it. It is made from the tracking plan by which the relay works: what is not \
             listed here is not passed on."
        }
        Unmatched::Scrub => {
            "This page says what that is. It is made from the tracking plan by which the relay works."
        }
    };
    page.push(Block::Lead(text(format!(
        "If you agree, {product} tells its makers how it is used and how satisfied you are, without telling them \
         who you are. {listed}"
    ))));
    let point = |strong: &str, rest: String| vec![Inline::Strong(strong.to_owned()), Inline::Text(rest)];
    page.push(Block::List(vec![
        point(
            "Nothing is sent unless you say yes.",
            " Not answering is a no. A browser that sends Global Privacy Control or Do Not Track says no for you, \
             until you say yes yourself."
                .to_owned(),
        ),
        point(
            "Your browser talks to nobody new.",
            format!(
                " What is sent goes to a relay on the web server of {product}. It takes out what could name you or \
                 your organisation and passes on the rest."
            ),
        ),
        point(
            "Nobody recognises you.",
            " No cookies, no fingerprint; from one day to the next you are somebody else.".to_owned(),
        ),
        point(
            "You can change your mind at any time.",
            " Nothing is sent any more from then on.".to_owned(),
        ),
    ]));
}

fn what_is_collected(plan: &Plan, page: &mut Vec<Block>) {
    page.push(heading(2, "What is collected"));
    if plan.categories.len() > 1 {
        page.push(paragraph("You can agree to each of these kinds on its own."));
    }
    for category in &plan.categories {
        page.push(heading(3, capitalised(&category.name)));
        page.push(paragraph(category.description.trim()));
        let rows: Vec<_> = events_of(plan, &category.name).map(event_row).collect();
        if !rows.is_empty() {
            page.push(Block::Table {
                head: vec!["Event", "What it tells", "What goes with it"],
                rows,
            });
        }
        if let Some(unlisted) = unlisted(plan, category) {
            page.push(unlisted);
        }
    }
    page.push(paragraph("With each of them goes:"));
    let mut with = vec![
        "the kind of page you were on, from the list below;".to_owned(),
        "where you came from: of another site its host, never its page;".to_owned(),
        "the family and major version of your browser and the name of your operating system;".to_owned(),
        "a pseudonym that changes every day, see below;".to_owned(),
    ];
    if plan.campaigns {
        with.push(
            "the campaign in the page's address that brought you there (utm_source and its kin), as far as \
             nothing in it looks personal;"
                .to_owned(),
        );
    }
    with.push("the time at which it arrives.".to_owned());
    page.push(list(with));
}

/// What a plan that scrubs what it does not list says about that, in the category it belongs to.
fn unlisted(plan: &Plan, category: &Category) -> Option<Block> {
    let first = plan.categories.first().is_some_and(|c| c == category);
    (plan.unmatched == Unmatched::Scrub && first).then(|| {
        paragraph(
            "Other events, properties and pages are collected as well, by the names that the site gives them. From \
             each of them everything is removed first that looks personal: names with a label, e-mail addresses, \
             phone numbers, network addresses, account and card numbers, keys, identifiers and the like.",
        )
    })
}

fn event_row(event: &EventPlan) -> Vec<Vec<Line>> {
    let mut with: Vec<Line> = event.props.iter().map(property).collect();
    if event.name == ENGAGEMENT {
        with.push(text("How long the page was in view, in milliseconds."));
        with.push(text("How far it was scrolled, in percent."));
    }
    if event.revenue {
        with.push(text("What it brought in: an amount and its currency."));
    }
    if with.is_empty() {
        with.push(vec![Inline::Quiet("nothing more".to_owned())]);
    }
    vec![
        vec![text(event.name.clone())],
        vec![text(event.description.trim())],
        with,
    ]
}

/// A property: its key, what it tells, what it may be.
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
            values("Never exactly, only as one of: ", buckets.labels());
            return line;
        }
        PropKind::Int { min, max } => format!("A whole number from {min} to {max}."),
        PropKind::Bool => "Yes or no.".to_owned(),
        PropKind::Version => "A version number, such as 2026.11.0.".to_owned(),
        PropKind::Text { max } => format!(
            "Free text of at most {max} characters, from which everything is removed that looks personal."
        ),
        PropKind::Route => "One of the pages listed below.".to_owned(),
        PropKind::Link => "Cut to the name of the other site.".to_owned(),
        PropKind::File => "Cut to the ending of the file's name.".to_owned(),
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
            "Of other pages the path is told, without the parts that look like a name, a number or an identifier.",
        ),
    };
    if listed.is_empty() {
        page.push(Block::Paragraph(rest));
        return;
    }
    let hidden = hidden_names(plan);
    let mut words = "Of a page's address only its kind is told, as one of these.".to_owned();
    if let Some(example) = hidden.first() {
        words.push_str(&format!(
            " Where it says :{example}, it says so for every {}: which one it was is not told.",
            spaced(example)
        ));
    }
    words.push(' ');
    let mut line = text(words);
    line.extend(rest);
    page.push(Block::Paragraph(line));
    page.push(Block::Columns(listed.into_iter().map(|(_, line)| line).collect()));
}

/// A template as its pages show it, alone and with the words that one of its parts may be.
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

/// What parameters stand for, the most frequent first.
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
    // Where free text is collected, nobody can promise what is in it.
    let texts = scrubs || kind(|kind| matches!(kind, PropKind::Text { .. }));
    let mut never = vec![if texts {
        "Your name, your e-mail address, your account, wherever they are recognised in a text. No program finds \
         everything, so please do not write about yourself where free text is collected."
            .to_owned()
    } else {
        "Your name, your e-mail address, your account.".to_owned()
    }];
    let hidden: Vec<String> = hidden_names(plan).into_iter().map(spaced).collect();
    if !hidden.is_empty() {
        let place = if scrubs {
            "on the pages listed above"
        } else {
            "in your organisation"
        };
        never.push(format!(
            "What things are called {place}: the name or number of any {}.",
            either(&hidden)
        ));
    }
    never.extend([
        "Your network address. The relay needs it for the pseudonym and forgets it with the request."
            .to_owned(),
        "What would tell your browser from others: its exact version, your device's model, your languages, \
         the size of your screen."
            .to_owned(),
        "The full address of a page, or of the page you came from.".to_owned(),
    ]);
    if !texts {
        never.push("Anything you type.".to_owned());
    }
    if kind(|kind| matches!(kind, PropKind::Duration { .. })) {
        never.push("How long exactly something took.".to_owned());
    }
    if !scrubs {
        never.push("Anything else that this page does not list.".to_owned());
    }
    page.push(list(never));
}

fn visitors(page: &mut Vec<Block>) {
    page.push(heading(2, "How visitors are counted"));
    page.push(paragraph(
        "To tell a hundred visits of one person from one visit of a hundred, the relay gives you a pseudonym. It is \
         made from your network address, your browser's description and, after your yes, a random value that your \
         browser draws and keeps for the day, with a random key that the relay keeps in its memory only, draws anew \
         every day (UTC) and then destroys. From then on nobody can work out whose pseudonym it was or recognise \
         you, not even the people who run the relay. A no removes the value from your browser. A visit that goes \
         on over midnight may keep its pseudonym until it ends.",
    ));
}

fn recipient(about: &About, page: &mut Vec<Block>) {
    page.push(heading(2, "Who receives it"));
    let who = match &about.recipient {
        Some(recipient) => format!("a Plausible server run by {recipient}"),
        None => format!(
            "the one Plausible server that those who run {} chose",
            about.product()
        ),
    };
    page.push(paragraph(format!(
        "The relay delivers it to {who}. Plausible is a web analytics program that works without cookies; it counts \
         the events and shows the sums. What cannot be delivered at once waits on the relay's disk, with everything \
         taken out already, and is deleted once it is delivered or too old. Nobody else gets it.",
    )));
}

fn choice(about: &About, page: &mut Vec<Block>) {
    page.push(heading(2, "Your choice"));
    page.push(paragraph(format!(
        "You can say yes, no, or change your mind in {}, where you were asked. Your answer is kept in your browser. \
         After a no, what your browser has not sent yet is forgotten and nothing more is sent. What was sent before \
         cannot be found again to delete it, because nothing in it names you.",
        about.product()
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

fn either(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}
