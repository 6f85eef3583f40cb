//! Options about addresses, names, TLS, proxies in front, and how HTTP is spoken.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Where and how the server listens.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Network")]
pub struct Network {
    /// Address to listen on [default: all; in debug mode this machine's own]
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<String>,
    /// Port for HTTP
    #[arg(long, value_name = "NUMBER", default_value_t = 8000)]
    pub port: u16,
    /// Speak HTTP/2, too
    #[arg(long)]
    pub http2: bool,
    /// Port for HTTPS; needs a certificate
    #[arg(long, alias = "ssl-port", value_name = "NUMBER")]
    pub https_port: Option<u16>,
    /// File with the certificate
    #[arg(long, value_name = "FILE")]
    pub ssl_certificate_file: Option<PathBuf>,
    /// File with the certificate's private key
    #[arg(long, value_name = "FILE")]
    pub ssl_certificate_key_file: Option<PathBuf>,
    /// Both files, without their extensions .crt and .key
    #[arg(long, value_name = "PREFIX")]
    pub ssl_certificate: Option<PathBuf>,
    /// Certificates of the authorities that sign those of clients, which are demanded then
    #[arg(long, value_name = "FILE")]
    pub ssl_ca_certificate_file: Option<PathBuf>,
    /// A URL path for which alone clients need a certificate
    #[arg(long, value_name = "URL")]
    pub ssl_verify_client: Vec<String>,
    /// Further certificates that are sent to clients
    #[arg(long, value_name = "FILE")]
    pub ssl_certificate_chain_file: Option<PathBuf>,
    /// Give applications the SSL_ variables
    #[arg(long)]
    pub ssl_environment: bool,
    /// Redirect HTTP to HTTPS
    #[arg(long)]
    pub https_only: bool,
    /// Value of the header Strict-Transport-Security, with --https-only
    #[arg(long, value_name = "VALUE")]
    pub hsts_policy: Option<String>,
    /// Name of the site; requests for other names are denied
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// A further name of the site; may hold * and ?
    #[arg(long, value_name = "NAME")]
    pub server_alias: Vec<String>,
    /// Also answer requests for localhost where there is a --server-name
    #[arg(long)]
    pub allow_localhost: bool,
    /// A header that a proxy in front sets
    #[arg(long, value_name = "HEADER")]
    pub trust_proxy_header: Vec<String>,
    /// Address or network of a proxy in front whose headers are trusted
    #[arg(long, value_name = "ADDRESS")]
    pub trust_proxy: Vec<String>,
    /// Seconds that an idle connection is kept for the next request; 0: none is
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    pub keep_alive_timeout: u32,
    /// Bytes that a request's body may have; 0: any number
    #[arg(long, value_name = "BYTES", default_value_t = 10_485_760)]
    pub limit_request_body: u64,
    /// Accept request bodies in chunks, which is done anyway
    #[arg(long)]
    pub chunked_request: bool,
    /// Whether applications see GET for HEAD
    #[arg(long, value_name = "HOW", default_value = "Auto", ignore_case = true)]
    pub map_head_to_get: MapHead,
    /// Compress what is text in responses
    #[arg(long)]
    pub compress_responses: bool,
    /// Let the kernel send files
    #[arg(long)]
    pub enable_sendfile: bool,
}

/// Values of `WSGIMapHEADToGET`.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
#[value(rename_all = "PascalCase")]
pub enum MapHead {
    /// Where httpd needs the body, as its filters do
    Auto,
    /// Always
    On,
    /// Never
    Off,
}

impl MapHead {
    /// As the directive takes it.
    pub fn name(self) -> &'static str {
        match self {
            MapHead::Auto => "Auto",
            MapHead::On => "On",
            MapHead::Off => "Off",
        }
    }
}
