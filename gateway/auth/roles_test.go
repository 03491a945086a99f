package auth_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// profile makes a profile, or changes it.
func (g *gateway) profile(name string, roles ...lambda.Role) {
	g.t.Helper()
	_, _, err := g.store.PutProfile(g.t.Context(), g.account, name, func(p *lambda.Profile, _ bool) error {
		p.Roles = roles
		return nil
	})
	require.NoError(g.t, err)
	g.seen()
}

// member adds a user who has a profile.
func (g *gateway) member(name, profile string) *lambda.User {
	g.t.Helper()
	g.user(name, lambda.RoleInvocation)
	u, err := g.store.UpdateUser(g.t.Context(), g.account, "id-"+name, func(u *lambda.User) error {
		u.Profile, u.Roles = profile, nil
		return nil
	})
	require.NoError(g.t, err)
	g.seen()
	return u
}

func TestAProfileSaysWhatItsUsersMay(t *testing.T) {
	g := start(t)
	g.profile("Builders", lambda.RoleAdmin, lambda.RoleDeveloper)
	g.member("dev", "Builders")
	token := g.login("dev").Bearer
	both := auth.Permissions([]lambda.Role{lambda.RoleAdmin, lambda.RoleDeveloper})
	require.Equal(t, both, g.accepted(token).Permissions)

	t.Run("a change of it counts at once, on every gateway", func(t *testing.T) {
		other := join(t, g.clock, auth.Config{})
		other.account = g.account
		require.NoError(t, other.keeper.Check(t.Context()))
		require.Equal(t, both, other.accepted(token).Permissions)
		g.profile("Builders", lambda.RoleInvocation)
		require.Equal(t, auth.Permissions([]lambda.Role{lambda.RoleInvocation}), g.accepted(token).Permissions)
		require.Eventually(t, func() bool { return !other.accepted(token).May(auth.Deploy) }, 5*time.Second, time.Millisecond)
	})
	t.Run("so does another profile, and roles of one's own", func(t *testing.T) {
		g.profile("Staff", lambda.RoleLPA)
		g.member("dev", "Staff")
		require.Equal(t, auth.Everything, g.accepted(token).Permissions)
		g.user("dev", lambda.RoleDeveloper)
		require.Equal(t, auth.Permissions([]lambda.Role{lambda.RoleDeveloper}), g.accepted(token).Permissions)
	})
	t.Run("a warm call needs no etcd", func(t *testing.T) {
		g.member("dev", "Staff")
		g.store.reads.Store(0)
		g.store.down.Store(true)
		defer g.store.down.Store(false)
		require.Equal(t, auth.Everything, g.accepted(token).Permissions)
		require.Zero(t, g.store.reads.Load())
	})
	t.Run("a gateway that no watch has reached looks it up", func(t *testing.T) {
		behind := join(t, g.clock, auth.Config{})
		behind.account = g.account
		behind.build(auth.Config{}, blind{})
		require.Equal(t, auth.Everything, behind.accepted(token).Permissions)
		behind.store.down.Store(true)
		_, err := behind.authenticate("Bearer " + token)
		require.True(t, lambda.Is(err, lambda.KindUnavailable), "%v", err)
	})
	t.Run("the login tells its roles", func(t *testing.T) {
		answer, _ := g.signIn("dev")
		require.Equal(t, []any{1.0}, answer.Config["userPrivileges"])
		require.Equal(t, true, answer.Config["isLPA"])
	})
}
