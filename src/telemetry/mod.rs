//! What the proxy tells its operators.

pub mod cells;
pub mod logging;
pub mod metrics;

pub use cells::{PoolCells, PoolTotals, ProcessCells};
