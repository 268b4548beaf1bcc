//! Statements that a client may send: the lowest level of the grammar.
//!
//! A client writes to a table of its own, `t0`, `t1` or `t2`, and everybody reads `shared`; so replies do
//! not depend on what other clients do. Rows come in the order of their keys, never as the table has them.

use crate::random::Random;

/// A statement and the parameters that it takes.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) parameters: usize,
}

/// Any statement of a simple query. `can_commit`: it may end a transaction.
pub(crate) fn simple(random: &mut Random, client: usize, can_commit: bool) -> String {
    let kind = random.weighted(&[
        (26, read as fn(&mut Random, usize) -> String),
        (22, write),
        (12, wrong),
        (8, savepoint),
        (7, cursor),
        (3, copy_out),
        (3, noisy),
        (3, session_state),
        (if can_commit { 20 } else { 0 }, transaction),
    ]);
    kind(random, client)
}

/// A statement of the extended protocol.
pub(crate) fn extended(random: &mut Random, client: usize, can_commit: bool) -> Statement {
    if random.percent(55) {
        return with_parameters(random, client);
    }
    Statement { sql: simple(random, client, can_commit), parameters: 0 }
}

/// COPY FROM STDIN, now and then one that fails at once.
pub(crate) fn copy_in(random: &mut Random, client: usize) -> String {
    match random.below(10) {
        0 => "COPY nowhere FROM STDIN".to_owned(),
        1 => format!("COPY t{client} FROM STDIN (FORMAT csv)"),
        2 => format!("COPY t{client} (k) FROM STDIN"),
        _ => format!("COPY t{client} FROM STDIN"),
    }
}

/// Rows for a COPY FROM STDIN, not always right.
pub(crate) fn copy_rows(random: &mut Random) -> String {
    match random.below(10) {
        0 => "no number\tx\n".to_owned(),
        1 => "7".to_owned(),
        2 => String::new(),
        3 => "\\.\n".to_owned(),
        4 => "1\ttwice\n".to_owned(),
        _ => {
            let first = random.between(10, 40);
            format!("{first}\tcopied\n{}\t\\N\n", first + random.below(2) + 1)
        }
    }
}

pub(crate) fn transaction(random: &mut Random, _client: usize) -> String {
    let sql = random.weighted(&[
        (8, "BEGIN"),
        (1, "START TRANSACTION READ ONLY"),
        (2, "BEGIN ISOLATION LEVEL REPEATABLE READ"),
        (6, "COMMIT"),
        (5, "ROLLBACK"),
        (1, "COMMIT AND CHAIN"),
        (1, "ROLLBACK AND CHAIN"),
    ]);
    sql.to_owned()
}

fn read(random: &mut Random, client: usize) -> String {
    match random.below(9) {
        0 => "SELECT 1 AS one, 'x' AS x".to_owned(),
        1 => format!("SELECT count(*), max(v) FROM t{client}"),
        2 => "SELECT * FROM shared ORDER BY k".to_owned(),
        3 => format!("SELECT t.v, s.v FROM t{client} t JOIN shared s USING (k) ORDER BY k"),
        4 => "VALUES (1, 'a'), (2, NULL)".to_owned(),
        5 => format!("SELECT k FROM t{client} WHERE k > 100 ORDER BY k"),
        6 if random.percent(40) => {
            "SELECT n, repeat('x', 40) FROM generate_series(1, 500) n".to_owned()
        }
        7 if random.percent(40) => "SELECT repeat('long ', 8000)".to_owned(),
        _ => format!("SELECT k, v FROM t{client} ORDER BY k"),
    }
}

fn write(random: &mut Random, client: usize) -> String {
    let k = random.between(1, 8);
    match random.below(7) {
        0 => format!("INSERT INTO t{client} VALUES ({k}, 'new') ON CONFLICT DO NOTHING"),
        1 => format!("INSERT INTO t{client} VALUES ({k}, 'new') RETURNING k, v"),
        2 => format!("UPDATE t{client} SET v = v || 'u' WHERE k = {k}"),
        3 => format!("UPDATE t{client} SET v = left(v, 3) || 'w' WHERE k <= {k}"),
        4 => format!("DELETE FROM t{client} WHERE k = {k} RETURNING v"),
        _ => format!("INSERT INTO t{client} VALUES ({k}, 'new')"),
    }
}

