//! A connected socket: TCP or Unix-domain, read and written without allocation, each read and write one system call.
//!
//! A read that comes back short clears the readiness that epoll has reported, so that the next one costs no system
//! call (the one that would end in EAGAIN). A task that waits for bytes is registered once, not at each look.
//!
//! [`Stream::poll_receive`] and [`Stream::poll_send`] take nothing from tokio's budget: who calls them in a loop bounds
//! it.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// One end of a connection.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    /// Who is registered to be woken when there is something to read. Whatever reads or registers otherwise
    /// forgets it.
    reader: Option<Waker>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A stream that belongs to no runtime: on its way to another worker.
#[derive(Debug)]
pub enum Detached {
    /// Over TCP.
    Tcp(std::net::TcpStream),
    /// Over a Unix-domain socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Stream {
    /// Reads once. `Ok(0)`: the peer has closed its side.
    pub fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if let received @ Poll::Ready(_) = self.try_receive(into) {
                return received;
            }
            if self.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            self.reader = Some(cx.waker().clone());
            ready!(self.socket.poll_readable(cx))?;
            self.reader = None;
        }
    }

    /// Whether this task will be woken when there is something to read, and there is nothing yet.
    #[inline]
    pub fn is_awaited(&self, cx: &Context<'_>) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker()))
            && self.socket.try_io(Interest::READABLE, |_| Ok(())).is_err()
    }

    /// Reads once if epoll has reported the socket: else it costs no system call, and nobody is woken later.
    pub fn try_receive(&mut self, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut is_reported = false;
        let mut short = None;
        let received = self.socket.try_io(Interest::READABLE, |mut socket| {
            is_reported = true;
            let bytes = socket.read(into)?;
            if bytes == 0 || bytes == into.len() {
                return Ok(bytes);
            }
            short = Some(bytes);
            // Clears the readiness: there is nothing more.
            Err(io::ErrorKind::WouldBlock.into())
        });
        if is_reported {
            // Whoever was registered has been woken.
            self.reader = None;
        }
        match short {
            Some(bytes) => Poll::Ready(Ok(bytes)),
            None => unless_pending(received),
        }
    }

    /// Writes once.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            // It is nearly always writable.
            if let sent @ Poll::Ready(_) = self.try_send(bytes) {
                return sent;
            }
            ready!(self.socket.poll_writable(cx))?;
        }
    }

    /// Writes once if the socket is writable as far as is known.
    pub fn try_send(&self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        unless_pending(self.socket.try_io(Interest::WRITABLE, |mut socket| socket.write(bytes)))
    }

    /// The socket, to set its options, if it is TCP.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match &self.socket {
            Socket::Tcp(stream) => Some(stream),
            Socket::Unix(_) => None,
        }
    }

    /// Takes the socket off this thread's runtime.
    pub fn detach(self) -> io::Result<Detached> {
        Ok(match self.socket {
            Socket::Tcp(stream) => Detached::Tcp(stream.into_std()?),
            Socket::Unix(stream) => Detached::Unix(stream.into_std()?),
        })
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self { socket: Socket::Tcp(stream), reader: None }
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self { socket: Socket::Unix(stream), reader: None }
    }
}

impl Detached {
    /// Puts the socket on this thread's runtime.
    pub fn attach(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(stream) => TcpStream::from_std(stream)?.into(),
            Self::Unix(stream) => UnixStream::from_std(stream)?.into(),
        })
    }
}

impl Socket {
    fn try_io<T>(
        &self,
        interest: Interest,
        io: impl FnOnce(&socket2::Socket) -> io::Result<T>,
    ) -> io::Result<T> {
        match self {
            Self::Tcp(stream) => stream.try_io(interest, || io(&SockRef::from(stream))),
            Self::Unix(stream) => stream.try_io(interest, || io(&SockRef::from(stream))),
        }
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
        }
    }
}

fn unless_pending(result: io::Result<usize>) -> Poll<io::Result<usize>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        let bytes = ready!(stream.poll_receive(cx, into.initialize_unfilled()))?;
        into.advance(bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Sockets have nothing to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
