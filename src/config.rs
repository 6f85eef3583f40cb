//! The directives, and the settings that they make: per server, per directory, per process group.

mod alias;
mod arguments;
mod check;
mod chroot;
mod compatibility;
mod daemon;
mod directives;
mod expansion;
mod proxies;
mod registry;
mod settings;
mod values;

pub use alias::{Alias, Mount};
pub use arguments::{Arguments, Setting, suggestion};
pub use check::{check, install_directory, socket_prefix};
pub use chroot::Root;
pub use compatibility::Compatibility;
pub use daemon::{DaemonProcess, ScriptOwner, first_there, httpd_directories, working_directory};
pub use directives::COMMANDS;
pub use expansion::Name;
pub use proxies::{Category, Network, TrustedHeader};
pub use settings::{
    DirConfig, Globals, HandlerScript, HashSeed, Hook, Import, MapHead, ServerConfig,
    TelemetryService, in_front,
};
pub use values::{flag, lossy, path};
