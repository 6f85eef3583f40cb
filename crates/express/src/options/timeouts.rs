//! Options about time limits, planned restarts of workers, and buffers.

use clap::Args;

/// How long things may take: whole seconds, where nothing else is said.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Time limits and restarts")]
pub struct Timeouts {
    /// Seconds that a request may take; 0: any time
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub request_timeout: u32,
    /// Seconds that a request has to end when it is interrupted; 0: it is not interrupted
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub interrupt_timeout: u32,
    /// Seconds that an application may take to load; 0: any time
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    pub startup_timeout: u32,
    /// Seconds that a worker has to exit, and the server to drain
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub shutdown_timeout: u32,
    /// Seconds that requests have to end when a worker is replaced
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    pub graceful_timeout: u32,
    /// The same on an order from outside; 0: that of --graceful-timeout
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub eviction_timeout: u32,
    /// Seconds without Python's lock after which a worker is replaced; 0: any time
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub deadlock_timeout: u32,
    /// Seconds that a request may wait for a worker; 0: any time
    #[arg(long, value_name = "SECONDS", default_value_t = 45)]
    pub queue_timeout: u32,
    /// Seconds that a request waits for workers to start
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    pub connect_timeout: u32,
    /// Seconds that httpd waits for the next part of a request or response
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub socket_timeout: u32,
    /// Seconds that a client may take to receive a part of a response; 0: that of --socket-timeout
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub response_socket_timeout: u32,
    /// Milliseconds to wait for more of a response; nothing waits here
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 5)]
    pub response_flush_delay: u32,
    /// Requests after which a worker is replaced; 0: never
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub maximum_requests: u32,
    /// Seconds after which a worker is replaced; 0: never
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub restart_interval: u32,
    /// Seconds of CPU time after which a worker is replaced; 0: never
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub cpu_time_limit: u32,
    /// Seconds without a request after which a worker is replaced; 0: never
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub inactivity_timeout: u32,
    /// A URL path whose requests are no activity
    #[arg(long, value_name = "URL")]
    pub ignore_activity: Vec<String>,
    /// Seconds that a server behind this one may take to answer
    #[arg(long, value_name = "SECONDS")]
    pub proxy_timeout: Option<u32>,
    /// Seconds in which the first byte of a request's headers has to come
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    pub header_timeout: u32,
    /// Seconds in which all headers have to come; 0: any time
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub header_max_timeout: u32,
    /// Bytes of headers for which a further second is given
    #[arg(long, value_name = "BYTES", default_value_t = 500)]
    pub header_min_rate: u32,
    /// Seconds in which the first byte of a request's body has to come
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    pub body_timeout: u32,
    /// Seconds in which the whole body has to come; 0: any time
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub body_max_timeout: u32,
    /// Bytes of a body for which a further second is given
    #[arg(long, value_name = "BYTES", default_value_t = 500)]
    pub body_min_rate: u32,
    /// Bytes that the socket to a worker buffers; 0: as the system does
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub send_buffer_size: u32,
    /// Bytes that the socket from a worker buffers; 0: as the system does
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub receive_buffer_size: u32,
    /// Bytes that a header of a response may have; all of them may have 1 MiB anyway
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub header_buffer_size: u32,
    /// Bytes of a response that httpd may hold back; nothing is held back here
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub response_buffer_size: u32,
}
