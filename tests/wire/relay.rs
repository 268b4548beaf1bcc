//! A TCP relay between the proxy and a server: it can go deaf, and lead elsewhere.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// Forwards what comes to its port.
pub(crate) struct Relay {
    port: u16,
    way: Arc<Way>,
}

#[derive(Default)]
struct Way {
    target: AtomicU16,
    is_over: AtomicBool,
    is_deaf: Mutex<bool>,
    hears_again: Condvar,
}

impl Relay {
    /// To this port.
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let way = Arc::new(Way::default());
        way.target.store(target, Ordering::Relaxed);
        let shared = Arc::clone(&way);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.is_over.load(Ordering::Relaxed) {
                    return;
                }
                shared.lead(&client);
            }
        });
        Self { port, way }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// New connections go to this port.
    pub(crate) fn lead_to(&self, target: u16) {
        self.way.target.store(target, Ordering::Relaxed);
    }

    /// From now on nothing is forwarded, and nothing closed, until it hears again.
    pub(crate) fn set_deaf(&self, is_deaf: bool) {
        *self.way.is_deaf.lock().unwrap_or_else(PoisonError::into_inner) = is_deaf;
        self.way.hears_again.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.way.is_over.store(true, Ordering::Relaxed);
        self.set_deaf(false);
        // The listener wakes up by it.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Way {
    fn lead(self: &Arc<Self>, client: &TcpStream) {
        let target = self.target.load(Ordering::Relaxed);
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else { return };
        for (from, to) in [(client, &server), (&server, client)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let way = Arc::clone(self);
            thread::spawn(move || way.forward(from, to));
        }
    }

    fn forward(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let bytes = from.read(&mut buffer).unwrap_or(0);
            let deaf = self.is_deaf.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.hears_again.wait_while(deaf, |is_deaf| *is_deaf));
            if bytes == 0 || to.write_all(&buffer[..bytes]).is_err() {
                let _ = to.shutdown(std::net::Shutdown::Write);
                return;
            }
        }
    }
}
