//! What counts as the same reply.

use std::fmt::Write as _;

use crate::connection::{cut, whole};
use crate::direct::Transcript;
use crate::message::Message;
use crate::sequence::{Step, Wait};
use crate::support::Frame;

/// Where the replies to one client differ.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) client: usize,
    direct: Vec<Frame>,
    proxied: Vec<Frame>,
}

/// Compares one client's replies, byte for byte but for three things: what follows the last ReadyForQuery of a
/// client that left (nobody asked for it with a Sync; and where PostgreSQL closes without a word because
/// of a bad length, the proxy says why), and where in PostgreSQL's source a violation or a failed transaction was
/// found: where the server connection hasn't got a statement, it is the statement's Parse that says 25P02.
pub(crate) fn compare(
    client: usize,
    steps: &[Step],
    direct: &Transcript,
    proxied: &[u8],
) -> Option<Difference> {
    if direct.replies == proxied {
        return None;
    }
    let last = steps.get(direct.marks.len() - 1).map(|step| step.wait);
    let leaves = matches!(last, Some(Wait::End | Wait::HalfClosed | Wait::Gone));
    let says_why = steps.last().is_some_and(violates) && direct.marks.len() == steps.len();
    let is_part = |bytes: &[u8]| whole(bytes) < bytes.len();
    let is_cut_off = !leaves && (is_part(&direct.replies) || is_part(proxied));
    let mut direct = cut(&direct.replies);
    let mut proxied = cut(proxied);
    direct.iter_mut().chain(&mut proxied).for_each(|frame| forget_place(frame, says_why));
    if leaves && !says_why {
        for frames in [&mut direct, &mut proxied] {
            frames.truncate(
                frames.iter().rposition(|frame| frame.tag == b'Z').map_or(0, |at| at + 1),
            );
        }
    }
    (direct != proxied || is_cut_off).then_some(Difference { client, direct, proxied })
}

/// The replies so far of a client that waits for more.
pub(crate) fn differ(client: usize, direct: &[u8], proxied: &[u8]) -> Difference {
    Difference { client, direct: cut(direct), proxied: cut(proxied) }
}

fn violates(step: &Step) -> bool {
    step.messages.iter().any(Message::has_unknown_tag)
}

/// Drops file, line and routine of a 25P02, and of a FATAL if it `says_why`; and the message of which type it was
/// that ended a session in a copy, since the proxy may have had to send one of its own in front.
fn forget_place(frame: &mut Frame, says_why: bool) {
    let message = frame.field('M').unwrap_or_default();
    if message.starts_with("unexpected message type") && message.ends_with("COPY from stdin") {
        frame.body.clear();
        return;
    }
    let is_failed_transaction = frame.field('C').as_deref() == Some("25P02");
    let is_violation = says_why && frame.field('V').as_deref() == Some("FATAL");
    if frame.tag == b'E' && (is_violation || is_failed_transaction) {
        let fields = frame.body.split(|byte| *byte == 0);
        let kept = fields.filter(|field| !matches!(field.first(), Some(b'F' | b'L' | b'R')));
        frame.body = kept.collect::<Vec<_>>().join(&0);
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let same = self.direct.iter().zip(&self.proxied).take_while(|(a, b)| a == b).count();
        writeln!(f, "replies to client {} differ after {same} equal messages:", self.client)?;
        let mut text = String::new();
        for (what, frames) in [("direct", &self.direct), ("proxied", &self.proxied)] {
            let from = same.saturating_sub(3);
            for (number, frame) in frames.iter().enumerate().skip(from).take(12) {
                let mark = if number < same { ' ' } else { '*' };
                let line: String = frame.to_string().chars().take(200).collect();
                writeln!(text, "  {mark} {what:8} {number:3} {line}")?;
            }
        }
        f.write_str(&text)
    }
}
