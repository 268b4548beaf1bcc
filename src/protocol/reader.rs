//! A checked reader over one frame's body: it can't read past its slice and never panics.

/// Reads one body front to back.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the front of `body`.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// One byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// A 32-bit integer.
    pub fn uint16(&mut self) -> Option<u16> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u16::from_be_bytes(*bytes))
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(bytes)
    }

    /// A 32-bit integer.
    pub fn int32(&mut self) -> Option<i32> {
        let (bytes, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(i32::from_be_bytes(*bytes))
    }

    /// A string up to its terminator, which is consumed.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(0, self.rest)?;
        let (string, rest) = self.rest.split_at(end);
        self.rest = rest.get(1..)?;
        Some(string)
    }

    /// All that is left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order_and_stops_at_the_end() {
        let mut reader = Reader::new(b"\x01\0\0\0\x07ab\0c");
        assert_eq!(reader.byte(), Some(1));
        assert_eq!(reader.int32(), Some(7));
        assert_eq!(reader.string(), Some(&b"ab"[..]));
        assert_eq!(reader.string(), None);
        assert_eq!(reader.rest(), b"c");
        assert_eq!(reader.int32(), None);
    }
}
