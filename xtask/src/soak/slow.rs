//! Thousands of clients that are slow to receive or to send, and how a client that is not fares
//! meanwhile.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::load;
use super::report::FILE;
use super::site::{PROCESSES, Server, Site, THREADS};
use crate::record::{self, with_commas};

/// Children of httpd.
const CHILDREN: usize = 4;

/// Between two bytes of a slow client.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the other client asks.
pub const DURATION: Duration = Duration::from_secs(15);

/// What a slow sender announces.
const LENGTH: usize = 100_000;

/// The latencies of a client that takes what it gets.
struct Latencies(Vec<Duration>);

/// Lets so many slow clients come, half of which receive and half send a byte a second, and demands
/// that another one is answered for so long.
///
/// # Errors
/// When it is not.
pub fn run(server: &Server, clients: usize, duration: Duration, record: bool) -> Result<()> {
    let site = Site::start(server, &format!("listen-backlog={clients}"), &conf(clients))?;
    let port = site.port();
    let undisturbed = Latencies::measure(port, duration)?;
    println!("  no other clients: {}", undisturbed.text());
    let mut slow = Vec::new();
    for number in 0..clients {
        slow.push(begin(port, number % 2 == 0).with_context(|| {
            format!("client {number}: are 'ulimit -n' and httpd's threads enough?")
        })?);
    }
    // Their requests have to be run, too, and come before this one.
    load::ask(port, "/", false)?;
    let stop = AtomicBool::new(false);
    let (disturbed, trickled) = thread::scope(|scope| {
        let trickling = scope.spawn(|| trickle(&mut slow, &stop));
        let disturbed = Latencies::measure(port, duration);
        stop.store(true, Ordering::Relaxed);
        (disturbed, trickling.join().expect("no client panics"))
    });
    let (disturbed, bytes) = (disturbed?, trickled?);
    println!("  {clients} slow clients ({bytes} bytes meanwhile): {}", disturbed.text());
    drop(slow);
    site.stop(server)?;
    if record {
        let text = table(server, clients, &undisturbed, &disturbed);
        record::write(FILE, "soak --slow", &text)?;
        println!("Written to {FILE}.");
    }
    Ok(())
}

/// A client that sends holds a thread of httpd for as long as that takes, so there have to be many,
/// and their stacks small. What the kernel keeps for a client that does not read is little, too, or
/// all of the answers would be there. No client is given up because it is slow.
fn conf(clients: usize) -> String {
    let threads = clients / CHILDREN + 100;
    let all = threads * CHILDREN;
    format!(
        "ThreadLimit {threads}\nServerLimit {CHILDREN}\nStartServers {CHILDREN}\n\
         ThreadsPerChild {threads}\nMaxRequestWorkers {all}\nMinSpareThreads 1\n\
         MaxSpareThreads {all}\nThreadStackSize 262144\nSendBufferSize 65536\nTimeout 600\n\
         LogLevel notice wsgi:warn"
    )
}

/// A client that asks for a large answer, or that has begun to send a form.
fn begin(port: u16, receives: bool) -> Result<(TcpStream, bool)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let head = match receives {
        true => "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        false => format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LENGTH}\r\n\r\n"),
    };
    stream.write_all(head.as_bytes())?;
    Ok((stream, receives))
}

/// Lets each client receive or send a byte a second. Returns how many bytes that were.
fn trickle(clients: &mut [(TcpStream, bool)], stop: &AtomicBool) -> Result<usize> {
    let mut bytes = 0;
    while !stop.load(Ordering::Relaxed) {
        let next = Instant::now() + PAUSE;
        for (stream, receives) in &mut *clients {
            stream.set_nonblocking(true)?;
            let moved = match receives {
                true => stream.read(&mut [0]),
                false => stream.write(b"x"),
            };
            match moved {
                Ok(0) => anyhow::bail!("a slow client has been given up"),
                Ok(moved) => bytes += moved,
                // Its turn has not come yet.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("a slow client has been given up"),
            }
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(bytes)
}

impl Latencies {
    /// Asks again and again for so long, each time on a new connection, one request in four a POST.
    fn measure(port: u16, duration: Duration) -> Result<Latencies> {
        let mut latencies = Vec::new();
        let start = Instant::now();
        while start.elapsed() < duration {
            let begin = Instant::now();
            let status = load::ask(port, "/", latencies.len() % 4 == 3)?;
            ensure!(status == 200, "the answer to a client that is not slow is {status}");
            latencies.push(begin.elapsed());
        }
        latencies.sort();
        Ok(Latencies(latencies))
    }

    fn part(&self, part: f64) -> String {
        let last = self.0.len().saturating_sub(1);
        let latency = self.0.get((last as f64 * part) as usize).copied().unwrap_or_default();
        format!("{:.1}", latency.as_secs_f64() * 1e3)
    }

    fn text(&self) -> String {
        format!(
            "{} answers, median {} ms, 99 % {} ms, worst {} ms",
            self.0.len(),
            self.part(0.5),
            self.part(0.99),
            self.part(1.0)
        )
    }
}

/// What stands in `docs/`.
fn table(
    server: &Server,
    clients: usize,
    undisturbed: &Latencies,
    disturbed: &Latencies,
) -> String {
    let mut text = format!(
        "{}, with {server}: {PROCESSES} processes of {THREADS} threads; event MPM, {CHILDREN} children \
         of {} threads. Of {} slow clients, half receive an answer of 1 MiB, and half send a form \
         of {} bytes, a byte a second each. Another client asks without a pause, on a new \
         connection each time, one in four a POST, once the requests of those who receive have \
         been run; the application takes 10 ms and answers \
         16 KiB.\n\n\
         | slow clients | answers to the other client in {} s | median, ms | 99 %, ms | worst, ms |\n\
         |---:|---:|---:|---:|---:|\n",
        record::conditions(),
        with_commas((clients / CHILDREN + 100) as f64),
        with_commas(clients as f64),
        with_commas(LENGTH as f64),
        DURATION.as_secs(),
    );
    for (clients, latencies) in [(0, undisturbed), (clients, disturbed)] {
        text += &format!(
            "| {} | all of {} | {} | {} | {} |\n",
            with_commas(clients as f64),
            with_commas(latencies.0.len() as f64),
            latencies.part(0.5),
            latencies.part(0.99),
            latencies.part(1.0),
        );
    }
    text
}
