//! Ways of doing something faster that can be switched off, to compare and to test the plain ones.

/// Names the ways that are off, with commas between them. Meant for tests and measurements.
const VARIABLE: &str = "MOD_WSGI_RS_WITHOUT";

/// A faster way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fast {
    /// No further runner is woken while those at work compute.
    Watch,
    /// Small blocks are left to a thread that sends them.
    Handover,
}

impl Fast {
    fn name(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Handover => "handover",
        }
    }

    /// Whether it is to be used.
    pub fn is_on(self) -> bool {
        let off = std::env::var(VARIABLE).unwrap_or_default();
        !off.split(',').any(|name| name.trim() == self.name())
    }
}
