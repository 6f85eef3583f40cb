//! Clients that ask without a pause, and what becomes of their requests.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use testkit::Connection;

/// How many clients ask at the same time, each on a new connection for each request.
pub const CLIENTS: usize = 8;

/// One request in so many is a POST, which nobody may send twice.
const POST_EVERY: usize = 4;

/// What is posted.
const BODY: [u8; 1024] = [b'x'; 1024];

/// Different ways to lose a request that are told one by one.
const MOST_REASONS: usize = 8;

/// What became of requests.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many were sent.
    pub requests: usize,
    /// How many were answered with each status.
    pub statuses: BTreeMap<u16, usize>,
    /// GETs that had no answer, an incomplete one, or one that says that something failed.
    pub lost_gets: usize,
    /// The same of POSTs.
    pub lost_posts: usize,
    /// In what ways they were lost, and how often.
    pub reasons: BTreeMap<String, usize>,
    /// The longest time from the first byte of a connection to the last of the answer.
    pub worst: Duration,
    /// How long this was.
    pub duration: Duration,
}

impl Tally {
    /// All that were lost.
    pub fn lost(&self) -> usize {
        self.lost_gets + self.lost_posts
    }

    /// Answers per second that were as they should be.
    pub fn rate(&self) -> f64 {
        let good = self.statuses.get(&200).copied().unwrap_or(0);
        good as f64 / self.duration.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    fn count(&mut self, post: bool, latency: Duration, outcome: Result<u16>) {
        self.requests += 1;
        self.worst = self.worst.max(latency);
        let reason = match outcome {
            Ok(status) => {
                *self.statuses.entry(status).or_default() += 1;
                match status {
                    200 => return,
                    status => status.to_string(),
                }
            }
            Err(error) => format!("{error:#}"),
        };
        let lost = if post { &mut self.lost_posts } else { &mut self.lost_gets };
        *lost += 1;
        let known = self.reasons.len() < MOST_REASONS || self.reasons.contains_key(&reason);
        let reason = if known { reason } else { "other reasons".to_owned() };
        *self.reasons.entry(reason).or_default() += 1;
    }
}

impl AddAssign for Tally {
    /// Adds what other clients counted at the same time.
    fn add_assign(&mut self, other: Tally) {
        self.requests += other.requests;
        self.lost_gets += other.lost_gets;
        self.lost_posts += other.lost_posts;
        self.worst = self.worst.max(other.worst);
        self.duration = self.duration.max(other.duration);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
    }
}

/// Keeps a server under load while `meanwhile` runs, and tells what became of the requests, with
/// what `meanwhile` returns.
pub fn during<T>(port: u16, path: &str, meanwhile: impl FnOnce() -> T) -> (Tally, T) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = &stop;
        let start = |number| scope.spawn(move || client(port, path, number, stop));
        let clients: Vec<_> = (0..CLIENTS).map(start).collect();
        // Ends the clients however `meanwhile` ends.
        let guard = Stop(stop);
        let result = meanwhile();
        drop(guard);
        let mut tally = Tally::default();
        for client in clients {
            tally += client.join().expect("no client panics");
        }
        (tally, result)
    })
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn client(port: u16, path: &str, number: usize, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let post = (tally.requests + number).is_multiple_of(POST_EVERY);
        let began = Instant::now();
        let outcome = ask(port, path, post);
        tally.count(post, began.elapsed(), outcome);
    }
    tally.duration = start.elapsed();
    tally
}

/// One request on a connection of its own. The status of a complete answer.
pub fn ask(port: u16, path: &str, post: bool) -> Result<u16> {
    let (method, body) = if post { ("POST", BODY.as_slice()) } else { ("GET", [].as_slice()) };
    let mut connection = Connection::open(port)?;
    let response = connection.request(method, path, &[("Connection", "close")], body)?;
    if !response.complete {
        bail!("{}, and the body broke off", response.status);
    }
    let read = response.header("X-Read").and_then(|value| value.parse().ok());
    if response.status == 200 && read != Some(body.len()) {
        bail!("the application read {read:?} of {} bytes", body.len());
    }
    Ok(response.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost() {
        let mut tally = Tally::default();
        let ms = Duration::from_millis;
        tally.count(false, ms(5), Ok(200));
        tally.count(false, ms(7), Ok(502));
        tally.count(true, ms(6), Err(anyhow::anyhow!("connection reset")));
        tally.duration = Duration::from_secs(2);
        let mut sum = tally.clone();
        sum += tally;
        assert_eq!((sum.requests, sum.lost_gets, sum.lost_posts, sum.lost()), (6, 2, 2, 4));
        assert_eq!((sum.worst, sum.rate()), (ms(7), 1.0));
        assert_eq!(sum.reasons.keys().collect::<Vec<_>>(), ["502", "connection reset"]);
    }
}
