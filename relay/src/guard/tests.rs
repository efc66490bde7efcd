//! The guard against policies that do more than remove parts.

use super::*;
use proptest::prelude::*;
use relay_event::plan::{Category, PropKind, PropPlan};
use relay_event::route::Template;

fn plan() -> Plan {
    let prop = |key: &str, kind, required| PropPlan {
        key: key.into(),
        kind,
        required,
        description: String::new(),
    };
    let colours = PropKind::Enum {
        values: vec!["red".into(), "blue".into()],
    };
    Plan {
        version: 1,
        categories: vec![Category {
            name: "usage".into(),
            description: String::new(),
        }],
        routes: ["/w/:workspace", "/version"]
            .map(|t| Template::parse(t).unwrap())
            .to_vec()
            .into(),
        unmatched: Unmatched::Other,
        campaigns: false,
        events: vec![EventPlan {
            name: "Used".into(),
            category: "usage".into(),
            description: String::new(),
            revenue: false,
            props: vec![
                prop("colour", colours.clone(), false),
                prop("shade", colours, false),
                prop("count", PropKind::Int { min: 0, max: 9 }, false),
                prop("note", PropKind::Text { max: 60 }, false),
            ],
        }],
    }
}

fn text(t: &str) -> Value {
    Value::Text(t.into())
}

fn input() -> Event {
    let prop = |key: &str, value| Prop {
        key: key.into(),
        value,
    };
    Event {
        id: None,
        name: "Used".into(),
        site: "panel.example.com".into(),
        url: "https://panel.example.com/#/w/acme-prod".into(),
        referrer: Some("https://search.example.org/?q=jane".into()),
        props: vec![
            prop("colour", text("red")),
            prop("shade", text("blue")),
            prop("count", Value::Integer(3)),
            prop("note", text("call jane@example.com or bob@example.com today")),
            prop("secret", text("acme-prod")),
        ],
        interactive: true,
        engagement: None,
        revenue: None,
    }
}

/// The proposal of an honest policy for [`input`].
fn honest() -> Visible {
    scrub::scrub(&Visible::of(&input(), &plan()), &plan()).unwrap()
}

fn verdict(change: impl FnOnce(&mut Visible)) -> Result<Scrubbed, Outcome> {
    let mut proposed = honest();
    change(&mut proposed);
    let sender = Sender {
        visitor: "2001:db8::1".parse().unwrap(),
        user_agent: None,
    };
    prove(
        &Visible::of(&input(), &plan()),
        &input(),
        "panel.example.com",
        &sender,
        proposed,
        &plan(),
    )
}

#[track_caller]
fn accepts(change: impl FnOnce(&mut Visible)) {
    assert!(verdict(change).is_ok());
}

#[track_caller]
fn refuses(outcome: Outcome, change: impl FnOnce(&mut Visible)) {
    assert_eq!(verdict(change).err(), Some(outcome));
}

#[test]
fn an_honest_policy_passes_and_may_take_more_away() {
    accepts(|_| {});
    accepts(|out| out.props.clear());
    accepts(|out| out.referrer = None);
    accepts(|out| out.url = OTHER.into());
    accepts(|out| out.props[3].value = text("call [removed] or [removed] [removed]"));
    accepts(|out| out.props[3].value = text("[removed]"));
}

#[test]
fn a_policy_that_adds_or_changes_anything_is_refused() {
    use Outcome::Widened;
    refuses(Widened, |out| out.name = "Other".into());
    refuses(Widened, |out| out.url = "/w/acme-prod".into());
    refuses(Widened, |out| out.url = "/version".into());
    refuses(Widened, |out| out.url = input().url);
    refuses(Widened, |out| out.referrer = input().referrer);
    refuses(Widened, |out| {
        out.referrer = Some("https://acme-prod.example/".into())
    });
    refuses(Widened, |out| {
        out.props.push(Prop {
            key: "extra".into(),
            value: text("x"),
        })
    });
    refuses(Widened, |out| {
        out.props.push(Prop {
            key: "secret".into(),
            value: text("acme-prod"),
        })
    });
    refuses(Widened, |out| out.props[0].value = text("green"));
    refuses(Widened, |out| out.props[0].value = text("blue"));
    refuses(Widened, |out| out.props[0].key = "COLOUR".into());
    refuses(Widened, |out| out.props[2].value = Value::Integer(4));
    refuses(Widened, |out| out.props[2].value = text("3"));
    refuses(Widened, |out| out.props.swap(0, 1));
    refuses(Widened, |out| {
        let copy = out.props[0].clone();
        out.props.insert(0, copy);
    });
    refuses(Widened, |out| {
        out.props[3].value = text(&"[removed]".repeat(300));
    });
    refuses(Widened, |out| {
        out.props[3].value = text("call jim or [removed] today")
    });
    refuses(Widened, |out| {
        out.props[3].value = text("call [removed] or [removed] tomorrow")
    });
}

