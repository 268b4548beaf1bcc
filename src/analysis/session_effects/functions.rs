//! Functions by name: what they leave behind, and which are known to leave nothing.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::footprint::{Effect, Effects};

/// Functions that leave something behind, besides set_config.
pub(super) const EFFECTS: &[(&[u8], Effects)] = &[
    (b"pg_advisory_lock", Effects::of(Effect::AdvisoryLock)),
    (b"pg_advisory_lock_shared", Effects::of(Effect::AdvisoryLock)),
    (b"pg_try_advisory_lock", Effects::of(Effect::AdvisoryLock)),
    (b"pg_try_advisory_lock_shared", Effects::of(Effect::AdvisoryLock)),
    (b"setseed", Effects::of(Effect::Process)),
    (b"pg_replication_origin_session_setup", Effects::of(Effect::Process)),
    (b"dblink_connect", Effects::of(Effect::ForeignSession)),
    (b"dblink_connect_u", Effects::of(Effect::ForeignSession)),
    (b"dblink_open", Effects::of(Effect::ForeignSession)),
    // Their slots may be temporary ones, which end with the server process.
    (b"pg_create_physical_replication_slot", Effects::of(Effect::Process)),
    (b"pg_create_logical_replication_slot", Effects::of(Effect::Process)),
    (b"pg_copy_physical_replication_slot", Effects::of(Effect::Process)),
    (b"pg_copy_logical_replication_slot", Effects::of(Effect::Process)),
    // A base backup belongs to its session.
    (b"pg_backup_start", Effects::of(Effect::Process)),
    (b"pg_start_backup", Effects::of(Effect::Process)),
    // They run SQL given as a string.
    (b"query_to_xml", Effects::of(Effect::Routine)),
    (b"query_to_xmlschema", Effects::of(Effect::Routine)),
    (b"query_to_xml_and_xmlschema", Effects::of(Effect::Routine)),
    (b"ts_stat", Effects::of(Effect::Routine)),
    (b"ts_rewrite", Effects::of(Effect::Routine)),
];

/// Functions that change settings: `setting_changes` tells which.
pub(super) const SETTING: &[&[u8]] = &[b"set_config", b"set_limit"];

/// Functions that may end what others have left.
pub(super) const RELEASING: &[&[u8]] =
    &[b"pg_advisory_unlock", b"pg_advisory_unlock_shared", b"pg_advisory_unlock_all"];

/// Functions that take values of sequences.
pub(super) const TAKING_VALUES: &[&[u8]] = &[b"nextval", b"setval"];

/// Functions that ask for values that were taken.
pub(super) const READING_VALUES: &[&[u8]] = &[b"currval", b"lastval"];

/// Functions that send notifications.
pub(super) const NOTIFYING: &[&[u8]] = &[b"pg_notify"];

/// Functions that list the channels that the session listens on.
pub(super) const LISTING_CHANNELS: &[&[u8]] = &[b"pg_listening_channels"];

/// Names of all functions of schema pg_catalog in PostgreSQL 15, 17 and 18:
/// `SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace`.
const BUILT_IN: &str = include_str!("builtin_functions.txt");

/// Words that no function can be called without quotes, by `pg_get_keywords()`.
const KEYWORDS: &str = "all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both \
    case cast char character check coalesce collate collation column concurrently constraint create cross \
    current_catalog current_date current_role current_schema current_time current_timestamp current_user dec \
    decimal default deferrable desc distinct do else end except exists extract false fetch float for foreign \
    freeze from full grant greatest group grouping having ilike in initially inner inout int integer intersect \
    interval into is isnull join json json_array json_arrayagg json_exists json_object json_objectagg json_query \
    json_scalar json_serialize json_table json_value lateral leading least left like limit localtime \
    localtimestamp merge_action national natural nchar none normalize not notnull null nullif numeric offset on \
    only or order out outer overlaps overlay placing position precision primary real references returning right \
    row select session_user setof similar smallint some substring symmetric system_user table tablesample then \
    time timestamp to trailing treat trim true union unique user using values varchar variadic verbose when \
    where window with xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi \
    xmlroot xmlserialize xmltable";

/// Words that stand before a parenthesis in statements that are planned, and that a function can be called.
const UNRESERVED: &[&[u8]] = &[
    b"also",
    b"by",
    b"columns",
    b"conflict",
    b"cube",
    b"escape",
    b"explain",
    b"filter",
    b"key",
    b"materialized",
    b"options",
    b"ordinality",
    b"over",
    b"partition",
    b"range",
    b"recursive",
    b"rollup",
    b"set",
    b"sets",
    b"within",
];

