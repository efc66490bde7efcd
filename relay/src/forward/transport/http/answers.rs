//! Reads answers from the bytes of a connection, however they are split: RFC 9112 sections 4 to 7. A state machine
//! without IO.

use crate::forward::transport::ANSWER_BYTES_MAX;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use axum::http::{Response, StatusCode, Version};
use bytes::{Buf, Bytes, BytesMut};

/// Limit of an answer's head, and of the lines between its chunks, in bytes; a longer one is an error.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Limit of its headers; more are an error.
const HEADERS_MAX: usize = 100;

/// The bytes are no HTTP/1 answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotHttp;

/// What follows an answer on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The next answer.
    Open,
    /// The server said that it closes the connection, and processes no further request on it (RFC 9112 section 9.6).
    Closes,
    /// The connection is of no more use. Whether the server has processed further requests is unknown.
    Lost,
}

/// Decodes the answers of one connection.
#[derive(Debug, Default)]
pub(super) struct Answers {
    started: Option<Started>,
}

/// An answer whose head has arrived.
#[derive(Debug)]
struct Started {
    answer: Response<()>,
    body: BytesMut,
    rest: Rest,
    after: After,
}

/// How the rest of a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// This many bytes.
    Bytes(u64),
    /// A chunk's size, then the chunk.
    Chunk,
    /// The rest of a chunk, and the line end behind it.
    ChunkBytes(u64),
    /// The lines behind the last chunk.
    Trailers,
    /// Everything until the server closes.
    UntilEnd,
}

impl Answers {
    /// The next answer, if all of it has arrived. A body longer than [`ANSWER_BYTES_MAX`] is cut.
    ///
    /// # Errors
    /// If the bytes are no answer.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Option<(Response<Bytes>, After)>, NotHttp> {
        while self.started.is_none() {
            match head(input)? {
                // An interim answer: the answer itself follows.
                Some(answer) if answer.status().is_informational() => {}
                Some(answer) => self.started = Some(Started::new(answer)?),
                None => return Ok(None),
            }
        }
        let Some(started) = &mut self.started else {
            return Ok(None);
        };
        if !started.read(input)? {
            return Ok(None);
        }
        Ok(self.give_up())
    }

    /// The answer whose head has arrived, with as much of its body as there is.
    pub(super) fn give_up(&mut self) -> Option<(Response<Bytes>, After)> {
        let started = self.started.take()?;
        let body = started.body.freeze();
        Some((started.answer.map(|()| body), started.after))
    }

    /// The server has closed the connection: the end of a body that has no other.
    pub(super) fn end(&mut self) -> Option<(Response<Bytes>, After)> {
        self.give_up().map(|(answer, _)| (answer, After::Lost))
    }
}

impl Started {
    fn new(answer: Response<()>) -> Result<Self, NotHttp> {
        let (rest, after) = framing(&answer)?;
        Ok(Self {
            answer,
            body: BytesMut::new(),
            rest,
            after,
        })
    }

    /// Reads the body. Returns whether it is complete, or cut.
    fn read(&mut self, input: &mut BytesMut) -> Result<bool, NotHttp> {
        loop {
            match self.rest {
                Rest::Bytes(0) => return Ok(true),
                Rest::Bytes(left) => match self.take(input, left) {
                    Taken::All => return Ok(true),
                    Taken::Part(left) => self.rest = Rest::Bytes(left),
                    Taken::Cut => return Ok(true),
                },
                Rest::UntilEnd => match self.take(input, u64::MAX) {
                    Taken::Cut => return Ok(true),
                    Taken::All | Taken::Part(_) => return Ok(false),
                },
                Rest::Chunk => match httparse::parse_chunk_size(input).map_err(|_| NotHttp)? {
                    httparse::Status::Partial => return within_head(input),
                    httparse::Status::Complete((bytes, size)) => {
                        input.advance(bytes);
                        self.rest = match size {
                            0 => Rest::Trailers,
                            size => Rest::ChunkBytes(size),
                        };
                    }
                },
                Rest::ChunkBytes(0) => match input.get(..2) {
                    None => return Ok(false),
                    Some(b"\r\n") => {
                        input.advance(2);
                        self.rest = Rest::Chunk;
                    }
                    Some(_) => return Err(NotHttp),
                },
                Rest::ChunkBytes(left) => match self.take(input, left) {
                    Taken::All => self.rest = Rest::ChunkBytes(0),
                    Taken::Part(left) => self.rest = Rest::ChunkBytes(left),
                    Taken::Cut => return Ok(true),
                },
                Rest::Trailers => match input.windows(2).position(|two| two == b"\r\n") {
                    None => return within_head(input),
                    Some(line) => {
                        input.advance(line + 2);
                        if line == 0 {
                            return Ok(true);
                        }
                    }
                },
            }
            if input.is_empty() {
                return Ok(false);
            }
        }
    }

