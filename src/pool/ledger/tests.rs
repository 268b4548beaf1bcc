//! The ledger against what PostgreSQL was seen to send (docs/protocol.md).

use std::rc::Rc;

use super::*;
use crate::analysis::session_effects::Footprint;
use crate::client_state::{Budget, Definition, Statement, StatementId, StatementName};
use crate::pool::Drops;

fn failed(deed: Deed) -> Verdict {
    Verdict::Failed(Failure { deed, is_refusal: false })
}

fn statement(number: u128) -> Rc<Statement> {
    let budget = Budget::new(1000);
    Rc::new(Statement::new(StatementId(number), b"", Footprint::default(), true, &budget))
}

fn define(name: &[u8], number: u128) -> Deed {
    Deed::Define(StatementName::new(name), Definition::Shared(statement(number)))
}

fn ledger(sent: &[Owed]) -> Ledger {
    let mut ledger = Ledger::default();
    for owed in sent {
        ledger.sent(*owed, Deed::None);
    }
    ledger
}

/// Feeds replies, `Z` as idle; all must be in step.
fn feed(ledger: &mut Ledger, tags: &[u8]) -> Vec<Verdict> {
    tags.iter().map(|tag| ledger.received(*tag, b'I').unwrap()).collect()
}

use Owed::{Bind, Close, CopyData, CopyEnd, Describe, Execute, Flush, Parse, Query, Sync};

#[test]
fn a_simple_query_of_several_statements() {
    let mut ledger = ledger(&[Query]);
    feed(&mut ledger, b"TDDCSCN");
    assert!(!ledger.is_clean());
    feed(&mut ledger, b"Z");
    assert!(ledger.is_clean());
}

#[test]
fn an_error_skips_to_the_sync_that_is_there() {
    let mut ledger = ledger(&[Parse, Bind, Execute, Query, Sync, Query]);
    assert_eq!(feed(&mut ledger, b"1E"), [Verdict::Forward, failed(Deed::None)]);
    feed(&mut ledger, b"Z");
    assert_eq!(ledger.owed().collect::<Vec<_>>(), [Query]);
}

#[test]
fn an_error_skips_to_a_sync_that_is_still_to_come() {
    let mut ledger = ledger(&[Parse, Bind]);
    assert_eq!(feed(&mut ledger, b"E"), [failed(Deed::None)]);
    ledger.sent(Query, Deed::None);
    ledger.sent(Execute, Deed::None);
    assert!(ledger.is_empty() && !ledger.is_settled());
    ledger.sent(Sync, Deed::None);
    feed(&mut ledger, b"Z");
    assert!(ledger.is_clean());
}

#[test]
fn a_query_ends_a_batch_without_sync() {
    let mut ledger = ledger(&[Parse, Bind, Execute]);
    feed(&mut ledger, b"12C");
    assert!(!ledger.is_settled(), "the batch is open");
    ledger.sent(Query, Deed::None);
    feed(&mut ledger, b"CZ");
    assert!(ledger.is_clean());
}

#[test]
fn a_failing_commit_at_sync_skips_nothing() {
    let mut ledger = ledger(&[Execute, Sync, Query]);
    feed(&mut ledger, b"CEZ");
    assert_eq!(ledger.owed().collect::<Vec<_>>(), [Query]);
}

#[test]
fn copy_in_by_execute_owes_one_ready_when_it_works() {
    let mut ledger = ledger(&[Parse, Bind, Describe, Execute, Sync]);
    feed(&mut ledger, b"12nG");
    assert!(ledger.is_copy_in());
    ledger.sent(CopyEnd, Deed::None);
    ledger.sent(Sync, Deed::None);
    feed(&mut ledger, b"CZ");
    assert!(ledger.is_clean());
}

#[test]
fn copy_in_by_execute_owes_two_when_its_parse_fails() {
    let mut ledger = ledger(&[Parse, Bind, Describe, Execute, Sync, CopyEnd, Sync]);
    feed(&mut ledger, b"EZ");
    assert!(!ledger.is_clean());
    feed(&mut ledger, b"Z");
    assert!(ledger.is_clean());
}

#[test]
fn copy_in_sent_in_one_go() {
    let mut ledger = ledger(&[Parse, Bind, Execute, Sync, CopyEnd, Sync]);
    feed(&mut ledger, b"12GCZ");
    assert!(ledger.is_clean());
}

