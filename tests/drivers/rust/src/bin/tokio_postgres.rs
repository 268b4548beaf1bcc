//! tokio-postgres: binary throughout, named statements, pipelining by joined futures, portals, COPY, cancel tokens.

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use driver_scripts::{Done, TYPES, ended, fails, setting, show, step};
use futures_util::future::{join_all, poll_fn, try_join_all};
use futures_util::{SinkExt, TryStreamExt, pin_mut};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::{
    AsyncMessage, Client, Config, Error, IsolationLevel, NoTls, Row, SimpleQueryMessage,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ended(run().await)
}

async fn run() -> Done {
    let (mut client, _messages) = connect(&config()).await?;
    queries(&client).await?;
    changes(&client).await?;
    errors(&client).await?;
    pipelines(&client).await?;
    transactions(&mut client).await?;
    portals(&mut client).await?;
    big(&client).await?;
    copies(&client).await?;
    cancels(&client).await?;
    drop(client);
    session().await?;
    listens().await?;
    connections().await
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .host(setting("PGHOST"))
        .port(setting("PGPORT").parse().expect("a port"))
        .user(setting("PGUSER"))
        .dbname(setting("PGDATABASE"));
    config
}

async fn connect(config: &Config) -> Result<(Client, UnboundedReceiver<AsyncMessage>), Error> {
    let (client, mut connection) = config.connect(NoTls).await?;
    let (sender, receiver) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            let _ = sender.send(message);
        }
    });
    Ok((client, receiver))
}

fn told(error: &Error) -> String {
    let Some(server) = error.as_db_error() else {
        return error.to_string();
    };
    format!(
        "{} {} {:?} detail={:?} hint={:?} position={:?} where={:?} table={:?} constraint={:?} routine={:?}",
        server.severity(),
        server.code().code(),
        server.message(),
        server.detail(),
        server.hint(),
        server.position(),
        server.where_(),
        server.table(),
        server.constraint(),
        server.routine()
    )
}

async fn value<T>(client: &Client, sql: &str) -> Result<T, Error>
where
    T: for<'a> tokio_postgres::types::FromSql<'a>,
{
    client.query_one(sql, &[]).await?.try_get(0)
}

async fn simple(client: &Client, sql: &str) -> Result<(), Error> {
    for message in client.simple_query(sql).await? {
        match message {
            SimpleQueryMessage::Row(row) => {
                show((0..row.len()).map(|i| row.get(i)).collect::<Vec<_>>())
            }
            SimpleQueryMessage::CommandComplete(rows) => show(rows),
            _ => {}
        }
    }
    Ok(())
}

