//! Ways to answer a request. So far there is one: relay it as it is.

pub mod relay;