#[test]
fn two_copies_in_one_query() {
    let mut ledger = ledger(&[Query, CopyEnd, CopyEnd, Query]);
    feed(&mut ledger, b"GCGCZ");
    assert_eq!(ledger.owed().collect::<Vec<_>>(), [Query]);
}

#[test]
fn a_failed_copy_leaves_its_late_end_without_effect() {
    let mut ledger = ledger(&[Query]);
    feed(&mut ledger, b"GE");
    ledger.sent(CopyEnd, Deed::None);
    feed(&mut ledger, b"Z");
    assert!(ledger.is_clean());
    ledger.sent(CopyEnd, Deed::None);
    assert!(ledger.is_clean());
}

#[test]
fn a_sync_into_a_copy_that_fails_leaves_doubt() {
    let mut ledger = ledger(&[Bind, Execute]);
    feed(&mut ledger, b"2G");
    ledger.sent(CopyData, Deed::None);
    ledger.sent(Sync, Deed::None);
    ledger.sent(CopyEnd, Deed::None);
    ledger.sent(Sync, Deed::None);
    feed(&mut ledger, b"EZZ");
    assert!(ledger.is_in_doubt() && !ledger.is_clean());
}

#[test]
fn replies_to_the_proxy_are_swallowed() {
    let mut ledger = Ledger::default();
    ledger.sent_by_proxy(Parse, Asker::Proxy, Deed::None);
    ledger.sent(Bind, Deed::None);
    ledger.sent(Sync, Deed::None);
    assert_eq!(
        feed(&mut ledger, b"N12Z"),
        [
            Verdict::Swallow,
            Verdict::Swallow,
            Verdict::Forward,
            Verdict::Ready(TransactionStatus::Idle, Deed::None)
        ]
    );
}

#[test]
fn a_reply_that_nobody_owes_is_out_of_step() {
    assert!(Ledger::default().received(b'Z', b'I').is_err());
    assert!(ledger(&[Sync]).received(b'1', 0).is_err());
    assert!(ledger(&[Query]).received(b'Z', b'x').is_err());
}

#[test]
fn marks_are_not_owed() {
    let mut ledger = Ledger::default();
    ledger.sent(Execute, Deed::None);
    ledger.sent(Flush, Deed::None);
    assert!(ledger.is_answer_coming());
    ledger.sent(CopyEnd, Deed::None);
    assert!(ledger.owed().eq([Execute]));
    ledger.received(b'C', 0).unwrap();
    assert!(ledger.is_empty() && !ledger.is_answer_coming());
    // With nothing in front of it a Flush brings nothing.
    ledger.sent(Flush, Deed::None);
    assert!(ledger.is_empty());
}

#[test]
fn a_sync_in_front_of_the_data_leaves_none() {
    let mut ledger = ledger(&[Bind, Execute, Sync]);
    feed(&mut ledger, b"2G");
    ledger.sent(Sync, Deed::None);
    ledger.sent(CopyData, Deed::None);
    feed(&mut ledger, b"E");
    ledger.sent(Sync, Deed::None);
    feed(&mut ledger, b"Z");
    assert!(ledger.is_clean());
}

#[test]
fn bad_data_with_everything_behind_it_sent_in_one_go() {
    let close = Close;
    let mut ledger = ledger(&[Bind, Execute, CopyData, Sync, close, Sync]);
    feed(&mut ledger, b"2GEZ3Z");
    assert!(ledger.is_in_doubt() && !ledger.is_clean());
}

#[test]
fn an_error_of_the_proxys_own_group_is_no_error_of_the_client() {
    let mut ledger = Ledger::default();
    ledger.sent_by_proxy(Parse, Asker::Proxy, Deed::None);
    ledger.sent_by_proxy(Sync, Asker::Proxy, Deed::None);
    ledger.sent(Bind, Deed::None);
    ledger.sent(Sync, Deed::None);
    assert_eq!(
        feed(&mut ledger, b"EZ2Z"),
        [
            Verdict::Swallow,
            Verdict::Swallow,
            Verdict::Forward,
            Verdict::Ready(TransactionStatus::Idle, Deed::None)
        ]
    );
}

