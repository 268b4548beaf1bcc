//! Making a server connection clean again: nothing of its last client may meet the next.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::exchange::Exchange;
use super::lease::Lease;
use crate::protocol::frame::{HEADER_BYTES, server_header};
use crate::protocol::{ServerError, TransactionStatus, writer};

/// Longest message that a server may send while it cleans up (notices of what was dropped).
const MESSAGE_MAX: usize = 1024 * 1024;

/// Rolls back, discards everything and gives the connection back, or closes it.
pub(super) async fn clean(mut lease: Lease) {
    let limit = lease.pool().target.settings.connect_timeout;
    match tokio::time::timeout(limit, discard(&mut lease)).await {
        Ok(Ok(())) => {
            lease.server.exchange = Exchange::default();
            lease.release();
        }
        Ok(Err(error)) => {
            tracing::debug!(pool = %lease.pool().target.key, %error, "cleanup failed");
        }
        Err(_elapsed) => {
            tracing::warn!(pool = %lease.pool().target.key, ?limit, "cleanup took too long");
        }
    }
}

async fn discard(lease: &mut Lease) -> io::Result<()> {
    let server = &mut lease.server;
    let mut request = Vec::new();
    let mut owed = 1;
    if server.exchange.ledger.status() != TransactionStatus::Idle {
        writer::query(&mut request, "ROLLBACK");
        owed += 1;
    }
    writer::query(&mut request, "DISCARD ALL");
    server.stream.write_all(&request).await?;
    let mut received = std::mem::take(&mut server.held);
    while owed > 0 {
        let Some(header) = server_header(&received).map_err(io::Error::other)? else {
            more(&mut server.stream, &mut received).await?;
            continue;
        };
        if header.bytes > MESSAGE_MAX {
            return Err(io::Error::other("a message too long for a cleanup"));
        }
        let Some(frame) = received.get(..header.bytes) else {
            more(&mut server.stream, &mut received).await?;
            continue;
        };
        match header.tag {
            b'E' => {
                let error = ServerError::new(frame.get(HEADER_BYTES..).unwrap_or_default());
                return Err(io::Error::other(error.message()));
            }
            b'Z' => owed -= 1,
            _ => {}
        }
        received.drain(..header.bytes);
    }
    if received.is_empty() { Ok(()) } else { Err(io::Error::other("more replies than owed")) }
}

async fn more(stream: &mut crate::net::Stream, received: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(received).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
