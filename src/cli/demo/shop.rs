//! The shop: its data, the statements of its programs, and the two ways to reach it.
//!
//! The data are the same at each run: sums of them can be compared.

use std::net::SocketAddr;

use super::client::{Client, ClientError, Table};
use super::error::DemoError;
use super::interrupt::Interrupt;
use crate::cli::say;

/// A loaded shop, reached through the proxy or not.
pub(super) struct Shop<'a> {
    pub(super) proxy: SocketAddr,
    pub(super) server: SocketAddr,
    pub(super) interrupt: &'a Interrupt,
}

/// Name of the database.
pub(super) const DATABASE: &str = "shop";

/// `application_name` of those who watch.
const WATCHER: &str = "watcher";

/// Condition on pg_stat_activity: the server processes that the proxy uses for the shop.
pub(super) const PROCESSES: &str =
    "datname = 'shop' and backend_type = 'client backend' and application_name <> 'watcher'";

/// How many products there are.
pub(super) const PRODUCTS: usize = 120;

const TABLES: &str = "
create table customers (
    id integer primary key,
    name text not null,
    city text not null
);
create table products (
    id integer primary key,
    name text not null,
    price numeric(8, 2) not null,
    stock integer not null
);
create table orders (
    id integer generated always as identity primary key,
    customer integer not null references customers,
    placed date not null
);
create table order_items (
    order_id integer not null references orders,
    product integer not null references products,
    quantity integer not null,
    primary key (order_id, product)
);
";

/// Each table's name and the statement that fills it.
const DATA: &[(&str, &str)] = &[
    (
        "customers",
        "insert into customers
         select n, (array['Ada', 'Ben', 'Chen', 'Dora', 'Emre', 'Fay', 'Goran'])[1 + n % 7] || ' ' ||
                   (array['Abbot', 'Berg', 'Cruz', 'Diaz', 'Endo'])[1 + n % 5],
                (array['Berlin', 'Kyoto', 'Lagos', 'Lima', 'Oslo', 'Quito'])[1 + (n + n / 3) % 6]
         from generate_series(1, 2000) n",
    ),
    (
        "products",
        "insert into products
         select n, (array['red', 'green', 'blue', 'grey'])[1 + n % 4] || ' ' ||
                   (array['chair', 'desk', 'lamp', 'shelf', 'stool'])[1 + n % 5] || ' ' || n,
                9.9 + n * 7 % 190, 1000
         from generate_series(1, 120) n",
    ),
    (
        "orders",
        "insert into orders (customer, placed)
         select 1 + n * 31 % 2000, date '2025-01-01' + n % 365 from generate_series(1, 8000) n",
    ),
    (
        "order_items",
        "insert into order_items
         select n, 1 + (n * 13 + line * 29) % 120, 1 + (n + line) % 4
         from generate_series(1, 8000) n, generate_series(1, 1 + n % 5) line",
    ),
];

/// Turnover of each city: a join of all four tables.
pub(super) const REPORT: &str = "\
select c.city, count(distinct o.id) as orders, sum(i.quantity) as pieces,
       sum(i.quantity * p.price) as turnover
from customers c
join orders o on o.customer = c.id
join order_items i on i.order_id = o.id
join products p on p.id = i.product
group by c.city order by turnover desc";

impl Shop<'_> {
    /// Makes the database and fills it, through the proxy.
    pub(super) fn load(&self) -> Result<(), DemoError> {
        Client::connect(self.proxy, "postgres")?.query(&format!("create database {DATABASE}"))?;
        let mut client = self.through_proxy()?;
        client.query(&format!("begin; {TABLES}"))?;
        let mut filled = Vec::new();
        for (table, statement) in DATA {
            self.interrupt.check()?;
            client.query(statement)?;
            let rows = client.value(&format!("select count(*) from {table}"))?;
            filled.push(format!("{rows} {table}"));
        }
        client.query("commit")?;
        client.query("analyze")?;
        say(&format!("loaded through the proxy: {}\n", filled.join(", ").replace('_', " ")));
        Ok(())
    }

    /// A client of the shop.
    pub(super) fn through_proxy(&self) -> Result<Client, ClientError> {
        Client::connect(self.proxy, DATABASE)
    }

    /// Somebody who watches the server itself, and does not count among its processes.
    pub(super) fn watcher(&self) -> Result<Client, ClientError> {
        let name = ("application_name", WATCHER);
        let parameters = [("user", "postgres"), ("database", DATABASE), name];
        Client::connect_with(self.server, &parameters)
    }
}

/// How many server processes work for the shop, of those that meet the condition.
pub(super) fn processes(watcher: &mut Client, which: &str) -> Result<i64, ClientError> {
    watcher.number(&format!(
        "select count(*) from pg_stat_activity
         where {PROCESSES} and ({which})"
    ))
}

/// One purchase, in a transaction of four statements, a moment of thought among them.
pub(super) fn buy(
    client: &mut Client,
    customer: usize,
    product: usize,
) -> Result<Table, ClientError> {
    client.query("begin")?;
    let order = client.value(&format!(
        "insert into orders (customer, placed) values ({customer}, date '2026-01-01') returning id"
    ))?;
    client.query(&format!("insert into order_items values ({order}, {product}, 1)"))?;
    client.query("select pg_sleep(0.005)")?;
    client.query(&format!("update products set stock = stock - 1 where id = {product}"))?;
    client.query("commit")
}
