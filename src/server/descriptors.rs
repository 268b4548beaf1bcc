//! File descriptors: each client and each server connection takes one.

/// For server connections, and what else is open.
const OTHERS: u64 = 1000;

/// Raises the soft limit to the hard one, and says so if that is too low for the clients that may come.
pub(super) fn raise_limit(clients: usize) {
    let needed = u64::try_from(clients).unwrap_or(u64::MAX).saturating_add(OTHERS);
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < needed => tracing::warn!(
            "{limit} file descriptors are too few for limits.clients = {clients} and their server connections: \
             raise the hard limit to {needed} (ulimit -Hn, or LimitNOFILE of systemd)"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of file descriptors is unknown"),
    }
}