async fn queries(client: &Client) -> Done {
    step("parameters");
    let none: Option<&str> = None;
    let row = client
        .query_one(
            "select $1::int + 1, $2::text, $3::bytea, $4::float8, $5::text, $6::int[]",
            &[
                &41_i32,
                &"Grüße 🐘",
                &[0_u8, 255].as_slice(),
                &0.1_f64,
                &none,
                &vec![Some(1), None, Some(3)],
            ],
        )
        .await?;
    show((
        row.get::<_, i32>(0),
        row.get::<_, &str>(1),
        row.get::<_, &[u8]>(2),
        row.get::<_, f64>(3),
    ));
    show((
        row.get::<_, Option<&str>>(4),
        row.get::<_, Vec<Option<i32>>>(5),
    ));
    step("many types: as text, and their descriptions");
    simple(client, TYPES).await?;
    let statement = client.prepare(TYPES).await?;
    show(
        statement
            .columns()
            .iter()
            .map(|column| (column.name().to_owned(), column.type_().name().to_owned()))
            .collect::<Vec<_>>(),
    );
    step("many types, binary");
    types(&client.query_one(&statement, &[]).await?);
    step("types looked up in the catalogue");
    client.batch_execute("create type mood as enum ('ok', 'nöt'); create domain positive as int check (value > 0); create type pair as (a int, b mood)").await?;
    let statement = client
        .prepare("select $1::mood, 5::positive, row(1, 'ok')::pair, array['ok']::mood[]")
        .await?;
    show(
        statement
            .params()
            .iter()
            .chain(
                statement
                    .columns()
                    .iter()
                    .map(tokio_postgres::Column::type_),
            )
            .map(|found| found.name().to_owned())
            .collect::<Vec<_>>(),
    );
    step("a statement reused, several at once, dropped");
    let double = client.prepare("select $1::int * 2").await?;
    let triple = client.prepare("select $1::int * 3").await?;
    let mut found = Vec::new();
    for n in 0..10_i32 {
        found.push(client.query_one(&double, &[&n]).await?.get::<_, i32>(0));
        found.push(client.query_one(&triple, &[&n]).await?.get::<_, i32>(0));
    }
    show(found);
    drop((double, triple));
    // Whether the server has dropped them is not asked: shared statements stay there.
    let again = client.prepare("select $1::int * 2").await?;
    show(client.query_one(&again, &[&21_i32]).await?.get::<_, i32>(0));
    step("typed parameters without a prepared statement");
    let rows = client
        .query_typed(
            "select $1, $2",
            &[
                (&5_i32, tokio_postgres::types::Type::INT4),
                (&"ü", tokio_postgres::types::Type::TEXT),
            ],
        )
        .await?;
    show((rows[0].get::<_, i32>(0), rows[0].get::<_, &str>(1)));
    step("several statements; an empty query");
    simple(client, "select 1, null; create temp table t0 (n int); insert into t0 values (1), (2); select * from t0; drop table t0;").await?;
    simple(client, "").await?;
    simple(client, "-- nothing").await?;
    client.check_connection().await?;
    Ok(())
}

fn types(row: &Row) {
    show((
        row.get::<_, i16>("i2"),
        row.get::<_, i32>("i4"),
        row.get::<_, i64>("i8"),
        row.get::<_, f32>("f4"),
        row.get::<_, f64>("f8"),
        row.get::<_, f64>("inf"),
    ));
    show((
        row.get::<_, bool>("yes"),
        row.get::<_, &str>("txt"),
        row.get::<_, &str>("ch"),
        row.get::<_, &[u8]>("bin"),
    ));
    show((
        row.get::<_, serde_json::Value>("js"),
        row.get::<_, serde_json::Value>("jsb"),
        row.get::<_, uuid::Uuid>("id"),
    ));
    show((
        row.get::<_, Vec<Option<i32>>>("ints"),
        row.get::<_, Option<&str>>("nothing"),
        row.get::<_, Option<i32>>("no_int"),
    ));
    show((
        row.get::<_, time::Date>("d"),
        row.get::<_, time::Time>("t"),
        row.get::<_, time::PrimitiveDateTime>("ts"),
        row.get::<_, time::OffsetDateTime>("tstz"),
    ));
}

async fn changes(client: &Client) -> Done {
    step("tables, row counts, returning");
    show(
        client
            .execute(
                "create table item (id int primary key, name text not null unique)",
                &[],
            )
            .await?,
    );
    show(
        client
            .execute(
                "insert into item select n, 'item ' || n from generate_series(1, 100) n",
                &[],
            )
            .await?,
    );
    show(
        client
            .execute(
                "update item set name = name || '!' where id <= $1",
                &[&10_i32],
            )
            .await?,
    );
    show(
        client
            .execute("delete from item where id > 90", &[])
            .await?,
    );
    let row = client
        .query_opt("insert into item values (200, 'r') returning name", &[])
        .await?;
    show(row.map(|row| row.get::<_, String>(0)));
    show(
        client
            .query_opt("select 1 from item where id = -1", &[])
            .await?
            .is_none(),
    );
    Ok(())
}

async fn errors(client: &Client) -> Done {
    step("errors outside a transaction, simple and extended");
    for sql in [
        "select 1/0",
        "selec 1",
        "select * from nowhere",
        "insert into item values (1, 'x')",
        "insert into item (id) values (5)",
        "select 'x'::int",
    ] {
        fails(client.batch_execute(sql).await, told);
        fails(client.query(sql, &[]).await, told);
    }
    fails(client.query("select 1/$1::int", &[&0_i32]).await, told);
    fails(client.query("select $1::int", &[&"x"]).await, |_| {
        "on the client's side".to_owned()
    });
    show(value::<String>(client, "select 'goes on'").await?);
    step("an error in the middle of several statements");
    fails(client.batch_execute("insert into item values (300, 'a'); select 1/0; insert into item values (301, 'b')").await, told);
    show(value::<i64>(client, "select count(*) from item where id >= 300").await?);
    Ok(())
}