    /// Moves up to `left` bytes to the body.
    fn take(&mut self, input: &mut BytesMut, left: u64) -> Taken {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let fits = here.min(ANSWER_BYTES_MAX - self.body.len());
        self.body.extend_from_slice(&input[..fits]);
        input.advance(fits);
        if fits < here {
            self.after = After::Lost;
            return Taken::Cut;
        }
        match left - here as u64 {
            0 => Taken::All,
            left => Taken::Part(left),
        }
    }
}

enum Taken {
    All,
    /// This many bytes are missing.
    Part(u64),
    /// The body is too long.
    Cut,
}

/// Incomplete, unless it is too long.
fn within_head(input: &BytesMut) -> Result<bool, NotHttp> {
    match input.len() > HEAD_BYTES_MAX {
        true => Err(NotHttp),
        false => Ok(false),
    }
}

/// Reads the head of an answer, if all of it has arrived.
///
/// # Errors
/// If the bytes are no answer, or switch to another protocol.
pub(super) fn head(input: &mut BytesMut) -> Result<Option<Response<()>>, NotHttp> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut read = httparse::Response::new(&mut headers);
    let bytes = match read.parse(input).map_err(|_| NotHttp)? {
        httparse::Status::Complete(bytes) if bytes <= HEAD_BYTES_MAX => bytes,
        httparse::Status::Complete(_) => return Err(NotHttp),
        httparse::Status::Partial => return within_head(input).map(|_| None),
    };
    let mut answer = Response::new(());
    *answer.status_mut() = StatusCode::from_u16(read.code.unwrap_or_default()).map_err(|_| NotHttp)?;
    *answer.version_mut() = match read.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    *answer.headers_mut() = owned(read.headers)?;
    input.advance(bytes);
    match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => Err(NotHttp),
        _ => Ok(Some(answer)),
    }
}

fn owned(read: &[httparse::Header<'_>]) -> Result<HeaderMap, NotHttp> {
    let mut headers = HeaderMap::with_capacity(read.len());
    for header in read {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| NotHttp)?;
        let value = HeaderValue::from_bytes(header.value).map_err(|_| NotHttp)?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// How the body is framed, and what follows it (RFC 9112 sections 6.3 and 9.3).
fn framing(answer: &Response<()>) -> Result<(Rest, After), NotHttp> {
    let (status, headers) = (answer.status(), answer.headers());
    let after = match (says(headers, "close"), answer.version()) {
        (true, _) => After::Closes,
        (false, Version::HTTP_10) if !says(headers, "keep-alive") => After::Lost,
        (false, _) => After::Open,
    };
    if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        return Ok((Rest::Bytes(0), after));
    }
    if let Some(codings) = headers.get_all(TRANSFER_ENCODING).iter().next_back() {
        let last = codings.as_bytes().rsplit(|byte| *byte == b',').next();
        let is_chunked = last.is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        return Ok(match is_chunked {
            // With a length as well, the two may be read differently by a proxy in between.
            true if headers.contains_key(CONTENT_LENGTH) => (Rest::Chunk, After::Lost),
            true => (Rest::Chunk, after),
            false => (Rest::UntilEnd, After::Lost),
        });
    }
    let mut length = None;
    let texts = headers.get_all(CONTENT_LENGTH).iter();
    for text in texts.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
        let one = decimal(text.trim_ascii()).ok_or(NotHttp)?;
        if length.replace(one).is_some_and(|other| other != one) {
            return Err(NotHttp);
        }
    }
    Ok(match length {
        Some(length) => (Rest::Bytes(length), after),
        None => (Rest::UntilEnd, After::Lost),
    })
}

/// Whether `Connection` has an option.
fn says(headers: &HeaderMap, option: &str) -> bool {
    let mut values = headers.get_all(CONNECTION).iter();
    values.any(|value| {
        let mut options = value.as_bytes().split(|byte| *byte == b',');
        options.any(|one| one.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    })
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests;
