//! SQL text to facts: pure functions that never fail, so that any bytes a client sends have an answer.
//!
//! * [`lexer`]: the text as PostgreSQL's scanner would cut it.
//! * [`session_effects`]: what a statement may leave behind on its server connection.
//! * [`fastpath`]: the same for a FunctionCall message, which has no text.
//!
//! What is done about an effect (tracking, pinning, reset) belongs to the layers above.

pub mod fastpath;
pub mod lexer;
pub mod session_effects;
