//! What operators may say at the console, and how it is read.
//!
//! Keywords are case-insensitive; a database's name may be bare, in double or in single quotes. Statements that drivers
//! send by themselves (BEGIN, SET of a client's setting, DISCARD ALL, ...) are accepted and do nothing.

use std::sync::Arc;

use super::ShutdownMode;
use super::show::Show;
use crate::analysis::lexer::{Lexer, Token, TokenKind};
use crate::ids::SessionId;
use crate::pool::Scope;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Show(Show),
    /// One row, one column: some pools of clients ask for it to see whether a connection lives.
    SelectOne,
    Pause(Scope),
    Resume(Scope),
    Disable(Arc<str>),
    Enable(Arc<str>),
    Reconnect(Scope),
    Kill(Scope),
    KillClient(SessionId),
    WaitClose(Scope),
    Suspend,
    Reload,
    Set(Assignment),
    Shutdown(ShutdownMode),
    Begin,
    /// COMMIT or ROLLBACK.
    End(&'static str),
    /// Nothing to do; its tag.
    Ignored(&'static str),
}

/// `section.key=value`; `Debug` doesn't tell the value, which may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Assignment(pub(super) String);

impl std::fmt::Debug for Assignment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.split('=').next().unwrap_or_default())
    }
}

/// Why a text is no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Misread {
    /// It is none.
    Unknown(String),
    /// Something is missing or too much.
    Usage(&'static str),
}

/// Reads all commands of a text.
pub(super) fn read(text: &str) -> Result<Vec<Command>, Misread> {
    let bytes = text.as_bytes();
    let tokens: Vec<Token> = Lexer::new(bytes).collect();
    let is_end = |token: &Token| token.bytes(bytes) == b";";
    tokens
        .split(is_end)
        .filter(|statement| !statement.is_empty())
        .map(|statement| Statement { text, tokens: statement }.read())
        .collect()
}

/// One statement.
struct Statement<'a> {
    text: &'a str,
    tokens: &'a [Token],
}