#[test]
fn what_the_detectors_find_does_not_leave_even_unchanged_or_in_part() {
    refuses(Outcome::Widened, |out| {
        out.props[3].value = input().props[3].value.clone();
    });
    refuses(Outcome::Widened, |out| {
        out.props[3].value = text("call [removed] or bob@example.com today");
    });
    let redacted = relay_pii::redact("call 0176 123 4567 now");
    assert!(!is_redaction(&redacted, "call 0176 [removed] now"));
    assert!(is_redaction(&redacted, "call [removed]"));
}

#[test]
fn revenue_leaves_if_the_plan_says_so_and_only_while_it_does() {
    let read = |amount: i64| Revenue::new(&Value::Integer(amount), "EUR");
    let with = |leave: bool, unmatched| {
        let mut plan = Plan { unmatched, ..plan() };
        plan.events[0].revenue = leave;
        plan
    };
    let pass = |plan: &Plan, name: &str, revenue| {
        let event = Event {
            revenue,
            name: name.into(),
            ..input()
        };
        let visible = Visible::of(&event, plan);
        let sender = Sender {
            visitor: "2001:db8::1".parse().unwrap(),
            user_agent: None,
        };
        let proposed = scrub::scrub(&visible, plan).unwrap();
        prove(&visible, &event, "panel.example.com", &sender, proposed, plan).unwrap()
    };
    for unmatched in [Unmatched::Other, Unmatched::Scrub] {
        let (leave, none) = (with(true, unmatched), with(false, unmatched));
        let sold = pass(&leave, "Used", Some(read(12)));
        assert_eq!(sold.revenue(), read(12).ok());
        assert!(Scrubbed::from_bytes(&sold.to_bytes()).as_ref() == Some(&sold));
        assert!(sold.is_within(&leave));
        assert!(!sold.is_within(&none), "the plan was narrowed while it waited");
        assert_eq!(pass(&none, "Used", Some(read(12))).revenue(), None);
        assert_eq!(pass(&leave, "Used", None).revenue(), None);
        let unreadable = Revenue::new(&Value::Integer(1), "Euro");
        assert_eq!(pass(&leave, "Used", Some(unreadable)).revenue(), None);
        assert!(pass(&leave, "Used", None).is_within(&none));
    }
    let unlisted = with(true, Unmatched::Scrub);
    assert_eq!(
        pass(&unlisted, "Other", Some(read(12))).revenue(),
        None,
        "not the event that has leave"
    );
}

#[test]
fn a_record_is_read_back_as_written_and_anything_else_is_not() {
    let scrubbed = verdict(|_| {}).unwrap();
    let bytes = scrubbed.to_bytes();
    assert!(Scrubbed::from_bytes(&bytes) == Some(scrubbed));
    let text = String::from_utf8(bytes.clone()).unwrap();
    let longer = text.replacen('{', "{\"extra\":1,", 1);
    assert!(Scrubbed::from_bytes(longer.as_bytes()).is_none());
    assert!(Scrubbed::from_bytes(&bytes[..bytes.len() - 2]).is_none());
    assert!(Scrubbed::from_bytes(b"").is_none());
    assert!(Scrubbed::from_bytes(b"{}").is_none());
}

proptest! {
    #[test]
    fn a_redaction_never_holds_a_word_the_input_lacks(input in "[a-c ]{0,20}", output in "([a-c ]|\\[removed\\]){0,12}") {
        if is_redaction(&input, &output) {
            for piece in output.split(relay_pii::REMOVED) {
                prop_assert!(input.contains(piece));
            }
        }
    }
}
