package egress_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sluice-faas/sluice/gateway/egress"
)

func TestWhoIsBehindAnAddress(t *testing.T) {
	for want, addresses := range map[string][]string{
		"anyone":  {"93.184.216.34", "1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0", "169.253.255.255", "198.17.255.255", "223.255.255.255", "::ffff:1.1.1.1", "2606:4700::1", "2a00:1450::1"},
		"private": {"127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255", "::1", "fc00::1", "fd12:3456::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1"},
		"nobody": {
			"0.0.0.0", "0.1.2.3", "::", "255.255.255.255", "240.0.0.1", "224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1", // nobody, everybody, several
			"169.254.169.254", "169.254.170.2", "169.254.0.1", "fe80::1", "fe80::a9fe:a9fe", "febf::1", "::ffff:169.254.169.254", // link-local, with metadata
			"fd00:ec2::254", "fd20:ce::254", "168.63.129.16", "100.100.100.200", "192.0.0.192", // metadata elsewhere
			"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::808:808", "64:ff9b:1::1", "64:ff9b:1:ffff::a00:1", // NAT64
			"2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:808:808::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", // 6to4, Teredo
			"::127.0.0.1", "::10.0.0.1", "::8.8.8.8", "::ffff:0:127.0.0.1", // IPv4-compatible and -translated
			"192.0.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "198.19.255.255", "192.88.99.1", "192.31.196.1", "192.175.48.1",
			"2001:db8::1", "3fff::1", "100::1", "fec0::1", "5f00::1", "2001:10::1", "2620:4f:8000::1", "4000::1",
			"fe80::1%eth0", "::1%lo",
		},
	} {
		for _, text := range addresses {
			require.Equal(t, want, egress.Reach(netip.MustParseAddr(text)), text)
		}
	}
	require.Equal(t, "nobody", egress.Reach(netip.Addr{}))
}

func TestAnAddressInsideAnotherIsNotReachedByIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b [4]byte
		copy(b[:], rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address"))
		inside := netip.AddrFrom4(b)
		mapped := netip.AddrFrom16(inside.As16())
		if egress.Reach(mapped) != egress.Reach(inside) {
			t.Fatalf("%s is not as %s", mapped, inside)
		}
		for _, prefix := range []string{"64:ff9b::", "64:ff9b:1::", "::", "::ffff:0:0:0"} {
			a := netip.MustParseAddr(prefix).As16()
			copy(a[12:], b[:])
			if got := egress.Reach(netip.AddrFrom16(a)); got != "nobody" && netip.AddrFrom16(a) != netip.IPv6Loopback() {
				t.Fatalf("%s is for %s", netip.AddrFrom16(a), got)
			}
		}
		sixToFour := [16]byte{0x20, 0x02, b[0], b[1], b[2], b[3]}
		if got := egress.Reach(netip.AddrFrom16(sixToFour)); got != "nobody" {
			t.Fatalf("6to4 of %s is for %s", inside, got)
		}
	})
}

// The dialer looks for itself, where the system is about to connect. Nothing leaves
// this machine: the address is loopback, or refused.
func TestTheDialerChecksOnceMore(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	at := netip.MustParseAddrPort(l.Addr().String())

	_, err = egress.GuardedDial(t.Context(), nil, false, at.String())
	require.ErrorContains(t, err, "is a private address")
	conn, err := egress.GuardedDial(t.Context(), nil, true, at.String())
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	for _, address := range []string{"0.0.0.0", "::", "169.254.169.254"} {
		_, err = egress.GuardedDial(t.Context(), nil, true, netip.AddrPortFrom(netip.MustParseAddr(address), at.Port()).String())
		require.ErrorContains(t, err, "has a special purpose", address)
	}
	for _, denied := range []netip.AddrPort{at, netip.AddrPortFrom(netip.IPv4Unspecified(), at.Port()), netip.AddrPortFrom(netip.IPv6Unspecified(), at.Port()), netip.AddrPortFrom(netip.IPv6Loopback(), at.Port())} {
		_, err = egress.GuardedDial(t.Context(), []netip.AddrPort{denied}, true, at.String())
		require.ErrorContains(t, err, "is the operator's alone", denied)
	}
	conn, err = egress.GuardedDial(t.Context(), []netip.AddrPort{netip.AddrPortFrom(at.Addr(), at.Port()+1)}, true, at.String())
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}
