//! Options about how much is served at the same time.

use clap::{Args, ValueEnum};

use super::values::fraction;

/// How many processes and threads there are.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Capacity")]
pub struct Capacity {
    /// Worker processes of the application [default: 1, and wsgi.multiprocess is False]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub processes: Option<u32>,
    /// Threads of each worker process
    #[arg(long, value_name = "NUMBER", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub threads: u32,
    /// Requests that httpd serves at the same time [default: those that may run and wait, and a
    /// seventh of them]
    #[arg(long, value_name = "NUMBER")]
    pub max_clients: Option<u32>,
    /// Share of httpd's capacity that is started at once [default: 0.2; with prefork 0.05]
    #[arg(long, value_name = "SHARE", value_parser = fraction)]
    pub initial_workers: Option<f64>,
    /// Share of httpd's capacity that is kept idle at least [default: that of --initial-workers]
    #[arg(long, value_name = "SHARE", value_parser = fraction)]
    pub minimum_spare_workers: Option<f64>,
    /// Share of httpd's capacity that is kept idle at most [default: 0.6; with prefork 0.1]
    #[arg(long, value_name = "SHARE", value_parser = fraction)]
    pub maximum_spare_workers: Option<f64>,
    /// Connections that wait to be accepted by httpd
    #[arg(long, value_name = "NUMBER", default_value_t = 500)]
    pub server_backlog: u32,
    /// Requests that wait for a worker process
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub daemon_backlog: u32,
    /// A multi-processing module of httpd to take; the first one given that is there [default:
    /// event, worker, prefork]
    #[arg(long, value_name = "NAME")]
    pub server_mpm: Vec<Mpm>,
}

/// How httpd spreads its work over processes and threads.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mpm {
    /// Threads, with a listener for idle connections
    Event,
    /// Threads
    Worker,
    /// Processes
    Prefork,
}

impl Mpm {
    /// In the order of preference.
    pub const ALL: [Mpm; 3] = [Mpm::Event, Mpm::Worker, Mpm::Prefork];

    /// The name in `mpm_NAME_module`.
    pub fn name(self) -> &'static str {
        match self {
            Mpm::Event => "event",
            Mpm::Worker => "worker",
            Mpm::Prefork => "prefork",
        }
    }
}
