//! sqlx: lone Syncs as pings, unnamed statements over two groups, transactions, a pool, COPY, listener.

use std::process::ExitCode;
use std::time::Duration;

use driver_scripts::{Done, TYPES, ended, fails, setting, show, step};
use futures_util::TryStreamExt;
use sqlx::postgres::{
    PgConnectOptions, PgConnection, PgListener, PgPoolCopyExt, PgPoolOptions, PgRow, PgSslMode,
};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, Error, Executor, Row, Statement, TypeInfo,
    query, query_scalar, raw_sql,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ended(run().await)
}

async fn run() -> Done {
    let mut conn = connect().await?;
    queries(&mut conn).await?;
    changes(&mut conn).await?;
    errors(&mut conn).await?;
    transactions(&mut conn).await?;
    big(&mut conn).await?;
    copies(&mut conn).await?;
    time_outs(&mut conn).await?;
    conn.close().await?;
    session().await?;
    pools().await?;
    connections().await
}

fn options() -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host(&setting("PGHOST"))
        .port(setting("PGPORT").parse().expect("a port"))
        .username(&setting("PGUSER"))
        .database(&setting("PGDATABASE"))
        .ssl_mode(PgSslMode::Disable)
}

async fn connect() -> Result<PgConnection, Error> {
    options().connect().await
}

fn told(error: &Error) -> String {
    let Some(server) = error.as_database_error() else {
        return format!("{error:?}")
            .split(['(', '{', ' '])
            .next()
            .unwrap_or_default()
            .to_owned();
    };
    let server = server.downcast_ref::<sqlx::postgres::PgDatabaseError>();
    format!(
        "{:?} {} {:?} detail={:?} position={:?} where={:?} table={:?} constraint={:?} routine={:?}",
        server.severity(),
        server.code(),
        server.message(),
        server.detail(),
        server.position(),
        server.r#where(),
        server.table(),
        server.constraint(),
        server.routine()
    )
}

async fn count(conn: &mut PgConnection, condition: &str) -> Result<i64, Error> {
    query_scalar(AssertSqlSafe(format!(
        "select count(*) from item where {condition}"
    )))
    .fetch_one(conn)
    .await
}

async fn text(conn: &mut PgConnection, sql: &'static str) -> Result<String, Error> {
    query_scalar(sql).fetch_one(conn).await
}

async fn queries(conn: &mut PgConnection) -> Done {
    step("parameters");
    let row = query("select $1::int + 1, $2::text, $3::bytea, $4::float8, $5::text, $6::int[]")
        .bind(41)
        .bind("Grüße 🐘")
        .bind([0_u8, 255].as_slice())
        .bind(0.1)
        .bind(None::<String>)
        .bind(vec![Some(1), None, Some(3)])
        .fetch_one(&mut *conn)
        .await?;
    show((
        row.get::<i32, _>(0),
        row.get::<&str, _>(1),
        row.get::<&[u8], _>(2),
        row.get::<f64, _>(3),
    ));
    show((
        row.get::<Option<&str>, _>(4),
        row.get::<Vec<Option<i32>>, _>(5),
    ));
    step("many types: named, unnamed (persistent(false)), by simple protocol");
    types(&query(TYPES).fetch_one(&mut *conn).await?);
    types(&query(TYPES).persistent(false).fetch_one(&mut *conn).await?);
    let row = raw_sql(TYPES).fetch_one(&mut *conn).await?;
    show(
        row.columns()
            .iter()
            .map(|column| {
                (
                    column.name().to_owned(),
                    column.type_info().name().to_owned(),
                )
            })
            .collect::<Vec<_>>(),
    );
    step("prepared, described, not executed");
    let described = (&mut *conn)
        .prepare(sqlx::SqlStr::from_static(
            "select $1::int as a, 'x'::text as b",
        ))
        .await?;
    show(
        described
            .columns()
            .iter()
            .map(|column| {
                (
                    column.name().to_owned(),
                    column.type_info().name().to_owned(),
                )
            })
            .collect::<Vec<_>>(),
    );
    step("a statement twenty times, named and unnamed");
    let mut found = Vec::new();
    for n in 0..10_i32 {
        found.push(
            query_scalar::<_, i32>("select $1::int * 2")
                .bind(n)
                .fetch_one(&mut *conn)
                .await?,
        );
        found.push(
            query_scalar::<_, i32>("select $1::int * 3")
                .persistent(false)
                .bind(n)
                .fetch_one(&mut *conn)
                .await?,
        );
    }
    show(found);
    step("lone Syncs as pings");
    for _ in 0..20 {
        conn.ping().await?;
    }
    show(text(conn, "select 'still in step'").await?);
    step("several statements, an empty one");
    let rows = raw_sql("select 1; create temp table t0 (n int); insert into t0 values (1), (2); select n from t0; drop table t0").fetch_all(&mut *conn).await?;
    show(
        rows.iter()
            .map(|row| row.get::<i32, _>(0))
            .collect::<Vec<_>>(),
    );
    show(raw_sql("").execute(&mut *conn).await?.rows_affected());
    step("more statements than the cache holds: closed by the driver");
    for n in 0..150 {
        let sql = AssertSqlSafe(format!("select {n} + $1::int"));
        assert_eq!(
            query_scalar::<_, i32>(sql)
                .bind(1)
                .fetch_one(&mut *conn)
                .await?,
            n + 1
        );
    }
    show(conn.cached_statements_size());
    conn.clear_cached_statements().await?;
    show((
        conn.cached_statements_size(),
        query_scalar::<_, i64>("select count(*) from pg_prepared_statements")
            .fetch_one(&mut *conn)
            .await?,
    ));
    Ok(())
}

