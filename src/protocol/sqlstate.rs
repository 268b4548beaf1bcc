//! The SQLSTATEs that the proxy itself raises (manual, appendix A).

use std::fmt;

/// Five characters that name an error.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(pub [u8; 5]);

impl SqlState {
    /// invalid_sql_statement_name
    pub const INVALID_SQL_STATEMENT_NAME: Self = Self(*b"26000");
    /// Protocol violation.
    pub const PROTOCOL_VIOLATION: Self = Self(*b"08P01");
    /// The connection to the server was lost.
    pub const CONNECTION_FAILURE: Self = Self(*b"08006");
    /// The server could not be reached.
    pub const UNABLE_TO_CONNECT: Self = Self(*b"08001");
    /// Something that is not supported.
    pub const FEATURE_NOT_SUPPORTED: Self = Self(*b"0A000");
    /// A login that is refused for what it is.
    pub const INVALID_AUTHORIZATION: Self = Self(*b"28000");
    /// Wrong password, or a user that does not exist.
    pub const INVALID_PASSWORD: Self = Self(*b"28P01");
    /// No such database.
    pub const UNDEFINED_DATABASE: Self = Self(*b"3D000");
    /// No connection is free.
    pub const TOO_MANY_CONNECTIONS: Self = Self(*b"53300");
    /// A limit of the configuration.
    pub const CONFIGURATION_LIMIT: Self = Self(*b"53400");
    /// Cancelled on the user's request.
    pub const QUERY_CANCELED: Self = Self(*b"57014");
    /// The proxy or the server goes down.
    pub const ADMIN_SHUTDOWN: Self = Self(*b"57P01");
    /// A crash elsewhere took the server's session down.
    pub const CRASH_SHUTDOWN: Self = Self(*b"57P02");
    /// The server starts up or shuts down.
    pub const CANNOT_CONNECT_NOW: Self = Self(*b"57P03");
    /// A session that was idle for too long.
    pub const IDLE_SESSION_TIMEOUT: Self = Self(*b"57P05");
    /// A transaction that was idle for too long.
    pub const IDLE_IN_TRANSACTION_TIMEOUT: Self = Self(*b"25P03");
    /// A write in a transaction that is read only.
    pub const READ_ONLY_TRANSACTION: Self = Self(*b"25006");
    /// Text that is not in the client's encoding.
    pub const CHARACTER_NOT_IN_REPERTOIRE: Self = Self(*b"22021");
    /// Not now: a database that takes no clients.
    pub const OBJECT_NOT_IN_PREREQUISITE_STATE: Self = Self(*b"55000");
    /// Not the console's language.
    pub const SYNTAX_ERROR: Self = Self(*b"42601");
    /// The user may not do that.
    pub const INSUFFICIENT_PRIVILEGE: Self = Self(*b"42501");
    /// A configuration that has faults.
    pub const CONFIG_FILE_ERROR: Self = Self(*b"F0000");
    /// A fault of the proxy's own.
    pub const INTERNAL_ERROR: Self = Self(*b"XX000");

    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
