//! A group of messages under way, kept so that it can be sent once more.
//!
//! A group that begins with the use of a shared statement may fail for reasons of the proxy's own: the server
//! connection hasn't got the statement after all, or has it as of a former state of the catalog. As long as nothing
//! of the group was executed and no reply was forwarded, it can be sent again behind the proxy's repair.
//!
//! Kept are the client's frames from that use on, at most [`KEPT_BYTES_MAX`]; what doesn't fit isn't repaired.

use crate::client_state::StatementName;
use crate::protocol::frame::{HEADER_BYTES, client_header};
use crate::protocol::message::{BindNames, portal_named};

/// Longest group that is kept.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// The group, as far as it is kept.
#[derive(Debug, Default)]
pub struct Attempt {
    frames: Vec<u8>,
    /// The group's own Parse of the statement in front was answered by the proxy.
    is_parsed_here: bool,
    progress: Progress,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Progress {
    /// Nothing is kept.
    #[default]
    None,
    /// The group's Sync is still to come.
    Open,
    /// All of it was sent, and nothing behind it.
    Sent,
    /// It has failed, and is to be sent again once its ReadyForQuery has come.
    Failed(Option<StatementName>),
}

/// What is to be sent again.
#[derive(Debug)]
pub struct Repeat {
    /// The client's frames.
    pub frames: Vec<u8>,
    /// A name whose statement has to be prepared anew before.
    pub renewed: Option<StatementName>,
}

impl Attempt {
    /// The next frame is the first use of a shared statement in a group that has done nothing yet.
    pub fn begin(&mut self, is_parsed_here: bool) {
        self.frames.clear();
        self.is_parsed_here = is_parsed_here;
        self.progress = Progress::Open;
    }

    /// Whether frames are kept, or have to be told apart from what comes behind them.
    pub fn is_under_way(&self) -> bool {
        self.progress != Progress::None
    }

    /// A frame was dealt with.
    pub fn add(&mut self, tag: u8, frame: &[u8], is_whole: bool) {
        let fits = is_whole && self.frames.len() + frame.len() <= KEPT_BYTES_MAX;
        match (&self.progress, tag) {
            (Progress::Open, b'P' | b'B' | b'D' | b'E' | b'C' | b'S') if fits => {
                self.frames.extend_from_slice(frame);
                if tag == b'S' {
                    self.progress = Progress::Sent;
                }
            }
            _ => self.give_up(),
        }
    }

    /// It has had an effect, or can't be told apart from what follows: it is not sent again.
    pub fn give_up(&mut self) {
        self.progress = Progress::None;
    }

    /// Whether all of it was sent, nothing behind it, and nothing of it has had an effect.
    pub fn can_repeat(&self) -> bool {
        self.progress == Progress::Sent
    }

    /// Whether the client relies on no earlier description of the statement in front: it asks for one, or has just
    /// parsed the statement.
    pub fn is_described(&self) -> bool {
        if self.is_parsed_here {
            return true;
        }
        let mut frames = Frames(&self.frames);
        match frames.next() {
            Some((b'D', _)) => true,
            Some((b'B', body)) => {
                let Some(names) = BindNames::read(body) else { return false };
                frames
                    .take_while(|(tag, _)| *tag != b'B')
                    .any(|(tag, body)| tag == b'D' && portal_named(body) == Some(names.portal))
            }
            _ => false,
        }
    }

    /// The first message has failed by no fault of the client's.
    pub fn fail(&mut self, renewed: Option<StatementName>) {
        self.progress = Progress::Failed(renewed);
    }

    /// Whether it waits to be sent again.
    pub fn has_failed(&self) -> bool {
        matches!(self.progress, Progress::Failed(_))
    }

    /// What is to be sent again, if `it_is_time`.
    pub fn take_repeat_if(&mut self, it_is_time: bool) -> Option<Repeat> {
        if !it_is_time {
            return None;
        }
        let Progress::Failed(renewed) = &mut self.progress else { return None };
        let renewed = renewed.take();
        self.progress = Progress::None;
        Some(Repeat { frames: std::mem::take(&mut self.frames), renewed })
    }
}

/// The whole frames in a row: type and body.
struct Frames<'a>(&'a [u8]);

impl<'a> Iterator for Frames<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = client_header(self.0).ok()??;
        let (frame, rest) = self.0.split_at_checked(header.bytes)?;
        self.0 = rest;
        Some((header.tag, frame.get(HEADER_BYTES..)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::writer::frame;

    fn sent(frames: &[(u8, &[u8])], is_parsed_here: bool) -> Attempt {
        let mut attempt = Attempt::default();
        attempt.begin(is_parsed_here);
        for (tag, body) in frames {
            attempt.add(*tag, &frame(*tag, body), true);
        }
        attempt
    }

    const BIND: (u8, &[u8]) = (b'B', b"p\0s\0\0\0\0\0\0\0");
    const EXECUTE: (u8, &[u8]) = (b'E', b"p\0\0\0\0\0");
    const SYNC: (u8, &[u8]) = (b'S', b"");

    #[test]
    fn a_whole_group_is_repeated_once() {
        let mut attempt = sent(&[BIND, EXECUTE, SYNC], false);
        assert!(attempt.can_repeat() && attempt.take_repeat_if(true).is_none());
        attempt.fail(None);
        assert_eq!(attempt.take_repeat_if(true).unwrap().frames.len(), 5 + 10 + 5 + 6 + 5);
        assert!(attempt.take_repeat_if(true).is_none());
    }

    #[test]
    fn what_is_not_whole_or_not_alone_is_not_repeated() {
        assert!(!sent(&[BIND, EXECUTE], false).can_repeat());
        assert!(!sent(&[BIND, EXECUTE, SYNC, SYNC], false).can_repeat());
        assert!(!sent(&[BIND, (b'Q', b"BEGIN\0"), SYNC], false).can_repeat());
        assert!(!sent(&[(b'B', &[0; KEPT_BYTES_MAX]), SYNC], false).can_repeat());
        let mut cut = Attempt::default();
        cut.begin(false);
        cut.add(b'B', b"B\0\0\0\xff", false);
        assert!(!cut.is_under_way());
    }

    #[test]
    fn the_description_must_be_of_this_execution() {
        let of_portal: (u8, &[u8]) = (b'D', b"Pp\0");
        assert!(sent(&[BIND, of_portal, EXECUTE, SYNC], false).is_described());
        assert!(sent(&[(b'D', b"Ss\0"), SYNC], false).is_described());
        assert!(sent(&[BIND, EXECUTE, SYNC], true).is_described());
        assert!(!sent(&[BIND, EXECUTE, SYNC], false).is_described());
        assert!(!sent(&[BIND, (b'D', b"Pq\0"), EXECUTE, SYNC], false).is_described());
        assert!(!sent(&[BIND, EXECUTE, BIND, of_portal, SYNC], false).is_described());
    }
}
