//! What a server sent: single frames, whole replies, and how assertion messages print them.

use std::fmt;

/// One message of a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub tag: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

/// Messages in order; printed and compared as a whole.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Reply(pub Vec<Frame>);

// === impl Frame ===

impl Frame {
    /// The bytes as they were on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        super::frames::frame(self.tag, &self.body)
    }

    /// A field of an ErrorResponse or NoticeResponse: `'C'` SQLSTATE, `'M'` message, `'S'` severity ...
    pub fn field(&self, code: char) -> Option<String> {
        self.body
            .split(|byte| *byte == 0)
            .filter(|field| field.first().is_some_and(|first| char::from(*first) == code))
            .map(|field| lossy(&field[1..]))
            .next()
    }

    /// The columns of a DataRow as text; `None` is NULL.
    pub fn columns(&self) -> Vec<Option<String>> {
        let mut rest = self.body.get(2..).unwrap_or_default();
        let mut columns = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            if let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) {
                let (value, after) = after.split_at(length.min(after.len()));
                columns.push(Some(lossy(value)));
                rest = after;
            } else {
                columns.push(None);
                rest = after;
            }
        }
        columns
    }

    /// The body up to each zero byte, as text.
    pub fn texts(&self) -> Vec<String> {
        let body = self.body.strip_suffix(&[0]).unwrap_or(&self.body);
        body.split(|byte| *byte == 0).map(lossy).collect()
    }

    /// The four bytes at `at` as a number.
    pub fn number(&self, at: usize) -> Option<i32> {
        let bytes = self.body.get(at..at + 4)?;
        Some(i32::from_be_bytes(bytes.try_into().ok()?))
    }

    /// The bytes of a DataRow's column; `None`: null, or no such column.
    pub fn raw_column(&self, at: usize) -> Option<&[u8]> {
        let mut rest = self.body.get(2..)?;
        for _ in 0..at {
            rest = rest.get(4 + length(rest)?..)?;
        }
        rest.get(4..4 + length(rest)?)
    }

    /// Columns of a RowDescription: name and type.
    pub fn typed_columns(&self) -> Vec<(String, u32)> {
        let mut rest = self.body.get(2..).unwrap_or_default();
        let mut columns = Vec::new();
        while let Some(end) = rest.iter().position(|byte| *byte == 0) {
            let oid = rest.get(end + 7..end + 11).and_then(|oid| oid.try_into().ok());
            columns.push((lossy(&rest[..end]), u32::from_be_bytes(oid.unwrap_or_default())));
            rest = rest.get(end + 19..).unwrap_or_default();
        }
        columns
    }

    /// Column names of a RowDescription.
    pub fn column_names(&self) -> Vec<String> {
        let mut rest = self.body.get(2..).unwrap_or_default();
        let mut names = Vec::new();
        while let Some(end) = rest.iter().position(|byte| *byte == 0) {
            names.push(lossy(&rest[..end]));
            rest = rest.get(end + 19..).unwrap_or_default();
        }
        names
    }
}

/// Length of the column in front; a null has none.
fn length(column: &[u8]) -> Option<usize> {
    let bytes = column.get(..4)?.try_into().ok()?;
    Some(usize::try_from(i32::from_be_bytes(bytes)).unwrap_or_default())
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag = char::from(self.tag);
        match self.tag {
            b'E' | b'N' => {
                let field = |code| self.field(code).unwrap_or_default();
                write!(f, "{tag} {} {} {}", field('S'), field('C'), field('M'))
            }
            b'C' | b'Z' => write!(f, "{tag} {}", self.texts().join(" ")),
            b'S' => write!(f, "{tag} {}", self.texts().join("=")),
            b'D' => write!(f, "{tag} {}", row_text(&self.columns())),
            b'T' => write!(f, "{tag} {}", self.column_names().join("|")),
            b'd' => write!(f, "{tag} {:?}", lossy(&self.body)),
            b'A' => write!(
                f,
                "{tag} {}",
                lossy(self.body.get(4..).unwrap_or_default()).replace('\0', " ")
            ),
            b'R' => write!(f, "{tag} {}", self.number(0).unwrap_or(-1)),
            b'K' => write!(f, "{tag} key of {} bytes", self.body.len() - 4),
            _ if self.body.is_empty() => write!(f, "{tag}"),
            _ => write!(f, "{tag} {}", self.body.escape_ascii()),
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{self}>")
    }
}

// === impl Reply ===

impl Reply {
    /// The types of the messages, in order: `"TDCZ"`.
    pub fn tags(&self) -> String {
        self.0.iter().map(|frame| char::from(frame.tag)).collect()
    }

    /// The rows, as `psql -At` prints them: columns joined by `|`, NULL as nothing.
    pub fn rows(&self) -> Vec<String> {
        self.all(b'D')
            .map(|frame| {
                let columns = frame.columns().into_iter();
                columns.map(Option::unwrap_or_default).collect::<Vec<_>>().join("|")
            })
            .collect()
    }

    /// The only row's only column; panics with the whole reply otherwise.
    #[track_caller]
    pub fn value(&self) -> String {
        let rows = self.rows();
        assert!(rows.len() == 1, "not one row:\n{self}");
        rows.into_iter().next().expect("counted")
    }

    /// Command tags.
    pub fn commands(&self) -> Vec<String> {
        self.all(b'C').map(|frame| frame.texts().concat()).collect()
    }

    /// A field of the first error: `'C'` SQLSTATE, `'M'` message, `'R'` routine ...
    pub fn error_field(&self, code: char) -> Option<String> {
        self.all(b'E').next()?.field(code)
    }

    /// SQLSTATE of the first error.
    pub fn sqlstate(&self) -> Option<String> {
        self.error_field('C')
    }

    /// The transaction status of the last ReadyForQuery: `I`, `T` or `E`.
    pub fn status(&self) -> Option<char> {
        let ready = self.all(b'Z').last()?;
        ready.body.first().map(|status| char::from(*status))
    }

    /// Everything that COPY sent.
    pub fn copied(&self) -> Vec<u8> {
        self.all(b'd').flat_map(|frame| frame.body.clone()).collect()
    }

    /// All messages of one type.
    pub fn all(&self, tag: u8) -> impl Iterator<Item = &Frame> {
        self.0.iter().filter(move |frame| frame.tag == tag)
    }

    /// Panics with the whole reply if there is an error in it.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.all(b'E').next().is_none(), "an error in:\n{self}");
        self
    }

    /// Without what may arrive at any moment: notices, parameter changes, notifications.
    pub fn without_async(&self) -> Self {
        let frames = self.0.iter().filter(|frame| !b"NSA".contains(&frame.tag));
        Self(frames.cloned().collect())
    }

    /// The bytes as they were on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(Frame::to_bytes).collect()
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for frame in &self.0 {
            writeln!(f, "  {frame}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

// === helpers ===

fn row_text(columns: &[Option<String>]) -> String {
    let texts = columns.iter().map(|column| column.as_deref().unwrap_or("NULL"));
    texts.collect::<Vec<_>>().join("|")
}

fn lossy(bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(bytes.as_ref()).into_owned()
}
