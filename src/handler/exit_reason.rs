//! What became of a worker that was running a request: the supervisor has waited for its process,
//! and knows whether it was its own doing.

use std::time::Duration;

use channel::Inbox;
use wire::VERSION;
use wire::broker::{FromBroker, ToBroker};

use super::workers::connect;
use crate::generation::{ConnectionOptions, Generation};

/// How long a thread of httpd waits to hear it. The client waits for its answer meanwhile.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// What is known.
pub struct ExitReason {
    /// The rest of a sentence that begins with the worker, or why there is none.
    how: Result<String, String>,
    /// Whether the supervisor ended it because requests took too long.
    pub too_slow: bool,
}

impl ExitReason {
    /// The rest of a sentence that begins with the worker, which `did` this as far as we saw.
    pub fn unless_known(self, did: &str) -> String {
        self.how.unwrap_or_else(|unknown| format!("{did} ({unknown})"))
    }
}

/// Asks the supervisor about the worker with this process id.
pub fn ask(generation: &Generation, options: ConnectionOptions, worker: u32) -> ExitReason {
    match try_ask(generation, options, worker) {
        Ok(FromBroker::Ended { how, too_slow }) => ExitReason { how: Ok(how), too_slow },
        Ok(FromBroker::Running) => unknown("its process has not ended since".to_owned()),
        Ok(FromBroker::Unknown) => unknown("it was started by an earlier supervisor".to_owned()),
        Ok(other) => unknown(format!("the supervisor answers {other:?}")),
        Err(problem) => unknown(format!("the supervisor does not tell why: {problem}")),
    }
}

fn unknown(why: String) -> ExitReason {
    ExitReason { how: Err(why), too_slow: false }
}

fn try_ask(
    generation: &Generation,
    options: ConnectionOptions,
    worker: u32,
) -> Result<FromBroker, String> {
    let text = |error: std::io::Error| error.to_string();
    let stream = connect(&generation.control, options, ANSWER_TIMEOUT).map_err(text)?;
    let question = ToBroker::Inquire { version: VERSION, secret: generation.secret, worker };
    channel::send_message(&stream, &question).map_err(text)?;
    Inbox::new().wait(&stream, ANSWER_TIMEOUT).map_err(|error| error.to_string())
}