async fn pipelines(client: &Client) -> Done {
    step("a hundred queries on the way, prepared and not");
    let statement = client.prepare("select $1::int + 1").await?;
    let numbers: Vec<i32> = (0..100).collect();
    let rows = try_join_all(
        numbers
            .iter()
            .map(async |n| client.query_one(&statement, &[n]).await),
    )
    .await?;
    show(rows.iter().map(|row| row.get::<_, i32>(0)).sum::<i32>());
    let rows = try_join_all(
        numbers
            .iter()
            .map(async |n| client.query_one("select $1::int + 2", &[n]).await),
    )
    .await?;
    show(rows.iter().map(|row| row.get::<_, i32>(0)).sum::<i32>());
    step("errors among them");
    let divide = client.prepare("select 100 / ($1::int % 10 - 3)").await?;
    let results = join_all(
        numbers
            .iter()
            .map(async |n| client.query_one(&divide, &[n]).await),
    )
    .await;
    show((
        results.iter().filter(|result| result.is_ok()).count(),
        results[3].as_ref().err().map(told),
    ));
    step("a transaction written ahead");
    let statements = [
        "begin",
        "insert into item values (400, 'piped')",
        "select 1/0",
        "select 1",
        "rollback",
        "select count(*) from item where id = 400",
    ];
    let results = join_all(
        statements
            .iter()
            .map(async |sql| client.simple_query(sql).await),
    )
    .await;
    show(
        results
            .iter()
            .map(|result| {
                result
                    .as_ref()
                    .err()
                    .and_then(Error::code)
                    .map(|code| code.code().to_owned())
            })
            .collect::<Vec<_>>(),
    );
    Ok(())
}

async fn transactions(client: &mut Client) -> Done {
    step("transactions, savepoints, rollback by drop");
    let mut transaction = client.transaction().await?;
    transaction
        .execute("insert into item values (1000, 'kept')", &[])
        .await?;
    let savepoint = transaction.savepoint("sp").await?;
    savepoint
        .execute("insert into item values (1001, 'lost')", &[])
        .await?;
    fails(
        savepoint
            .execute("insert into item values (1000, 'again')", &[])
            .await,
        told,
    );
    fails(savepoint.query("select 'aborted'", &[]).await, told);
    savepoint.rollback().await?;
    let savepoint = transaction.transaction().await?;
    savepoint
        .execute("insert into item values (1002, 'kept too')", &[])
        .await?;
    savepoint.commit().await?;
    transaction.commit().await?;
    let transaction = client.transaction().await?;
    transaction
        .execute("insert into item values (1003, 'dropped')", &[])
        .await?;
    drop(transaction);
    show(
        value::<Vec<i32>>(
            client,
            "select array_agg(id order by id) from item where id >= 1000",
        )
        .await?,
    );
    step("isolation levels");
    for level in [
        IsolationLevel::ReadCommitted,
        IsolationLevel::RepeatableRead,
        IsolationLevel::Serializable,
    ] {
        let transaction = client
            .build_transaction()
            .isolation_level(level)
            .read_only(true)
            .deferrable(true)
            .start()
            .await?;
        show(
            transaction
                .query_one("select current_setting('transaction_isolation')", &[])
                .await?
                .get::<_, String>(0),
        );
        fails(transaction.execute("delete from item", &[]).await, told);
        transaction.rollback().await?;
    }
    step("two connections: uncommitted is unseen, committed is seen; 40001");
    let (other, _messages) = connect(&config()).await?;
    let count = "select count(*) from item where id = 2000";
    let transaction = client.transaction().await?;
    transaction
        .execute("insert into item values (2000, 'mine')", &[])
        .await?;
    show(value::<i64>(&other, count).await?);
    transaction.commit().await?;
    show(value::<i64>(&other, count).await?);
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .start()
        .await?;
    transaction.query(count, &[]).await?;
    other
        .execute("update item set name = 'theirs' where id = 2000", &[])
        .await?;
    fails(
        transaction
            .execute("update item set name = 'mine again' where id = 2000", &[])
            .await,
        told,
    );
    transaction.rollback().await?;
    Ok(())
}