fn types(row: &PgRow) {
    show((
        row.get::<i16, _>("i2"),
        row.get::<i32, _>("i4"),
        row.get::<i64, _>("i8"),
        row.get::<f32, _>("f4"),
        row.get::<f64, _>("f8"),
        row.get::<f64, _>("inf"),
    ));
    show((
        row.get::<bool, _>("yes"),
        row.get::<&str, _>("txt"),
        row.get::<&str, _>("ch"),
        row.get::<&[u8], _>("bin"),
        row.get::<sqlx::types::Decimal, _>("small"),
    ));
    show((
        row.get::<serde_json::Value, _>("js"),
        row.get::<serde_json::Value, _>("jsb"),
        row.get::<uuid::Uuid, _>("id"),
    ));
    show((
        row.get::<Vec<Option<i32>>, _>("ints"),
        row.get::<Option<&str>, _>("nothing"),
        row.get::<Option<i32>, _>("no_int"),
    ));
    show((
        row.get::<time::Date, _>("d"),
        row.get::<time::Time, _>("t"),
        row.get::<time::PrimitiveDateTime, _>("ts"),
        row.get::<time::OffsetDateTime, _>("tstz"),
    ));
}

async fn changes(conn: &mut PgConnection) -> Done {
    step("tables, row counts, returning");
    for sql in [
        "create table item (id int primary key, name text not null unique)",
        "insert into item select n, 'item ' || n from generate_series(1, 100) n",
        "delete from item where id > 90",
        "select * from item where id < 5",
    ] {
        show(query(sql).execute(&mut *conn).await?.rows_affected());
    }
    show(
        query("update item set name = name || '!' where id <= $1")
            .bind(10)
            .execute(&mut *conn)
            .await?
            .rows_affected(),
    );
    show(
        query_scalar::<_, String>("insert into item values ($1, $2) returning name")
            .bind(200)
            .bind("r")
            .fetch_one(&mut *conn)
            .await?,
    );
    show(
        query("select 1 from item where id = -1")
            .fetch_optional(&mut *conn)
            .await?
            .is_none(),
    );
    Ok(())
}

