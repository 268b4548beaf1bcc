//! One client's life, act by act.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Tally;
use super::support::{Wire, frames};

/// No answer takes longer unless something is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether the connection is still there after an act.
enum After {
    Alive(Wire),
    Gone,
}

/// A small generator: the same seed, the same life.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

pub(crate) fn live(number: u64, seed: u64, port: u16, tally: &Tally, over: &AtomicBool) {
    let mut dice = Dice(seed ^ (number << 32));
    let mut wire = None;
    while !over.load(Ordering::Relaxed) {
        let here = wire.take().unwrap_or_else(|| connect(port));
        tally.acts.fetch_add(1, Ordering::Relaxed);
        wire = match act(here, &mut dice, number, port, tally) {
            After::Alive(wire) => Some(wire),
            After::Gone => None,
        };
    }
}

fn connect(port: u16) -> Wire {
    let mut wire = Wire::connect(port);
    wire.set_timeout(PATIENCE);
    wire.log_in(&[("user", "postgres"), ("database", "postgres")], None).ok();
    wire
}

fn act(mut wire: Wire, dice: &mut Dice, number: u64, port: u16, tally: &Tally) -> After {
    match dice.roll(100) {
        0..30 => {
            let sql = format!("SELECT {number} + 1");
            assert_eq!(wire.query(&sql).value(), (number + 1).to_string());
        }
        30..55 => {
            let reply = wire.extended("SELECT $1::int * 2", &[Some(&number.to_string())]);
            assert_eq!(reply.value(), (number * 2).to_string());
        }
        55..70 => transaction(&mut wire, dice, number, tally),
        70..75 => copy(&mut wire, number),
        75..80 => cancel(&mut wire, port, tally),
        80..84 => assert_eq!(wire.query("SELECT 1 / 0").sqlstate().as_deref(), Some("22012")),
        84..88 => {
            wire.query("SET work_mem = '1MB'").ok();
            return leave(wire);
        }
        88..92 => return leave(wire),
        _ => {
            tally.died.fetch_add(1, Ordering::Relaxed);
            return die(wire, dice, number);
        }
    }
    After::Alive(wire)
}

fn leave(mut wire: Wire) -> After {
    wire.send(&frames::terminate());
    After::Gone
}

fn transaction(wire: &mut Wire, dice: &mut Dice, number: u64, tally: &Tally) {
    wire.query("BEGIN").ok();
    wire.query(&format!("INSERT INTO soak VALUES ({number}, 'kept')")).ok();
    if dice.roll(3) == 0 {
        wire.query("ROLLBACK").ok();
    } else {
        wire.query("COMMIT").ok();
        tally.committed.fetch_add(1, Ordering::Relaxed);
    }
}

fn copy(wire: &mut Wire, number: u64) {
    let rows = wire.query("COPY (SELECT generate_series(1, 2000)) TO STDOUT").ok().copied();
    assert_eq!(rows.split(|byte| *byte == b'\n').count(), 2001);
    let row = frames::copy_data(format!("{number}\tgiven up\n").as_bytes());
    let mut request = frames::query("COPY soak FROM STDIN");
    request.extend(row);
    request.extend(frames::copy_fail("changed my mind"));
    assert_eq!(wire.ask(&request).sqlstate().as_deref(), Some("57014"));
}

fn cancel(wire: &mut Wire, port: u16, tally: &Tally) {
    wire.send(&frames::query("SELECT pg_sleep(20)"));
    // It waits in the queue or sleeps on the server by now, or the request comes too early and the next
    // one is needed.
    wire.cancel(port);
    while wire.is_silent_for(Duration::from_millis(200)) {
        wire.cancel(port);
    }
    assert_eq!(wire.until_ready().sqlstate().as_deref(), Some("57014"));
    tally.cancelled.fetch_add(1, Ordering::Relaxed);
}

/// Goes without a good-bye, in the middle of something that must not be kept.
fn die(mut wire: Wire, dice: &mut Dice, number: u64) -> After {
    let insert = format!("INSERT INTO soak VALUES ({number}, 'lost')");
    match dice.roll(5) {
        0 => {
            wire.query("BEGIN").ok();
            wire.query(&insert).ok();
        }
        1 => {
            let mut batch = frames::parse("", &insert, &[]);
            batch.extend(frames::bind("", "", &[]));
            batch.extend(frames::execute("", 0));
            wire.send(&batch);
        }
        2 => wire.send(&frames::query("SELECT pg_sleep(60)")),
        3 => {
            let query = frames::query(&insert);
            wire.send(&query[..query.len() / 2]);
        }
        _ => {
            let mut batch = frames::query("COPY soak FROM STDIN");
            batch.extend(frames::copy_data(format!("{number}\tlost\n").as_bytes()));
            wire.send(&batch);
        }
    }
    After::Gone
}