#[test]
fn a_made_up_reply_comes_in_its_turn() {
    let mut ledger = ledger(&[Execute]);
    ledger.made_up(Parse, define(b"a", 1));
    ledger.sent(Sync, Deed::None);
    assert_eq!(ledger.take_made_up(), None);
    feed(&mut ledger, b"C");
    assert_eq!(ledger.take_made_up(), Some(define(b"a", 1)));
    feed(&mut ledger, b"Z");
    assert!(ledger.is_clean());
}

#[test]
fn a_made_up_reply_is_skipped_like_any_other() {
    let mut ledger = ledger(&[Execute]);
    ledger.made_up(Parse, define(b"a", 1));
    ledger.sent(Sync, Deed::None);
    feed(&mut ledger, b"E");
    assert_eq!(ledger.take_made_up(), None);
    assert!(!ledger.has_names_in_flight());
    feed(&mut ledger, b"Z");
    assert!(ledger.is_clean());
}

#[test]
fn what_a_name_stands_for_is_open_until_its_group_is_answered() {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.name_in_flight(b"a"), InFlight::Settled);
    ledger.sent(Parse, define(b"a", 1));
    assert_eq!(ledger.name_in_flight(b"a"), InFlight::InThisGroup(&define(b"a", 1)));
    assert_eq!(ledger.name_in_flight(b"b"), InFlight::Settled);
    assert_eq!(ledger.statement_in_flight(StatementId(1)), InFlight::InThisGroup(true));
    ledger.sent(Sync, Deed::None);
    assert_eq!(ledger.name_in_flight(b"a"), InFlight::Open);
    assert_eq!(ledger.statement_in_flight(StatementId(1)), InFlight::Open);
    ledger.sent(Close, Deed::Undefine(StatementName::new(b"a")));
    ledger.sent_by_proxy(Close, Asker::Ahead, Deed::Evict(StatementId(1)));
    assert_eq!(
        ledger.name_in_flight(b"a"),
        InFlight::InThisGroup(&Deed::Undefine(StatementName::new(b"a")))
    );
    assert_eq!(ledger.statement_in_flight(StatementId(1)), InFlight::InThisGroup(false));
    ledger.sent(Sync, Deed::None);
    assert_eq!(
        feed(&mut ledger, b"1Z"),
        [
            Verdict::Done { deed: define(b"a", 1), forward: true },
            Verdict::Ready(TransactionStatus::Idle, Deed::None)
        ]
    );
    feed(&mut ledger, b"33Z");
    assert_eq!(ledger.name_in_flight(b"a"), InFlight::Settled);
}

#[test]
fn what_fails_ahead_of_the_client_is_the_clients_error() {
    let mut ledger = Ledger::default();
    ledger.sent_by_proxy(Parse, Asker::Ahead, Deed::Prepare(statement(1)));
    ledger.sent_by_proxy(Flush, Asker::Ahead, Deed::None);
    assert_eq!(feed(&mut ledger, b"NE"), [Verdict::Swallow, failed(Deed::Prepare(statement(1)))]);
    assert!(ledger.is_skipping());
    assert_eq!(ledger.statement_in_flight(StatementId(1)), InFlight::Settled);
}

#[test]
fn a_failed_query_drops_the_unnamed_statement_alone() {
    let mut ledger = Ledger::default();
    let drops = Deed::Query(Drops::One(StatementName::new(b"a")));
    ledger.sent(Query, drops.clone());
    assert_eq!(
        feed(&mut ledger, b"EZ"),
        [failed(drops), Verdict::Ready(TransactionStatus::Idle, Deed::Query(Drops::None))]
    );
}

#[test]
fn a_long_queue_is_not_searched() {
    let mut ledger = ledger(&[Query; LOOK_BACK_MAX]);
    ledger.sent(Parse, define(b"a", 1));
    assert_eq!(ledger.name_in_flight(b"b"), InFlight::Open);
}

#[test]
fn what_the_proxy_asked_for_is_not_owed_to_the_client() {
    let mut ledger = Ledger::default();
    ledger.sent_by_proxy(Parse, Asker::Proxy, Deed::None);
    ledger.sent_by_proxy(Sync, Asker::Proxy, Deed::None);
    ledger.sent(Bind, Deed::None);
    ledger.sent(Sync, Deed::None);
    assert!(ledger.owed().eq([Bind, Sync]));
}
