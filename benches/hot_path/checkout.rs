//! A server connection lent and given back, on a worker without neighbours.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;

use criterion::Criterion;
use pgsteward::config::{PoolMode, Source, load};
use pgsteward::ids::WorkerId;
use pgsteward::pool::listen::SharedHubs;
use pgsteward::pool::{Pool, PoolKey, Pools, SharedPools, Target, Variant};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::LocalSet;

pub(crate) fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = LocalSet::new();
    let pool = pool(server());
    let variant = pool.variant(&Vec::new());
    local.block_on(&runtime, open_one(&pool, &variant));
    // Entered, but not in a task: a task may not poll its sockets without end.
    let _runtime = runtime.enter();
    let _local = local.enter();
    criterion.bench_function("checkout", |bencher| {
        bencher.iter(|| {
            pool.try_lend(&variant, &variant.overlays.base, PoolMode::Transaction)
                .unwrap()
                .release();
        });
    });
}

async fn open_one(pool: &Rc<Pool>, variant: &Rc<Variant>) {
    let mut waiting = pool.wait(variant).unwrap();
    poll_fn(|cx| waiting.poll(cx)).await.unwrap().release();
}

fn pool(port: u16) -> Rc<Pool> {
    let upstream = Some(format!("postgres://127.0.0.1:{port}"));
    let config = load(&Source { upstream, ..Source::default() }).unwrap().config;
    let database = config.databases.any.clone().unwrap();
    let shared = Arc::new(SharedPools::new(vec![unbounded_channel().0]));
    let hubs = Arc::new(SharedHubs::new(Vec::new()));
    let pools =
        Pools::new(WorkerId(0), shared, hubs, &config, Arc::default(), tokio::time::Instant::now());
    pools.pool(
        Target {
            key: PoolKey { database: Arc::from("shop"), user: Arc::from("alice") },
            address: database.address,
            dbname: "shop".to_owned(),
            password: None,
            settings: database.pool,
        },
        "alice",
    )
}

/// A server that lets one client in and then hears it out; its port.
fn server() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || hear_out(listener.accept().unwrap().0));
    port
}

fn hear_out(mut client: TcpStream) {
    let mut buffer = [0; 1024];
    // The startup packet comes in one piece.
    assert!(client.read(&mut buffer).unwrap() > 0);
    client.write_all(b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x01\0\0\0\x02Z\0\0\0\x05I").unwrap();
    while client.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {}
}
