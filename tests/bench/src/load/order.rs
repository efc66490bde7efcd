//! The order of each visitor's events at the sink. The generator numbers them, so a later event has a higher number.

use super::events::number;
use super::http::client;
use std::collections::HashMap;

/// The last number of each visitor: an entry for each of the generator's people.
#[derive(Debug, Default)]
pub(super) struct Order {
    last: HashMap<Box<[u8]>, u64>,
}

impl Order {
    /// Whether a request has a visitor and a number, and the number is above the visitor's last one.
    pub(super) fn continues(&mut self, request: &[u8]) -> bool {
        let (Some(client), Some(number)) = (client(request), number(request)) else {
            return false;
        };
        match self.last.get_mut(client) {
            Some(last) if *last >= number => false,
            Some(last) => {
                *last = number;
                true
            }
            None => {
                self.last.insert(client.into(), number);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Order;

    #[test]
    fn the_numbers_of_each_visitor_rise() {
        let mut order = Order::default();
        let mut check = |client: &str, body: &str, expected| {
            let request = format!("POST / HTTP/1.1\r\n{client}\r\n\r\n{body}");
            assert_eq!(order.continues(request.as_bytes()), expected, "{client} {body}");
        };
        let (one, other) = ("X-Plausible-IP: 2001:db8::1", "x-forwarded-for: 2001:db8::2");
        check(one, r#"{"props":{"nth":1000005}}"#, true);
        check(other, r#"{"props":{"nth":1000003}}"#, true);
        check(one, r#"{"props":{"nth":1000007}}"#, true);
        check(one, r#"{"props":{"nth":1000007}}"#, false);
        check(one, r#"{"props":{"nth":1000006}}"#, false);
        check(one, r#"{"props":{"nth":1000008,"rating":5}}"#, true);
        check(other, r#"{"props":{"nth":1000004}}"#, true);
        check(other, r#"{"props":{}}"#, false);
        check("Host: sink", r#"{"props":{"nth":1000009}}"#, false);
    }
}
