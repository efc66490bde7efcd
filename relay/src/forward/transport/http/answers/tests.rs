use super::*;
use proptest::prelude::*;

const OK: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok";

/// An answer as status, length of the body and what follows it.
type Read = (u16, usize, After);

/// Reads all answers from bytes that arrive in these parts, and then the end of the connection.
fn read<'b>(parts: impl Iterator<Item = &'b [u8]>) -> (Vec<Read>, Result<(), NotHttp>) {
    let (mut answers, mut input, mut all) = (Answers::default(), BytesMut::new(), Vec::new());
    let mut note = |(answer, after): (Response<Bytes>, After)| {
        all.push((answer.status().as_u16(), answer.body().len(), after));
    };
    for part in parts {
        input.extend_from_slice(part);
        loop {
            match answers.next(&mut input) {
                Ok(Some(answer)) => {
                    let is_over = answer.1 == After::Lost;
                    note(answer);
                    if is_over {
                        return (all, Ok(()));
                    }
                }
                Ok(None) => break,
                Err(error) => return (all, Err(error)),
            }
        }
    }
    answers.end().map(note);
    (all, Ok(()))
}

#[test]
fn an_answer_ends_where_its_framing_says_however_its_bytes_are_split() {
    let check = |what: &str, text: &str, want: &[Read], is_http: bool| {
        let want = (want.to_vec(), if is_http { Ok(()) } else { Err(NotHttp) });
        assert_eq!(read(std::iter::once(text.as_bytes())), want, "{what}");
        assert_eq!(read(text.as_bytes().chunks(1)), want, "{what}, byte by byte");
    };
    let (open, closes, lost) = (After::Open, After::Closes, After::Lost);
    let head = |lines: &str, rest: &str| format!("HTTP/1.1 202 Accepted\r\n{lines}\r\n{rest}");
    check("one", OK, &[(202, 2, open)], true);
    check("two", &OK.repeat(2), &[(202, 2, open); 2], true);
    check(
        "a head alone",
        &head("content-length: 9\r\n", "ok"),
        &[(202, 2, lost)],
        true,
    );
    check("half a head", "HTTP/1.1 202 Acc", &[], true);
    check(
        "no body",
        "HTTP/1.1 204 No Content\r\n\r\n",
        &[(204, 0, open)],
        true,
    );
    let interim = format!("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n{OK}");
    check("after an interim answer", &interim, &[(202, 2, open)], true);
    let chunks = "2\r\nok\r\n3;a=b\r\nyes\r\n0\r\n";
    let chunked = |rest: &str| head("transfer-encoding: gzip, Chunked\r\n", &format!("{chunks}{rest}"));
    check(
        "chunks",
        &format!("{}{OK}", chunked("\r\n")),
        &[(202, 5, open), (202, 2, open)],
        true,
    );
    check(
        "chunks with trailers",
        &format!("{}{OK}", chunked("a: b\r\nc: d\r\n\r\n")),
        &[(202, 5, open), (202, 2, open)],
        true,
    );
    check(
        "a chunk without its end",
        &head("transfer-encoding: chunked\r\n", "2\r\nokok"),
        &[],
        false,
    );
    check(
        "a chunk without a size",
        &head("transfer-encoding: chunked\r\n", "x\r\n"),
        &[],
        false,
    );
    check(
        "chunks and a length",
        &head(
            "transfer-encoding: chunked\r\ncontent-length: 2\r\n",
            "2\r\nok\r\n0\r\n\r\n",
        ),
        &[(202, 2, lost)],
        true,
    );
    check(
        "another coding",
        &head("transfer-encoding: chunked, gzip\r\n", "all"),
        &[(202, 3, lost)],
        true,
    );
    check("until the end", &head("", "all"), &[(202, 3, lost)], true);
    check(
        "a length twice",
        &head("content-length: 2\r\ncontent-length: 2, 2\r\n", "ok"),
        &[(202, 2, open)],
        true,
    );
    check(
        "two lengths",
        &head("content-length: 2\r\ncontent-length: 3\r\n", "ok"),
        &[],
        false,
    );
    for length in ["+2", "-2", "", "2a", "99999999999999999999"] {
        check(
            length,
            &head(&format!("content-length: {length}\r\n"), "ok"),
            &[],
            false,
        );
    }
    check(
        "closes",
        &head("connection: Keep-Alive, CLOSE\r\ncontent-length: 2\r\n", "ok"),
        &[(202, 2, closes)],
        true,
    );
    check(
        "an old server",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        &[(200, 2, lost)],
        true,
    );
    check(
        "an old server that stays",
        "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
        &[(200, 2, open)],
        true,
    );
    check(
        "another protocol",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        &[],
        false,
    );
    check("no HTTP", "\u{1} no HTTP\r\n\r\n", &[], false);
    let long = "x".repeat(ANSWER_BYTES_MAX + 1);
    check(
        "a long body",
        &head(&format!("content-length: {}\r\n", long.len()), &long),
        &[(202, ANSWER_BYTES_MAX, lost)],
        true,
    );
    check(
        "a long head",
        &head(&format!("a: {}\r\n", "x".repeat(HEAD_BYTES_MAX)), ""),
        &[],
        false,
    );
    check(
        "an endless head",
        &format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(HEAD_BYTES_MAX)),
        &[],
        false,
    );
    check(
        "many headers",
        &head(&"a: b\r\n".repeat(HEADERS_MAX + 1), ""),
        &[],
        false,
    );
}

/// Bytes that look like answers, and others.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 202 A\r\n",
        "HTTP/1.1 100 C\r\n",
        "content-length: 2\r\n",
        "transfer-encoding: chunked\r\n",
        "connection: close\r\n",
        "\r\n",
        "ok",
        "2\r\n",
        "0\r\n",
        "ffffffffffffffff\r\n",
        "a: b\r\n",
        "\n",
        OK,
    ]);
    let words = words.prop_map(|word| word.as_bytes().to_vec());
    let word = prop_oneof![9 => words, 1 => prop::collection::vec(any::<u8>(), 1..9)];
    prop::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn the_same_bytes_are_the_same_answers_in_whatever_parts_they_arrive(
        bytes in bytes(),
        cuts in prop::collection::vec(1_usize..40, 1..20),
    ) {
        let (mut rest, mut parts) = (bytes.as_slice(), Vec::new());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, behind) = rest.split_at(rest.len().min(*cut));
            parts.push(part);
            rest = behind;
        }
        prop_assert_eq!(read(parts.into_iter()), read(std::iter::once(bytes.as_slice())));
    }
}
