//! sqlx with its default statement cache, eight clients at once: the steps of common/crowding.py.

use std::process::ExitCode;

use driver_scripts::{Done, ended, setting, show, step};
use futures_util::future::{try_join, try_join_all};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Error, Row, query, query_scalar, raw_sql};

const CLIENTS: i32 = 8;
const ROUNDS: i32 = 30;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ended(run().await)
}

async fn connect() -> Result<PgConnection, Error> {
    PgConnectOptions::new_without_pgpass()
        .host(&setting("PGHOST"))
        .port(setting("PGPORT").parse().expect("a port"))
        .username(&setting("PGUSER"))
        .database(&setting("PGDATABASE"))
        .ssl_mode(PgSslMode::Disable)
        .connect()
        .await
}

async fn execute(conn: &mut PgConnection, sql: &'static str) -> Result<(), Error> {
    raw_sql(sql).execute(conn).await.map(|_| ())
}

async fn run() -> Done {
    let mut clients = try_join_all((0..CLIENTS).map(|_| connect())).await?;
    let mut admin = connect().await?;
    step("rows of one's own");
    execute(&mut admin, "create table crowd (id int primary key, owner int, n int, note text)")
        .await?;
    let sums =
        try_join_all((0..).zip(&mut clients).map(|(number, conn)| rounds(number, conn))).await?;
    sums.into_iter().for_each(show);
    step("a column added");
    all_select(&mut clients).await?;
    execute(&mut admin, "alter table crowd add extra int default 7").await?;
    all_select(&mut clients).await?;
    step("a type changed");
    execute(&mut admin, "alter table crowd alter n type bigint").await?;
    all_select(&mut clients).await?;
    step("a table made anew");
    execute(&mut admin, "drop table crowd").await?;
    execute(&mut admin, "create table crowd (note text, id int primary key)").await?;
    let fill = "insert into crowd select 'anew ' || n, n * 1000 from generate_series(0, 7) n";
    execute(&mut admin, fill).await?;
    all_select(&mut clients).await?;
    step("changed while it is read");
    let reads = try_join_all((0..).zip(&mut clients).map(|(number, conn)| read(number, conn)));
    let (wrong, ()) = try_join(reads, change(&mut admin)).await?;
    wrong.into_iter().for_each(show);
    for client in clients {
        client.close().await?;
    }
    Ok(())
}

/// Writes and reads rows that nobody else touches; gives sums that prove it.
async fn rounds(number: i32, conn: &mut PgConnection) -> Result<(i32, i32, i32, i32, i64), Error> {
    let mut sums = (number, 0, 0, 0, 0);
    for turn in 0..ROUNDS {
        let row = number * 1000 + turn;
        let note = format!("note {row}");
        query("insert into crowd values ($1, $2, $3, $4)")
            .bind(row)
            .bind(number)
            .bind(turn)
            .bind(&note)
            .execute(&mut *conn)
            .await?;
        let found = query("select n, note from crowd where id = $1")
            .bind(row)
            .fetch_one(&mut *conn)
            .await?;
        assert_eq!(found.get::<String, _>(1), note);
        sums.1 += found.get::<i32, _>(0);
        sums.2 += query_scalar::<_, i32>("update crowd set n = n + $1 where id = $2 returning n")
            .bind(10)
            .bind(row)
            .fetch_one(&mut *conn)
            .await?;
        let own = AssertSqlSafe(format!("select {number} + $1::int"));
        sums.3 += query_scalar::<_, i32>(own).bind(turn).fetch_one(&mut *conn).await?;
        let mut transaction = conn.begin().await?;
        query("update crowd set note = $1 where id = $2")
            .bind("changed")
            .bind(row)
            .execute(&mut *transaction)
            .await?;
        if turn % 3 == 0 {
            transaction.rollback().await?
        } else {
            transaction.commit().await?
        }
        sums.4 +=
            query_scalar::<_, i64>("select count(*) from crowd where owner = $1 and note = $2")
                .bind(number)
                .bind("changed")
                .fetch_one(&mut *conn)
                .await?;
    }
    Ok(sums)
}

async fn all_select(clients: &mut [PgConnection]) -> Result<(), Error> {
    let found =
        try_join_all((0..).zip(clients).map(|(number, conn)| selected(number, conn))).await?;
    found.into_iter().for_each(show);
    Ok(())
}

/// Who remembers the columns hears that they have changed, unless the proxy sees that it asks for them anyway. sqlx
/// keeps such a statement, so it has to be told to forget it.
async fn selected(number: i32, conn: &mut PgConnection) -> Result<Vec<String>, Error> {
    for _ in 0..3 {
        match query("select * from crowd where id = $1")
            .bind(number * 1000)
            .fetch_one(&mut *conn)
            .await
        {
            Ok(row) => return Ok(row.columns_and_lengths()),
            Err(error) if is_changed_plan(&error) => conn.clear_cached_statements().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(vec!["changed again and again".to_owned()])
}

fn is_changed_plan(error: &Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("0A000"))
}

trait Shown {
    fn columns_and_lengths(&self) -> Vec<String>;
}

impl Shown for sqlx::postgres::PgRow {
    fn columns_and_lengths(&self) -> Vec<String> {
        use sqlx::{Column, TypeInfo, ValueRef};
        let shown = |column: &sqlx::postgres::PgColumn| {
            let value = self.try_get_raw(column.ordinal()).expect("a value");
            let bytes =
                if value.is_null() { None } else { value.as_bytes().ok().map(<[u8]>::to_vec) };
            format!("{} {} {bytes:?}", column.name(), column.type_info().name())
        };
        self.columns().iter().map(shown).collect()
    }
}

async fn read(number: i32, conn: &mut PgConnection) -> Result<(i32, i32), Error> {
    let mut wrong = 0;
    for _ in 0..100 {
        let row = query("select id, note from crowd where id = $1")
            .bind(number * 1000)
            .fetch_one(&mut *conn)
            .await?;
        let found = (row.get::<i32, _>(0), row.get::<String, _>(1));
        wrong += i32::from(found != (number * 1000, format!("anew {number}")));
    }
    Ok((number, wrong))
}

async fn change(admin: &mut PgConnection) -> Result<(), Error> {
    for _ in 0..10 {
        execute(admin, "alter table crowd add x int").await?;
        execute(admin, "alter table crowd drop x").await?;
    }
    Ok(())
}
