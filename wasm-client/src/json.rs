//! Writes the JSON that an event needs; parsing is left to the relay.

/// One JSON object under construction. The first member opens it, [`Object::close`] ends it.
#[derive(Debug)]
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new() -> Self {
        Self(String::new())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        text(&mut self.0, value);
    }

    pub(crate) fn number(&mut self, key: &str, value: u32) {
        self.key(key);
        number(&mut self.0, value);
    }

    /// Adds a value that is JSON already.
    pub(crate) fn raw(&mut self, key: &str, json: &str) {
        self.key(key);
        self.0.push_str(json);
    }

    pub(crate) fn close(mut self) -> String {
        self.0.push_str(if self.0.is_empty() { "{}" } else { "}" });
        self.0
    }

    fn key(&mut self, key: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        text(&mut self.0, key);
        self.0.push(':');
    }
}

/// Appends a quoted and escaped string.
pub(crate) fn text(out: &mut String, value: &str) {
    const HEX: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\0'..='\x1f' => {
                let code = c as usize;
                out.push_str("\\u00");
                out.push(HEX[code >> 4]);
                out.push(HEX[code & 15]);
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// Appends a whole number. Hand-written, because the standard formatter is larger than this whole module.
pub(crate) fn number(out: &mut String, value: u32) {
    const DIGITS: [char; 10] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];
    if value >= 10 {
        number(out, value / 10);
    }
    out.push(DIGITS[(value % 10) as usize]);
}

#[cfg(test)]
mod tests {
    use super::{Object, number, text};
    use serde_json::{Value, json};

    #[test]
    fn any_text_survives_the_round_trip() {
        let check = |value: &str| {
            let mut out = String::new();
            text(&mut out, value);
            assert_eq!(
                serde_json::from_str::<Value>(&out).ok(),
                Some(json!(value)),
                "{out}"
            );
        };
        check("");
        check("plain");
        check(r#"quote " and backslash \ and slash /"#);
        check("new\nline, tab\t, nul\0, unit separator \x1f, delete \x7f");
        check("ümlaut, 漢字, emoji 🙂, line separator \u{2028}");
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for value in [0, 7, 10, 1234, 99_999, u32::MAX] {
            let mut out = String::new();
            number(&mut out, value);
            assert_eq!(out, value.to_string());
        }
    }

    #[test]
    fn objects_hold_members_in_order() {
        assert_eq!(Object::new().close(), "{}");
        let mut object = Object::new();
        object.text("a\"", "b");
        object.number("n", 5);
        object.raw("p", "{\"x\":true}");
        assert_eq!(object.close(), r#"{"a\"":"b","n":5,"p":{"x":true}}"#);
    }
}
