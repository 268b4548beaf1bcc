//! Statements and what they leave behind.

use proptest::prelude::*;

use super::Effect::{
    AdvisoryLock, ForeignSession, HoldCursor, Listen, Load, Prepare, Process, Routine, Setting,
    Temporary, Unknown,
};
use super::{Effect, Effects, Mark, Scan, footprint};
use crate::analysis::lexer::Lexer;

fn session_effects(text: &[u8]) -> Effects {
    footprint(text).effects
}

fn check(table: &[(&str, &[Effect])]) {
    for (text, expected) in table {
        let found: Vec<_> = session_effects(text.as_bytes()).iter().collect();
        assert_eq!(found, *expected, "{text}");
    }
}

#[test]
fn settings() {
    check(&[
        ("SET x = 1", &[Setting]),
        ("set x to 1", &[Setting]),
        ("SeT \"x\" = 1", &[Setting]),
        ("SET SESSION x = 1", &[Setting]),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", &[Setting]),
        ("SET SESSION AUTHORIZATION bob", &[Setting]),
        ("SET ROLE bob", &[Setting]),
        ("SET TIME ZONE 'UTC'", &[Setting]),
        ("SET NAMES 'utf8'", &[Setting]),
        ("SET XML OPTION DOCUMENT", &[Setting]),
        ("SET LOCAL x = 1", &[]),
        ("SET LOCAL ROLE bob", &[]),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", &[]),
        ("SET CONSTRAINTS ALL DEFERRED", &[]),
        ("SET local.x = 1", &[Setting]),
        ("SET transaction.x TO 1", &[Setting]),
        ("SET constraints . x = 1", &[Setting]),
        ("SET local TO 1", &[Setting]),
        ("/* a */ SET/**/x/**/=/**/1", &[Setting]),
        ("-- a\r\nSET\r\nx = 1", &[Setting]),
        ("-- a\rSET x = 1", &[Setting]),
        ("-- SET x = 1", &[]),
        ("/* /* */ SET x = 1; */ SELECT 1", &[]),
        ("SELECT 1;;SET x=1", &[Setting]),
        ("SELECT 1; SELECT 2", &[]),
        ("SELECT 'a'; SET x = 'b'", &[Setting]),
        ("SELECT '; SET x = 1'", &[]),
        ("SELECT 'a''; SET x = 1; --'", &[]),
        (r"SELECT E'\'; SET x = 1'", &[]),
        ("SELECT $$; SET x = 1$$", &[]),
        ("SELECT $a$ $$; SET x = 1 $a$", &[]),
        ("SELECT \"; SET x = 1\"", &[]),
        ("SELECT 1 +/* */ 2; SET x = 1", &[Setting]),
        ("SELECT 1 +-- ;SET x = 1\n 2", &[]),
        ("RESET x", &[Setting]),
        ("RESET ALL", &[Setting]),
        ("DISCARD ALL", &[Setting]),
        ("DISCARD PLANS; SHOW x", &[]),
        ("UPDATE ONLY pg_catalog.pg_settings SET setting = 1", &[Setting]),
        ("UPDATE \"pg_settings\" SET setting = 1", &[Setting]),
        ("UPDATE t SET pg_settings = 1", &[]),
        ("UPDATE t SET x = 1", &[]),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET x = 1", &[]),
        ("ALTER SYSTEM SET x = 1", &[]),
        ("ALTER ROLE bob SET x = 1", &[]),
        ("CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; UPDATE t SET x = 1)", &[]),
        ("CREATE FUNCTION f() RETURNS int SET x = 1 AS 'SELECT 1' LANGUAGE sql", &[]),
        ("\u{feff}SET x = 1", &[]),
        ("", &[]),
        (" ;; ", &[]),
    ]);
}

