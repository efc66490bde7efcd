//! HTTP/2 frames for attacks: the minimum, without those that a library would add.

/// The preface and a SETTINGS frame with the initial window: how much of each answer the client accepts.
pub(super) fn preface(window: u32) -> Vec<u8> {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let setting = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &window.to_be_bytes()].concat();
    let settings = frame(4, 0, 0, &setting);
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat()
}

/// The head of a request; with `ends`, the complete request.
pub(super) fn head(stream: u32, method: &str, path: &str, headers: &[(&str, &str)], ends: bool) -> Vec<u8> {
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    // `:scheme: http`, as an index of the static table.
    let mut block = vec![0x86];
    for (name, value) in [(":method", method), (":path", path), (":authority", "localhost")]
        .iter()
        .chain(headers)
    {
        block.push(0);
        for text in [name, value] {
            // A length below 127 is one byte.
            block.push(u8::try_from(text.len()).unwrap() & 0x7f);
            block.extend(text.as_bytes());
        }
    }
    let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
    frame(1, flags, stream, &block)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}
