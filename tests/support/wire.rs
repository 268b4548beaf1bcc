//! A blocking raw client: sends any bytes, reads frame by frame, always within a time limit.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use postgres_protocol::authentication::{md5_hash, sasl};

use super::frames::{self, PROTOCOL_3_0};
use super::reply::{Frame, Reply};

/// A connection to a server or proxy. Closing it without Terminate is what dropping it does.
pub struct Wire {
    stream: TcpStream,
    /// Read but not yet given out as a frame.
    unread: Vec<u8>,
    /// Given out since the last [`Wire::send`]: for the message of a failed read.
    seen: Reply,
    /// Process ID of BackendKeyData.
    pub pid: i32,
    /// Cancel key of BackendKeyData: four bytes, more with protocol 3.2.
    pub key: Vec<u8>,
    /// ParameterStatus values received so far.
    pub parameters: BTreeMap<String, String>,
}

/// Longest wait for one read, unless [`Wire::set_timeout`] says otherwise.
pub const READ_TIMEOUT: Duration = Duration::from_secs(10);

impl Wire {
    /// Connects to a loopback port; nothing is sent yet.
    #[track_caller]
    pub fn connect(port: u16) -> Self {
        Self::try_connect(port).unwrap_or_else(|error| panic!("connect to port {port}: {error}"))
    }

