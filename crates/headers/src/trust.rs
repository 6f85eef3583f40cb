//! What trusted proxies say about a request, put in the place of what httpd found out itself.
//!
//! A header that may tell something is believed only if it is listed and the peer is trusted; all
//! other headers that could tell the same are removed, so that no client can speak for a proxy.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::{Category, Network, TrustedHeader};

type Text<'r> = Cow<'r, [u8]>;

/// The entries of an environ, of which the last one of a name counts.
pub type Entries<'r> = Vec<(Text<'r>, Text<'r>)>;

/// Applies `headers` (`WSGITrustedProxyHeaders`) in their order, if the peer is one of `proxies`
/// (`WSGITrustedProxies`; without it, everybody is). `https` is what the connection says.
pub fn apply(
    entries: &mut Entries<'_>,
    https: &mut bool,
    headers: &[TrustedHeader],
    proxies: Option<&[Network]>,
) {
    let peer = get(entries, b"REMOTE_ADDR").and_then(address);
    let is_trusted = proxies.is_none_or(|proxies| peer.is_some_and(|peer| contains(proxies, peer)));
    // The last header of a category that is there wins.
    let mut applied: Vec<&TrustedHeader> = Vec::new();
    for header in headers.iter().filter(|_| is_trusted) {
        if let Some(value) = get(entries, header.variable.as_bytes()).map(<[u8]>::to_vec) {
            believe(entries, https, header, &value, proxies);
            applied.retain(|other| !other.category.competes_with(header.category));
            applied.push(header);
        }
    }
    let is_listed =
        |category: Category| headers.iter().any(|header| header.category.competes_with(category));
    entries.retain(|(name, _)| {
        let known = TrustedHeader::ALL.iter().find(|known| known.variable.as_bytes() == &**name);
        known.is_none_or(|known| {
            !is_listed(known.category)
                || applied.iter().any(|header| header.variable == known.variable)
        })
    });
}

fn believe(
    entries: &mut Entries<'_>,
    https: &mut bool,
    header: &TrustedHeader,
    value: &[u8],
    proxies: Option<&[Network]>,
) {
    let is = |texts: &[&str]| texts.iter().any(|text| value.eq_ignore_ascii_case(text.as_bytes()));
    match header.category {
        Category::Client if header.variable == "HTTP_X_FORWARDED_FOR" => {
            forwarded_for(entries, value, proxies);
        }
        Category::Client => set(entries, "REMOTE_ADDR", value),
        Category::Host => set(entries, "HTTP_HOST", value),
        Category::Server => set(entries, "SERVER_NAME", value),
        Category::Port => set(entries, "SERVER_PORT", value),
        Category::Script => {
            set(entries, "SCRIPT_NAME", value);
            set(entries, "mod_wsgi.mount_point", value);
        }
        Category::Scheme if is(&["https"]) => *https = true,
        Category::Scheme if is(&["http"]) => *https = false,
        Category::SchemeFlag if is(&["on", "true", "1"]) => *https = true,
        Category::SchemeFlag if is(&["off", "false", "0"]) => *https = false,
        Category::Scheme | Category::SchemeFlag => {}
    }
}

/// `X-Forwarded-For`: each proxy adds at the end whom it got the request from. Without a list of
/// proxies, the first element is the client; with one, it is what the outermost trusted proxy says.
fn forwarded_for(entries: &mut Entries<'_>, value: &[u8], proxies: Option<&[Network]>) {
    let elements = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let elements: Vec<_> = elements.filter(|element| !element.is_empty()).collect();
    let (Some(first), Some(last)) = (elements.first(), elements.len().checked_sub(1)) else {
        return;
    };
    let Some(proxies) = proxies else {
        return set(entries, "REMOTE_ADDR", first);
    };
    let trusted = elements
        .iter()
        .rev()
        .take_while(|element| address(element).is_some_and(|address| contains(proxies, address)));
    let client = match trusted.count() {
        0 => last,
        count => elements.len().saturating_sub(count + 1),
    };
    set(entries, "REMOTE_ADDR", elements[client]);
    set(entries, "HTTP_X_FORWARDED_FOR", &elements[client..].join(&b", "[..]));
}

