//! SQL text to facts: pure functions that never fail, so that any bytes a client sends have an answer.
//!
//! * [`lexer`]: the text as PostgreSQL's scanner would cut it.
//! * [`session_effects`]: what a statement may leave behind on its server connection.
//! * [`setting_changes`]: which settings a text may change, by name.
//! * [`prepared_names`]: what SQL does with prepared statements and their names.
//! * [`channels`]: what a text does with notification channels.
//! * [`clock_literals`]: whether a text means something else each time it is parsed.
//! * [`databases`]: whether nobody may be connected to a database.
//! * [`fastpath`]: the same for a FunctionCall message, which has no text.
//!
//! What is done about an effect (tracking, pinning, reset) belongs to the layers above.

pub mod channels;
pub mod clock_literals;
pub mod databases;
pub mod fastpath;
mod identifiers;
pub mod lexer;
pub mod prepared_names;
pub mod session_effects;
pub mod setting_changes;
