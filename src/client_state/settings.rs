//! Settings by name, and what has to be done to make one set of them another.

/// What a session has set on top of the settings that it began with. The role is among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Sorted by name; names are in lower case.
    values: Vec<Setting>,
}

/// Name and value.
type Setting = (Box<[u8]>, Box<[u8]>);

/// A setting that has to be changed: its new value, `None` for the one that the session began with.
pub type SettingStep<'a> = (&'a [u8], Option<&'a [u8]>);

/// The role's name as a setting.
pub(super) const ROLE: &[u8] = b"role";

/// The client encoding's name as a setting.
pub const CLIENT_ENCODING: &[u8] = b"client_encoding";

impl Settings {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of a setting.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let at = self.find(name).ok()?;
        self.values.get(at).map(|(_, value)| &**value)
    }

    /// Sets one.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        match self.find(name) {
            Ok(at) => {
                if let Some(known) = self.values.get_mut(at) {
                    known.1 = value.into();
                }
            }
            Err(at) => self.values.insert(at, (name.into(), value.into())),
        }
    }

    /// Forgets one.
    pub fn remove(&mut self, name: &[u8]) {
        if let Ok(at) = self.find(name) {
            self.values.remove(at);
        }
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.values.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Those that `is_wanted`.
    #[must_use]
    pub fn filtered(&self, is_wanted: impl Fn(&[u8]) -> bool) -> Self {
        let values = self.values.iter().filter(|(name, _)| is_wanted(name)).cloned().collect();
        Self { values }
    }

    /// Whether they can be written in a statement by somebody who doesn't know the characters of `encoding`: in some
    /// encodings a character may end in the byte of a backslash.
    pub fn can_be_written(&self, encoding: &[u8]) -> bool {
        let encoding = self.get(CLIENT_ENCODING).unwrap_or(encoding);
        !ENCODINGS_WITH_BACKSLASH.iter().any(|unsafe_one| encoding.eq_ignore_ascii_case(unsafe_one))
            || self.iter().all(|(_, value)| value.is_ascii())
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.values.iter().map(|(name, value)| name.len() + value.len() + 32).sum()
    }

    /// What leads from these settings to `wanted`, in an order that works: client encoding first, since values are
    /// read by it, the role last, since others may need the rights of the one before.
    pub fn steps_to<'a>(&'a self, wanted: &'a Settings) -> Vec<SettingStep<'a>> {
        let gone = self.iter().filter(|(name, value)| {
            // A custom setting that was ever made stays, empty at least.
            let is_left = name.contains(&b'.') && value.is_empty();
            wanted.get(name).is_none() && !is_left
        });
        let gone = gone.map(|(name, _)| (name, None));
        let changed = wanted.iter().filter(|(name, value)| self.get(name) != Some(*value));
        let changed = changed.map(|(name, value)| (name, Some(value)));
        let mut steps: Vec<_> = gone.chain(changed).collect();
        steps.sort_by_key(|(name, _)| match *name {
            CLIENT_ENCODING => 0,
            ROLE => 2,
            _ => 1,
        });
        steps
    }

    fn find(&self, name: &[u8]) -> Result<usize, usize> {
        self.values.binary_search_by(|(known, _)| (**known).cmp(name))
    }
}

impl<'a> FromIterator<(&'a [u8], &'a [u8])> for Settings {
    fn from_iter<I: IntoIterator<Item = (&'a [u8], &'a [u8])>>(pairs: I) -> Self {
        let mut settings = Self::default();
        for (name, value) in pairs {
            settings.set(name, value);
        }
        settings
    }
}

/// Whether a request that runs although this could not be set does no more harm than looking different: no rights, no
/// rows and no writes depend on it.
pub fn is_harmless(name: &[u8]) -> bool {
    HARMLESS.binary_search(&name).is_ok()
}

/// Encodings of clients only, for that very reason.
const ENCODINGS_WITH_BACKSLASH: [&[u8]; 7] =
    [b"BIG5", b"GBK", b"GB18030", b"JOHAB", b"SJIS", b"SHIFT_JIS_2004", b"UHC"];

/// Sorted.
const HARMLESS: &[&[u8]] = &[
    b"application_name",
    b"bytea_output",
    b"client_min_messages",
    b"datestyle",
    b"effective_cache_size",
    b"extra_float_digits",
    b"geqo",
    b"idle_in_transaction_session_timeout",
    b"intervalstyle",
    b"jit",
    b"lock_timeout",
    b"maintenance_work_mem",
    b"random_page_cost",
    b"statement_timeout",
    b"temp_buffers",
    b"timezone",
    b"work_mem",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
    }

    fn steps(actual: &[(&str, &str)], wanted: &[(&str, &str)]) -> String {
        let (actual, wanted) = (settings(actual), settings(wanted));
        let steps = actual.steps_to(&wanted);
        let shown = steps.iter().map(|(name, value)| {
            let value = value.map(String::from_utf8_lossy);
            format!("{}={}", String::from_utf8_lossy(name), value.as_deref().unwrap_or("-"))
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_what_differs_is_done() {
        assert_eq!(steps(&[("a", "1"), ("b", "2")], &[("a", "1"), ("b", "2")]), "");
        assert_eq!(steps(&[("a", "1"), ("b", "2")], &[("b", "3"), ("c", "4")]), "a=- b=3 c=4");
        assert_eq!(
            steps(&[("role", "x")], &[("work_mem", "1"), ("role", "y"), ("client_encoding", "z")]),
            "client_encoding=z work_mem=1 role=y"
        );
        assert_eq!(steps(&[("app.x", ""), ("app.y", "1")], &[]), "app.y=-");
        assert_eq!(steps(&[], &[("app.x", "")]), "app.x=");
    }

    #[test]
    fn characters_that_end_in_a_backslash_are_not_written() {
        let katakana = settings(&[("a.b", "\u{30bd}")]);
        assert!(katakana.can_be_written(b"UTF8") && !katakana.can_be_written(b"sjis"));
        let own = settings(&[("a.b", "\u{30bd}"), ("client_encoding", "SJIS")]);
        assert!(!own.can_be_written(b"UTF8"));
        assert!(settings(&[("a.b", "x")]).can_be_written(b"SJIS"));
    }

    #[test]
    fn the_list_is_sorted() {
        assert!(HARMLESS.is_sorted());
        assert!(is_harmless(b"timezone") && !is_harmless(b"search_path") && !is_harmless(b"a.b"));
    }

    #[test]
    fn one_value_a_name() {
        let mut settings = settings(&[("b", "1"), ("a", "2"), ("b", "3")]);
        assert_eq!(settings.get(b"b"), Some(&b"3"[..]));
        assert_eq!(settings.iter().count(), 2);
        settings.remove(b"b");
        assert_eq!(settings.get(b"b"), None);
    }
}