    /// Connects to a loopback port, or tells why not.
    pub fn try_connect(port: u16) -> io::Result<Self> {
        Self::try_connect_to((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Connects to any address, or tells why not.
    pub fn try_connect_to(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_write_timeout(Some(READ_TIMEOUT))?;
        Ok(Self {
            stream,
            unread: Vec::new(),
            seen: Reply::default(),
            pid: 0,
            key: Vec::new(),
            parameters: BTreeMap::new(),
        })
    }

    /// Connects and logs in without a password; panics with the server's words if that fails.
    #[track_caller]
    pub fn login(port: u16, user: &str, database: &str) -> Self {
        let mut wire = Self::connect(port);
        wire.log_in(&[("user", user), ("database", database)], None).ok();
        wire
    }

    /// Sends a startup packet and answers what the server asks; the reply ends with ReadyForQuery, an error, or the end of the stream.
    #[track_caller]
    pub fn log_in(&mut self, parameters: &[(&str, &str)], password: Option<&str>) -> Reply {
        self.log_in_version(PROTOCOL_3_0, parameters, password)
    }

    /// [`Wire::log_in`] with any protocol version.
    #[track_caller]
    pub fn log_in_version(
        &mut self,
        version: u32,
        parameters: &[(&str, &str)],
        password: Option<&str>,
    ) -> Reply {
        self.send(&frames::startup(version, parameters));
        let user = parameters.iter().find(|(name, _)| *name == "user");
        let user = user.map_or("", |(_, value)| value);
        let mut scram = None;
        let mut reply = Reply::default();
        while let Some(frame) = self.frame_or_end() {
            reply.0.push(frame.clone());
            match frame.tag {
                b'R' => {
                    let secret = password.unwrap_or_default();
                    self.authenticate(&frame, user, secret, &mut scram);
                }
                b'E' | b'Z' => break,
                _ => {}
            }
        }
        reply
    }

    /// Sends any bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap_or_else(|error| panic!("send {} bytes: {error}", bytes.len()));
    }

    /// Sends any bytes, or tells why not (the peer may have closed).
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.seen.0.clear();
        self.stream.write_all(bytes)
    }

    /// Runs a simple query to its ReadyForQuery.
    #[track_caller]
    pub fn query(&mut self, sql: &str) -> Reply {
        self.ask(&frames::query(sql))
    }

    /// Runs one statement by the extended protocol, Sync included.
    #[track_caller]
    pub fn extended(&mut self, sql: &str, parameters: &[Option<&str>]) -> Reply {
        self.ask(&[frames::extended(sql, parameters), frames::sync()].concat())
    }

    /// Sends bytes that end in one ReadyForQuery and reads up to it.
    #[track_caller]
    pub fn ask(&mut self, bytes: &[u8]) -> Reply {
        self.send(bytes);
        self.until_ready()
    }

    /// Reads up to the next ReadyForQuery.
    #[track_caller]
    pub fn until_ready(&mut self) -> Reply {
        self.until(b'Z')
    }

    /// Reads up to the next message of this type, which is the reply's last.
    #[track_caller]
    pub fn until(&mut self, tag: u8) -> Reply {
        let mut reply = Reply::default();
        loop {
            let frame = self.frame();
            reply.0.push(frame);
            if reply.0.last().is_some_and(|frame| frame.tag == tag) {
                return reply;
            }
        }
    }

    /// Reads all that comes until the peer closes.
    #[track_caller]
    pub fn until_end(&mut self) -> Reply {
        let mut reply = Reply::default();
        while let Some(frame) = self.frame_or_end() {
            reply.0.push(frame);
        }
        reply
    }

    /// Reads one message; panics with all that came since the last send when none comes.
    #[track_caller]
    pub fn frame(&mut self) -> Frame {
        match self.frame_or_end() {
            Some(frame) => frame,
            None => panic!("the peer closed; before that came:\n{}", self.seen),
        }
    }

    /// Reads one message; `None` when the peer has closed (or reset) the connection.
    #[track_caller]
    pub fn frame_or_end(&mut self) -> Option<Frame> {
        match self.try_frame() {
            Ok(frame) => frame,
            Err(error) if is_end(&error) => None,
            Err(error) => panic!("{error}; before that came:\n{}", self.seen),
        }
    }

    /// Reads one message within the time limit; `Ok(None)` at the end of the stream.
    pub fn try_frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.cut()? {
                self.note(&frame);
                return Ok(Some(frame));
            }
            if self.fill()? == 0 {
                return match self.unread.len() {
                    0 => Ok(None),
                    left => {
                        Err(io::Error::other(format!("closed inside a message: {left} bytes left")))
                    }
                };
            }
        }
    }

    /// Reads one bare byte: the answer to SSLRequest and GSSENCRequest.
    #[track_caller]
    pub fn byte(&mut self) -> u8 {
        while self.unread.is_empty() {
            assert!(self.fill().expect("a byte") > 0, "the peer closed");
        }
        self.unread.remove(0)
    }

    /// Whether nothing comes for this long, and the connection stays open.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        if !self.unread.is_empty() {
            return false;
        }
        self.set_timeout(time);
        let filled = self.fill();
        self.set_timeout(READ_TIMEOUT);
        filled.is_err_and(|error| is_timeout(&error))
    }

    /// Changes the time limit of each read.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.stream.set_read_timeout(Some(timeout)).expect("a timeout above zero");
    }

    /// Ends our side: the peer reads an end of stream, and may still send.
    pub fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("an open socket");
    }

    /// Says goodbye with Terminate, then reads until the peer has closed.
    #[track_caller]
    pub fn close(mut self) {
        self.send(&frames::terminate());
        self.until_end();
    }

    /// The socket itself, for what this type doesn't offer.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a CancelRequest for this connection to `port` and waits until the peer has closed.
    #[track_caller]
    pub fn cancel(&self, port: u16) {
        let mut wire = Self::connect(port);
        wire.send(&frames::cancel_request(self.pid, &self.key));
        let reply = wire.until_end();
        assert!(reply.0.is_empty(), "a cancel request was answered:\n{reply}");
    }

    /// Answers one Authentication message.
    #[track_caller]
    fn authenticate(
        &mut self,
        frame: &Frame,
        user: &str,
        password: &str,
        scram: &mut Option<sasl::ScramSha256>,
    ) {
        let data = frame.body.get(4..).unwrap_or_default();
        match frame.number(0) {
            Some(0) => {}
            Some(3) => self.send(&frames::password(password)),
            Some(5) => {
                let salt = data.try_into().expect("a salt of four bytes");
                let hash = md5_hash(user.as_bytes(), password.as_bytes(), salt);
                self.send(&frames::password(&hash));
            }
            Some(10) => {
                let binding = sasl::ChannelBinding::unsupported();
                let exchange = scram.insert(sasl::ScramSha256::new(password.as_bytes(), binding));
                let first = exchange.message().to_vec();
                self.send(&frames::sasl_initial(sasl::SCRAM_SHA_256, &first));
            }
            Some(11) => {
                let exchange = scram.as_mut().expect("SASL was offered before");
                exchange.update(data).expect("a server-first message");
                let next = exchange.message().to_vec();
                self.send(&frames::sasl_response(&next));
            }
            Some(12) => {
                let exchange = scram.as_mut().expect("SASL was offered before");
                exchange.finish(data).expect("the server's signature");
            }
            other => panic!("authentication request {other:?}"),
        }
    }

    /// Cuts one frame off what has been read.
    fn cut(&mut self) -> io::Result<Option<Frame>> {
        let Some((head, _)) = self.unread.split_first_chunk::<5>() else {
            return Ok(None);
        };
        let tag = head[0];
        let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let length = usize::try_from(length).ok().filter(|length| *length >= 4);
        let end = 1 + length.ok_or_else(|| {
            io::Error::other(format!("a frame with a bad length: {}", head.escape_ascii()))
        })?;
        if self.unread.len() < end {
            return Ok(None);
        }
        let body = self.unread[5..end].to_vec();
        self.unread.drain(..end);
        Ok(Some(Frame { tag, body }))
    }

    /// Reads once; 0 at the end of the stream.
    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        let count = loop {
            match self.stream.read(&mut chunk) {
                // A read with a time limit ends so when the process was stopped and goes on (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        let count = count.map_err(|error| {
            if is_timeout(&error) {
                io::Error::new(ErrorKind::TimedOut, "nothing came within the time limit")
            } else {
                error
            }
        })?;
        self.unread.extend(&chunk[..count]);
        Ok(count)
    }

    /// Remembers what later questions and failure messages need.
    fn note(&mut self, frame: &Frame) {
        match frame.tag {
            b'K' => {
                self.pid = frame.number(0).unwrap_or_default();
                self.key = frame.body.get(4..).unwrap_or_default().to_vec();
            }
            b'S' => {
                if let [name, value] = frame.texts().as_slice() {
                    self.parameters.insert(name.clone(), value.clone());
                }
            }
            _ => {}
        }
        // The failure message needs the last few only; a test may read a million rows.
        if self.seen.0.len() >= 50 {
            self.seen.0.remove(0);
        }
        self.seen.0.push(frame.clone());
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
    )
}
