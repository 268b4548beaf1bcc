//! Sockets passed from one process to another over a Unix-domain socket (unix(7), SCM_RIGHTS).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// So many sockets go with one message.
const SOCKETS_MAX: usize = 4;

/// Sends a message and sockets with it.
pub fn send_sockets(to: &UnixStream, message: &[u8], sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::other("too many sockets for one message"));
    }
    let sent =
        rustix::net::sendmsg(to, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == message.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives a message of at most so many bytes, and the sockets that came with it.
pub fn receive_sockets(from: &UnixStream, bytes_max: usize) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut message = vec![0; bytes_max];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        from,
        &mut [IoSliceMut::new(&mut message)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    message.truncate(received.bytes);
    let mut sockets = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = part {
            sockets.extend(fds);
        }
    }
    Ok((message, sockets))
}

/// Whether the process at the other end is the same user's.
pub fn is_own_user(peer: &impl std::os::fd::AsFd) -> bool {
    let credentials = rustix::net::sockopt::socket_peercred(peer);
    credentials.is_ok_and(|credentials| credentials.uid == rustix::process::getuid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    #[test]
    fn a_listener_goes_on_at_the_other_end() {
        let (here, there) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        send_sockets(&here, b"hello", &[listener.as_fd()]).unwrap();
        drop(listener);
        // Queued while nobody accepts.
        let _client = TcpStream::connect(address).unwrap();
        let (message, mut sockets) = receive_sockets(&there, 64).unwrap();
        assert_eq!((message.as_slice(), sockets.len()), (&b"hello"[..], 1));
        let listener = TcpListener::from(sockets.remove(0));
        listener.accept().unwrap();
        assert!(is_own_user(&there));
    }
}