async fn errors(conn: &mut PgConnection) -> Done {
    step("errors outside a transaction: named, unnamed, simple");
    for sql in [
        "select 1/0",
        "selec 1",
        "select * from nowhere",
        "insert into item values (1, 'x')",
        "insert into item (id) values (5)",
        "select 'x'::int",
    ] {
        fails(query(sql).fetch_all(&mut *conn).await, told);
        fails(
            query(sql).persistent(false).fetch_all(&mut *conn).await,
            told,
        );
        fails(raw_sql(sql).execute(&mut *conn).await, told);
    }
    fails(
        query("select 1/$1::int")
            .bind(0)
            .fetch_one(&mut *conn)
            .await,
        told,
    );
    fails(
        query("select $1::int")
            .bind("x")
            .fetch_one(&mut *conn)
            .await,
        told,
    );
    fails(
        query("select 1 where false").fetch_one(&mut *conn).await,
        told,
    );
    show(text(conn, "select 'goes on'").await?);
    step("an error in the middle of several statements");
    fails(
        raw_sql(
            "insert into item values (300, 'a'); select 1/0; insert into item values (301, 'b')",
        )
        .execute(&mut *conn)
        .await,
        told,
    );
    show(count(conn, "id >= 300").await?);
    Ok(())
}

async fn transactions(conn: &mut PgConnection) -> Done {
    step("transactions, savepoints, rollback by drop");
    let mut outer = conn.begin().await?;
    query("insert into item values (1000, 'kept')")
        .execute(&mut *outer)
        .await?;
    let mut inner = outer.begin().await?;
    query("insert into item values (1001, 'lost')")
        .execute(&mut *inner)
        .await?;
    fails(
        query("insert into item values (1000, 'again')")
            .execute(&mut *inner)
            .await,
        told,
    );
    fails(query("select 'aborted'").execute(&mut *inner).await, told);
    inner.rollback().await?;
    let mut inner = outer.begin().await?;
    query("insert into item values (1002, 'kept too')")
        .execute(&mut *inner)
        .await?;
    inner.commit().await?;
    outer.commit().await?;
    let mut dropped = conn.begin().await?;
    query("insert into item values (1003, 'dropped')")
        .execute(&mut *dropped)
        .await?;
    drop(dropped);
    show(
        query_scalar::<_, Vec<i32>>("select array_agg(id order by id) from item where id >= 1000")
            .fetch_one(&mut *conn)
            .await?,
    );
    step("isolation levels");
    for level in ["read committed", "repeatable read", "serializable"] {
        let mut transaction = conn
            .begin_with(AssertSqlSafe(format!(
                "begin isolation level {level} read only"
            )))
            .await?;
        show(
            query_scalar::<_, String>("select current_setting('transaction_isolation')")
                .fetch_one(&mut *transaction)
                .await?,
        );
        fails(
            query("delete from item").execute(&mut *transaction).await,
            told,
        );
        transaction.rollback().await?;
    }
    let mut transaction = conn.begin().await?;
    query("set transaction isolation level repeatable read")
        .execute(&mut *transaction)
        .await?;
    show(
        text(
            &mut transaction,
            "select current_setting('transaction_isolation')",
        )
        .await?,
    );
    transaction.commit().await?;
    step("two connections: uncommitted is unseen, committed is seen; 40001");
    let mut other = connect().await?;
    let mut transaction = conn.begin().await?;
    query("insert into item values (2000, 'mine')")
        .execute(&mut *transaction)
        .await?;
    show(count(&mut other, "id = 2000").await?);
    transaction.commit().await?;
    show(count(&mut other, "id = 2000").await?);
    let mut transaction = conn
        .begin_with("begin isolation level repeatable read")
        .await?;
    count(&mut transaction, "true").await?;
    query("update item set name = 'theirs' where id = 2000")
        .execute(&mut other)
        .await?;
    fails(
        query("update item set name = 'mine again' where id = 2000")
            .execute(&mut *transaction)
            .await,
        told,
    );
    transaction.rollback().await?;
    other.close().await?;
    Ok(())
}

