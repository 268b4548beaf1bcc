//! What the proxy promises: each claim is a sentence and the few lines that would refute it.

use std::thread;
use std::time::Duration;

use super::client::{Client, ClientError};
use super::error::DemoError;
use super::proxy::POOL_SIZE;
use super::shop::{self, Shop};
use crate::cli::say;

/// What a claim that holds has to add.
type Held = Result<String, DemoError>;

struct Claim {
    sentence: &'static str,
    check: fn(&Shop<'_>) -> Held,
}

/// In this order: the later ones disturb the pool.
const CLAIMS: &[Claim] = &[
    Claim { sentence: "a report reads the same as straight from the server", check: same_report },
    Claim { sentence: "an error is PostgreSQL's own, and the session goes on", check: own_errors },
    Claim { sentence: "50 clients at once share 5 server processes", check: many_clients },
    Claim { sentence: "what one session SETs no other session sees", check: settings_stay },
    Claim {
        sentence: "a client that vanishes in a transaction leaves nothing behind",
        check: vanishing_client,
    },
    Claim { sentence: "a statement is cancelled by its session's key", check: cancelled },
    Claim {
        sentence: "server processes killed between two statements go unnoticed",
        check: killed_server,
    },
];

/// Clients at once.
const CLIENTS: usize = 50;

/// Purchases of each.
const PURCHASES: usize = 10;

/// Longest wait for what should happen soon.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause between two looks at the server.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Checks all; whether all held.
pub(super) fn check_all(shop: &Shop<'_>) -> Result<bool, DemoError> {
    let mut all = true;
    for claim in CLAIMS {
        shop.interrupt.check()?;
        all &= report(claim.sentence, (claim.check)(shop))?;
    }
    Ok(all)
}

/// Prints how a claim fared; whether it held. An error only if there is nothing to say.
pub(super) fn report(sentence: &str, held: Held) -> Result<bool, DemoError> {
    match held {
        Ok(more) if more.is_empty() => say(&format!("ok  {sentence}")),
        Ok(more) => say(&format!("ok  {sentence}: {more}")),
        Err(DemoError::Interrupted) => return Err(DemoError::Interrupted),
        Err(why) => {
            say(&format!("FAILED  {sentence}: {why}"));
            return Ok(false);
        }
    }
    Ok(true)
}

// === the claims ===

fn same_report(shop: &Shop<'_>) -> Held {
    let through = shop.through_proxy()?.query(shop::REPORT)?;
    say(&format!("{}\n\n{through}\n", shop::REPORT));
    let direct = shop.watcher()?.query(shop::REPORT)?;
    ensure(through == direct, || format!("the server says:\n{direct}"))?;
    ensure(through.len() == 6, || format!("{} cities instead of 6", through.len()))?;
    Ok(String::new())
}

fn own_errors(shop: &Shop<'_>) -> Held {
    let mut client = shop.through_proxy()?;
    let error = refused(client.query("select * from costumers"), "42P01")?;
    ensure(client.number("select 1")? == 1, || "select 1 is not 1".to_owned())?;
    Ok(error.to_string())
}

fn many_clients(shop: &Shop<'_>) -> Held {
    let mut watcher = shop.watcher()?;
    let stock = "select sum(stock) from products";
    let before = watcher.number(stock)?;
    let last_order = watcher.number("select max(id) from orders")?;

    // All are logged in before the first one buys.
    let clients: Result<Vec<_>, _> = (0..CLIENTS).map(|_| shop.through_proxy()).collect();
    let most = shopping_spree(clients?, &mut watcher)?;

    let sold = before - watcher.number(stock)?;
    let orders = format!("select count(*) from orders where id > {last_order}");
    let orders = watcher.number(&orders)?;
    let wanted = i64::try_from(CLIENTS * PURCHASES).unwrap_or_default();
    ensure(sold == wanted && orders == wanted, || {
        format!("{sold} pieces sold in {orders} orders, instead of {wanted}")
    })?;
    let size = i64::try_from(POOL_SIZE).unwrap_or_default();
    ensure((1..=size).contains(&most), || format!("pg_stat_activity had {most}"))?;
    Ok(format!("{wanted} purchases, at most {most} in pg_stat_activity"))
}

fn settings_stay(shop: &Shop<'_>) -> Held {
    let ask = "show statement_timeout";
    let mut first = shop.through_proxy()?;
    let initial = first.value(ask)?;
    first.query("set statement_timeout = '4321ms'")?;
    // More sessions than server connections: some would meet the one that was changed.
    for _ in 0..2 * POOL_SIZE {
        let seen = shop.through_proxy()?.value(ask)?;
        ensure(seen == initial, || format!("another session had {seen}"))?;
    }
    let kept = first.value(ask)?;
    ensure(kept == "4321ms", || format!("its own session had {kept}"))?;
    drop(first);
    let later = shop.through_proxy()?.value(ask)?;
    ensure(later == initial, || format!("a later session had {later}"))?;
    Ok(String::new())
}

fn vanishing_client(shop: &Shop<'_>) -> Held {
    let mut vandal = shop.through_proxy()?;
    vandal.query("begin; update products set price = 0")?;
    vandal.vanish();
    let mut other = shop.through_proxy()?;
    // Waits for the locks of the vandal, if they are still there.
    other.query("set statement_timeout = '5s'; update products set stock = stock")?;
    let spoilt = other.number("select count(*) from products where price = 0")?;
    ensure(spoilt == 0, || format!("{spoilt} products cost nothing now"))?;
    let open = shop::processes(&mut shop.watcher()?, "state like 'idle in transaction%'")?;
    ensure(open == 0, || format!("{open} transaction(s) still open"))?;
    Ok("rolled back, no lock held".to_owned())
}

fn cancelled(shop: &Shop<'_>) -> Held {
    let mut client = shop.through_proxy()?;
    let key = client.cancel_key();
    let mut watcher = shop.watcher()?;
    let sleeping = "state = 'active' and query like '%pg_sleep(14)%'";
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| client.query("select pg_sleep(14)"));
        let runs = || Ok((shop::processes(&mut watcher, sleeping)? == 1).then_some(()));
        let seen = shop.interrupt.until("the start of pg_sleep", PATIENCE, runs);
        key.cancel()?;
        let answer = joined(sleeper)?;
        seen?;
        refused(answer, "57014")
    })
    .and_then(|error| {
        ensure(client.number("select 1")? == 1, || "select 1 is not 1".to_owned())?;
        Ok(error.to_string())
    })
}

