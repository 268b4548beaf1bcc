//! Options of sockets: no delay, keepalive, user timeout, the listener's backlog.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::Stream;
use crate::config::Net;

/// Sets what a connected socket needs.
pub fn tune(stream: &Stream, options: &Net) {
    if let Some(stream) = stream.tcp() {
        set_options(&SockRef::from(stream), options);
    }
}

/// A socket that refuses an option still works.
fn set_options(socket: &Socket, options: &Net) {
    let mut results = vec![socket.set_tcp_nodelay(true)];
    if let Some(idle) = options.keepalive {
        results.push(socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle)));
    }
    #[cfg(target_os = "linux")]
    if options.user_timeout.is_some() {
        results.push(socket.set_tcp_user_timeout(options.user_timeout));
    }
    for error in results.into_iter().filter_map(Result::err) {
        tracing::debug!(%error, "socket option refused");
    }
}

/// A listening socket. Those that it accepts have its options (tcp(7)).
pub fn bind(address: SocketAddr, options: &Net) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    set_options(&socket, options);
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}
