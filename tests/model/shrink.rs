//! From a sequence that fails to a small one that fails in the same way.

use std::time::Duration;

use tokio::time::Instant;

use crate::sequence::{Cut, Sequence, Wait};
use crate::world::{Failure, World};

/// Shrinking ends after this long.
const TIME_MAX: Duration = Duration::from_secs(90);

/// A missing reply is missed after this long while shrinking.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Drops clients, steps and messages as long as the sequence still fails in the same way.
pub(crate) fn shrink(
    world: &mut World,
    sequence: Sequence,
    failure: Failure,
) -> (Sequence, Failure) {
    let deadline = Instant::now() + TIME_MAX;
    let mut best = (sequence, failure);
    loop {
        let mut smaller = false;
        for candidate in candidates(&best.0) {
            if Instant::now() >= deadline {
                return best;
            }
            world.renew();
            if let Err(failure) = world.run(&candidate, PATIENCE)
                && std::mem::discriminant(&failure) == std::mem::discriminant(&best.1)
            {
                best = (candidate, failure);
                smaller = true;
                break;
            }
        }
        if !smaller {
            return best;
        }
    }
}

/// Smaller sequences, the smallest first.
fn candidates(sequence: &Sequence) -> Vec<Sequence> {
    let mut found = Vec::new();
    for (client, steps) in sequence.clients.iter().enumerate() {
        // The ending stays: it brings a client to rest.
        let kept = steps.len().min(2);
        if steps.len() > kept {
            found.push(edited(sequence, |smaller| {
                smaller.clients[client].drain(..steps.len() - kept);
            }));
        }
    }
    for (client, steps) in sequence.clients.iter().enumerate() {
        for step in 0..steps.len().saturating_sub(1) {
            found.push(edited(sequence, |smaller| {
                smaller.clients[client].remove(step);
            }));
        }
    }
    for (client, steps) in sequence.clients.iter().enumerate() {
        for (number, step) in steps.iter().enumerate() {
            for message in 0..step.messages.len() {
                found.push(edited(sequence, |smaller| {
                    let step = &mut smaller.clients[client][number];
                    step.messages.remove(message);
                    // What it waited for may be gone.
                    if matches!(step.wait, Wait::Ready | Wait::Flushed) {
                        step.wait = Wait::Barrier;
                    }
                }));
            }
            if step.cut != Cut::Whole {
                found.push(edited(sequence, |smaller| {
                    smaller.clients[client][number].cut = Cut::Whole;
                }));
            }
        }
    }
    if !sequence.order.is_empty() {
        // One client after the other.
        found.push(edited(sequence, |smaller| smaller.order.clear()));
        for turn in 0..sequence.order.len() {
            found.push(edited(sequence, |smaller| {
                smaller.order.remove(turn);
            }));
        }
    }
    found
}

fn edited(sequence: &Sequence, edit: impl FnOnce(&mut Sequence)) -> Sequence {
    let mut edited = sequence.clone();
    edit(&mut edited);
    edited.spare_postgres();
    edited
}
