//! The module's single client, and the execution of its actions by the page.

use crate::client::Client;
use crate::delivery::Action;
use crate::sys;
use std::cell::RefCell;

thread_local! {
    static CLIENT: RefCell<Option<Client>> = const { RefCell::new(None) };
}

/// Replaces the client with a new one.
pub(crate) fn begin(client: Client) {
    CLIENT.replace(Some(client));
}

/// Drops the client and its state.
pub(crate) fn end() {
    CLIENT.replace(None);
}

/// The client's answer to a question; the default if there is no client.
pub(crate) fn ask<T: Default>(question: impl FnOnce(&mut Client) -> T) -> T {
    CLIENT.with_borrow_mut(|client| client.as_mut().map_or_else(T::default, question))
}

/// Passes one input to the client and executes the resulting action. The client is not borrowed while the page acts.
pub(crate) fn run(input: impl FnOnce(&mut Client) -> Action) {
    let now_ms = sys::now();
    let outcome = ask(|client| {
        client.at(now_ms);
        let action = input(client);
        Some((action, client.flight()))
    });
    if let Some((action, flight)) = outcome {
        perform(action, flight);
    }
}

/// Sends everything that waits, at once, because the page may never run again.
pub(crate) fn part() {
    let values = sys::visitor();
    ask(|client| client.visitor(&values));
    while let Some((flight, body)) = ask(|client| client.part().map(|body| (client.flight(), body))) {
        sys::send(flight, &body, true);
    }
}

fn perform(action: Action, flight: u32) {
    match action {
        Action::Rest => {}
        Action::Wake(ms) => sys::wake_in(ms),
        Action::Send(body) => sys::send(flight, &body, false),
        Action::Stop => {
            end();
            sys::detach();
        }
    }
}
