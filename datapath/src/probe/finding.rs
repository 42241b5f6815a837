//! One thing found, in words.

/// How much a finding matters.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works; worth knowing.
    Note,
    /// Works, but worse than it could, or with a risk.
    Warning,
    /// blockd cannot run like that.
    Missing,
    /// Could not be read; the text says why.
    Unknown,
}

impl Level {
    /// The word for it, the same for people and programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing found out, and what would change it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What it is about: a stable word for programs.
    pub key: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What was found, and what follows from it.
    pub text: String,
    /// A command, or where there is none a sentence, that changes it.
    pub fix: Option<String>,
    /// Where this is known from: a commit, a file of the kernel, a report.
    pub source: Option<&'static str>,
}

impl Finding {
    /// A finding without a fix.
    pub(super) fn new(key: &'static str, level: Level, text: impl Into<String>) -> Self {
        Self {
            key,
            level,
            text: text.into(),
            fix: None,
            source: None,
        }
    }

    pub(super) fn ok(key: &'static str, text: impl Into<String>) -> Self {
        Self::new(key, Level::Ok, text)
    }

    pub(super) fn note(key: &'static str, text: impl Into<String>) -> Self {
        Self::new(key, Level::Note, text)
    }

    pub(super) fn warning(key: &'static str, text: impl Into<String>) -> Self {
        Self::new(key, Level::Warning, text)
    }

    pub(super) fn missing(key: &'static str, text: impl Into<String>) -> Self {
        Self::new(key, Level::Missing, text)
    }

    pub(super) fn unknown(key: &'static str, text: impl Into<String>) -> Self {
        Self::new(key, Level::Unknown, text)
    }

    /// With what would change it.
    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// With where it is known from.
    pub(super) fn source(mut self, source: &'static str) -> Self {
        self.source = Some(source);
        self
    }
}
