//! Configuration: the file as written ([`written`]), checked into what the program uses ([`checked`]).
//!
//! * [`keys`]: every key with its default and its meaning, in one table.
//! * [`written`]: file, `--set` and `--upstream` merged into one tree; every value knows where it is from.
//! * [`load`]: the tree checked against the table; all faults at once.
//! * [`shown`]: every key as text, for operators.
//! * [`pgbouncer`]: what a `pgbouncer.ini` is here.
//! * [`reference`]: the sample `proxy.toml` and docs/configuration.md, made from the table.

pub mod checked;
mod choices;
mod fault;
mod keys;
mod load;
pub mod pgbouncer;
mod reference;
mod shown;
mod units;
mod upstream;
mod value;
mod written;

pub use checked::{
    Address, Admin, AfterUnknown, Auth, AuthMethod, Config, Database, Databases, Limits, Log,
    LogFormat, LogLevel, LostListener, Net, PoolMode, PoolSettings, Prepared, Secret,
    SessionPolicy, User,
};
#[cfg(test)]
pub(crate) use reference::compare;

pub use fault::Faults;
pub use load::{Loaded, Source, load};
pub use shown::Shown;
