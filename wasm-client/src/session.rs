//! The one client of this module, and the page made to do what it asks for.

use crate::client::Client;
use crate::delivery::Action;
use crate::sys;
use std::cell::RefCell;

thread_local! {
    static CLIENT: RefCell<Option<Client>> = const { RefCell::new(None) };
}

/// Puts a new client in place of the last.
pub(crate) fn begin(client: Client) {
    CLIENT.replace(Some(client));
}

/// Forgets the client with all it holds.
pub(crate) fn end() {
    CLIENT.replace(None);
}

/// What the client says to a question, the default when there is none.
pub(crate) fn ask<T: Default>(question: impl FnOnce(&mut Client) -> T) -> T {
    CLIENT.with_borrow_mut(|client| client.as_mut().map_or_else(T::default, question))
}

/// One input, and what follows from it. The client is not borrowed while the page acts.
pub(crate) fn run(input: impl FnOnce(&mut Client) -> Action) {
    perform(ask(|client| Some(input(client))).unwrap_or(Action::Rest));
}

/// Hands all that waits to the browser, as far as it takes it.
pub(crate) fn flush() {
    while let Some(body) = ask(Client::beacon) {
        let taken = sys::beacon(&body);
        ask(|client| client.beacon_taken(taken));
    }
}

fn perform(action: Action) {
    match action {
        Action::Rest => {}
        Action::Wake(ms) => sys::wake_in(ms),
        Action::Send(body) => sys::send(&body),
        Action::Stop => {
            end();
            sys::detach();
        }
    }
}
