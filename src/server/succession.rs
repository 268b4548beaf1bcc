//! One process hands its listening sockets on to the next: no connection is refused, and none is lost in a queue.
//!
//! With `server.handover = PATH`, a process listens on `PATH.PID`, and PATH is a symbolic link to the socket of the one
//! that accepts clients. The next one that starts asks there for the sockets (message `T`), accepts from then on, and
//! points PATH to itself. The one before serves its clients until they have left by themselves. It names its own socket
//! and those of the processes before it: there the next one passes cancel requests on whose keys it doesn't know
//! (message `C`, then the CancelRequest). Only processes of the same user are listened to.
//!
//! Started by systemd's socket activation, a process takes the sockets that it is given: clients' first, HTTP's second.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::timeout;

use crate::net::handover::{is_own_user, receive_sockets, send_sockets};
use crate::protocol::startup::{Startup, decode, packet_length};
use crate::session::CancelRouter;

/// The process before has so long to answer, and whoever asks to say what.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest list of paths in an answer.
const PATHS_MAX: usize = 4096;

/// So many processes before are passed cancels on to.
const PREDECESSORS_MAX: usize = 16;

/// What a process has to listen with.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pub(super) clients: Option<TcpListener>,
    pub(super) http: Option<TcpListener>,
    /// The sockets of the processes before, which may still serve clients: the last one first.
    pub(super) predecessors: Vec<PathBuf>,
}

/// Takes over what systemd gives, or what a process that runs hands on.
pub(super) fn inherit(handover: Option<&Path>) -> io::Result<Sockets> {
    let mut given = listenfd::ListenFd::from_env();
    if given.len() > 0 {
        return Ok(Sockets {
            clients: given.take_tcp_listener(0)?,
            http: given.take_tcp_listener(1).unwrap_or_default(),
            predecessors: Vec::new(),
        });
    }
    let Some(path) = handover else { return Ok(Sockets::default()) };
    // Nobody is there, or somebody was.
    let Ok(stream) = StdUnixStream::connect(path) else { return Ok(Sockets::default()) };
    ask(stream)
}

fn ask(mut stream: StdUnixStream) -> io::Result<Sockets> {
    if !is_own_user(&stream) {
        return Err(io::Error::other("the process that listens is another user's"));
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"T")?;
    let (paths, sockets) = receive_sockets(&stream, PATHS_MAX)?;
    let mut sockets = sockets.into_iter().map(TcpListener::from);
    let clients = sockets.next();
    if clients.is_none() {
        return Err(io::Error::other("the process that listens hands its sockets on already"));
    }
    let paths = paths.split(|byte| *byte == 0).map(|path| OsString::from_vec(path.to_vec()));
    let predecessors: Vec<PathBuf> =
        paths.map(PathBuf::from).filter(|path| path.exists()).collect();
    tracing::info!(?predecessors, "listening sockets taken over");
    Ok(Sockets { clients, http: sockets.next(), predecessors })
}

/// Whether a socket listens where the configuration says.
pub(super) fn fits(listener: &TcpListener, wanted: SocketAddr) -> bool {
    listener.local_addr().is_ok_and(|address| {
        address.ip() == wanted.ip() && (wanted.port() == 0 || address.port() == wanted.port())
    })
}

/// Where the next process asks.
#[derive(Debug)]
pub(super) struct Station {
    own: PathBuf,
    predecessors: Vec<PathBuf>,
}

impl Station {
    /// Listens, and is found under `path` from now on. Whoever asks for the sockets is passed to `successors`.
    pub(super) fn open(
        path: &Path,
        predecessors: Vec<PathBuf>,
        cancels: Arc<CancelRouter>,
        successors: UnboundedSender<StdUnixStream>,
    ) -> io::Result<Self> {
        let mut own = path.as_os_str().to_owned();
        own.push(format!(".{}", std::process::id()));
        let own = PathBuf::from(own);
        // Of a process that had the same number.
        let _ = fs::remove_file(&own);
        let listener = UnixListener::bind(&own)?;
        let link = own.with_extension("link");
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(&own, &link)?;
        fs::rename(&link, path)?;
        tokio::spawn(serve(listener, cancels, successors));
        Ok(Self { own, predecessors })
    }

    /// Hands the sockets on.
    pub(super) fn hand_on(&self, to: &StdUnixStream, sockets: &[&TcpListener]) -> io::Result<()> {
        let sockets: Vec<_> = sockets.iter().map(|socket| socket.as_fd()).collect();
        let before = self.predecessors.iter().filter(|path| path.exists());
        let paths = std::iter::once(&self.own).chain(before).take(PREDECESSORS_MAX);
        let paths: Vec<&[u8]> = paths.map(|path| path.as_os_str().as_bytes()).collect();
        send_sockets(to, &paths.join(&0), &sockets)
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        // The link is the next one's, or leads nowhere.
        let _ = fs::remove_file(&self.own);
    }
}

async fn serve(
    listener: UnixListener,
    cancels: Arc<CancelRouter>,
    successors: UnboundedSender<StdUnixStream>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if is_own_user(&stream) => {
                let (cancels, successors) = (Arc::clone(&cancels), successors.clone());
                tokio::spawn(async move {
                    // Whoever says nothing is not waited for.
                    let _ = timeout(PATIENCE, hear(stream, &cancels, &successors)).await;
                });
            }
            Ok(_) => tracing::warn!("another user's process asked for the listening sockets"),
            Err(error) => {
                tracing::error!(%error, "could not accept at the handover socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn hear(
    mut stream: UnixStream,
    cancels: &CancelRouter,
    successors: &UnboundedSender<StdUnixStream>,
) -> io::Result<()> {
    match stream.read_u8().await? {
        b'T' => {
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            // Without a main thread the successor finds the end of the stream.
            let _ = successors.send(stream);
        }
        b'C' => {
            let mut packet = Vec::new();
            stream.read_to_end(&mut packet).await?;
            if packet_length(&packet).is_ok_and(|length| length == Some(packet.len()))
                && let Ok(Startup::Cancel { pid, key }) = decode(&packet)
            {
                // The one that asks has a list of all: none is asked twice.
                cancels.cancel_here(pid, key).await;
            }
            stream.shutdown().await?;
        }
        _ => {}
    }
    Ok(())
}

/// Tells systemd how it goes, if it was systemd that started the process.
pub(super) fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd could not be told");
    }
}

/// Sockets handed on are kept here by the main thread, so that they close with the last of them.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) clients: Option<TcpListener>,
    pub(super) http: Option<TcpListener>,
}

impl Kept {
    pub(super) fn all(&self) -> Vec<&TcpListener> {
        self.clients.iter().chain(&self.http).collect()
    }
}
