//! The ledger against what PostgreSQL was seen to send (docs/protocol.md).

use super::*;

fn ledger(sent: &[Owed]) -> Ledger {
    let mut ledger = Ledger::default();
    for owed in sent {
        ledger.sent(*owed);
    }
    ledger
}

/// Feeds replies, `Z` as idle; all must be in step.
fn feed(ledger: &mut Ledger, tags: &[u8]) -> Vec<Verdict> {
    tags.iter().map(|tag| ledger.received(*tag, b'I').unwrap()).collect()
}

use Owed::{Bind, CopyData, CopyEnd, Describe, Execute, Flush, Parse, ParseUnnamed, Query, Sync};

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
    let mut ledger = ledger(&[ParseUnnamed, Bind, Execute, Query, Sync, Query]);
    assert_eq!(
        feed(&mut ledger, b"1E"),
        [
            Verdict::Unnamed(ParseUnnamed),
            Verdict::Failed(Skipped { messages: 1, has_failed: false })
        ]
    );
    feed(&mut ledger, b"Z");
    assert_eq!(ledger.owed().collect::<Vec<_>>(), [Query]);
}

#[test]
fn an_error_skips_to_a_sync_that_is_still_to_come() {
    let mut ledger = ledger(&[ParseUnnamed, Bind]);
    assert_eq!(
        feed(&mut ledger, b"E"),
        [Verdict::Failed(Skipped { messages: 1, has_failed: true })]
    );
    ledger.sent(Query);
    ledger.sent(Execute);
    assert!(ledger.is_empty() && !ledger.is_settled());
    ledger.sent(Sync);
    feed(&mut ledger, b"Z");
    assert!(ledger.is_clean());
}

#[test]
fn a_query_ends_a_batch_without_sync() {
    let mut ledger = ledger(&[Parse, Bind, Execute]);
    feed(&mut ledger, b"12C");
    assert!(!ledger.is_settled(), "the batch is open");
    ledger.sent(Query);
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
    ledger.sent(CopyEnd);
    ledger.sent(Sync);
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
    ledger.sent(CopyEnd);
    feed(&mut ledger, b"Z");
    assert!(ledger.is_clean());
    ledger.sent(CopyEnd);
    assert!(ledger.is_clean());
}

#[test]
fn a_sync_into_a_copy_that_fails_leaves_doubt() {
    let mut ledger = ledger(&[Bind, Execute]);
    feed(&mut ledger, b"2G");
    ledger.sent(CopyData);
    ledger.sent(Sync);
    ledger.sent(CopyEnd);
    ledger.sent(Sync);
    feed(&mut ledger, b"EZZ");
    assert!(ledger.is_in_doubt() && !ledger.is_clean());
}

#[test]
fn replies_to_the_proxy_are_swallowed() {
    let mut ledger = Ledger::default();
    ledger.sent_by_proxy(ParseUnnamed);
    ledger.sent(Bind);
    ledger.sent(Sync);
    assert_eq!(
        feed(&mut ledger, b"N12Z"),
        [
            Verdict::Swallow,
            Verdict::Swallow,
            Verdict::Forward,
            Verdict::Ready(TransactionStatus::Idle, Sync)
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
    ledger.sent(Execute);
    ledger.sent(Flush);
    assert!(ledger.is_answer_coming());
    ledger.sent(CopyEnd);
    assert!(ledger.owed().eq([Execute]));
    ledger.received(b'C', 0).unwrap();
    assert!(ledger.is_empty() && !ledger.is_answer_coming());
    // With nothing in front of it a Flush brings nothing.
    ledger.sent(Flush);
    assert!(ledger.is_empty());
}

#[test]
fn a_sync_in_front_of_the_data_leaves_none() {
    let mut ledger = ledger(&[Bind, Execute, Sync]);
    feed(&mut ledger, b"2G");
    ledger.sent(Sync);
    ledger.sent(CopyData);
    feed(&mut ledger, b"E");
    ledger.sent(Sync);
    feed(&mut ledger, b"Z");
    assert!(ledger.is_clean());
}

#[test]
fn bad_data_with_everything_behind_it_sent_in_one_go() {
    let close = Owed::Close;
    let mut ledger = ledger(&[Bind, Execute, CopyData, Sync, close, Sync]);
    feed(&mut ledger, b"2GEZ3Z");
    assert!(ledger.is_in_doubt() && !ledger.is_clean());
}

#[test]
fn an_error_of_the_proxys_own_group_is_no_error_of_the_client() {
    let mut ledger = Ledger::default();
    ledger.sent_by_proxy(ParseUnnamed);
    ledger.sent_by_proxy(Sync);
    ledger.sent(Bind);
    ledger.sent(Sync);
    assert_eq!(
        feed(&mut ledger, b"EZ2Z"),
        [
            Verdict::Swallow,
            Verdict::Swallow,
            Verdict::Forward,
            Verdict::Ready(TransactionStatus::Idle, Sync)
        ]
    );
}

#[test]
fn what_the_proxy_asked_for_is_not_owed_to_the_client() {
    let mut ledger = Ledger::default();
    ledger.sent_by_proxy(ParseUnnamed);
    ledger.sent_by_proxy(Sync);
    ledger.sent(Bind);
    ledger.sent(Sync);
    assert!(ledger.owed().eq([Bind, Sync]));
}
