//! Configuration: the file as written, checked into what the program uses.

pub mod checked;

pub use checked::{
    Address, Auth, AuthMethod, Config, Database, Databases, Limits, Log, LogLevel, Net, PoolMode,
    PoolSettings, Secret, User,
};
