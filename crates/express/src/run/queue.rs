//! Clients that have connected and that httpd has not accepted yet. httpd closes its sockets as soon as it is
//! told to stop, which resets their connections.

use std::time::{Duration, Instant};
use std::{fs, thread};

/// How often it is looked for.
const INTERVAL: Duration = Duration::from_millis(20);

/// What `/proc/net/tcp` says of a socket that listens (`TCP_LISTEN`).
const LISTENS: &str = "0A";

/// Waits until no client waits at these ports, but no longer than until the deadline: there may always be
/// new ones.
pub fn drain(ports: &[u16], deadline: Instant) {
    while Instant::now() < deadline && any_waits(ports) {
        thread::sleep(INTERVAL);
    }
}

fn any_waits(ports: &[u16]) -> bool {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    tables.iter().flatten().any(|table| waits(table, ports))
}

/// Whether a table of sockets has one that listens at one of these ports and has clients in its queue, whose
/// number is in the place of bytes to read (`proc_pid_net(5)`).
fn waits(table: &str, ports: &[u16]) -> bool {
    table.lines().skip(1).any(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, _remote, state, queues) =
            (words.next(), words.next(), words.next(), words.next());
        let port = local.and_then(|local| local.rsplit(':').next());
        let port = port.and_then(|port| u16::from_str_radix(port, 16).ok());
        let waiting = queues.and_then(|queues| queues.split(':').nth(1));
        let waiting = waiting.and_then(|count| u64::from_str_radix(count, 16).ok());
        state == Some(LISTENS)
            && port.is_some_and(|port| ports.contains(&port))
            && waiting.is_some_and(|count| count > 0)
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn clients_wait_until_they_are_accepted() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let address = listener.local_addr().unwrap();
            assert!(!any_waits(&[address.port()]));
            let client = TcpStream::connect(address).unwrap();
            assert!(any_waits(&[0, address.port()]));
            assert!(!any_waits(&[0]));
            drain(&[address.port()], Instant::now() + Duration::from_millis(1));
            let accepted = listener.accept().unwrap();
            assert!(!any_waits(&[address.port()]));
            drop((client, accepted));
        }
    }
}
