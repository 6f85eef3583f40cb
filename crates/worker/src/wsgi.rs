//! The Python side of a request, as PEP 3333 has it.

mod environ;
mod errors;
mod extensions;
pub mod failure;
mod file_wrapper;
mod head;
mod input;
mod log_stream;
mod response;
mod start_response;

pub use environ::{COMPATIBLE, Constants, Environ};
pub use errors::Errors;
pub use extensions::Extensions;
pub use file_wrapper::FileWrapper;
pub use input::Input;
pub use log_stream::LogStream;
pub use response::respond;