#[test]
fn functions_that_set() {
    check(&[
        ("SELECT set_config('a', 'b', false)", &[Setting]),
        ("SELECT set_config('a', 'b', true)", &[]),
        ("SELECT pg_catalog.set_config('a', 'b', TRUE)", &[]),
        ("SELECT SET_CONFIG ('a', 'b', /* c */ true /* d */)", &[]),
        ("SELECT set_config('a', f(1, true), false)", &[Setting, Routine]),
        ("SELECT set_config('a', lower(1, false), true)", &[]),
        ("SELECT set_config('a', (ARRAY['x', 'y'])[1], true)", &[]),
        ("SELECT set_config('a', 'b', $1)", &[Setting]),
        ("SELECT set_config('a', 'b', not true)", &[Setting]),
        ("SELECT set_config('a', 'b', true = false)", &[Setting]),
        ("SELECT set_config('a', 'b', (true))", &[Setting]),
        ("SELECT set_config('a', 'b', 'true')", &[Setting]),
        ("SELECT set_config('a', set_config('b', 'c', true), true)", &[Setting]),
        ("SELECT set_config('a', 'b', true), set_config('a', 'b', false)", &[Setting]),
        ("SELECT \"set_config\"('a', 'b', false)", &[Setting]),
        ("SELECT set_config FROM t", &[]),
        ("SELECT set_config, (1) FROM t", &[]),
        ("SELECT 'set_config(1)'", &[]),
        ("SELECT set_config('a'", &[Setting]),
        ("SELECT set_config('a', 'b', true; SELECT 1", &[Setting]),
        ("SELECT set_limit(0.5)", &[Setting]),
        ("SELECT setseed(0.5)", &[Process]),
        ("SELECT pg_replication_origin_session_setup('o')", &[Process]),
    ]);
}

#[test]
fn relations_and_cursors() {
    check(&[
        ("CREATE TEMP TABLE t (a int)", &[Temporary]),
        ("CREATE TEMPORARY TABLE t (a int) ON COMMIT DROP", &[Temporary]),
        ("CREATE LOCAL TEMP TABLE t ()", &[Temporary]),
        ("create global temporary table t ()", &[Temporary]),
        ("CREATE OR REPLACE TEMP VIEW v AS SELECT 1", &[Temporary]),
        ("CREATE /* a */ OR /* b */ REPLACE -- c\n TEMP VIEW v AS SELECT 1", &[Temporary]),
        ("CREATE TABLE temp (a int)", &[]),
        ("CREATE TABLE t AS SELECT temp FROM weather", &[]),
        ("SELECT 1 INTO TEMP t", &[Temporary]),
        ("WITH a AS (SELECT 1) SELECT * INTO LOCAL TEMPORARY TABLE t FROM a", &[Temporary]),
        ("SELECT 1 INTO TABLE TEMP t", &[Temporary]),
        ("SELECT 1 INTO t", &[]),
        ("INSERT INTO temp VALUES (1)", &[]),
        ("WITH a AS (INSERT INTO temp VALUES (1) RETURNING 1) SELECT 1", &[]),
        ("SELECT * FROM pg_temp.t", &[Temporary]),
        ("SELECT * FROM \"pg_temp_3\".t", &[Temporary]),
        ("SELECT * FROM PG_TEMP . t", &[Temporary]),
        ("SELECT pg_template FROM t", &[]),
        ("CREATE FUNCTION pg_temp.f() RETURNS int AS $$ SELECT 1 $$ LANGUAGE sql", &[Temporary]),
        ("GRANT CREATE, TEMP ON DATABASE d TO bob", &[]),
        ("DISCARD TEMP", &[]),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", &[HoldCursor]),
        ("DECLARE \"c\" NO SCROLL CURSOR WITH /**/ HOLD FOR SELECT 1", &[HoldCursor]),
        ("DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1", &[]),
        ("DECLARE c CURSOR FOR WITH hold AS (SELECT 1) SELECT * FROM hold", &[]),
        ("WITH hold AS (SELECT 1) SELECT * FROM hold", &[]),
        ("EXPLAIN ANALYZE CREATE TEMP TABLE x AS SELECT 1", &[Temporary]),
        ("EXPLAIN (ANALYZE, VERBOSE) SELECT 1 INTO TEMP x", &[Temporary]),
        ("EXPLAIN (ANALYZE) DECLARE c CURSOR WITH HOLD FOR SELECT 1", &[HoldCursor]),
        ("EXPLAIN (ANALYZE, VERBOSE) EXECUTE q", &[]),
        ("EXPLAIN SELECT 1", &[]),
    ]);
}

