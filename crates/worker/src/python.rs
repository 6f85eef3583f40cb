//! What the process has of Python: the interpreter, scripts, hooks, services, and the modules that
//! applications import.

pub mod context;
pub mod hooks;
pub mod interpreter;
pub mod lacking;
pub mod module;
pub mod peers;
pub mod reload;
pub mod scoreboard;
pub mod script;
pub mod service;
pub mod signals;
