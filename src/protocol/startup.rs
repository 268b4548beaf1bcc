//! The first packet of a connection: it has no tag.
//!
//! Manual 55.2.1 "Start-up", 55.2.9 "Canceling Requests in Progress"; `ProcessStartupPacket` in
//! `src/backend/postmaster/postmaster.c`.

use thiserror::Error;

use super::reader::Reader;

/// Longest first packet (`MAX_STARTUP_PACKET_LENGTH`).
pub const PACKET_MAX: usize = 10_000;

const CANCEL_CODE: i32 = 80_877_102;
const SSL_CODE: i32 = 80_877_103;
const GSS_CODE: i32 = 80_877_104;

/// Newest minor version of protocol 3 that is spoken to clients.
pub const MINOR_MAX: u16 = 2;

/// What a client asks for first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Startup {
    /// Encryption by TLS.
    SslRequest,
    /// Encryption by GSSAPI.
    GssEncRequest,
    /// Cancel what runs for the client with this key.
    Cancel {
        /// The process ID that the client was given.
        pid: i32,
        /// The secret that it was given.
        key: Vec<u8>,
    },
    /// A session.
    Session(SessionRequest),
}

/// A client's wish for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// Minor version of protocol 3.
    pub minor: u16,
    /// User name.
    pub user: String,
    /// Database name; the user's if none was given, as in PostgreSQL.
    pub database: String,
    /// The value of `replication`, if given.
    pub replication: Option<Vec<u8>>,
    /// All other parameters but protocol options, in their order.
    pub settings: Vec<(Vec<u8>, Vec<u8>)>,
    /// Names of `_pq_.` protocol options: none is known here.
    pub protocol_options: Vec<Vec<u8>>,
}

impl SessionRequest {
    /// Whether this is to be a replication connection (walsender), as PostgreSQL reads booleans.
    pub fn is_replication(&self) -> bool {
        self.replication.as_deref().is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            value == b"database"
                || matches!(&value[..], b"true" | b"t" | b"on" | b"yes" | b"y" | b"1")
        })
    }

    /// A setting by its name.
    pub fn setting(&self, name: &[u8]) -> Option<&[u8]> {
        self.settings.iter().find(|(key, _)| key == name).map(|(_, value)| &value[..])
    }
}

/// Why a first packet is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StartupError {
    /// Shorter or longer than PostgreSQL accepts.
    #[error("invalid length of startup packet")]
    Length,
    /// Not protocol 3.
    #[error("unsupported frontend protocol {0}.{1}: server supports 3.0 to 3.2")]
    Version(u16, u16),
    /// A list of parameters that is not closed.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    /// No user name.
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    /// A user or database name that is not UTF-8.
    #[error("user and database names must be UTF-8")]
    Encoding,
}