#[test]
fn everything_else() {
    check(&[
        ("LISTEN a", &[Listen]),
        ("listen \"a b\"", &[Listen]),
        ("UNLISTEN a; NOTIFY a", &[]),
        ("PREPARE q AS SELECT 1", &[Prepare]),
        ("PREPARE \"q\" (int) AS SELECT $1", &[Prepare]),
        ("PREPARE transaction AS SELECT 1", &[Prepare]),
        ("PREPARE transaction (int) AS SELECT 1", &[Prepare]),
        ("PREPARE TRANSACTION 'gid'", &[]),
        ("PREPARE q AS SELECT pg_advisory_lock(1)", &[Prepare, AdvisoryLock]),
        ("EXECUTE q; DEALLOCATE q", &[]),
        ("SELECT pg_advisory_lock(1)", &[AdvisoryLock]),
        ("SELECT 1 WHERE pg_catalog . pg_try_advisory_lock -- a\n (1)", &[AdvisoryLock]),
        ("SELECT \"pg_advisory_lock\"(1)", &[AdvisoryLock]),
        ("SELECT PG_Advisory_Lock_Shared(1)", &[AdvisoryLock]),
        ("COPY (SELECT pg_try_advisory_lock_shared(1)) TO STDOUT", &[AdvisoryLock]),
        ("SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(1)", &[]),
        ("SELECT pg_advisory_unlock(1), pg_advisory_unlock_all()", &[]),
        ("SELECT pg_advisory_lock FROM t", &[]),
        ("LOAD 'auto_explain'", &[Load]),
        ("CREATE EXTENSION pg_trgm", &[]),
        ("SELECT dblink_connect('a', 'b'), dblink_open('a', 'b')", &[ForeignSession]),
        ("SELECT dblink_connect_u('a')", &[ForeignSession]),
        ("SELECT pg_create_physical_replication_slot('s', false, true)", &[Process]),
        ("SELECT pg_backup_start('a')", &[Process]),
        ("DO $$ BEGIN END $$", &[Routine]),
        ("CALL p()", &[Routine]),
        ("SELECT query_to_xml('SELECT 1', true, true, '')", &[Routine]),
        ("SELECT U&\"pg\\005fadvisory_lock\"(1)", &[Unknown]),
        (r"SELECT '\'; SET x = 1; --'", &[Setting, Unknown]),
        (r"SELECT 'C:\\'", &[]),
        ("SELECT 'a", &[Unknown]),
        ("SELECT \"a", &[Unknown]),
        ("SELECT 1 /* a", &[Unknown]),
        ("SELECT $a$ b", &[Unknown]),
        ("SELECT 1\0", &[Unknown]),
        ("SELECT '\0'", &[Unknown]),
        ("LISTEN a; SET x = 1; CREATE TEMP TABLE t ()", &[Setting, Listen, Temporary]),
        ("BEGIN; COMMIT; SAVEPOINT a; VALUES (1); TABLE t; FETCH 1 FROM c", &[]),
    ]);
}

#[test]
fn routines() {
    check(&[
        ("SELECT mine(1)", &[Routine]),
        ("select MINE (1)", &[Routine]),
        ("SELECT a.lower(b)", &[Routine]),
        ("SELECT a . lower /* x */ (b)", &[Routine]),
        ("SELECT pg_catalog.lower(b), lower(b), \"lower\"(b), COUNT(*)", &[]),
        ("SELECT \"Lower\"(b)", &[Routine]),
        ("INSERT INTO a.t (a, b) VALUES (1, 2) ON CONFLICT (a) DO UPDATE SET (b) = (3)", &[]),
        ("INSERT INTO \"t\" (a) SELECT mine(1)", &[Routine]),
        ("SELECT * FROM unnest($1) AS t(a) WHERE a IN (1) AND (b) AND EXISTS (SELECT 1)", &[]),
        ("WITH x AS MATERIALIZED (SELECT 1) SELECT * FROM x JOIN y USING (a)", &[]),
        ("CREATE TABLE t (a numeric(1, 2), CHECK (mine(a)))", &[]),
        ("CREATE TABLE t AS SELECT mine(1)", &[Routine]),
        ("COPY t (a, b) FROM STDIN", &[]),
        ("COPY (SELECT mine(1)) TO STDOUT", &[Routine]),
        ("EXPLAIN (ANALYZE) SELECT mine(1)", &[Routine]),
        ("SELECT \"sets\"(1)", &[Routine]),
        ("SELECT sets (1)", &[Routine]),
        ("SELECT \"values\"(1)", &[Routine]),
        ("SELECT 1 FROM range(1)", &[Routine]),
        ("UPDATE t SET (a, b) = (1, 2) WHERE key (a)", &[Routine]),
        ("UPDATE t SET (a, b) = (1, 2)", &[]),
        ("SELECT a FROM t GROUP BY GROUPING SETS ((a), ())", &[]),
        ("SELECT sum(a) FILTER (WHERE b) OVER (PARTITION BY (c)) FROM t GROUP BY ROLLUP (a)", &[]),
    ]);
}

