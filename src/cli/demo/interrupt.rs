//! Ctrl-C and its relatives: they end the demonstration at its next wait, so that everything is put away.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::error::DemoError;

/// Pause between two looks at something awaited.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Whether the demonstration has been told to end.
pub(super) struct Interrupt {
    told: Arc<(Mutex<bool>, Condvar)>,
}

impl Interrupt {
    /// Takes over SIGINT, SIGTERM and SIGHUP; a thread awaits them until the process ends.
    pub(super) fn listen() -> Result<Self, DemoError> {
        let failed = || DemoError::system("signal handlers");
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed())?;
        let entered = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed())?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed())?;
        let mut hangup = signal(SignalKind::hangup()).map_err(failed())?;
        drop(entered);
        let told = Arc::new((Mutex::new(false), Condvar::new()));
        let tell = Arc::clone(&told);
        let wait = move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
            });
            *tell.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            tell.1.notify_all();
        };
        thread::Builder::new().name("signals".into()).spawn(wait).map_err(failed())?;
        Ok(Self { told })
    }

    /// Waits so long, or until the signal; whether it came.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let (told, changed) = &*self.told;
        let told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(told, time, |told| !*told);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// An error if the signal has come.
    pub(super) fn check(&self) -> Result<(), DemoError> {
        if self.wait(Duration::ZERO) { Err(DemoError::Interrupted) } else { Ok(()) }
    }

    /// Looks until there is a result, for at most `patience`.
    pub(super) fn until<T>(
        &self,
        what: &'static str,
        patience: Duration,
        mut look: impl FnMut() -> Result<Option<T>, DemoError>,
    ) -> Result<T, DemoError> {
        let start = Instant::now();
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if start.elapsed() > patience {
                return Err(DemoError::Late(what));
            }
            if self.wait(POLL_INTERVAL) {
                return Err(DemoError::Interrupted);
            }
        }
    }
}
