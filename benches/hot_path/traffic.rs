//! What a client sends for one row by its key, and what PostgreSQL answers.

use pgsteward::pool::Owed;
use pgsteward::protocol::writer::frame;

/// The statement.
pub(crate) const SELECT: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 271828;";

/// One transaction of one kind.
pub(crate) struct Transaction {
    pub(crate) name: &'static str,
    pub(crate) request: Vec<u8>,
    pub(crate) owed: &'static [Owed],
    pub(crate) reply: Vec<u8>,
}

/// The three ways that `pgbench -M` knows.
pub(crate) fn transactions() -> [Transaction; 3] {
    [simple(), extended(), prepared()]
}

fn simple() -> Transaction {
    let text = [SELECT.as_bytes(), b"\0"].concat();
    let reply = [row_description(), data_row(), complete(), ready()];
    Transaction {
        name: "simple",
        request: frame(b'Q', &text),
        owed: &[Owed::Query],
        reply: reply.concat(),
    }
}

fn extended() -> Transaction {
    let parse = [b"\0", SELECT.as_bytes(), b"\0\0\0"].concat();
    let rest = executed("");
    Transaction {
        name: "extended",
        request: [frame(b'P', &parse), rest.request].concat(),
        owed: &[Owed::Parse, Owed::Bind, Owed::Describe, Owed::Execute, Owed::Sync],
        reply: [frame(b'1', b""), rest.reply].concat(),
    }
}

fn prepared() -> Transaction {
    executed("P0_1")
}

/// The Parse of a statement under a name, and what the server answers to it and to the proxy's Describe.
pub(crate) fn named(name: &str) -> Transaction {
    let parse = [name.as_bytes(), b"\0", SELECT.as_bytes(), b"\0\0\0"].concat();
    let reply = [frame(b'1', b""), frame(b't', b"\0\0"), row_description(), ready()];
    Transaction {
        name: "named",
        request: [frame(b'P', &parse), frame(b'S', b"")].concat(),
        owed: &[Owed::Parse, Owed::Sync],
        reply: reply.concat(),
    }
}

/// A statement that is there already.
pub(crate) fn executed(statement: &str) -> Transaction {
    let bind = [b"\0", statement.as_bytes(), b"\0\0\0\0\x01\0\0\0\x06271828\0\0"].concat();
    let request =
        [frame(b'B', &bind), frame(b'D', b"P\0"), frame(b'E', b"\0\0\0\0\0"), frame(b'S', b"")];
    let reply = [frame(b'2', b""), row_description(), data_row(), complete(), ready()];
    Transaction {
        name: "prepared",
        request: request.concat(),
        owed: &[Owed::Bind, Owed::Describe, Owed::Execute, Owed::Sync],
        reply: reply.concat(),
    }
}

/// The frames of a result of so many rows, and its end.
pub(crate) fn rows(count: usize) -> Vec<u8> {
    [row_description(), data_row().repeat(count), complete(), ready()].concat()
}

fn row_description() -> Vec<u8> {
    let column = b"\0\x01abalance\0\0\0\x40\x0c\0\x03\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";
    frame(b'T', column)
}

fn data_row() -> Vec<u8> {
    frame(b'D', b"\0\x01\0\0\0\x01\x30")
}

fn complete() -> Vec<u8> {
    frame(b'C', b"SELECT 1\0")
}

fn ready() -> Vec<u8> {
    frame(b'Z', b"I")
}