fn wrong(random: &mut Random, client: usize) -> String {
    let sql = match random.below(8) {
        0 => "SELEC 1",
        1 => "SELECT * FROM nowhere",
        2 => "",
        3 => ";;",
        4 => "-- nothing",
        5 => "SELECT 1/(k - 2) FROM shared ORDER BY k",
        6 => return format!("INSERT INTO t{client} VALUES (1, 'again')"),
        _ => "SELECT 1/0",
    };
    sql.to_owned()
}

fn savepoint(random: &mut Random, _client: usize) -> String {
    let sql = ["SAVEPOINT s", "ROLLBACK TO SAVEPOINT s", "RELEASE SAVEPOINT s"];
    (*random.pick(&sql)).to_owned()
}

/// Cursors; `p` and `q` are also the names of the protocol's portals.
fn cursor(random: &mut Random, _client: usize) -> String {
    let sql = [
        "DECLARE c CURSOR FOR SELECT * FROM shared ORDER BY k",
        "DECLARE p SCROLL CURSOR FOR SELECT * FROM shared ORDER BY k",
        "FETCH 2 FROM c",
        "FETCH ALL FROM p",
        "FETCH 1 FROM q",
        "MOVE 1 IN c",
        "MOVE FORWARD 1 p",
        "CLOSE c",
    ];
    (*random.pick(&sql)).to_owned()
}

fn copy_out(random: &mut Random, client: usize) -> String {
    let sql = match random.below(3) {
        0 => "COPY shared TO STDOUT (FORMAT csv)",
        1 => "COPY (SELECT 1/(k - 3) FROM shared ORDER BY k) TO STDOUT",
        _ => return format!("COPY (SELECT * FROM t{client} ORDER BY k) TO STDOUT"),
    };
    sql.to_owned()
}

/// Statements that bring notices, some of them at their analysis.
fn noisy(random: &mut Random, _client: usize) -> String {
    let name = "n".repeat(70);
    match random.below(3) {
        0 => format!("SELECT 1 AS {name}"),
        1 => "DROP TABLE IF EXISTS nowhere".to_owned(),
        _ => "SET LOCAL work_mem = '1MB'".to_owned(),
    }
}

/// Statements that leave something behind on their session.
///
/// To be switched on when `analysis` finds them in the text of a statement: `SET`, `RESET`,
/// `SELECT set_config(...)`, `PREPARE`, `DEALLOCATE`, `LISTEN`, `CREATE TEMP TABLE`, `DECLARE ... WITH HOLD`,
/// `SELECT pg_advisory_lock(...)`, `SELECT currval(...)`, `DISCARD ALL`, `DO`. A client that has used one
/// must then count as pinned ([`crate::tenancy`]).
fn session_state(random: &mut Random, _client: usize) -> String {
    let texts = [
        (4, "DEALLOCATE a"),
        (2, "DEALLOCATE PREPARE \"b\""),
        (3, "DEALLOCATE ALL"),
        (2, "EXECUTE b"),
        (1, "PREPARE b AS SELECT 'sql'"),
        (2, "SET LOCAL DateStyle = 'German'"),
        (1, "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$"),
    ];
    random.weighted(&texts).to_owned()
}

fn with_parameters(random: &mut Random, client: usize) -> Statement {
    let (sql, parameters) = match random.below(8) {
        0 => ("SELECT $1::int / $2::int AS quotient".to_owned(), 2),
        1 => (format!("INSERT INTO t{client} VALUES ($1, $2) RETURNING k"), 2),
        2 => (format!("UPDATE t{client} SET v = $2 WHERE k = $1"), 2),
        3 => (format!("DELETE FROM t{client} WHERE k = $1"), 1),
        4 => ("SELECT $1::text AS said".to_owned(), 1),
        5 => ("SELECT k, v FROM shared WHERE k >= $1 ORDER BY k".to_owned(), 1),
        6 => ("SELECT $1 + nowhere.x FROM shared".to_owned(), 1),
        _ => (format!("SELECT k, v FROM t{client} WHERE k >= $1 ORDER BY k"), 1),
    };
    Statement { sql, parameters }
}
