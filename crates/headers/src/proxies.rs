//! Trusted proxies: which headers of theirs are believed, and which addresses are theirs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a header of a proxy tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    /// The client's address.
    Client,
    /// The host that the client asked for.
    Host,
    /// The server's name.
    Server,
    /// The port that the client asked for.
    Port,
    /// Where the application is mounted.
    Script,
    /// `http` or `https`, in words.
    Scheme,
    /// Whether the client uses TLS, as a flag.
    SchemeFlag,
}

impl Category {
    /// Whether the headers of both compete with each other.
    pub fn competes_with(self, other: Self) -> bool {
        let is_scheme = |category| matches!(category, Self::Scheme | Self::SchemeFlag);
        self == other || is_scheme(self) && is_scheme(other)
    }
}

/// A header that `WSGITrustedProxyHeaders` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedHeader {
    /// Its name in the environ.
    pub variable: &'static str,
    /// What it tells.
    pub category: Category,
}

impl TrustedHeader {
    /// Every header that is known, by what it tells.
    pub const ALL: [Self; 15] = [
        Self::new("HTTP_X_FORWARDED_FOR", Category::Client),
        Self::new("HTTP_X_CLIENT_IP", Category::Client),
        Self::new("HTTP_X_REAL_IP", Category::Client),
        Self::new("HTTP_X_FORWARDED_HOST", Category::Host),
        Self::new("HTTP_X_HOST", Category::Host),
        Self::new("HTTP_X_FORWARDED_SERVER", Category::Server),
        Self::new("HTTP_X_FORWARDED_PORT", Category::Port),
        Self::new("HTTP_X_SCRIPT_NAME", Category::Script),
        Self::new("HTTP_X_FORWARDED_SCRIPT_NAME", Category::Script),
        Self::new("HTTP_X_FORWARDED_PROTO", Category::Scheme),
        Self::new("HTTP_X_FORWARDED_SCHEME", Category::Scheme),
        Self::new("HTTP_X_SCHEME", Category::Scheme),
        Self::new("HTTP_X_FORWARDED_HTTPS", Category::SchemeFlag),
        Self::new("HTTP_X_FORWARDED_SSL", Category::SchemeFlag),
        Self::new("HTTP_X_HTTPS", Category::SchemeFlag),
    ];

    const fn new(variable: &'static str, category: Category) -> Self {
        Self { variable, category }
    }

    /// The header of that name, in any case, if it is known.
    pub fn find(header: &[u8]) -> Option<Self> {
        let named = |variable: &str| {
            let name = variable["HTTP_".len()..].bytes().map(|byte| match byte {
                b'_' => b'-',
                byte => byte,
            });
            name.eq(header.iter().map(u8::to_ascii_uppercase))
        };
        Self::ALL.into_iter().find(|known| named(known.variable))
    }
}

/// Addresses that begin with the same bits. IPv4 addresses are held as IPv6 ones that map them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: u128,
    mask: u128,
}

/// What is wrong with an address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// Neither an address nor the beginning of one.
    #[error(
        "Unable to parse trusted proxy IP address/subnet of \"{0}\". Write an address such as \
         10.0.0.1 or ::1, or a network such as 10.0.0.0/8; host names are not looked up."
    )]
    Address(String),
    /// The address is fine.
    #[error(
        "Unable to parse trusted proxy IP address/subnet of \"{0}\". The specified network mask is \
         invalid."
    )]
    Mask(String),
}

