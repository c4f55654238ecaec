//! This file knows who stands behind a peer: the validator that attests it, the operator who lists it, or the site it
//! comes from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ultramarine_types::{Address, PeerId};

/// An IPv4 address, or a /64 of IPv6: one holder cannot easily have many of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Site(IpAddr);

impl Site {
    /// The site of an address. An IPv4 address inside IPv6 counts as itself.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.into()),
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()),
        }
    }

    /// The part of the internet that it belongs to.
    pub fn netgroup(self) -> Netgroup {
        match self.0 {
            IpAddr::V4(address) => Netgroup(Ipv4Addr::from_bits(address.to_bits() & 0xffff_0000).into()),
            IpAddr::V6(address) => Netgroup(Ipv6Addr::from_bits(address.to_bits() >> 96 << 96).into()),
        }
    }
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A /16 of IPv4, or a /32 of IPv6: what one provider has. One holder has many sites of it more easily than sites of
/// several.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Netgroup(IpAddr);

/// Who stands behind a peer. A node's key costs nothing; this does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PeerOrigin {
    /// The validator that attests it.
    Validator(Address),
    /// The operator of this node, who configured the full node. Its neighbours' faults and debts are not its own.
    Listed(PeerId),
    /// The site that a stranger comes from: a full node that is not configured.
    Site(Site),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_of_one_holder_is_one_site() {
        let of = |text: &str| Site::of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[test]
    fn sites_of_one_provider_are_one_network() {
        let of = |text: &str| Site::of(text.parse().expect("an address")).netgroup();
        assert_eq!(of("10.0.0.1"), of("10.0.255.1"));
        assert_ne!(of("10.0.0.1"), of("10.1.0.1"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:ffff::1"));
        assert_ne!(of("2001:db8::1"), of("2001:db9::1"));
    }
}