async fn big(conn: &mut PgConnection) -> Done {
    step("50000 rows, streamed and at once; left half-way");
    let (mut rows, mut sum) = (
        query("select n, 'row ' || n from generate_series(1, 50000) n").fetch(&mut *conn),
        0_i64,
    );
    while let Some(row) = rows.try_next().await? {
        sum += i64::from(row.get::<i32, _>(0));
    }
    drop(rows);
    show(sum);
    show(
        query("select n from generate_series(1, 50000) n")
            .fetch_all(&mut *conn)
            .await?
            .len(),
    );
    let mut rows = query("select n from generate_series(1, 20000) n").fetch(&mut *conn);
    show(rows.try_next().await?.map(|row| row.get::<i32, _>(0)));
    drop(rows);
    show(text(conn, "select 'still in step'").await?);
    step("5 MB there and back");
    let long = "0123456789äöüßé".repeat(250_000);
    let back: String = query_scalar("select $1::text")
        .bind(&long)
        .fetch_one(&mut *conn)
        .await?;
    show((back == long, back.len()));
    Ok(())
}

async fn copies(conn: &mut PgConnection) -> Done {
    step("COPY in and out");
    let mut copy = conn.copy_in_raw("copy item from stdin").await?;
    for n in 10_000..12_000 {
        copy.send(format!("{n}\tcöpy {n}\n").as_bytes()).await?;
    }
    show(copy.finish().await?);
    let mut blocks = conn
        .copy_out_raw("copy (select * from item order by id) to stdout")
        .await?;
    let (mut length, mut number) = (0, 0);
    while let Some(block) = blocks.try_next().await? {
        (length, number) = (length + block.len(), number + 1);
    }
    drop(blocks);
    show((length, number));
    step("COPY in fails half-way: bad data, aborted by the client");
    let mut copy = conn.copy_in_raw("copy item from stdin").await?;
    copy.send(b"20000\ta\nbad\tb\n".as_slice()).await?;
    fails(copy.finish().await, told);
    let mut copy = conn.copy_in_raw("copy item from stdin").await?;
    copy.send(b"20000\tx\n".as_slice()).await?;
    fails(copy.abort("changed my mind").await, told);
    show(count(conn, "id >= 20000").await?);
    Ok(())
}

async fn time_outs(conn: &mut PgConnection) -> Done {
    step("statement_timeout, lock_timeout");
    let mut transaction = conn.begin().await?;
    query("set local statement_timeout = 100")
        .execute(&mut *transaction)
        .await?;
    fails(
        query("select pg_sleep(30)")
            .execute(&mut *transaction)
            .await,
        told,
    );
    transaction.rollback().await?;
    show(text(conn, "show statement_timeout").await?);
    step("pg_cancel_backend from another connection");
    let pid = query_scalar::<_, i32>("select pg_backend_pid()")
        .fetch_one(&mut *conn)
        .await?;
    let mut transaction = conn.begin().await?;
    let mut other = connect().await?;
    // Only a server connection that the client keeps has a process ID that means anything.
    let own = query_scalar::<_, i32>("select pg_backend_pid()")
        .fetch_one(&mut *transaction)
        .await?;
    let (slept, ()) = tokio::join!(
        query("select pg_sleep(30)").execute(&mut *transaction),
        async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            query("select pg_cancel_backend($1)")
                .bind(own)
                .execute(&mut other)
                .await
                .expect("allowed");
        }
    );
    fails(slept, told);
    transaction.rollback().await?;
    show(pid > 0);
    other.close().await?;
    Ok(())
}

