//! The direct run: what PostgreSQL itself answers, step by step. It is what the proxy must answer.

use std::time::Duration;

use tokio::time::Instant;

use crate::connection::{Connection, count, cut, tags, whole};
use crate::message::Message;
use crate::sequence::{BARRIER_REPLIES, Step, Wait};
use crate::support::Reply;
use crate::tenancy::Tenancy;

/// What one client was told.
pub(crate) struct Transcript {
    pub(crate) replies: Vec<u8>,
    /// One for each step that was sent: fewer than the client's steps if its session ended before.
    pub(crate) marks: Vec<Mark>,
    /// It can't leave its session to the next sequence as it is.
    pub(crate) is_pinned: bool,
    /// It has given names to statements.
    pub(crate) has_names: bool,
}

/// Where a client stood after a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// Whole replies so far.
    pub(crate) replies: usize,
    /// The session is over.
    pub(crate) ended: bool,
    /// It may hold a server connection.
    pub(crate) may_hold: bool,
}

/// A reply that may stay away: what was sent before decides. What comes later counts for the next step.
const MAY_STAY_AWAY: Duration = Duration::from_millis(60);

/// A reply that will come.
const WILL_COME: Duration = Duration::from_secs(20);

/// Runs one client's steps. `Err`: a reply that must come did not.
pub(crate) fn run(connection: &mut Connection, steps: &[Step]) -> Result<Transcript, String> {
    connection.begin();
    let mut tenancy = Tenancy::new();
    let mut marks = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        // A part of a frame may be there already.
        let from = whole(&connection.replies);
        connection.send(&step.bytes());
        if step.wait == Wait::HalfClosed {
            connection.half_close();
        }
        // The last step begins with all settled: nothing is left for a next one to count.
        let may_stay_away =
            matches!(step.wait, Wait::Ready | Wait::Flushed) && number + 1 < steps.len();
        if !read(connection, step, from, may_stay_away) {
            let so_far = Reply(cut(&connection.replies[from..]));
            return Err(format!("PostgreSQL does not answer step {number}; so far:\n{so_far}"));
        }
        let came = &connection.replies[from..];
        let status = cut(came).iter().rfind(|frame| frame.tag == b'Z').map(|frame| frame.body[0]);
        let may_hold = tenancy.after(step, &tags(came), status);
        if step.wait == Wait::Gone {
            connection.hang_up();
        }
        let ended = connection.ended;
        marks.push(Mark { replies: count(&connection.replies), ended, may_hold });
        if ended {
            break;
        }
    }
    let replies = std::mem::take(&mut connection.replies);
    Ok(Transcript { replies, marks, is_pinned: tenancy.is_pinned, has_names: tenancy.has_names() })
}

/// Reads until the step has what it waits for.
fn read(connection: &mut Connection, step: &Step, from: usize, may_stay_away: bool) -> bool {
    let deadline = Instant::now() + if may_stay_away { MAY_STAY_AWAY } else { WILL_COME };
    while !is_answered(connection, step, from) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return may_stay_away;
        }
        connection.read(left);
    }
    true
}

fn is_answered(connection: &Connection, step: &Step, from: usize) -> bool {
    if connection.ended {
        return true;
    }
    let tags = tags(&connection.replies[from..]);
    match step.wait {
        Wait::No | Wait::Gone => true,
        Wait::Ready => matches!(tags.last(), Some(b'Z' | b'G')),
        Wait::Flushed => {
            let asked = step.messages.iter().filter(|message| expects_reply(message)).count();
            let answers = tags.iter().filter(|tag| b"123TnCIs".contains(tag)).count();
            answers >= asked || matches!(tags.last(), Some(b'E' | b'G'))
        }
        Wait::Barrier => tags.ends_with(BARRIER_REPLIES),
        Wait::End | Wait::HalfClosed => false,
    }
}

fn expects_reply(message: &Message) -> bool {
    message.is_extended() && message.tag() != b'H'
}
