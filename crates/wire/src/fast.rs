//! The faster ways that can be switched off, to compare and to test the plain ones.

use std::sync::LazyLock;

/// Names the ways that are off, with commas between them: an environment variable of httpd, which
/// its workers inherit. Meant for tests and measurements.
const VARIABLE: &str = "MOD_WSGI_RS_WITHOUT";

/// A faster way. `docs/performance.md` says what is done without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fast {
    /// A thread of a worker that wakes lets whoever runs go on.
    Batch,
    /// An httpd child keeps connections to workers for further requests.
    Connections,
    /// A runner keeps environs, and changes in them what differs in the next request.
    Environ,
    /// The stream behind `wsgi.errors` is made when something is written.
    Errors,
    /// httpd gets a file itself, instead of what is in it.
    File,
    /// A small response is sent in one go.
    Gather,
    /// Small blocks that follow each other quickly are left to a thread that sends them.
    Handover,
    /// What has come of a request body is read without letting go of Python's lock.
    Input,
    /// A runner goes from one request to the next without letting go of Python's lock.
    Lock,
    /// The kernel sends files of local file systems by itself.
    Sendfile,
    /// No further runner is woken while those at work compute.
    Watch,
    /// Large bodies go through memory that httpd's child and worker share.
    Window,
}

static OFF: LazyLock<String> = LazyLock::new(|| std::env::var(VARIABLE).unwrap_or_default());

impl Fast {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Batch,
        Self::Connections,
        Self::Environ,
        Self::Errors,
        Self::File,
        Self::Gather,
        Self::Handover,
        Self::Input,
        Self::Lock,
        Self::Sendfile,
        Self::Watch,
        Self::Window,
    ];

    /// What the variable calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Connections => "connections",
            Self::Environ => "environ",
            Self::Errors => "errors",
            Self::File => "file",
            Self::Gather => "gather",
            Self::Handover => "handover",
            Self::Input => "input",
            Self::Lock => "lock",
            Self::Sendfile => "sendfile",
            Self::Watch => "watch",
            Self::Window => "window",
        }
    }

    /// Whether it is to be used.
    pub fn is_on(self) -> bool {
        OFF.is_empty() || !OFF.split(',').any(|name| name.trim() == self.name())
    }
}