async fn portals(client: &mut Client) -> Done {
    step("portals with row limits, two in turns");
    let transaction = client.transaction().await?;
    let up = transaction
        .bind("select n from generate_series(1, $1::int) n", &[&20_i32])
        .await?;
    let down = transaction
        .bind("select -n from generate_series(1, 20) n", &[])
        .await?;
    for limit in [3, 5, 0] {
        for portal in [&up, &down] {
            let rows = transaction.query_portal(portal, limit).await?;
            show(
                rows.iter()
                    .map(|row| row.get::<_, i32>(0))
                    .collect::<Vec<_>>(),
            );
        }
    }
    transaction.commit().await?;
    step("rows streamed, left half-way");
    let none: [&str; 0] = [];
    let mut rows = Box::pin(
        client
            .query_raw("select n from generate_series(1, 5000) n", none)
            .await?,
    );
    show((
        rows.try_next().await?.map(|row| row.get::<_, i32>(0)),
        rows.try_next().await?.map(|row| row.get::<_, i32>(0)),
    ));
    drop(rows);
    show(value::<String>(client, "select 'still in step'").await?);
    Ok(())
}

async fn big(client: &Client) -> Done {
    step("50000 rows; 5 MB there and back");
    let rows = client
        .query(
            "select n, 'row ' || n from generate_series(1, 50000) n",
            &[],
        )
        .await?;
    show((
        rows.len(),
        rows[49_999].get::<_, &str>(1),
        rows.iter()
            .map(|row| i64::from(row.get::<_, i32>(0)))
            .sum::<i64>(),
    ));
    let text = "0123456789äöüßé".repeat(250_000);
    let row = client.query_one("select $1::text", &[&text]).await?;
    show((row.get::<_, &str>(0) == text, text.len()));
    Ok(())
}

async fn copies(client: &Client) -> Done {
    step("COPY in and out");
    let sink = client.copy_in::<_, Bytes>("copy item from stdin").await?;
    pin_mut!(sink);
    for n in 10_000..12_000 {
        sink.send(Bytes::from(format!("{n}\tcöpy {n}\n"))).await?;
    }
    show(sink.finish().await?);
    for form in ["text", "csv", "binary"] {
        let sql = format!("copy (select * from item order by id) to stdout (format {form})");
        let blocks: Vec<Bytes> = client.copy_out(&sql).await?.try_collect().await?;
        show((
            blocks.len(),
            blocks.concat().iter().fold(0_u32, |sum, byte| {
                sum.wrapping_mul(31).wrapping_add(u32::from(*byte))
            }),
        ));
    }
    step("COPY in fails half-way: bad data, dropped by the client");
    let sink = client.copy_in::<_, Bytes>("copy item from stdin").await?;
    pin_mut!(sink);
    sink.send(Bytes::from_static(b"20000\ta\nbad\tb\n")).await?;
    fails(sink.finish().await, told);
    let mut sink = Box::pin(client.copy_in::<_, Bytes>("copy item from stdin").await?);
    sink.send(Bytes::from_static(b"20000\tx\n")).await?;
    drop(sink);
    show(value::<i64>(client, "select count(*) from item where id >= 20000").await?);
    step("COPY out fails half-way, left half-way");
    let stream = client
        .copy_out("copy (select 10 / (500 - n) from generate_series(1, 1000) n) to stdout")
        .await?;
    fails(stream.try_collect::<Vec<_>>().await, told);
    let mut stream = Box::pin(
        client
            .copy_out("copy (select repeat('x', 1000) from generate_series(1, 2000)) to stdout")
            .await?,
    );
    show(stream.try_next().await?.map(|block| block.len()));
    drop(stream);
    show(value::<String>(client, "select 'still in step'").await?);
    Ok(())
}

