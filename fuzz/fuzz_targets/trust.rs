//! Any bytes as `WSGITrustedProxies`, `WSGITrustedProxyHeaders` and what a client sends: a stranger
//! changes nothing, and of headers that tell the same no two are left.
#![no_main]

use std::borrow::Cow;

use headers::trust::{self, Entries};
use headers::{Network, TrustedHeader};

/// What httpd has found out itself.
const OWN: [(&str, &[u8]); 6] = [
    ("REMOTE_ADDR", b"10.0.0.1"),
    ("HTTP_HOST", b"own"),
    ("SERVER_NAME", b"own"),
    ("SERVER_PORT", b"80"),
    ("SCRIPT_NAME", b"/own"),
    ("HTTP_X_OTHER", b"other"),
];

fn entry<'r>(name: &'r str, value: &'r [u8]) -> (Cow<'r, [u8]>, Cow<'r, [u8]>) {
    (Cow::Borrowed(name.as_bytes()), Cow::Borrowed(value))
}

fn get<'e>(entries: &'e Entries<'_>, name: &str) -> Option<&'e [u8]> {
    let mut found = entries.iter().filter(|(known, _)| &**known == name.as_bytes());
    found.next_back().map(|(_, value)| &**value)
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|byte| *byte == b'\n');
    let [Some(proxies), Some(listed)] = [lines.next(), lines.next()] else {
        return;
    };
    let networks: Result<Vec<_>, _> = match proxies {
        b"*" => Ok(Vec::new()),
        text => text.split(|byte| *byte == b' ').map(Network::parse).collect(),
    };
    let Ok(networks) = networks else { return };
    let proxies = (proxies != b"*").then_some(&networks[..]);
    let known = |byte: &u8| TrustedHeader::ALL[usize::from(*byte) % TrustedHeader::ALL.len()];
    let listed: Vec<_> = listed.iter().map(known).collect();
    let mut entries: Entries<'_> = OWN.map(|(name, value)| entry(name, value)).into();
    for line in lines {
        if let [header, value @ ..] = line {
            entries.push(entry(known(header).variable, value));
        }
    }

    let mut https = false;
    let before = entries.clone();
    trust::apply(&mut entries, &mut https, &listed, proxies);

    let peer = "10.0.0.1".parse().expect("an address");
    let is_trusted = proxies.is_none_or(|list| list.iter().any(|it| it.contains(peer)));
    assert_eq!(get(&entries, "HTTP_X_OTHER"), Some(&b"other"[..]));
    for header in TrustedHeader::ALL {
        let rivals = |other: &&TrustedHeader| other.category.competes_with(header.category);
        let left = TrustedHeader::ALL.iter().filter(rivals);
        let left = left.filter(|other| get(&entries, other.variable).is_some()).count();
        match listed.iter().any(|other| rivals(&other)) {
            true => assert!(left <= usize::from(is_trusted)),
            false => {
                assert_eq!(get(&entries, header.variable), get(&before, header.variable));
            }
        }
    }
    if !is_trusted {
        assert!(!https);
        assert!(OWN.iter().all(|(name, value)| get(&entries, name) == Some(value)));
    }
});