#[test]
fn sets() {
    let set: Effects = [Listen, Setting].into_iter().collect();
    assert_eq!(set.first(), Some(Setting));
    assert_eq!(set.iter().collect::<Vec<_>>(), [Setting, Listen]);
    assert!(set.contains(Listen) && !set.contains(Load) && !set.is_empty());
    assert_eq!(Effects::default(), Effects::NONE);
    assert_eq!(Effects::NONE.first(), None);
    let all: Effects = Effect::ALL.into_iter().collect();
    assert_eq!(all.iter().collect::<Vec<_>>(), Effect::ALL);
}

/// Figures: `cargo test --release analysis -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
#[expect(clippy::print_stdout, clippy::disallowed_types, reason = "a measurement")]
fn speed() {
    let texts = [
        "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
        "UPDATE pgbench_accounts SET abalance = abalance + 17 WHERE aid = 12345;",
        "INSERT INTO products (tenant_id, sku, name, price) VALUES ($1, $2, $3, $4) RETURNING id",
        "BEGIN",
    ];
    for text in texts {
        let rounds = 2_000_000_u32;
        let best = (0..5)
            .map(|_| {
                let start = std::time::Instant::now();
                for _ in 0..rounds {
                    std::hint::black_box(session_effects(std::hint::black_box(text.as_bytes())));
                }
                start.elapsed().as_secs_f64() * 1e9 / f64::from(rounds)
            })
            .fold(f64::MAX, f64::min);
        println!("{best:6.1} ns  {text}");
    }
}

/// Pieces from which statements with and without effects come about.
const PIECES: &[&str] = &[
    "SET",
    "set",
    "LOCAL",
    "TRANSACTION",
    "x",
    "=",
    "TO",
    ".",
    ";",
    "(",
    ")",
    ",",
    "[",
    "]",
    "1",
    "$1",
    "'a'",
    "'SET'",
    "E'\\''",
    "$$;SET$$",
    "true",
    "false",
    "set_config",
    "pg_advisory_lock",
    "\"set_config\"",
    "pg_temp",
    "CREATE",
    "OR",
    "REPLACE",
    "TEMP",
    "TABLE",
    "INTO",
    "INSERT",
    "SELECT",
    "DECLARE",
    "CURSOR",
    "WITH",
    "HOLD",
    "FOR",
    "EXPLAIN",
    "ANALYZE",
    "PREPARE",
    "LISTEN",
    "DO",
    "LOAD",
    "+",
    "-",
    "*",
    "/",
    "<=",
    "::",
    "'\\'",
    "U&\"a\"",
    "setseed",
    "select a, b",
    "\"User\".\"id\"",
    "$1",
    "1e5into",
    "merge",
    "execute",
    "select",
    "mine(",
    "lower(",
    "as",
    ".",
    "reset",
    "update",
    "pg_settings",
];

fn pieces() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(proptest::sample::select(PIECES), 0..30)
}

proptest! {
    #[test]
    fn any_bytes_have_effects(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        session_effects(&text);
    }

    /// Space and comments between tokens change nothing.
    #[test]
    fn comments_change_nothing(
        pieces in pieces(),
        spaces in proptest::collection::vec(proptest::sample::select(&[
            " ", "\t", "/**/", "/* SET x = 1; */", "/* /* ; */ ' */", " /*--*/ ",
        ][..]), 30),
    ) {
        let plain = pieces.join(" ");
        let mut dressed = Vec::new();
        for (token, space) in Lexer::new(plain.as_bytes()).zip(spaces.iter().cycle()) {
            dressed.extend_from_slice(space.as_bytes());
            dressed.extend_from_slice(token.bytes(plain.as_bytes()));
        }
        prop_assert_eq!(session_effects(plain.as_bytes()), session_effects(&dressed));
        let lines = pieces.join(" -- ; SET x = 1\r\n");
        if !plain.contains('\'') {
            prop_assert_eq!(session_effects(plain.as_bytes()), session_effects(lines.as_bytes()));
        }
    }

    /// Token by token the same is found.
    #[test]
    fn nothing_is_skimmed_that_tells(
        pieces in pieces(),
        glue in proptest::collection::vec(proptest::sample::select(&["", " ", "/**/"][..]), 30),
        noise in proptest::collection::vec(proptest::sample::select(&b"aE1.5e\"'$ (pg_sIN*/-\x80"[..]), 0..40),
    ) {
        let glued = pieces.iter().zip(&glue).flat_map(|(piece, glue)| [*piece, *glue]);
        let text = [glued.collect::<String>().as_bytes(), b" ", &noise].concat();
        let mut scan = Scan::new(&text);
        Lexer::new(&text).for_each(|token| scan.token(token));
        prop_assert_eq!(footprint(&text), scan.finish());
    }

    /// Statements in one text leave what they leave one by one.
    #[test]
    fn statements_add_up(first in pieces(), second in pieces()) {
        let (first, second) = (first.join(" "), second.join(" "));
        let apart = session_effects(first.as_bytes()).union(session_effects(second.as_bytes()));
        let together = session_effects(format!("{first}; {second}").as_bytes());
        prop_assert_eq!(apart, together);
    }
}