fn contains(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

fn address(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The value of the last entry of this name.
pub fn get<'e>(entries: &'e Entries<'_>, name: &[u8]) -> Option<&'e [u8]> {
    entries.iter().rfind(|(known, _)| &**known == name).map(|(_, value)| &**value)
}

fn set(entries: &mut Entries<'_>, name: &'static str, value: &[u8]) {
    entries.retain(|(known, _)| &**known != name.as_bytes());
    entries.push((Cow::Borrowed(name.as_bytes()), Cow::Owned(value.to_vec())));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Header, value, the variable that it sets, and what to.
    const EFFECTS: [(&str, &str, &str, &str); 15] = [
        ("X-Forwarded-For", "1.1.1.1, 10.0.0.2", "REMOTE_ADDR", "1.1.1.1"),
        ("X-Client-IP", "1.1.1.1", "REMOTE_ADDR", "1.1.1.1"),
        ("X-Real-IP", "1.1.1.1", "REMOTE_ADDR", "1.1.1.1"),
        ("X-Forwarded-Host", "a.example:81", "HTTP_HOST", "a.example:81"),
        ("X-Host", "a.example", "HTTP_HOST", "a.example"),
        ("X-Forwarded-Server", "a.example", "SERVER_NAME", "a.example"),
        ("X-Forwarded-Port", "81", "SERVER_PORT", "81"),
        ("X-Script-Name", "/a", "SCRIPT_NAME", "/a"),
        ("X-Forwarded-Script-Name", "/a", "mod_wsgi.mount_point", "/a"),
        ("X-Forwarded-Proto", "https", "https", "true"),
        ("X-Forwarded-Scheme", "HTTPS", "https", "true"),
        ("X-Scheme", "https", "https", "true"),
        ("X-Forwarded-HTTPS", "On", "https", "true"),
        ("X-Forwarded-SSL", "1", "https", "true"),
        ("X-HTTPS", "true", "https", "true"),
    ];

    fn variable(header: &str) -> String {
        format!("HTTP_{}", header.to_ascii_uppercase().replace('-', "_"))
    }

    struct World {
        entries: Entries<'static>,
        https: bool,
    }

    impl World {
        fn new(headers: &[(&str, &str)]) -> Self {
            let own = [
                ("REMOTE_ADDR", "10.0.0.1"),
                ("HTTP_HOST", "own"),
                ("SERVER_NAME", "own"),
                ("SERVER_PORT", "80"),
                ("SCRIPT_NAME", "/own"),
            ];
            let own = own.map(|(name, value)| (name.to_owned(), value));
            let sent = headers.iter().map(|(name, value)| (variable(name), *value));
            let bytes = |text: &str| Cow::Owned(text.as_bytes().to_vec());
            let entries = own.into_iter().chain(sent);
            Self {
                entries: entries.map(|(name, value)| (bytes(&name), bytes(value))).collect(),
                https: false,
            }
        }

        fn apply(mut self, listed: &[&str], proxies: Option<&str>) -> Self {
            let listed = listed.iter().map(|name| TrustedHeader::find(name.as_bytes()).unwrap());
            let listed: Vec<_> = listed.collect();
            let proxies = proxies.map(|text| vec![Network::parse(text.as_bytes()).unwrap()]);
            apply(&mut self.entries, &mut self.https, &listed, proxies.as_deref());
            self
        }

        fn get(&self, name: &str) -> Option<String> {
            if name == "https" {
                return Some(self.https.to_string());
            }
            get(&self.entries, name.as_bytes())
                .map(|value| String::from_utf8(value.into()).unwrap())
        }
    }

    #[test]
    fn every_header_is_believed_of_a_trusted_peer() {
        for (header, value, name, expected) in EFFECTS {
            for proxies in [None, Some("10.0.0.0/8")] {
                let world = World::new(&[(header, value)]).apply(&[header], proxies);
                assert_eq!(world.get(name).as_deref(), Some(expected), "{header} {proxies:?}");
                assert!(world.get(&variable(header)).is_some(), "{header} {proxies:?}");
            }
        }
    }

    #[test]
    fn no_header_is_believed_of_a_stranger_and_none_is_passed_on() {
        for (header, value, name, _) in EFFECTS {
            let world = World::new(&[(header, value)]).apply(&[header], Some("192.168.0.0/16"));
            assert_eq!(world.get(name), World::new(&[]).get(name), "{header}");
            assert_eq!(world.get(&variable(header)), None, "{header}");
        }
    }

    #[test]
    fn headers_that_are_not_listed_are_left_alone() {
        for (header, value, name, _) in EFFECTS {
            // Another category than any of these is listed, or the client's own.
            let listed = if name == "SERVER_PORT" { "X-Real-IP" } else { "X-Forwarded-Port" };
            let world = World::new(&[(header, value)]).apply(&[listed], None);
            assert_eq!(world.get(name), World::new(&[]).get(name), "{header}");
            assert_eq!(world.get(&variable(header)).as_deref(), Some(value), "{header}");
        }
    }

    #[test]
    fn of_one_category_the_later_listed_header_wins_and_stays_alone() {
        let sent = [("X-Real-IP", "1.1.1.1"), ("X-Client-IP", "2.2.2.2"), ("X-Forwarded-For", "3")];
        let world = World::new(&sent).apply(&["X-Client-IP", "X-Real-IP"], None);
        assert_eq!(world.get("REMOTE_ADDR").as_deref(), Some("1.1.1.1"));
        assert_eq!(world.get("HTTP_X_REAL_IP").as_deref(), Some("1.1.1.1"));
        assert_eq!(world.get("HTTP_X_CLIENT_IP"), None);
        assert_eq!(world.get("HTTP_X_FORWARDED_FOR"), None);

        // Words and flags both tell the scheme.
        let sent = [("X-Forwarded-Proto", "https"), ("X-HTTPS", "off")];
        let world = World::new(&sent).apply(&["X-Forwarded-Proto", "X-HTTPS"], None);
        assert!(!world.https);
        assert_eq!(world.get("HTTP_X_FORWARDED_PROTO"), None);
    }

    #[track_caller]
    fn forwarded(value: &str, address: &str, left: &str) {
        let world = World::new(&[("X-Forwarded-For", value)])
            .apply(&["X-Forwarded-For"], Some("10.0.0.0/8"));
        assert_eq!(world.get("REMOTE_ADDR").as_deref(), Some(address), "{value}");
        assert_eq!(world.get("HTTP_X_FORWARDED_FOR").as_deref(), Some(left), "{value}");
    }

    #[test]
    fn forwarded_for_is_read_from_the_right() {
        forwarded("1.1.1.1", "1.1.1.1", "1.1.1.1");
        forwarded("9.9.9.9, 1.1.1.1, 10.0.0.2", "1.1.1.1", "1.1.1.1, 10.0.0.2");
        forwarded("9.9.9.9, 1.1.1.1,,10.0.0.2, 10.0.0.3", "1.1.1.1", "1.1.1.1, 10.0.0.2, 10.0.0.3");
        forwarded("10.0.0.2, 10.0.0.3", "10.0.0.2", "10.0.0.2, 10.0.0.3");
        forwarded("1.1.1.1, 2.2.2.2", "2.2.2.2", "2.2.2.2");
        forwarded("1.1.1.1, name, 10.0.0.2", "name", "name, 10.0.0.2");
        forwarded("::1, 10.0.0.2", "::1", "::1, 10.0.0.2");
    }

    #[test]
    fn an_empty_list_says_nothing() {
        let world = World::new(&[("X-Forwarded-For", " , ")]).apply(&["X-Forwarded-For"], None);
        assert_eq!(world.get("REMOTE_ADDR").as_deref(), Some("10.0.0.1"));
    }

    #[test]
    fn other_words_for_a_scheme_are_ignored() {
        let world = World::new(&[("X-Forwarded-Proto", "wss")]).apply(&["X-Forwarded-Proto"], None);
        assert!(!world.https);
    }
}
