//! Configuration: the file as written ([`written`]), checked into what the program uses ([`checked`]).
//!
//! * [`keys`]: every key with its default and its meaning, in one table.
//! * [`written`]: file, `--set` and `--upstream` merged into one tree; every value knows where it is from.
//! * [`load`]: the tree checked against the table; all faults at once.
//! * [`reference`]: the sample `proxy.toml` and docs/configuration.md, made from the table.

pub mod checked;
mod fault;
mod keys;
mod load;
mod reference;
mod units;
mod upstream;
mod written;

pub use checked::{
    Address, AfterUnknown, Auth, AuthMethod, Config, Database, Databases, Limits, Log, LogLevel,
    LostListener, Net, PoolMode, PoolSettings, Prepared, Secret, SessionPolicy, User,
};
pub use fault::Faults;
pub use load::{Loaded, Source, load};
