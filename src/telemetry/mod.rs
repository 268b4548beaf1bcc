//! What the proxy tells its operators.

pub mod logging;
