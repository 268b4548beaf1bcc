//! Making a server connection clean again: nothing of its last client may meet the next.

use std::io;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::exchange::{Exchange, Sequences};
use super::lease::Lease;
use crate::protocol::frame::{HEADER_BYTES, server_header};
use crate::protocol::{ServerError, TransactionStatus, writer};
use crate::telemetry::metrics::PoolCounter;

/// Longest message that a server may send while it cleans up (notices of what was dropped).
const MESSAGE_MAX: usize = 1024 * 1024;

/// How much is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cleanup {
    /// Everything, prepared statements too. RESET ROLE, since the session may have begun with another role than the
    /// user's own.
    Discard,
    /// Everything but prepared statements: those that clients share are still needed.
    Reset,
}

/// All of `DISCARD ALL` but the prepared statements and plans; the row tells whether SQL has prepared any.
const RESET: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; RESET ROLE; UNLISTEN *; \
    DISCARD TEMP; DISCARD SEQUENCES; SELECT pg_catalog.pg_advisory_unlock_all(), \
    EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql)";

/// Ends in these bytes: the last column is true.
const TRUE: &[u8] = b"\0\0\0\x01t";

/// Rolls back, cleans up and gives the connection back, or closes it.
pub(super) async fn clean(mut lease: Lease, cleanup: Cleanup) {
    lease.pool().cells.count(PoolCounter::Resets);
    lease.server.backend.is_cleaned.set(true);
    let limit = lease.pool().target().settings.connect_timeout;
    match tokio::time::timeout(limit, run(&mut lease, cleanup)).await {
        Ok(Ok(())) => {
            lease.server.actual = Some(Rc::clone(&lease.server.variant.overlays.base));
            lease.server.backend.is_cleaned.set(false);
            lease.release();
        }
        Ok(Err(error)) => {
            tracing::debug!(pool = %lease.pool().key, %error, "cleanup failed");
        }
        Err(_elapsed) => {
            tracing::warn!(pool = %lease.pool().key, ?limit, "cleanup took too long");
        }
    }
}

async fn run(lease: &mut Lease, cleanup: Cleanup) -> io::Result<()> {
    if cleanup == Cleanup::Reset && !ask(lease, &[RESET]).await?.ends_with(TRUE) {
        lease.server.exchange.sequences = Sequences::None;
        return Ok(());
    }
    let all = ["ROLLBACK", "DISCARD ALL", "RESET ROLE"];
    let is_idle = lease.server.exchange.ledger.status() == TransactionStatus::Idle;
    ask(lease, all.get(usize::from(is_idle)..).unwrap_or_default()).await?;
    let cells = Rc::clone(&lease.server.exchange.cells);
    lease.server.exchange = Exchange::counted(cells);
    Ok(())
}

/// Sends queries and waits for their end; gives the last row.
async fn ask(lease: &mut Lease, queries: &[&str]) -> io::Result<Vec<u8>> {
    let server = &mut lease.server;
    let mut request = Vec::new();
    for query in queries {
        writer::query(&mut request, query);
    }
    server.stream.write_all(&request).await?;
    let mut owed = queries.len();
    let mut received = std::mem::take(&mut server.held);
    let mut row = Vec::new();
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
            b'D' => row = frame.to_vec(),
            b'Z' => owed -= 1,
            _ => {}
        }
        received.drain(..header.bytes);
    }
    if received.is_empty() { Ok(row) } else { Err(io::Error::other("more replies than owed")) }
}

async fn more(stream: &mut crate::net::Stream, received: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(received).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
