//! The Python side of a request, as PEP 3333 has it.

mod client;
mod environ;
mod errors;
mod file_wrapper;
mod head;
mod input;
mod log_stream;
mod response;
mod start_response;

pub use client::Client;
pub use environ::{Constants, Environ, Times, seconds};
pub use errors::Errors;
pub use file_wrapper::FileWrapper;
pub use input::Input;
pub use log_stream::LogStream;
pub use response::respond;