/// Words behind which an expression begins.
const BEFORE_EXPRESSIONS: &[&[u8]] = &[
    b"all",
    b"and",
    b"any",
    b"between",
    b"by",
    b"case",
    b"distinct",
    b"else",
    b"from",
    b"having",
    b"ilike",
    b"in",
    b"is",
    b"join",
    b"lateral",
    b"like",
    b"limit",
    b"not",
    b"offset",
    b"on",
    b"or",
    b"returning",
    b"select",
    b"set",
    b"some",
    b"then",
    b"using",
    b"values",
    b"when",
    b"where",
];

/// Longest name in the list, and longer.
const NAME_BYTES: usize = 64;

/// Known words, and whether it takes no quotes to call a function so.
static HARMLESS: LazyLock<HashMap<&'static [u8], bool, foldhash::fast::FixedState>> =
    LazyLock::new(|| {
        let keywords = KEYWORDS.split_ascii_whitespace().map(|word| (word.as_bytes(), false));
        let functions = BUILT_IN.split_ascii_whitespace().map(|name| (name.as_bytes(), true));
        let mut harmless: HashMap<_, _, _> = keywords.chain(functions).collect();
        let others =
            [SETTING, RELEASING, TAKING_VALUES, READING_VALUES, NOTIFYING, LISTING_CHANNELS];
        for name in EFFECTS.iter().map(|(name, _)| name).chain(others.into_iter().flatten()) {
            harmless.remove(name);
        }
        harmless
    });

/// Whether a word before a parenthesis is a keyword, although a function could be called so: it does not stand where an
/// expression begins. `before`: the text before the word.
pub(super) fn is_keyword(name: &[u8], before: &[u8]) -> bool {
    if !UNRESERVED.iter().any(|word| name.eq_ignore_ascii_case(word)) {
        return false;
    }
    let is_in_word =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'"' | 128..);
    let from = before.iter().rposition(|byte| !is_in_word(byte)).map_or(0, |at| at + 1);
    match before.get(from..).unwrap_or_default() {
        [] => before.ends_with(b")"),
        last if name.eq_ignore_ascii_case(b"conflict") => last.eq_ignore_ascii_case(b"on"),
        last if is_grouping(name) => last.eq_ignore_ascii_case(b"by"),
        last => !BEFORE_EXPRESSIONS.iter().any(|word| last.eq_ignore_ascii_case(word)),
    }
}

/// `GROUP BY CUBE (...)`
fn is_grouping(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"cube") || name.eq_ignore_ascii_case(b"rollup")
}

/// Whether a word before a parenthesis is known to leave nothing behind. Quoted, it counts as it is written.
pub(super) fn is_harmless(name: &[u8], is_quoted: bool) -> bool {
    if is_quoted {
        return HARMLESS.get(name) == Some(&true);
    }
    let mut folded = [0; NAME_BYTES];
    let Some(folded) = folded.get_mut(..name.len()) else { return false };
    folded.copy_from_slice(name);
    folded.make_ascii_lowercase();
    HARMLESS.contains_key(&*folded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_stand_where_no_expression_begins() {
        for (before, name) in [
            ("count(*)", "filter"),
            ("rank()", "OVER"),
            ("group", "by"),
            ("insert into t (a) values (1) on", "conflict"),
            ("update t", "set"),
            ("update \"T\"", "set"),
            ("group by grouping", "sets"),
            ("with x as", "materialized"),
        ] {
            assert!(is_keyword(name.as_bytes(), before.as_bytes()), "{before} {name} (");
        }
        for (before, name) in [
            ("select", "sets"),
            ("select a,", "key"),
            ("select 1 +", "range"),
            ("from", "filter"),
            ("where", "set"),
            ("select", "mine"),
        ] {
            assert!(!is_keyword(name.as_bytes(), before.as_bytes()), "{before} {name} (");
        }
    }

    #[test]
    fn what_is_known_to_leave_nothing() {
        for name in ["count", "COUNT", "now", "values", "IN", "gen_random_uuid"] {
            assert!(is_harmless(name.as_bytes(), false), "{name}");
        }
        let too_long = "x".repeat(100);
        for name in ["my_function", "set_config", "ts_stat", "pg_advisory_unlock", &too_long] {
            assert!(!is_harmless(name.as_bytes(), false), "{name}");
        }
        assert!(is_harmless(b"count", true) && !is_harmless(b"Count", true));
    }
}
