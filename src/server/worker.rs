//! One thread of the data plane: its sessions, its pools, one sweep.

use std::io;
use std::net::TcpStream as StdTcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::acceptor::{Acceptor, Arrival, Door};
use crate::ids::WorkerId;
use crate::pool::listen::{HubMail, SharedHubs};
use crate::pool::{PoolMail, Pools, SharedPools};
use crate::session::{self, CancelMail, Common, Context, Order};

/// No timer is armed per query: deadlines are kept to this precision.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// Longest time that cancels get at the end.
const CUT_LIMIT: Duration = Duration::from_secs(1);

/// What all workers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) sessions: Common,
    pub(super) pools: Arc<SharedPools>,
    pub(super) hubs: Arc<SharedHubs>,
    pub(super) epoch: Instant,
}

/// What a worker is told by the main thread.
pub(super) enum Control {
    /// Accept clients, for all workers.
    Accept(Door),
    /// A new client.
    Client(Arrival<StdTcpStream>),
    /// Accept no more clients.
    Close,
    /// Begin no new work.
    Drain,
    /// End.
    Stop,
}

/// All that a worker hears.
pub(super) struct Mailbox {
    pub(super) control: UnboundedReceiver<Control>,
    pub(super) orders: UnboundedReceiver<Order>,
    pub(super) pools: UnboundedReceiver<PoolMail>,
    pub(super) hubs: UnboundedReceiver<HubMail>,
    pub(super) cancels: UnboundedReceiver<CancelMail>,
}

/// How many clients a worker has.
pub(super) type Load = Arc<AtomicUsize>;

/// Counts a client as long as it lives, in all and on its worker.
pub(super) struct Counted {
    counters: [Arc<AtomicUsize>; 2],
}

impl Counted {
    pub(super) fn new(counters: [Arc<AtomicUsize>; 2]) -> Self {
        for counter in &counters {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Self { counters }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        for counter in &self.counters {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A worker, as the main thread sees it.
pub(super) struct Worker {
    pub(super) control: UnboundedSender<Control>,
    pub(super) load: Load,
    pub(super) thread: JoinHandle<()>,
}

impl Worker {
    pub(super) fn start(
        id: WorkerId,
        shared: Shared,
        mailbox: Mailbox,
        control: UnboundedSender<Control>,
        load: Load,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread =
            std::thread::Builder::new().name(format!("worker-{}", id.0)).spawn(move || {
                let local = LocalSet::new();
                // A task like the sessions: what `block_on` is given would be polled at each wake of any of them.
                let life = local.spawn_local(run(id, shared, mailbox));
                if let Err(error) = local.block_on(&runtime, life) {
                    std::panic::resume_unwind(error.into_panic());
                }
                // Server connections that are still lent close with their sessions here.
                drop(local);
                runtime.shutdown_background();
            })?;
        Ok(Self { control, load, thread })
    }
}

async fn run(id: WorkerId, shared: Shared, mut mailbox: Mailbox) {
    let Shared { sessions, pools, hubs, epoch } = shared;
    let process = Arc::clone(&sessions.process);
    let pools = Rc::new(Pools::new(id, pools, hubs, &sessions.config, process, epoch));
    let context = Rc::new(Context::new(id, sessions, Rc::clone(&pools)));
    let mut acceptor = None;
    let mut sweep = interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // All branches are cancel safe: a message that is not received stays in its channel, a client in the
        // listener's queue.
        tokio::select! {
            told = mailbox.control.recv() => match told {
                Some(Control::Accept(door)) => acceptor = open(door),
                Some(Control::Client(arrival)) => take_over(arrival, &context),
                Some(Control::Close) => acceptor = None,
                Some(Control::Drain) => {
                    acceptor = None;
                    context.drain();
                }
                Some(Control::Stop) | None => break,
            },
            arrival = Acceptor::next(acceptor.as_ref()) => welcome(arrival, &context),
            Some(order) = mailbox.orders.recv() => context.carry_out_order(order),
            Some(mail) = mailbox.pools.recv() => pools.receive(mail),
            Some(mail) = mailbox.hubs.recv() => {
                pools.hear(mail);
                while let Ok(mail) = mailbox.hubs.try_recv() {
                    pools.hear(mail);
                }
            }
            Some(mail) = mailbox.cancels.recv() => {
                tokio::task::spawn_local(Rc::clone(&context).carry_out(mail));
            }
            _ = sweep.tick() => {
                pools.sweep();
                context.sweep();
            }
        }
    }
    pools.close();
    // What can't be cancelled in this time ends with its socket.
    let _ = tokio::time::timeout(CUT_LIMIT, context.cut()).await;
}

fn open(door: Door) -> Option<Acceptor> {
    let opened = Acceptor::new(door);
    opened.inspect_err(|error| tracing::error!(%error, "can't accept clients")).ok()
}

/// A client that another worker has accepted.
fn take_over(arrival: Arrival<StdTcpStream>, context: &Rc<Context>) {
    let Arrival { stream, peer, counted } = arrival;
    match TcpStream::from_std(stream) {
        Ok(stream) => welcome(Arrival { stream, peer, counted }, context),
        Err(error) => tracing::error!(%error, "a client could not be taken over"),
    }
}

/// Starts a client's session. A panic in it ends it alone: tokio catches it at the task.
fn welcome(arrival: Arrival<TcpStream>, context: &Rc<Context>) {
    let Arrival { stream, peer, counted } = arrival;
    let context = Rc::clone(context);
    tokio::task::spawn_local(async move {
        session::serve(stream.into(), peer, context).await;
        drop(counted);
    });
}
