//! One HTTP request after the other, between an httpd child and a worker.
//!
//! The child opens with [`ToWorker::Hello`], once per connection, and then sends one
//! [`ToWorker::Request`] at a time. [`FromWorker::Welcome`] comes before the first answer. The worker
//! answers each request with either [`FromWorker::Refused`], or any number of
//! [`FromWorker::NeedBody`], [`FromWorker::Log`] and [`FromWorker::EarlyHints`], then
//! [`FromWorker::Head`] and body frames or one [`FromWorker::File`], and at last exactly one of
//! [`FromWorker::End`] and [`FromWorker::Failed`].
//!
//! In place of a request the child may send a [`ToWorker::Ask`], which the worker answers with
//! [`FromWorker::Refused`], or log lines and [`FromWorker::NeedVariable`], and then one of
//! [`FromWorker::Verdict`] and [`FromWorker::Failed`].

mod from_worker;
mod inquiry;
mod level;
mod to_worker;

pub use from_worker::{FromWorker, Refusal};
pub use inquiry::{Inquiry, Password, Question, Verdict};
pub use level::Level;
pub use to_worker::{Purpose, Request, ToWorker};

use crate::codec::{DecodeError, Reader, Writer};
use crate::{Secret, VERSION};

/// Greets a worker in the version that this crate speaks.
pub fn hello(secret: Secret) -> ToWorker<'static> {
    ToWorker::Hello { version: VERSION, secret }
}

/// A name and its value.
type Pair<'a> = (&'a [u8], &'a [u8]);

fn write_pairs(writer: &mut Writer<'_>, pairs: &[Pair<'_>]) {
    writer.list(pairs, |writer, (name, value)| {
        writer.bytes(name);
        writer.bytes(value);
    });
}

fn read_pairs<'a>(
    reader: &mut Reader<'a>,
    what: &'static str,
) -> Result<Vec<Pair<'a>>, DecodeError> {
    // The smallest pair is two lengths of zero.
    reader.list(what, 8, |reader| Ok((reader.bytes(what)?, reader.bytes(what)?)))
}