impl Network {
    /// Reads an address; one with a mask, as a number of bits or as an address; or the first parts
    /// of an IPv4 address (`10.1`), as httpd's `Require ip` does.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn parse(text: &[u8]) -> Result<Self, NetworkError> {
        let text = String::from_utf8_lossy(text);
        let wrong_mask = || NetworkError::Mask(text.clone().into_owned());
        let (address, mask) = match text.split_once('/') {
            None => (&*text, None),
            Some((address, mask)) => (address, Some(mask)),
        };
        let (base, bits, width) = match address.parse() {
            Ok(IpAddr::V6(address)) => (address.to_bits(), 128, 128),
            Ok(IpAddr::V4(address)) => (address.to_ipv6_mapped().to_bits(), 128, 32),
            Err(_) => match partial(address).filter(|_| mask.is_none()) {
                Some((address, bits)) => (address.to_ipv6_mapped().to_bits(), 96 + bits, 32),
                None => return Err(NetworkError::Address(text.into_owned())),
            },
        };
        let mask = match mask {
            None => leading(bits),
            Some(mask) => match mask.parse::<u32>() {
                Ok(bits) if (1..=width).contains(&bits) => leading(128 - width + bits),
                Ok(_) => return Err(wrong_mask()),
                Err(_) if width == 32 => {
                    let mask: Ipv4Addr = mask.parse().map_err(|_| wrong_mask())?;
                    leading(96) | u128::from(mask.to_bits())
                }
                Err(_) => return Err(wrong_mask()),
            },
        };
        Ok(Self { base: base & mask, mask })
    }

    /// Whether the address is one of these.
    pub fn contains(self, address: IpAddr) -> bool {
        let bits = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        bits & self.mask == self.base
    }
}

/// The first parts of an IPv4 address, and how many bits they are.
fn partial(text: &str) -> Option<(Ipv4Addr, u32)> {
    let parts = text.strip_suffix('.').unwrap_or(text).split('.');
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<u8> =
        parts.map(|part| part.parse().ok().filter(|_| digits(part))).collect::<Option<_>>()?;
    let mut octets = [0; 4];
    octets.get_mut(..parts.len())?.copy_from_slice(&parts);
    Some((Ipv4Addr::from(octets), u32::try_from(parts.len()).ok()? * 8))
}

/// So many ones in front of zeros.
fn leading(bits: u32) -> u128 {
    Ipv6Addr::from_bits(u128::MAX).to_bits().checked_shl(128 - bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(network: &str, address: &str, expected: bool) {
        let network = Network::parse(network.as_bytes()).unwrap();
        assert_eq!(network.contains(address.parse().unwrap()), expected, "{address}");
    }

    #[test]
    fn networks_contain_addresses() {
        check("10.0.0.1", "10.0.0.1", true);
        check("10.0.0.1", "10.0.0.2", false);
        check("10.0.0.0/8", "10.200.3.4", true);
        check("10.1.2.3/8", "10.200.3.4", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.1.0.0/255.255.0.0", "10.1.7.7", true);
        check("10.1.0.0/255.255.0.0", "10.2.7.7", false);
        check("10.1", "10.1.9.9", true);
        check("10.1.", "10.2.9.9", false);
        check("::1", "::1", true);
        check("2001:db8::/32", "2001:db8:1::1", true);
        check("2001:db8::/32", "2001:db9::1", false);
        check("10.0.0.0/8", "::ffff:10.1.1.1", true);
        check("::/1", "10.1.1.1", true);
    }

    #[test]
    fn what_is_no_network() {
        for text in ["", "proxy.example", "10.0.0.256", "1.2.3.4.5", "10.1/16", ":::"] {
            let error = Network::parse(text.as_bytes()).unwrap_err();
            assert!(matches!(error, NetworkError::Address(_)), "{text}: {error}");
        }
        for text in ["10.0.0.0/33", "10.0.0.0/x", "10.0.0.0/0", "::/129", "::/255.0.0.0"] {
            let error = Network::parse(text.as_bytes()).unwrap_err();
            assert!(matches!(error, NetworkError::Mask(_)), "{text}: {error}");
        }
    }

    #[test]
    fn headers_are_known_in_any_case() {
        let found = TrustedHeader::find(b"x-forwarded-PROTO").unwrap();
        assert_eq!(found.variable, "HTTP_X_FORWARDED_PROTO");
        assert_eq!(TrustedHeader::find(b"X-Other"), None);
    }
}
