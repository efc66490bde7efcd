//! A connection whose first bytes were already read, and are read again.

use axum::body::Bytes;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A stream over TCP.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The TCP connection below.
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for Box<TlsStream<TcpStream>> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// A stream and the bytes to read before it.
#[derive(Debug)]
pub(super) struct Rewound<S> {
    first: Bytes,
    stream: S,
}

impl<S: Socket> Rewound<S> {
    /// Reads from a stream until the bytes differ from `expected` or match it completely, and rewinds by them.
    /// Returns whether they match.
    pub(super) async fn comparing(mut stream: S, expected: &[u8]) -> io::Result<(Self, bool)> {
        let mut first = Vec::new();
        while first.len() < expected.len() && expected.starts_with(&first) {
            let missing = expected.len() - first.len();
            if (&mut stream).take(missing as u64).read_buf(&mut first).await? == 0 {
                break;
            }
        }
        let is_expected = first == expected;
        let first = first.into();
        Ok((Self { first, stream }, is_expected))
    }

    /// Rewinds by bytes that were read. They are copied, because they are part of a larger buffer.
    pub(super) fn rewind(&mut self, read: &[u8]) {
        self.first = [read, &self.first].concat().into();
    }

    /// Whether the rewound bytes contain these.
    pub(super) fn has(&self, bytes: &[u8]) -> bool {
        self.first.windows(bytes.len()).any(|window| window == bytes)
    }

    /// Returns when the network has data to read, or the peer closed.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.stream.tcp().readable().await
    }
}

impl<S: Socket> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, to);
        }
        let count = self.first.len().min(to.remaining());
        to.put_slice(&self.first.split_to(count));
        if self.first.is_empty() {
            // An empty slice would keep its buffer alive.
            self.first = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Socket> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
