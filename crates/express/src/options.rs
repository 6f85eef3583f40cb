//! The command line: the commands, and the options of a server by what they are about.

pub mod application;
pub mod authentication;
pub mod capacity;
pub mod content;
pub mod debugging;
pub mod installation;
pub mod logging;
pub mod network;
pub mod services;
pub mod timeouts;
mod values;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

pub use self::values::pairs;

/// Runs Python applications in the system's Apache httpd.
///
/// Every option of a server can also be given as an environment variable, MOD_WSGI_RS_ and its name
/// in capitals, and in the table [tool.mod_wsgi_rs] of pyproject.toml. The command line wins over the
/// environment, and the environment over pyproject.toml.
#[derive(Parser, Debug)]
#[command(
    name = "mod_wsgi-rs",
    version,
    // As the parser of mod_wsgi-express: beginnings of names will do, and the last word counts.
    infer_long_args = true,
    args_override_self = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Set up a server, and run it in the foreground until it is told to stop
    StartServer(Box<Server>),
    /// Write a server's configuration and control script, and start nothing
    SetupServer(Box<Server>),
    /// Start a server on a private port, load each application once, and say what is wrong
    Check(Box<Server>),
    /// Print the lines for httpd's configuration that load the module
    ModuleConfig(Python),
    /// Copy the module to a place that belongs to root, and enable it in httpd
    InstallModule(Install),
    /// Print where the module is
    ModuleLocation,
    /// Print what a shell reads to complete commands and options
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder
    Man {
        /// The folder
        folder: PathBuf,
    },
}

/// What makes up a server.
#[derive(Args, Debug, Clone)]
pub struct Server {
    #[command(flatten)]
    pub application: application::Application,
    #[command(flatten)]
    pub network: network::Network,
    #[command(flatten)]
    pub capacity: capacity::Capacity,
    #[command(flatten)]
    pub timeouts: timeouts::Timeouts,
    #[command(flatten)]
    pub debugging: debugging::Debugging,
    #[command(flatten)]
    pub content: content::Content,
    #[command(flatten)]
    pub authentication: authentication::Authentication,
    #[command(flatten)]
    pub logging: logging::Logging,
    #[command(flatten)]
    pub services: services::Services,
    #[command(flatten)]
    pub installation: installation::Installation,
}

/// Which Python an application runs in.
#[derive(Args, Debug, Clone, Default)]
pub struct Python {
    /// The environment of the application: a virtual environment, or Python's prefix [default: that
    /// of `python -m mod_wsgi_rs`, the active one, or the one that this command is installed in]
    #[arg(long, value_name = "DIR")]
    pub python_home: Option<PathBuf>,
    /// The same, by its interpreter
    #[arg(long, value_name = "FILE", overrides_with = "python_home")]
    pub python: Option<PathBuf>,
}

/// Options of install-module.
#[derive(Args, Debug, Clone)]
pub struct Install {
    /// Where the module's files are copied to
    #[arg(long, value_name = "DIR", default_value = "/usr/lib/mod_wsgi_rs")]
    pub modules_directory: PathBuf,
    /// Where a link to the command wsgictl is put
    #[arg(long, value_name = "DIR", default_value = "/usr/local/bin")]
    pub commands_directory: PathBuf,
    /// Copy, and leave httpd's configuration and the commands as they are
    #[arg(long)]
    pub no_enable: bool,
    #[command(flatten)]
    pub python: Python,
}

/// The definition of the whole command line.
pub fn definition() -> clap::Command {
    Cli::command().mut_subcommands(|command| {
        command.mut_args(|arg| match arg.get_num_args() {
            // The second of two values may begin with a dash.
            Some(range) if range.min_values() > 1 => arg.allow_hyphen_values(true),
            _ => arg,
        })
    })
}

#[cfg(test)]
pub mod tests;
