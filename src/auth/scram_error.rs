//! What can go wrong while a client proves itself, in PostgreSQL's words (`auth-scram.c`, `auth-sasl.c`).

use std::fmt;

/// Why a client's SCRAM exchange failed. Its `Display` is PostgreSQL's message and may be sent to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// The message does not follow the grammar.
    #[error("malformed SCRAM message")]
    Malformed(Malformation),
    /// The mechanism's name has no end.
    #[error("invalid string in message")]
    MechanismUnterminated,
    /// SASLInitialResponse is shorter than it says.
    #[error("insufficient data left in message")]
    InitialResponseShort,
    /// SASLInitialResponse is longer than it says.
    #[error("invalid message format")]
    InitialResponseLong,
    /// Not the mechanism that we offered.
    #[error("client selected an invalid SASL authentication mechanism")]
    Mechanism,
    /// The client asks to act as somebody else.
    #[error("client uses authorization identity, but it is not supported")]
    AuthorizationIdentity,
    /// `m=`: an extension that we would have to know.
    #[error("client requires an unsupported SCRAM extension")]
    Extension,
    /// The client's nonce holds other than printable ASCII.
    #[error("non-printable characters in SCRAM nonce")]
    NonceUnprintable,
    /// The final message's nonce is not the one agreed on.
    #[error("invalid SCRAM response")]
    NonceMismatch,
    /// `c=` does not repeat the client's first message.
    #[error("unexpected SCRAM channel-binding attribute in client-final-message")]
    ChannelBinding,
    /// The proof is wrong, or nobody could have given a right one. PostgreSQL's message ends in `for user "x"`:
    /// the caller, who knows the name, writes it.
    #[error("password authentication failed")]
    Proof,
    /// The system gave no random bytes.
    #[error("could not generate random nonce")]
    NoRandomness,
}

/// How a SCRAM message breaks the grammar. Its `Display` is PostgreSQL's error detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformation {
    /// No bytes at all.
    #[error("The message is empty.")]
    Empty,
    /// A zero byte inside.
    #[error("Message length does not match input length.")]
    ZeroByte,
    /// `p=`: channel binding, which `SCRAM-SHA-256` without `-PLUS` can't have.
    #[error(
        "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data."
    )]
    BindingData,
    /// Neither `n`, `y` nor `p` at the start.
    #[error("Unexpected channel-binding flag \"{0}\".")]
    BindingFlag(Found),
    /// No comma after the flag.
    #[error("Comma expected, but found character \"{0}\".")]
    NoComma(Found),
    /// Something between the first two commas.
    #[error("Unexpected attribute \"{0}\" in client-first-message.")]
    UnexpectedAttribute(Found),
    /// Another attribute than the grammar wants here.
    #[error("Expected attribute \"{0}\" but found \"{1}\".")]
    WrongAttribute(char, Found),
    /// No `=` after an attribute's letter.
    #[error("Expected character \"=\" for attribute \"{0}\".")]
    NoEquals(char),
    /// The message ends where an attribute is due.
    #[error("Attribute expected, but found end of string.")]
    End,
    /// No letter where an attribute is due.
    #[error("Attribute expected, but found invalid character \"{0}\".")]
    NoAttribute(Found),
    /// The proof is not 32 bytes in base64.
    #[error("Malformed proof in client-final-message.")]
    Proof,
    /// The proof is not the last attribute.
    #[error("Garbage found at the end of client-final-message.")]
    Garbage,
}

/// A byte found in a client's message, shown as PostgreSQL's `sanitize_char` does; the end shows as `0x00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found(pub(super) Option<u8>);

impl ScramError {
    /// The error's SQLSTATE, as PostgreSQL gives it.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Malformed(_)
            | Self::MechanismUnterminated
            | Self::InitialResponseShort
            | Self::InitialResponseLong
            | Self::Mechanism
            | Self::NonceUnprintable
            | Self::NonceMismatch
            | Self::ChannelBinding => "08P01",
            Self::AuthorizationIdentity | Self::Extension => "0A000",
            Self::Proof => "28P01",
            Self::NoRandomness => "XX000",
        }
    }

    /// The `D` field of the error, if it has one.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Malformed(malformation) => Some(malformation.to_string()),
            Self::NonceMismatch => Some("Nonce does not match.".to_owned()),
            Self::MechanismUnterminated
            | Self::InitialResponseShort
            | Self::InitialResponseLong
            | Self::Mechanism
            | Self::AuthorizationIdentity
            | Self::Extension
            | Self::NonceUnprintable
            | Self::ChannelBinding
            | Self::Proof
            | Self::NoRandomness => None,
        }
    }

    /// The client broke the protocol (08P01): not a matter of passwords.
    pub fn is_protocol_violation(&self) -> bool {
        self.sqlstate() == "08P01"
    }
}

impl From<Malformation> for ScramError {
    fn from(malformation: Malformation) -> Self {
        Self::Malformed(malformation)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(byte) if byte.is_ascii_graphic() => write!(f, "'{}'", char::from(byte)),
            other => write!(f, "0x{:02x}", other.unwrap_or(0)),
        }
    }
}