async fn session() -> Done {
    step("startup settings; SET lasts; RESET");
    let mut conn = options()
        .application_name("sqlx")
        .options([("work_mem", "5MB"), ("search_path", "public, pg_catalog")])
        .connect()
        .await?;
    let settings = "select concat_ws('|', current_setting('work_mem'), current_setting('timezone'), current_setting('search_path'), current_setting('application_name'))";
    show(text(&mut conn, settings).await?);
    query("set work_mem = '9MB'").execute(&mut conn).await?;
    query("set time zone 'Asia/Tokyo'")
        .execute(&mut conn)
        .await?;
    show(text(&mut conn, settings).await?);
    query("reset all").execute(&mut conn).await?;
    show(text(&mut conn, settings).await?);
    step("temporary tables, advisory locks");
    raw_sql("create temp table mine as select generate_series(1, 5) n")
        .execute(&mut conn)
        .await?;
    show(
        query_scalar::<_, i64>("select sum(n) from mine")
            .fetch_one(&mut conn)
            .await?,
    );
    let lock = sqlx::postgres::PgAdvisoryLock::new("a lock");
    let guard = lock.acquire(&mut conn).await?;
    let mut other = connect().await?;
    show(lock.try_acquire(&mut other).await?.right().is_some());
    guard.release_now().await?;
    let got = lock.try_acquire(&mut other).await?.left();
    show(got.is_some());
    drop(got);
    other.close().await?;
    step("DEALLOCATE ALL under the driver's cache; a changed result type");
    query_scalar::<_, i32>("select $1::int")
        .bind(1)
        .fetch_one(&mut conn)
        .await?;
    raw_sql("deallocate all").execute(&mut conn).await?;
    fails(
        query("select $1::int").bind(1).fetch_one(&mut conn).await,
        told,
    );
    conn.clear_cached_statements().await?;
    raw_sql("create table shape (a int); insert into shape values (1)")
        .execute(&mut conn)
        .await?;
    show(
        query("select * from shape")
            .fetch_one(&mut conn)
            .await?
            .len(),
    );
    raw_sql("alter table shape add b text")
        .execute(&mut conn)
        .await?;
    fails(
        query("select * from shape").fetch_one(&mut conn).await,
        told,
    );
    conn.close().await?;
    Ok(())
}

async fn pools() -> Done {
    step("a pool of three: pings at each checkout");
    let pool = PgPoolOptions::new()
        .max_connections(3)
        .connect_with(options())
        .await?;
    let mut sum = 0;
    for _ in 0..20 {
        let (a, b, c) = tokio::try_join!(
            query_scalar::<_, i32>("select 1").fetch_one(&pool),
            query_scalar::<_, i32>("select 2").fetch_one(&pool),
            query_scalar::<_, i32>("select 3").fetch_one(&pool)
        )?;
        sum += a + b + c;
    }
    show(sum);
    let mut transaction = pool.begin().await?;
    query("insert into item values (5000, 'pooled')")
        .execute(&mut *transaction)
        .await?;
    drop(transaction);
    show(
        query_scalar::<_, i64>("select count(*) from item where id = 5000")
            .fetch_one(&pool)
            .await?,
    );
    let mut copy = pool.copy_in_raw("copy item from stdin").await?;
    copy.send(b"5001\tby the pool\n".as_slice()).await?;
    show(copy.finish().await?);
    pool.close().await;
    step("a listener");
    let mut listener = PgListener::connect_with(
        &PgPoolOptions::new()
            .max_connections(1)
            .connect_with(options())
            .await?,
    )
    .await?;
    listener.listen_all(["news", "more news"]).await?;
    let mut conn = connect().await?;
    query("select pg_notify('news', $1)")
        .bind("one")
        .execute(&mut conn)
        .await?;
    raw_sql("begin; notify \"more news\", 'two ü'; commit")
        .execute(&mut conn)
        .await?;
    for _ in 0..2 {
        let heard = tokio::time::timeout(Duration::from_secs(10), listener.recv()).await??;
        show((heard.channel(), heard.payload()));
    }
    conn.close().await?;
    Ok(())
}

async fn connections() -> Done {
    step("20 connections after each other");
    for n in 0..20_i32 {
        let mut conn = connect().await?;
        assert_eq!(
            query_scalar::<_, i32>("select $1::int")
                .bind(n)
                .fetch_one(&mut conn)
                .await?,
            n
        );
        conn.close().await?;
    }
    show("done");
    step("closed without Terminate in a transaction: rolled back");
    let mut conn = connect().await?;
    raw_sql("begin; insert into item values (9000, 'gone'); select pg_advisory_xact_lock(12)")
        .execute(&mut conn)
        .await?;
    conn.close_hard().await?;
    let mut after = connect().await?;
    raw_sql("select pg_advisory_lock(12)")
        .execute(&mut after)
        .await?;
    show(count(&mut after, "id = 9000").await?);
    after.close().await?;
    step("a database that is not there");
    fails(
        options().database("no such").connect().await.map(drop),
        told,
    );
    Ok(())
}
