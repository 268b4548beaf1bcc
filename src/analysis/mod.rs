//! SQL text to facts: pure functions that never fail, so that any bytes a client sends have an answer.
//!
//! * [`lexer`]: the text as PostgreSQL's scanner would cut it.
//! * [`session_effects`]: what a statement may leave behind on its server connection.
//! * [`deallocation`]: whether a text drops prepared statements, and which.
//! * [`clock_literals`]: whether a text means something else each time it is parsed.
//! * [`fastpath`]: the same for a FunctionCall message, which has no text.
//!
//! What is done about an effect (tracking, pinning, reset) belongs to the layers above.

pub mod clock_literals;
pub mod deallocation;
pub mod fastpath;
pub mod lexer;
pub mod session_effects;
