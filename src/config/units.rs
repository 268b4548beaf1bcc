//! Durations and sizes are written with their unit: "250ms", "64MiB". A bare number is refused.

use std::time::Duration;

/// Units of time, with their milliseconds.
const TIME: &[(&str, u64)] =
    &[("ms", 1), ("s", 1000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Units of size, with their bytes.
const SIZE: &[(&str, u64)] = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// A duration: a whole number and `ms`, `s`, `min`, `h` or `d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    measure(text, TIME, "250ms").map(Duration::from_millis)
}

/// A size: a whole number and `B`, `KiB`, `MiB` or `GiB`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let bytes = measure(text, SIZE, "64MiB")?;
    usize::try_from(bytes).map_err(|_too_large| format!("\"{text}\" is too large"))
}

fn measure(text: &str, units: &[(&str, u64)], example: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_not_a_number| {
        format!("\"{text}\" is not a number with a unit, like \"{example}\"")
    })?;
    let unit = unit.trim_start();
    let known = || units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    if unit.is_empty() {
        return Err(format!("\"{text}\" has no unit ({}): write e.g. \"{example}\"", known()));
    }
    let factor = units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor)
        .ok_or_else(|| format!("\"{unit}\" is not a unit here: use one of {}", known()))?;
    number.checked_mul(factor).ok_or_else(|| format!("\"{text}\" is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_required() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("10 min"), Ok(Duration::from_secs(600)));
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert!(duration("250").unwrap_err().contains("has no unit"));
        assert!(duration("5 weeks").unwrap_err().contains("not a unit"));
        assert!(size("18446744073709551615GiB").unwrap_err().contains("too large"));
        assert!(duration("").is_err() && duration("-1s").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,12}") {
            let _ = (duration(&text), size(&text));
        }
    }
}
