//! The client's settings on whatever server connection it is lent: applied before its first message, asked for before
//! the connection goes to anybody else.

use std::rc::Rc;

use crate::client_state::{CLIENT_ENCODING, ClientState, SettingStep, is_harmless};
use crate::config::PoolMode;
use crate::pool::{Asker, Deed, Exchange, Inquiry, Owed, Preparation, Sequences};
use crate::protocol::writer;

/// Makes one session's settings another's. What goes before the client's first message is appended to `out`; whether
/// that has to wait for the replies is in [`Exchange::preparation`].
pub fn apply(exchange: &mut Exchange, steps: &[SettingStep<'_>], out: &mut Vec<u8>) {
    let is_encoding = |(name, _): &&SettingStep<'_>| *name == CLIENT_ENCODING;
    let encoding = steps.iter().take_while(is_encoding).count();
    // The server reads the text of a query by the encoding that it has before.
    let (encoding, others) = steps.split_at(encoding);
    let mut queries = 0;
    for steps in [encoding, others].into_iter().filter(|steps| !steps.is_empty()) {
        writer::query(out, sql(steps));
        exchange.ledger.sent_by_proxy(Owed::Query, Asker::Proxy, Deed::Apply);
        queries += 1;
    }
    exchange.preparation = match queries {
        0 => Preparation::None,
        _ if steps.iter().all(|(name, _)| is_harmless(name)) => Preparation::Shared(queries),
        _ => Preparation::Awaited(queries),
    };
}

/// Makes the session forget values of sequences that another client may have taken.
pub fn forget_values(exchange: &mut Exchange, out: &mut Vec<u8>) {
    super::statements::forget_values(out);
    exchange.ledger.sent_by_proxy(Owed::Query, Asker::Proxy, Deed::None);
    exchange.sequences = Sequences::None;
}

/// Asks for what the client may have changed; `false`: there is nothing to ask for.
#[inline]
pub fn ask(state: &mut ClientState, exchange: &mut Exchange, out: &mut Vec<u8>) -> bool {
    if state.mode == PoolMode::Session || !state.session.may_have_question() {
        return false;
    }
    ask_now(state, exchange, out)
}

#[cold]
fn ask_now(state: &mut ClientState, exchange: &mut Exchange, out: &mut Vec<u8>) -> bool {
    if !state.own.is_empty() && !state.session.must_be_asked() {
        return false;
    }
    let is_awaited = state.session.may_lead_back();
    let Some(question) = state.session.question() else { return false };
    writer::query(out, question.sql());
    // A simple query drops it.
    exchange.unnamed_ready = false;
    exchange.inquiry = Inquiry::Asked { row: Box::default(), is_awaited };
    exchange.ledger.sent_by_proxy(Owed::Query, Asker::Proxy, Deed::Ask(Rc::new(question)));
    true
}

fn sql(steps: &[SettingStep<'_>]) -> Vec<u8> {
    let mut sql = b"SELECT ".to_vec();
    for (number, (name, value)) in steps.iter().enumerate() {
        sql.extend_from_slice(if number > 0 { b", " } else { b"" });
        sql.extend_from_slice(b"pg_catalog.set_config(");
        literal(&mut sql, name);
        sql.extend_from_slice(b", ");
        match value {
            Some(value) => literal(&mut sql, value),
            // What the session began with.
            None => sql.extend_from_slice(b"NULL"),
        }
        sql.extend_from_slice(b", false)");
    }
    sql
}

/// A string constant that means the same whatever standard_conforming_strings is.
fn literal(sql: &mut Vec<u8>, value: &[u8]) {
    sql.extend_from_slice(b"E'");
    for byte in value {
        if matches!(byte, b'\'' | b'\\') {
            sql.push(*byte);
        }
        sql.push(*byte);
    }
    sql.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted() {
        let steps: [SettingStep<'_>; 3] =
            [(b"a.b", Some(b"it's \\ fine")), (b"jit", None), (b"work_mem", Some(b"4MB"))];
        let expected = "SELECT pg_catalog.set_config(E'a.b', E'it''s \\\\ fine', false), \
            pg_catalog.set_config(E'jit', NULL, false), \
            pg_catalog.set_config(E'work_mem', E'4MB', false)";
        assert_eq!(String::from_utf8(sql(&steps)).unwrap(), expected);
    }

    #[test]
    fn the_client_waits_unless_all_is_harmless() {
        let prepared = |steps: &[SettingStep<'_>]| {
            let mut exchange = Exchange::default();
            apply(&mut exchange, steps, &mut Vec::new());
            exchange.preparation
        };
        assert_eq!(prepared(&[]), Preparation::None);
        assert_eq!(prepared(&[(b"work_mem", None)]), Preparation::Shared(1));
        assert_eq!(prepared(&[(b"work_mem", None), (b"role", None)]), Preparation::Awaited(1));
        let steps: [SettingStep<'_>; 2] = [(CLIENT_ENCODING, None), (b"work_mem", None)];
        assert_eq!(prepared(&steps), Preparation::Awaited(2));
    }
}
