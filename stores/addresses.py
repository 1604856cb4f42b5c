"""Which internet addresses may be fetched from: public ones, and what the operator allows."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network

_GLOBAL_V6: Final = IPv6Network("2000::/3")
"""The only IPv6 addresses in use on the internet (RFC 4291)."""
_NOT_PUBLIC: Final[tuple[Network, ...]] = (
    # Python's tables know most of these; which ones depends on its version.
    IPv4Network("100.64.0.0/10"),  # carrier-grade NAT (RFC 6598); some clouds keep their metadata service here
    IPv4Network("161.26.0.0/16"),  # IBM Cloud's own services, from within only
    IPv4Network("166.8.0.0/14"),  # the same
    IPv4Network("168.63.129.16/32"),  # Azure's platform, which hands out configuration and keys to its machines
    IPv4Network("199.36.153.0/28"),  # Google's APIs, from within its cloud
    IPv4Network("192.0.0.0/24"),  # protocol assignments (RFC 6890)
    IPv4Network("192.88.99.0/24"),  # 6to4 relays (RFC 7526)
    IPv4Network("198.18.0.0/15"),  # benchmarks (RFC 2544)
    IPv6Network("2001::/23"),  # protocol assignments, Teredo among them (RFC 2928, RFC 4380)
    IPv6Network("2600:2d00:2:1000::/56"),  # Google's APIs, from within its cloud
    IPv6Network("2600:2d00:2:2000::/56"),  # the same
    IPv6Network("2001:db8::/32"),  # documentation (RFC 3849)
    IPv6Network("3fff::/20"),  # documentation (RFC 9637)
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_6TO4: Final = IPv6Network("2002::/16")


def is_public(address: Address) -> bool:
    """Whether the address is one of the internet's own: not private, local, multicast, reserved, or a way round that.

    An IPv6 address that stands for an IPv4 one is judged by that one.
    """
    if isinstance(address, IPv6Address):
        inner = _inner_v4(address)
        if inner is not None:
            return is_public(inner)
        if address not in _GLOBAL_V6:
            return False
    listed = any(address in network for network in _NOT_PUBLIC if network.version == address.version)
    return address.is_global and not address.is_multicast and not address.is_reserved and not listed


def may_fetch_from(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether the address is public, or within a network that is allowed all the same."""
    plain = address
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        plain = address.ipv4_mapped
    inside = any(plain in network for network in allowed if network.version == plain.version)
    return inside or is_public(address)


def parsed_address(text: str) -> Address | None:
    """The address that the text is, or None. Addresses with a zone are none: they are local to an interface."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None


def _inner_v4(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _6TO4:
        return address.sixtofour
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None