/// Length of the whole packet whose front is `bytes`; `None`: not enough of it yet.
pub fn packet_length(bytes: &[u8]) -> Result<Option<usize>, StartupError> {
    let Some((length, _)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    match usize::try_from(u32::from_be_bytes(*length)) {
        Ok(length) if (8..=PACKET_MAX).contains(&length) => Ok(Some(length)),
        _ => Err(StartupError::Length),
    }
}

/// Decodes exactly one packet, its length included.
pub fn decode(packet: &[u8]) -> Result<Startup, StartupError> {
    let mut reader = Reader::new(packet);
    reader.int32().ok_or(StartupError::Length)?;
    match reader.int32().ok_or(StartupError::Length)? {
        SSL_CODE if reader.is_empty() => Ok(Startup::SslRequest),
        GSS_CODE if reader.is_empty() => Ok(Startup::GssEncRequest),
        CANCEL_CODE => decode_cancel(reader),
        version => decode_session(version.cast_unsigned(), reader.rest()),
    }
}

fn decode_cancel(mut reader: Reader<'_>) -> Result<Startup, StartupError> {
    let pid = reader.int32().ok_or(StartupError::Length)?;
    let key = reader.rest();
    // 4 bytes up to protocol 3.0, at most 256 from 3.2 on.
    if key.is_empty() || key.len() > 256 {
        return Err(StartupError::Length);
    }
    Ok(Startup::Cancel { pid, key: key.to_vec() })
}

fn decode_session(version: u32, parameters: &[u8]) -> Result<Startup, StartupError> {
    let [major_high, major_low, minor_high, minor_low] = version.to_be_bytes();
    let major = u16::from_be_bytes([major_high, major_low]);
    let minor = u16::from_be_bytes([minor_high, minor_low]);
    if major != 3 {
        return Err(StartupError::Version(major, minor));
    }
    let mut request = SessionRequest {
        minor,
        user: String::new(),
        database: String::new(),
        replication: None,
        settings: Vec::new(),
        protocol_options: Vec::new(),
    };
    read_parameters(parameters, &mut request)?;
    if request.user.is_empty() {
        return Err(StartupError::NoUser);
    }
    if request.database.is_empty() {
        request.database.clone_from(&request.user);
    }
    Ok(Startup::Session(request))
}

fn read_parameters(parameters: &[u8], request: &mut SessionRequest) -> Result<(), StartupError> {
    let mut reader = Reader::new(parameters);
    loop {
        let name = reader.string().ok_or(StartupError::Layout)?;
        if name.is_empty() {
            return if reader.is_empty() { Ok(()) } else { Err(StartupError::Layout) };
        }
        let value = reader.string().ok_or(StartupError::Layout)?;
        match name {
            b"user" => request.user = text(value)?,
            b"database" => request.database = text(value)?,
            b"replication" => request.replication = Some(value.to_vec()),
            _ if name.starts_with(b"_pq_.") => request.protocol_options.push(name.to_vec()),
            _ => request.settings.push((name.to_vec(), value.to_vec())),
        }
    }
}

fn text(value: &[u8]) -> Result<String, StartupError> {
    String::from_utf8(value.to_vec()).map_err(|_utf8| StartupError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
        let mut packet = u32::try_from(rest.len() + 8).unwrap().to_be_bytes().to_vec();
        packet.extend(code.to_be_bytes());
        packet.extend(rest);
        packet
    }

    #[test]
    fn a_session_keeps_its_settings_in_order() {
        let bytes = packet(
            0x0003_0000,
            b"user\0ann\0options\0-c a=b\0TimeZone\0UTC\0_pq_.x\x001\0replication\0no\0\0",
        );
        let Ok(Startup::Session(request)) = decode(&bytes) else { panic!("not a session") };
        assert_eq!((request.user.as_str(), request.database.as_str()), ("ann", "ann"));
        assert_eq!(request.settings[0], (b"options".to_vec(), b"-c a=b".to_vec()));
        assert_eq!(request.setting(b"TimeZone"), Some(&b"UTC"[..]));
        assert_eq!(request.protocol_options, [b"_pq_.x".to_vec()]);
        assert!(!request.is_replication());
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(packet_length(&[0, 0, 0, 7]), Err(StartupError::Length));
        assert_eq!(packet_length(&[0xff; 4]), Err(StartupError::Length));
        assert_eq!(decode(&packet(0x0002_0000, b"")), Err(StartupError::Version(2, 0)));
        assert_eq!(decode(&packet(0x0003_0000, b"user\0a\0")), Err(StartupError::Layout));
        assert_eq!(decode(&packet(0x0003_0000, b"user\0a\0\0x")), Err(StartupError::Layout));
        assert_eq!(decode(&packet(0x0003_0000, b"\0")), Err(StartupError::NoUser));
    }

    #[test]
    fn cancel_keys_of_both_lengths() {
        for length in [4, 32] {
            let mut body = 77_i32.to_be_bytes().to_vec();
            body.extend(vec![9; length]);
            let cancel = Startup::Cancel { pid: 77, key: vec![9; length] };
            assert_eq!(decode(&packet(CANCEL_CODE.cast_unsigned(), &body)), Ok(cancel));
        }
        assert!(decode(&packet(CANCEL_CODE.cast_unsigned(), &[0; 4])).is_err());
    }

    proptest! {
        #[test]
        fn any_packet_decodes_or_errs(rest in proptest::collection::vec(any::<u8>(), 0..64), code: u32) {
            let _ = decode(&packet(code, &rest));
            let _ = decode(&packet(0x0003_0000, &rest));
            let _ = decode(&rest);
        }
    }
}