impl Statement<'_> {
    fn read(&self) -> Result<Command, Misread> {
        let Some(keyword) = self.keyword(0) else { return Err(self.unknown()) };
        Ok(match keyword.as_str() {
            "SHOW" => Command::Show(self.show()?),
            "SELECT" if self.is_exactly(&["SELECT", "1"]) => Command::SelectOne,
            "PAUSE" => Command::Pause(self.scope("PAUSE [database]")?),
            "RESUME" => Command::Resume(self.scope("RESUME [database]")?),
            "RECONNECT" => Command::Reconnect(self.scope("RECONNECT [database]")?),
            "KILL" => Command::Kill(self.scope("KILL [database]")?),
            "WAIT_CLOSE" => Command::WaitClose(self.scope("WAIT_CLOSE [database]")?),
            "DISABLE" => Command::Disable(self.database("DISABLE database")?),
            "ENABLE" => Command::Enable(self.database("ENABLE database")?),
            "KILL_CLIENT" => Command::KillClient(self.client()?),
            "SUSPEND" => self.alone(Command::Suspend, "SUSPEND")?,
            "RELOAD" => self.alone(Command::Reload, "RELOAD")?,
            "SHUTDOWN" => Command::Shutdown(self.shutdown()?),
            "SET" => self.set()?,
            "BEGIN" | "START" => Command::Begin,
            "COMMIT" | "END" => Command::End("COMMIT"),
            "ROLLBACK" | "ABORT" => Command::End("ROLLBACK"),
            "RESET" => Command::Ignored("RESET"),
            "DISCARD" => Command::Ignored("DISCARD ALL"),
            "DEALLOCATE" => Command::Ignored("DEALLOCATE"),
            "CLOSE" => Command::Ignored("CLOSE CURSOR ALL"),
            "UNLISTEN" => Command::Ignored("UNLISTEN"),
            "SELECT" if self.is_unlock() => Command::SelectOne,
            _ => return Err(self.unknown()),
        })
    }

    fn bytes(&self, at: usize) -> &[u8] {
        self.tokens.get(at).map(|token| token.bytes(self.text.as_bytes())).unwrap_or_default()
    }

    /// The word at a place, in capitals.
    fn keyword(&self, at: usize) -> Option<String> {
        let token = self.tokens.get(at)?;
        let word = str::from_utf8(self.bytes(at)).ok()?;
        (token.kind == TokenKind::Word).then(|| word.to_ascii_uppercase())
    }

    fn is_exactly(&self, words: &[&str]) -> bool {
        self.tokens.len() == words.len()
            && words
                .iter()
                .enumerate()
                .all(|(at, word)| self.bytes(at).eq_ignore_ascii_case(word.as_bytes()))
    }

    /// What asyncpg resets a connection with.
    fn is_unlock(&self) -> bool {
        self.keyword(1).is_some_and(|word| word.ends_with("PG_ADVISORY_UNLOCK_ALL"))
    }

    fn alone(&self, command: Command, usage: &'static str) -> Result<Command, Misread> {
        if self.tokens.len() == 1 { Ok(command) } else { Err(Misread::Usage(usage)) }
    }

    /// The name that follows the keyword, if one does.
    fn name(&self, usage: &'static str) -> Result<Option<Arc<str>>, Misread> {
        let (Some(first), last) = (self.tokens.get(1), self.tokens.last()) else { return Ok(None) };
        let end = last.map_or(first.end, |last| last.end);
        let written = self.text.get(first.start..end).unwrap_or_default();
        let is_quoted = matches!(first.kind, TokenKind::QuotedIdentifier | TokenKind::String);
        if is_quoted && self.tokens.len() == 2 {
            let quote = written.get(..1).unwrap_or_default();
            let inside = written.trim_matches(['"', '\'']);
            return Ok(Some(inside.replace(&quote.repeat(2), quote).into()));
        }
        // `my-db` is several tokens, and one name.
        let is_one_word = !written.contains(|c: char| c.is_whitespace() || c == '\'' || c == '"');
        if is_one_word { Ok(Some(written.into())) } else { Err(Misread::Usage(usage)) }
    }

    fn scope(&self, usage: &'static str) -> Result<Scope, Misread> {
        Ok(self.name(usage)?.map_or(Scope::All, Scope::Database))
    }

    fn database(&self, usage: &'static str) -> Result<Arc<str>, Misread> {
        self.name(usage)?.ok_or(Misread::Usage(usage))
    }

    fn client(&self) -> Result<SessionId, Misread> {
        const USAGE: &str = "KILL_CLIENT id (the column id of SHOW CLIENTS)";
        let name = self.name(USAGE)?.ok_or(Misread::Usage(USAGE))?;
        let number = name.strip_prefix('c').unwrap_or(&name);
        number.parse().map(SessionId).map_err(|_not_one| Misread::Usage(USAGE))
    }

    fn shutdown(&self) -> Result<ShutdownMode, Misread> {
        match (self.tokens.len(), self.keyword(1).as_deref()) {
            (1, _) => Ok(ShutdownMode::Now),
            (2, Some("WAIT_FOR_SERVERS")) => Ok(ShutdownMode::WaitForServers),
            (2, Some("WAIT_FOR_CLIENTS")) => Ok(ShutdownMode::WaitForClients),
            _ => Err(Misread::Usage("SHUTDOWN [WAIT_FOR_SERVERS | WAIT_FOR_CLIENTS]")),
        }
    }

    fn show(&self) -> Result<Show, Misread> {
        const USAGE: &str = "SHOW HELP tells what can be shown";
        let rest: Vec<String> = (1..self.tokens.len()).filter_map(|at| self.keyword(at)).collect();
        let word = rest.join(" ");
        if rest.len() + 1 != self.tokens.len() {
            return Err(Misread::Usage(USAGE));
        }
        Show::named(&word).ok_or(Misread::Usage(USAGE))
    }

    /// `SET section.key = value` is the proxy's; any other is a client's setting, which nothing here depends on.
    fn set(&self) -> Result<Command, Misread> {
        const USAGE: &str = "SET section.key = value";
        if self.bytes(2) != b"." {
            return Ok(Command::Ignored("SET"));
        }
        let (Some(first), Some(last)) = (self.tokens.get(1), self.tokens.last()) else {
            return Err(Misread::Usage(USAGE));
        };
        let is_named = matches!(self.bytes(4), b"=") || self.keyword(4).as_deref() == Some("TO");
        let (Some(key), Some(value)) = (
            self.tokens.get(3).and_then(|end| self.text.get(first.start..end.end)),
            self.tokens.get(5).and_then(|begin| self.text.get(begin.start..last.end)),
        ) else {
            return Err(Misread::Usage(USAGE));
        };
        if !is_named {
            return Err(Misread::Usage(USAGE));
        }
        Ok(Command::Set(Assignment(format!("{key}={value}"))))
    }

    fn unknown(&self) -> Misread {
        let (first, last) = (self.tokens.first(), self.tokens.last());
        let written =
            first.zip(last).and_then(|(first, last)| self.text.get(first.start..last.end));
        Misread::Unknown(written.unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Command, Misread> {
        read(text).map(|mut commands| commands.remove(0))
    }

    #[test]
    fn commands_in_any_case_and_with_names_in_any_quotes() {
        let shop = || Scope::Database("my-shop".into());
        for (text, command) in [
            ("show pools", Command::Show(Show::Pools)),
            ("SHOW ACTIVE_SOCKETS;", Command::Show(Show::ActiveSockets)),
            (" pause ; ", Command::Pause(Scope::All)),
            ("PAUSE my-shop;", Command::Pause(shop())),
            ("RESUME \"my-shop\"", Command::Resume(shop())),
            ("kill 'my-shop'", Command::Kill(shop())),
            ("DISABLE Shop", Command::Disable("Shop".into())),
            ("KILL_CLIENT 65", Command::KillClient(SessionId(65))),
            ("kill_client c65", Command::KillClient(SessionId(65))),
            ("shutdown wait_for_clients", Command::Shutdown(ShutdownMode::WaitForClients)),
            ("SET pool.size = 5", Command::Set(Assignment("pool.size=5".to_owned()))),
            ("set log.level to 'debug'", Command::Set(Assignment("log.level='debug'".to_owned()))),
            ("SET extra_float_digits = 3", Command::Ignored("SET")),
            ("/* ping */ SELECT 1", Command::SelectOne),
        ] {
            assert_eq!(one(text), Ok(command), "{text}");
        }
        assert_eq!(read("SHOW STATS; SHOW LISTS").map(|all| all.len()), Ok(2));
        assert_eq!(read("").map(|all| all.len()), Ok(0));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "SELECT * FROM pg_class",
            "SHOW nothing",
            "SHOW",
            "DISABLE",
            "RELOAD now",
            "SHUTDOWN later",
            "KILL_CLIENT one",
            "PAUSE one two",
            "SET pool.size",
            "\"",
        ] {
            assert!(one(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(SHOW|SET|PAUSE|KILL_CLIENT|)? ?.{0,20}") {
            let _ = read(&text);
        }
    }
}
