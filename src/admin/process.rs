//! What the process takes of the machine (proc(5)).

use std::fs;

/// Jiffies a second: USER_HZ, the same on all architectures that Linux runs on today.
const TICKS_PER_SECOND: u64 = 100;

/// Bytes of a page, as `statm` counts them.
const PAGE_BYTES: u64 = 4096;

/// What it takes; zero where the system doesn't tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Nanoseconds of CPU, user and system.
    pub(super) cpu: u64,
    /// Bytes of resident memory.
    pub(super) memory: u64,
    /// Open file descriptors.
    pub(super) descriptors: u64,
    /// File descriptors that may be open.
    pub(super) descriptors_max: u64,
}

/// What it takes now.
pub(super) fn usage() -> Usage {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let descriptors = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    Usage {
        cpu: ticks(&stat) * (1_000_000_000 / TICKS_PER_SECOND),
        memory: field(&statm, 1) * PAGE_BYTES,
        descriptors: descriptors as u64,
        descriptors_max: rlimit::Resource::NOFILE.get_soft().unwrap_or_default(),
    }
}

/// utime and stime: the 14th and 15th field; the second is the name, in parentheses.
fn ticks(stat: &str) -> u64 {
    let behind_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    field(behind_name, 11) + field(behind_name, 12)
}

fn field(text: &str, at: usize) -> u64 {
    text.split_whitespace().nth(at).and_then(|field| field.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_spaces_and_parentheses_don_t_confuse() {
        assert_eq!(ticks("1 (a) b) S 1 1 1 0 -1 4 0 0 0 0 7 5 0 0 20"), 12);
        assert!(usage().memory > 0 && usage().descriptors > 2);
    }
}