#[test]
fn marks() {
    use Mark::{
        Ddl, Fetch, ListsPrepared, LocalSetting, Planned, PreparedNames, ReadsValues, Release,
        Several,
    };
    let all = [
        LocalSetting,
        Ddl,
        PreparedNames,
        Several,
        Planned,
        Fetch,
        Release,
        ReadsValues,
        ListsPrepared,
    ];
    let table: &[(&str, &[Mark])] = &[
        ("SELECT 1", &[Planned]),
        ("(select 1) union values (2);", &[Planned]),
        ("with x as (select 1) insert into t table x", &[Planned]),
        ("begin", &[]),
        ("fetch all from c", &[Fetch]),
        ("select a from t fetch first row only", &[Planned]),
        ("select 1; select 2", &[Several, Planned]),
        ("set local timezone to utc", &[LocalSetting]),
        ("set local time zone 'utc'", &[LocalSetting]),
        ("set local \"DateStyle\" to iso", &[LocalSetting]),
        ("set local app.tenant = 'timezone'", &[]),
        ("set local role bob", &[]),
        ("set transaction read only", &[]),
        ("select set_config('a', 'b', true)", &[Planned]),
        ("select set_config('TimeZone', 'b', true)", &[LocalSetting, Planned]),
        ("select set_config($1, $2, true)", &[LocalSetting, Planned]),
        ("create table t (i int)", &[Ddl]),
        ("create temp table t (i int)", &[]),
        ("create or replace local temporary view v as select 1", &[]),
        ("create unlogged table t as execute x", &[Ddl, PreparedNames]),
        ("select 1 into t", &[Ddl, Planned]),
        ("select 1 into temp t", &[Planned]),
        ("insert into t values (1)", &[Planned]),
        ("alter table t add i int", &[Ddl]),
        ("drop table t", &[Ddl, Release]),
        ("import foreign schema s from server x into y", &[Ddl]),
        ("do $$ begin end $$", &[Ddl]),
        ("deallocate all", &[PreparedNames]),
        ("discard all", &[PreparedNames, Release]),
        ("execute x(1)", &[PreparedNames]),
        ("explain analyze execute x", &[PreparedNames]),
        ("prepare x as select 1", &[PreparedNames]),
        ("prepare transaction 'x'", &[]),
        ("close all; drop table x", &[Ddl, Several, Release]),
        ("select pg_advisory_unlock(1)", &[Planned, Release]),
        ("select * from pg_prepared_statements", &[Planned, ListsPrepared]),
        ("select * from \"pg_prepared_statements\"", &[Planned, ListsPrepared]),
        ("select a, currval('x')", &[Planned, ReadsValues]),
        ("select \"lastval\" ()", &[Planned, ReadsValues]),
    ];
    for (text, expected) in table {
        let marks = footprint(text.as_bytes()).marks;
        let found: Vec<_> = all.into_iter().filter(|mark| marks.contains(*mark)).collect();
        assert_eq!(found, *expected, "{text}");
    }
}

#[test]
fn values_of_sequences() {
    for (text, expected) in [
        ("select 1", false),
        ("begin", false),
        ("commit; select 1", false),
        ("select nextval('x')", true),
        ("select setval('x', 1)", true),
        ("insert into t values (1)", true),
        ("with x as (insert into t values (1)) select 1", true),
        ("update t set a = 1", true),
        ("begin; copy t from stdin", true),
        ("do $$ begin end $$", true),
    ] {
        let marks = footprint(text.as_bytes()).marks;
        assert_eq!(marks.contains(Mark::TakesValues), expected, "{text}");
    }
}