fn killed_server(shop: &Shop<'_>) -> Held {
    let mut client = shop.through_proxy()?;
    let count = "select count(*) from customers";
    let before = client.number(count)?;
    let mut watcher = shop.watcher()?;
    let killed = watcher.number(&format!(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where {}",
        shop::PROCESSES
    ))?;
    ensure(killed > 0, || "there was none".to_owned())?;
    let none_left = || Ok((shop::processes(&mut watcher, "true")? == 0).then_some(()));
    shop.interrupt.until("their end", PATIENCE, none_left)?;
    let after = client.number(count)?;
    ensure(before == after, || format!("{before} customers before, {after} after"))?;
    Ok(format!("{killed} killed"))
}

// === helpers ===

/// Lets all clients buy at once; the most server processes that the watcher saw meanwhile.
fn shopping_spree(clients: Vec<Client>, watcher: &mut Client) -> Result<i64, DemoError> {
    thread::scope(|scope| {
        let numbered = clients.into_iter().enumerate();
        let buyers: Vec<_> = numbered
            .map(|(number, client)| scope.spawn(move || buy_often(client, number)))
            .collect();
        let mut most = 0;
        while !buyers.iter().all(thread::ScopedJoinHandle::is_finished) {
            most = most.max(shop::processes(watcher, "true")?);
            thread::sleep(LOOK_INTERVAL);
        }
        for buyer in buyers {
            joined(buyer)??;
        }
        Ok(most)
    })
}

fn buy_often(mut client: Client, number: usize) -> Result<(), ClientError> {
    for purchase in 0..PURCHASES {
        let product = 1 + (number * 7 + purchase * 11) % shop::PRODUCTS;
        shop::buy(&mut client, 1 + number, product)?;
    }
    Ok(())
}

fn joined<T>(handle: thread::ScopedJoinHandle<'_, T>) -> Result<T, DemoError> {
    handle.join().or(Err(DemoError::Refuted("a client has panicked".to_owned())))
}

/// The error that was expected.
fn refused<T>(answer: Result<T, ClientError>, code: &str) -> Result<ClientError, DemoError> {
    match answer {
        Ok(_) => Err(DemoError::Refuted(format!("no error instead of {code}"))),
        Err(error) if error.code() == Some(code) => Ok(error),
        Err(error) => Err(error.into()),
    }
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), DemoError> {
    if holds { Ok(()) } else { Err(DemoError::Refuted(why())) }
}