async fn cancels(client: &Client) -> Done {
    step("cancel by token");
    let token = client.cancel_token();
    let (slept, ()) = tokio::join!(client.batch_execute("select pg_sleep(10)"), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token
            .cancel_query(NoTls)
            .await
            .expect("a cancel connection");
    });
    fails(slept, told);
    show(value::<String>(client, "select 'goes on'").await?);
    Ok(())
}

async fn session() -> Done {
    step("startup settings; SET lasts; RESET");
    let (client, _messages) = connect(
        config()
            .application_name("tokio ü")
            .options("-c work_mem=5MB -c timezone=Asia/Tokyo"),
    )
    .await?;
    let settings = "select concat_ws('|', current_setting('work_mem'), current_setting('timezone'), current_setting('application_name'))";
    show(value::<String>(&client, settings).await?);
    client
        .batch_execute("set work_mem = '9MB'; set time zone 'UTC'")
        .await?;
    show(value::<String>(&client, settings).await?);
    client.execute("reset all", &[]).await?;
    show(value::<String>(&client, settings).await?);
    step("temporary tables, advisory locks");
    client.batch_execute("create temp table mine as select generate_series(1, 5) n; select pg_advisory_lock(4711)").await?;
    show(value::<i64>(&client, "select sum(n) from mine").await?);
    let (other, _messages) = connect(&config()).await?;
    show(value::<bool>(&other, "select pg_try_advisory_lock(4711)").await?);
    client
        .batch_execute("select pg_advisory_unlock_all()")
        .await?;
    show(value::<bool>(&other, "select pg_try_advisory_lock(4711)").await?);
    step("DEALLOCATE under a prepared statement; a changed result type");
    let statement = client.prepare("select $1::int").await?;
    client.batch_execute("deallocate all").await?;
    fails(client.query(&statement, &[&1_i32]).await, told);
    client
        .batch_execute("create table shape (a int); insert into shape values (1)")
        .await?;
    let statement = client.prepare("select * from shape").await?;
    show(client.query(&statement, &[]).await?.len());
    other.batch_execute("alter table shape add b text").await?;
    fails(client.query(&statement, &[]).await, told);
    Ok(())
}

async fn listens() -> Done {
    step("LISTEN, NOTIFY, notices");
    let (client, mut messages) = connect(&config()).await?;
    client
        .batch_execute("listen news; do $$ begin raise notice 'hello %', 'ü'; end $$")
        .await?;
    client
        .execute("select pg_notify('news', $1)", &[&"one"])
        .await?;
    client
        .batch_execute("begin; notify news, 'two'; commit")
        .await?;
    for _ in 0..3 {
        match tokio::time::timeout(Duration::from_secs(10), messages.recv()).await? {
            Some(AsyncMessage::Notice(notice)) => show((notice.severity(), notice.message())),
            Some(AsyncMessage::Notification(heard)) => show((heard.channel(), heard.payload())),
            other => show(other),
        }
    }
    Ok(())
}

async fn connections() -> Done {
    step("20 connections after each other");
    for n in 0..20_i32 {
        let (client, _messages) = connect(&config()).await?;
        assert_eq!(
            client
                .query_one("select $1::int", &[&n])
                .await?
                .get::<_, i32>(0),
            n
        );
    }
    show("done");
    step("ended without Terminate in a transaction: rolled back");
    let (client, connection) = config().connect(NoTls).await?;
    let task = tokio::spawn(connection);
    client
        .batch_execute(
            "begin; insert into item values (9000, 'gone'); select pg_advisory_xact_lock(12)",
        )
        .await?;
    task.abort();
    let _ = task.await;
    fails(client.batch_execute("select 1").await, told);
    let (after, _messages) = connect(&config()).await?;
    after.batch_execute("select pg_advisory_lock(12)").await?;
    show(value::<i64>(&after, "select count(*) from item where id = 9000").await?);
    step("a database that is not there");
    fails(connect(config().dbname("no such")).await.map(drop), told);
    Ok(())
}
