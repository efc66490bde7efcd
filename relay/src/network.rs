//! Groups addresses into clients and networks.

use std::net::{IpAddr, Ipv6Addr};

/// The client of an address: an IPv4 address, or the /64 of an IPv6 address, within which a client chooses its
/// addresses freely.
pub fn client_of(address: IpAddr) -> IpAddr {
    masked(address, 64).unwrap_or(address.to_canonical())
}

/// The network that an IPv6 client may own around its /64: providers assign a /56 or a /48. `None` for IPv4, where
/// each address has a cost.
pub(crate) fn network_around(address: IpAddr) -> Option<IpAddr> {
    masked(address, 48)
}

fn masked(address: IpAddr, bits: u32) -> Option<IpAddr> {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let mask = u128::MAX << (128 - bits);
            Some(Ipv6Addr::from_bits(v6.to_bits() & mask).into())
        }
        IpAddr::V4(_) => None,
    }
}
