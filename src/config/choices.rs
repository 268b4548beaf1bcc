//! Choices: from the words of the file to enums.

use super::checked::{AfterUnknown, LogFormat, LogLevel, LostListener, PoolMode};

pub(super) fn log_level(name: &str) -> LogLevel {
    match name {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => LogLevel::Info,
    }
}

pub(super) fn after_unknown(name: &str) -> AfterUnknown {
    match name {
        "keep" => AfterUnknown::Keep,
        "pin" => AfterUnknown::Pin,
        _ => AfterUnknown::Reset,
    }
}

pub(super) fn lost_listener(name: &str) -> LostListener {
    match name {
        "disconnect" => LostListener::Disconnect,
        _ => LostListener::Relisten,
    }
}

pub(super) fn pool_mode(name: &str) -> PoolMode {
    match name {
        "session" => PoolMode::Session,
        "statement" => PoolMode::Statement,
        _ => PoolMode::Transaction,
    }
}

pub(super) fn log_format(name: &str) -> LogFormat {
    match name {
        "json" => LogFormat::Json,
        _ => LogFormat::Text,
    }
}
