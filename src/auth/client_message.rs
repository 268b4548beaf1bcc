//! Reads what a client sends in a SCRAM login: SASLInitialResponse, client-first-message and client-final-message.
//!
//! Grammar: RFC 5802 section 7. Strictness, order of checks and words: PostgreSQL's `auth-scram.c` and `auth-sasl.c`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::digest::Key;
use super::scram_error::{Found, Malformation, ScramError};

/// Data of the AuthenticationSASL message that opens the login: the one mechanism that we offer.
pub const MECHANISMS: &[u8] = b"SCRAM-SHA-256\0\0";

const MECHANISM: &[u8] = b"SCRAM-SHA-256";

/// The client-first-message in a SASLInitialResponse's body. `None`: the client sends it only after an
/// AuthenticationSASLContinue without data.
///
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>
pub fn initial_response(body: &[u8]) -> Result<Option<&[u8]>, ScramError> {
    let end = body.iter().position(|byte| *byte == 0);
    let (mechanism, rest) = body.split_at(end.ok_or(ScramError::MechanismUnterminated)?);
    if mechanism != MECHANISM {
        return Err(ScramError::Mechanism);
    }
    let (length, data) =
        rest[1..].split_first_chunk::<4>().ok_or(ScramError::InitialResponseShort)?;
    let length = i32::from_be_bytes(*length);
    if length == -1 {
        return match data {
            [] => Ok(None),
            [..] => Err(ScramError::InitialResponseLong),
        };
    }
    match usize::try_from(length) {
        Ok(length) if length == data.len() => Ok(Some(data)),
        Ok(length) if length < data.len() => Err(ScramError::InitialResponseLong),
        Ok(_) | Err(_) => Err(ScramError::InitialResponseShort),
    }
}

/// What a client says of channel binding (gs2-cbind-flag); we offer none, so both are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// `n`: it has none.
    Unsupported,
    /// `y`: it has, and thinks that we don't.
    Unused,
}

/// client-first-message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFirst<'a> {
    pub(super) binding: Binding,
    /// The part that is signed.
    pub(super) bare: &'a [u8],
    /// Printable ASCII; may be empty, as PostgreSQL lets it.
    pub(super) nonce: &'a [u8],
}

/// client-final-message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFinal<'a> {
    /// The part that is signed.
    pub(super) without_proof: &'a [u8],
    pub(super) nonce: &'a [u8],
    pub(super) proof: Key,
}

// === impl Binding ===

impl Binding {
    /// What `c=` must hold: the gs2-header in base64.
    fn repeated(self) -> &'static [u8] {
        match self {
            Self::Unsupported => b"biws",
            Self::Unused => b"eSws",
        }
    }
}

// === impl ClientFirst ===

impl<'a> ClientFirst<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, ScramError> {
        let mut reader = Reader::new(message)?;
        let binding = reader.gs2_header()?;
        let bare = reader.rest;
        if reader.peek() == Some(b'm') {
            return Err(ScramError::Extension);
        }
        // The user is the startup packet's, whatever this says: libpq leaves it empty.
        reader.attribute(b'n')?;
        let nonce = reader.attribute(b'r')?;
        if !nonce.iter().all(u8::is_ascii_graphic) {
            return Err(ScramError::NonceUnprintable);
        }
        while reader.peek().is_some() {
            reader.any_attribute()?;
        }
        Ok(Self { binding, bare, nonce })
    }
}

// === impl ClientFinal ===

impl<'a> ClientFinal<'a> {
    /// `binding` is what the client's first message said.
    pub(super) fn parse(message: &'a [u8], binding: Binding) -> Result<Self, ScramError> {
        let mut reader = Reader::new(message)?;
        if reader.attribute(b'c')? != binding.repeated() {
            return Err(ScramError::ChannelBinding);
        }
        let nonce = reader.attribute(b'r')?;
        let (start, proof) = loop {
            let start = message.len() - reader.rest.len();
            let (letter, value) = reader.any_attribute()?;
            if letter == b'p' {
                break (start, value);
            }
        };
        let proof = BASE64.decode(proof).ok().and_then(|raw| raw.try_into().ok());
        let proof = proof.ok_or(Malformation::Proof)?;
        if reader.peek().is_some() {
            return Err(Malformation::Garbage.into());
        }
        Ok(Self {
            // Without the comma before the proof: an attribute that follows others always has one.
            without_proof: &message[..start.saturating_sub(1)],
            nonce,
            proof,
        })
    }
}

/// What is left of a message, attribute by attribute.
struct Reader<'a> {
    rest: &'a [u8],
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn new(message: &'a [u8]) -> Result<Self, Malformation> {
        if message.is_empty() {
            return Err(Malformation::Empty);
        }
        if message.contains(&0) {
            return Err(Malformation::ZeroByte);
        }
        Ok(Self { rest: message })
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn found(&self) -> Found {
        Found(self.peek())
    }

    fn skip(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    /// `gs2-cbind-flag "," [authzid] ","`: all that comes before the part that is signed.
    fn gs2_header(&mut self) -> Result<Binding, ScramError> {
        let binding = match self.peek() {
            Some(b'n') => Binding::Unsupported,
            Some(b'y') => Binding::Unused,
            Some(b'p') => return Err(Malformation::BindingData.into()),
            Some(_) | None => return Err(Malformation::BindingFlag(self.found()).into()),
        };
        self.skip();
        if self.peek() != Some(b',') {
            return Err(Malformation::NoComma(self.found()).into());
        }
        self.skip();
        match self.peek() {
            Some(b',') => self.skip(),
            Some(b'a') => return Err(ScramError::AuthorizationIdentity),
            Some(_) | None => return Err(Malformation::UnexpectedAttribute(self.found()).into()),
        }
        Ok(binding)
    }

    /// The value of the attribute that must come next.
    fn attribute(&mut self, letter: u8) -> Result<&'a [u8], Malformation> {
        if self.peek() != Some(letter) {
            return Err(Malformation::WrongAttribute(letter.into(), self.found()));
        }
        self.value(letter)
    }

    /// Letter and value of whichever attribute comes next.
    fn any_attribute(&mut self) -> Result<(u8, &'a [u8]), Malformation> {
        let letter = self.peek().ok_or(Malformation::End)?;
        if !letter.is_ascii_alphabetic() {
            return Err(Malformation::NoAttribute(self.found()));
        }
        Ok((letter, self.value(letter)?))
    }

    /// Past the letter: "=" and all up to the next comma, which is taken too.
    fn value(&mut self, letter: u8) -> Result<&'a [u8], Malformation> {
        self.skip();
        if self.peek() != Some(b'=') {
            return Err(Malformation::NoEquals(letter.into()));
        }
        self.skip();
        let end = self.rest.iter().position(|byte| *byte == b',');
        let (value, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        self.skip();
        Ok(value)
    }
}
