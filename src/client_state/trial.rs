//! Whether an unnamed statement is better off under a name.
//!
//! PostgreSQL plans a named statement for its values five times, then it may keep to a generic plan. Where that is
//! the wrong choice (the first values were not like the later ones), the text goes back to being unnamed. Now and then
//! one execution is sent as its client wrote it, a control; if those take half as long or less, twice in a row, the
//! name has lost. Both are timed side by side, so a server that is busy slows both.

/// What an execution is sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arm {
    /// Under the name.
    Named,
    /// As its client wrote it.
    Control,
}

/// The executions of one statement.
#[derive(Debug, Default)]
pub(super) struct Trial {
    /// Executions so far.
    runs: u32,
    named: Times<16>,
    controls: Times<8>,
    /// Comparisons lost in a row.
    losses: u8,
}

/// The last times of one kind, in microseconds.
#[derive(Debug)]
struct Times<const N: usize> {
    times: [u32; N],
    count: usize,
}

/// One run in so many is timed.
const TIMED_EVERY: u32 = 4;

/// One run in so many is a control, at first and later.
const CONTROL_EVERY: [u32; 2] = [16, 128];

/// So many runs are the first ones.
const FIRST_RUNS: u32 = 256;

/// A difference below this many microseconds is none.
const NOISE: u32 = 100;

impl Trial {
    /// What the next execution is, and whether to time it.
    pub(super) fn next(&mut self) -> (Arm, bool) {
        let [first, later] = CONTROL_EVERY;
        let every = if self.runs < FIRST_RUNS { first } else { later };
        self.runs = self.runs.checked_add(1).unwrap_or(FIRST_RUNS);
        if self.runs.is_multiple_of(every) {
            (Arm::Control, true)
        } else {
            (Arm::Named, self.runs.is_multiple_of(TIMED_EVERY))
        }
    }

    /// A timed execution took this long. `true`: the name has lost.
    pub(super) fn took(&mut self, arm: Arm, micros: u32) -> bool {
        match arm {
            Arm::Named => self.named.add(micros),
            Arm::Control => {
                self.controls.add(micros);
                let (Some(named), Some(control)) = (self.named.mean(), self.controls.mean()) else {
                    return false;
                };
                let is_lost = named > control.saturating_mul(2).saturating_add(NOISE);
                self.losses = if is_lost { self.losses + 1 } else { 0 };
            }
        }
        self.losses >= 2
    }
}

impl<const N: usize> Default for Times<N> {
    fn default() -> Self {
        Self { times: [0; N], count: 0 }
    }
}

impl<const N: usize> Times<N> {
    fn add(&mut self, micros: u32) {
        if let Some(time) = self.times.get_mut(self.count % N) {
            *time = micros;
        }
        self.count += 1;
    }

    /// Without the longest, which may have waited for a lock; `None`: too few.
    fn mean(&self) -> Option<u32> {
        let filled = self.times.get(..self.count.min(N))?;
        let others = u64::try_from(filled.len()).ok()?.checked_sub(1)?;
        if others < 3 {
            return None;
        }
        let sum: u64 = filled.iter().copied().map(u64::from).sum();
        let longest = filled.iter().copied().max().map(u64::from)?;
        u32::try_from((sum - longest) / others).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs so often; the run at which the name has lost.
    fn lost_at(runs: u32, time: impl Fn(Arm, u32) -> u32) -> Option<u32> {
        let mut trial = Trial::default();
        (0..runs).find(|run| {
            let (arm, is_timed) = trial.next();
            is_timed && trial.took(arm, time(arm, *run))
        })
    }

    #[test]
    fn a_generic_plan_that_is_slower_loses() {
        let slow = |arm, _| if arm == Arm::Named { 10_000 } else { 300 };
        assert!(lost_at(10_000, slow).is_some_and(|run| run < 100));
        // Even after a long time.
        let later = |arm, run| if arm == Arm::Named && run > 5000 { 10_000 } else { 300 };
        assert!(lost_at(10_000, later).is_some_and(|run| run > 5000));
    }

    #[test]
    fn noise_a_busy_server_and_a_lock_lose_nothing() {
        let noisy = |_, run: u32| 50 + run.wrapping_mul(2_654_435_761) % 90;
        assert_eq!(lost_at(100_000, noisy), None);
        let busy = |_, run| if run > 100 { 50_000 } else { 100 };
        assert_eq!(lost_at(100_000, busy), None);
        let locked = |arm, run| if arm == Arm::Named && run % 64 == 3 { 1_000_000 } else { 100 };
        assert_eq!(lost_at(100_000, locked), None);
    }

    #[test]
    fn controls_are_few() {
        let mut trial = Trial::default();
        let controls = (0..100_000).filter(|_| trial.next().0 == Arm::Control).count();
        assert!(controls < 1000, "{controls}");
    }
}
