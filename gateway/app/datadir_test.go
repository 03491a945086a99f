package app_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/app"
)

func TestADataFolderMayHaveAnyName(t *testing.T) {
	for _, name := range []string{"[x]", "[", "a*", "a b", `back\slash?`} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), name, "data")
			start(t, dir, "--no-sample").stop(t)
			require.NoError(t, os.WriteFile(filepath.Join(dir, ".dev.json.123"), nil, 0o600))
			g := start(t, dir, "--no-sample")
			require.NoFileExists(t, filepath.Join(dir, ".dev.json.123"))
			g.as(t, "LPA")
		})
	}
}

func TestWhatAKilledWriterLeftIsRemoved(t *testing.T) {
	dir := t.TempDir()
	left := []string{".dev.json.1", ".demo.json.2345", ".ca.pem.9", ".ca-key.pem.0", ".lambda-ca.pem.1", ".lambda-roots.pem.1"}
	others := []string{".demo.json.bak", ".demo.json.", ".other.json.1", "demo.json.1", ".ca.pem.1.old"}
	for _, name := range append(left, others...) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	start(t, dir, "--no-sample")
	for _, name := range left {
		require.NoFileExists(t, filepath.Join(dir, name))
	}
	for _, name := range others {
		require.FileExists(t, filepath.Join(dir, name), "it is not ours")
	}
}

func TestTheCertificateNamesTheAddressThatTheURLsHave(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.2:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	c := settings(t, t.TempDir(), "--https-addr", "gateway.example.org:8443", "--domain", "faasGW=gw.example.org")
	require.Equal(t, []string{"gw.example.org", "gateway.example.org", "127.0.0.2"}, app.CertificateHosts(c, l))
}

func TestAFolderOfAnotherUserIsRefused(t *testing.T) {
	dir, me := t.TempDir(), os.Geteuid()
	require.NoError(t, app.CheckOwner(dir, me))
	require.NoError(t, app.CheckOwner(dir, 0), "root may use any")
	require.NoError(t, app.CheckOwner("/", me), "what is root's is nobody's trap")
	if me == 0 { // somebody else's folder, without whom there is no way to have one
		require.NoError(t, os.Chown(dir, 4321, -1))
		me = 1234
	} else {
		me++
	}
	require.ErrorContains(t, app.CheckOwner(dir, me), "it belongs to user")
}

func TestAFolderThatEverybodyCanWriteIsShown(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777)) //nolint:gosec // that is the fault
	victim := filepath.Join(t.TempDir(), "victim")
	require.NoError(t, os.WriteFile(victim, []byte("text"), 0o600))
	require.NoError(t, os.Symlink(victim, filepath.Join(dir, "control.sock")))
	g := start(t, dir, "--no-sample")
	require.Contains(t, g.people.String(), "run chmod 700")
	require.Equal(t, "text", read(t, victim))
	info, err := os.Lstat(filepath.Join(dir, "control.sock"))
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o600, info.Mode())
}
