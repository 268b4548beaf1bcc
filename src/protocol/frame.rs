//! Cutting a stream into frames: one tag byte, a length that counts itself but not the tag, the body.
//!
//! Nothing is decoded here. The limits are PostgreSQL's own (`SocketBackend` in `postgres.c`).

use thiserror::Error;

/// Bytes of a tag and a length.
pub const HEADER_BYTES: usize = 5;

/// Messages that carry statements, parameters or data (`PQ_LARGE_MESSAGE_LIMIT`).
const LARGE_MAX: usize = 0x3fff_fffe;

/// All other messages of a client (`PQ_SMALL_MESSAGE_LIMIT`).
const SMALL_MAX: usize = 10_000;

/// A message of a client during login (`PG_MAX_AUTH_TOKEN_LENGTH`).
pub const LOGIN_MAX: usize = 65_535;

/// The front of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Message type.
    pub tag: u8,
    /// Bytes of the whole frame, tag and length included.
    pub bytes: usize,
}

/// What is wrong with the front of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A tag that no client may send.
    #[error("invalid frontend message type {0}")]
    UnknownTag(u8),
    /// A length below 4 or above the limit of the tag.
    #[error("invalid message length {length} of message type {tag:?}", tag = *tag as char)]
    Length {
        /// Message type.
        tag: u8,
        /// The length as sent.
        length: u32,
    },
}

/// Reads the header at the front of `bytes`, which came from a client that has logged in.
/// `None`: not enough bytes yet.
pub fn client_header(bytes: &[u8]) -> Result<Option<Header>, FrameError> {
    let Some(&tag) = bytes.first() else {
        return Ok(None);
    };
    let Some(limit) = client_limit(tag) else {
        return Err(FrameError::UnknownTag(tag));
    };
    header(bytes, limit)
}

/// Reads the header of a message during login: only password messages (`p`) are allowed.
pub fn login_header(bytes: &[u8]) -> Result<Option<Header>, FrameError> {
    match bytes.first() {
        None => Ok(None),
        Some(b'p') => header(bytes, LOGIN_MAX),
        Some(&tag) => Err(FrameError::UnknownTag(tag)),
    }
}

/// Reads the header of a server's message. Any tag; any length that PostgreSQL could send.
pub fn server_header(bytes: &[u8]) -> Result<Option<Header>, FrameError> {
    header(bytes, 0x7fff_fffe)
}

fn header(bytes: &[u8], length_max: usize) -> Result<Option<Header>, FrameError> {
    let Some((&[tag, a, b, c, d], _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([a, b, c, d]);
    match usize::try_from(length) {
        Ok(whole) if whole >= 4 && whole - 4 <= length_max => {
            Ok(Some(Header { tag, bytes: whole + 1 }))
        }
        _ => Err(FrameError::Length { tag, length }),
    }
}

/// Longest body of a client's message; `None`: not a message of the protocol.
fn client_limit(tag: u8) -> Option<usize> {
    match tag {
        b'Q' | b'F' | b'B' | b'P' | b'd' => Some(LARGE_MAX),
        b'C' | b'D' | b'E' | b'H' | b'S' | b'X' | b'c' | b'f' => Some(SMALL_MAX),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_needs_five_bytes() {
        assert_eq!(client_header(b""), Ok(None));
        assert_eq!(client_header(b"Q\0\0\0"), Ok(None));
        assert_eq!(client_header(b"Q\0\0\0\x05;"), Ok(Some(Header { tag: b'Q', bytes: 6 })));
    }

    #[test]
    fn lengths_are_checked_by_tag() {
        assert!(client_header(b"S\0\0\x27\x14").is_ok());
        assert!(client_header(b"S\0\0\x27\x15").is_err());
        assert!(client_header(b"Q\xff\xff\xff\xff").is_err());
        assert!(client_header(b"Q\0\0\0\x03").is_err());
        assert!(client_header(b"d\x40\0\0\x02").is_ok());
        assert!(client_header(b"d\x40\0\0\x03").is_err());
    }

    #[test]
    fn an_unknown_tag_is_known_at_its_first_byte() {
        assert_eq!(client_header(b"z"), Err(FrameError::UnknownTag(b'z')));
        assert_eq!(login_header(b"Q"), Err(FrameError::UnknownTag(b'Q')));
    }

    proptest! {
        #[test]
        fn any_bytes_cut_or_err(bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
            for cut in [client_header(&bytes), login_header(&bytes), server_header(&bytes)] {
                if let Ok(Some(header)) = cut {
                    prop_assert!(header.bytes >= HEADER_BYTES);
                }
            }
        }
    }
}
