//! What a text does with notification channels: LISTEN, UNLISTEN and DISCARD ALL, in their order.

use super::identifiers::identifier;
use super::lexer::{Lexer, TokenKind};

/// One statement about channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelAction {
    /// `LISTEN name`
    Listen(Vec<u8>),
    /// `UNLISTEN name`
    Unlisten(Vec<u8>),
    /// `UNLISTEN *`, `DISCARD ALL`
    UnlistenAll,
}

/// All that the text's statements do with channels; `None`: the name of one can't be told.
///
/// Total: any bytes have an answer, found in linear time.
pub fn channel_actions(text: &[u8]) -> Option<Vec<ChannelAction>> {
    let mut tokens = Lexer::new(text).map(|token| (token.kind, token.bytes(text)));
    let mut actions = Vec::new();
    let mut is_start = true;
    while let Some((kind, bytes)) = tokens.next() {
        let is =
            |word: &[u8]| is_start && kind == TokenKind::Word && bytes.eq_ignore_ascii_case(word);
        if is(b"listen") {
            let (kind, bytes) = tokens.next()?;
            actions.push(ChannelAction::Listen(identifier(kind, bytes)?));
        } else if is(b"unlisten") {
            actions.push(match tokens.next()? {
                (TokenKind::Operator, b"*") => ChannelAction::UnlistenAll,
                (kind, bytes) => ChannelAction::Unlisten(identifier(kind, bytes)?),
            });
        } else if is(b"discard") && tokens.next()?.1.eq_ignore_ascii_case(b"all") {
            actions.push(ChannelAction::UnlistenAll);
        }
        is_start = kind == TokenKind::Punctuation && bytes == b";";
    }
    Some(actions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_found_in_their_order() {
        let listen = |name: &str| ChannelAction::Listen(name.into());
        let unlisten = |name: &str| ChannelAction::Unlisten(name.into());
        for (text, expected) in [
            ("LISTEN News", Some(vec![listen("news")])),
            ("/* x */ listen \"News\";", Some(vec![listen("News")])),
            ("unlisten a; listen a", Some(vec![unlisten("a"), listen("a")])),
            ("begin; unlisten * ; commit", Some(vec![ChannelAction::UnlistenAll])),
            ("discard ALL", Some(vec![ChannelAction::UnlistenAll])),
            ("discard temp; listen a", Some(vec![listen("a")])),
            ("select listen from news", Some(vec![])),
            ("notify news, 'listen x'", Some(vec![])),
            ("listen U&\"a\"", None),
            ("listen", None),
            ("", Some(vec![])),
        ] {
            assert_eq!(channel_actions(text.as_bytes()), expected, "{text}");
        }
    }
}
