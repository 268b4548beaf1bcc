//! What goes on of a chunk: usually all of it, as it lies there; a copy is made only when something is
//! put in or left out.

use std::ops::Range;

/// Room for what is put in, before anything has to move.
const INSERTED_BYTES: usize = 128;

/// A chunk on its way through.
#[derive(Debug)]
pub struct Splice<'a> {
    chunk: &'a [u8],
    /// The part that goes on, as long as it is one piece.
    run: Range<usize>,
    /// All that goes on, once it is not one piece of the chunk any more.
    edited: Vec<u8>,
}

impl<'a> Splice<'a> {
    /// Nothing of `chunk` goes on yet.
    pub fn new(chunk: &'a [u8]) -> Self {
        Self { chunk, run: 0..0, edited: Vec::new() }
    }

    /// The chunk's bytes in `range` go on; ranges come in order.
    pub fn pass(&mut self, range: Range<usize>) {
        if !self.edited.is_empty() {
            self.edited.extend_from_slice(self.chunk.get(range).unwrap_or_default());
        } else if self.run.is_empty() {
            self.run = range;
        } else if self.run.end == range.start {
            self.run.end = range.end;
        } else {
            self.spill();
            self.edited.extend_from_slice(self.chunk.get(range).unwrap_or_default());
        }
    }

    /// Bytes that are not the chunk's go on.
    pub fn insert(&mut self, bytes: &[u8]) {
        self.edit().extend_from_slice(bytes);
    }

    /// They go on before anything else.
    pub fn insert_in_front(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.edit().splice(0..0, bytes.iter().copied());
        }
    }

    /// For writing such bytes.
    pub fn edit(&mut self) -> &mut Vec<u8> {
        self.spill();
        &mut self.edited
    }

    /// All that goes on.
    pub fn bytes(&self) -> &[u8] {
        if self.edited.is_empty() {
            self.chunk.get(self.run.clone()).unwrap_or_default()
        } else {
            &self.edited
        }
    }

    fn spill(&mut self) {
        if self.edited.capacity() == 0 {
            // Most of a chunk goes on, and what is put in is short.
            self.edited.reserve(self.chunk.len() + INSERTED_BYTES);
        }
        let run = std::mem::take(&mut self.run);
        self.edited.extend_from_slice(self.chunk.get(run).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_piece_is_not_copied() {
        let mut splice = Splice::new(b"abcdef");
        splice.pass(1..3);
        splice.pass(3..5);
        assert_eq!(splice.bytes(), b"bcde");
        assert!(splice.edited.is_empty());
    }

    #[test]
    fn gaps_and_insertions_keep_the_order() {
        let mut splice = Splice::new(b"abcdef");
        splice.pass(0..2);
        splice.insert(b"-");
        splice.pass(2..3);
        splice.pass(5..6);
        assert_eq!(splice.bytes(), b"ab-cf");
        let mut gap = Splice::new(b"abcdef");
        gap.pass(0..1);
        gap.pass(4..6);
        assert_eq!(gap.bytes(), b"aef");
    }
}
