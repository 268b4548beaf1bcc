//! What a SHOW gives: named and typed columns, rows. The console sends it in PostgreSQL's formats, HTTP as JSON.

use serde_json::{Map, Value as Json};

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    pub(super) columns: &'static [Column],
    pub(super) rows: Vec<Vec<Value>>,
}

/// A column: its name and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column(pub(super) &'static str, pub(super) Type);

/// Types of columns, as PgBouncer's console has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Int4,
    Int8,
    Numeric,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Text(String),
    Number(u64),
}

impl Table {
    pub(super) fn new(columns: &'static [Column]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub(super) fn add(&mut self, row: Vec<Value>) {
        debug_assert_eq!(row.len(), self.columns.len(), "{:?}", self.columns.first());
        self.rows.push(row);
    }

    /// One object a row.
    pub(super) fn to_json(&self) -> Json {
        let object = |row: &Vec<Value>| {
            let fields = self.columns.iter().zip(row);
            Json::Object(
                fields
                    .map(|(Column(name, _), value)| ((*name).to_owned(), value.to_json()))
                    .collect::<Map<_, _>>(),
            )
        };
        Json::Array(self.rows.iter().map(object).collect())
    }
}

impl Value {
    fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Text(text) => Json::from(text.as_str()),
            Self::Number(number) => Json::from(*number),
        }
    }

    /// Appends it as a field of a DataRow; `is_binary`: in the type's binary format.
    pub(super) fn encode(&self, of: Type, is_binary: bool, out: &mut Vec<u8>) {
        let text = match self {
            Self::Null => {
                out.extend_from_slice(&(-1_i32).to_be_bytes());
                return;
            }
            Self::Number(number) if is_binary && of != Type::Text => {
                put(out, &binary(*number, of));
                return;
            }
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        };
        put(out, text.as_bytes());
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Binary formats: `int4send`, `int8send`, `numeric_send` of PostgreSQL.
fn binary(number: u64, of: Type) -> Vec<u8> {
    match of {
        Type::Int4 => i32::try_from(number).unwrap_or(i32::MAX).to_be_bytes().to_vec(),
        Type::Int8 => i64::try_from(number).unwrap_or(i64::MAX).to_be_bytes().to_vec(),
        Type::Text | Type::Numeric => numeric(number),
    }
}

/// Digits to the base of 10,000; their number, the weight of the first, sign and scale in front.
fn numeric(mut number: u64) -> Vec<u8> {
    let mut digits = Vec::new();
    while number > 0 {
        digits.push(u16::try_from(number % 10_000).unwrap_or_default());
        number /= 10_000;
    }
    let count = u16::try_from(digits.len()).unwrap_or_default();
    let header = [count, count.saturating_sub(1), 0, 0];
    let all = header.into_iter().chain(digits.into_iter().rev());
    all.flat_map(u16::to_be_bytes).collect()
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Number(flag.into())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_postgresqls_binary_formats() {
        assert_eq!(numeric(0), [0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(numeric(12_345), [0, 2, 0, 1, 0, 0, 0, 0, 0, 1, 9, 41]);
        let mut out = Vec::new();
        Value::from(7_u64).encode(Type::Int4, true, &mut out);
        Value::from(7_u64).encode(Type::Int4, false, &mut out);
        Value::Null.encode(Type::Text, false, &mut out);
        assert_eq!(out, [0, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 1, b'7', 255, 255, 255, 255]);
    }
}
