package auth_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

func TestPermissionsAreTheTableOfTheUserGuide(t *testing.T) {
	for _, row := range []struct {
		what                         string
		permission                   auth.Permission
		admin, developer, invocation bool
	}{
		{"lambda: read", auth.ReadLambdas, true, true, false},
		{"lambda: create, edit, delete", auth.WriteLambdas, false, true, false},
		{"lambda: deploy", auth.Deploy, false, true, false},
		{"lambda: invoke", auth.Invoke, false, true, true},
		{"whitelist: create, edit, delete", auth.WriteDomains, true, false, false},
		{"whitelist: read", auth.ReadDomains, true, true, false},
		{"secret: create, edit, delete", auth.WriteSecrets, true, false, false},
		{"secret: read plain", auth.ReadSecretsPlain, true, false, false},
		{"secret: read crypted", auth.ReadSecrets, true, true, false},
		// What the user guide does not list
		{"schedule: read", auth.ReadSchedules, true, true, true},
		{"schedule: create, edit, delete", auth.WriteSchedules, true, true, false},
		{"logs: read", auth.ReadLogs, true, true, true},
		{"reporting: read", auth.ReadReports, true, true, true},
		{"e-mail report: read", auth.ReadMailReport, true, true, true},
		{"e-mail report: recipients", auth.WriteMailRecipients, true, true, false},
		{"e-mail report: settings", auth.WriteMailSettings, true, false, false},
	} {
		t.Run(row.what, func(t *testing.T) {
			may := func(roles ...lambda.Role) bool {
				return (&auth.Principal{Permissions: auth.Permissions(roles)}).May(row.permission)
			}
			require.Equal(t, row.admin, may(lambda.RoleAdmin), "FaaS-Admin")
			require.Equal(t, row.developer, may(lambda.RoleDeveloper), "FaaS-Developer")
			require.Equal(t, row.invocation, may(lambda.RoleInvocation), "FaaS-Invocation")
			require.True(t, may(lambda.RoleLPA), "LPA")
			require.False(t, may(), "no role")
			require.False(t, may("faas-developer", "Administrator"), "unknown roles")
			require.Equal(t, row.admin || row.invocation, may(lambda.RoleAdmin, lambda.RoleInvocation), "two roles add up")
		})
	}
}

func TestEverythingIsEveryPermission(t *testing.T) {
	require.Equal(t, auth.Everything, auth.Permissions([]lambda.Role{lambda.RoleLPA}))
	all := auth.Permissions([]lambda.Role{lambda.RoleAdmin, lambda.RoleDeveloper, lambda.RoleInvocation})
	require.Equal(t, auth.Everything, all|auth.ManageUsers|auth.ManageApps)
	require.Zero(t, all&(auth.ManageUsers|auth.ManageApps), "who may do what is for platform staff alone to say")
}

func TestTheOperatorMayWhatNobodyElseMay(t *testing.T) {
	operator := auth.NewOperator("1")
	require.True(t, operator.May(auth.Everything|auth.Operate))
	require.Equal(t, "operator", operator.Caller())
	for _, role := range lambda.AllRoles {
		require.Zero(t, auth.Permissions([]lambda.Role{role})&auth.Operate, role)
	}
}

func TestAnyoneNeedsNoPermission(t *testing.T) {
	require.True(t, (&auth.Principal{}).May(auth.Anyone))
}

func TestPermissionNames(t *testing.T) {
	require.Equal(t, "Anyone", auth.Anyone.String())
	require.Equal(t, "ReadLambdas", auth.ReadLambdas.String())
	require.Equal(t, "WriteMailSettings", auth.WriteMailSettings.String())
	require.Equal(t, "Operate", auth.Operate.String())
	require.Equal(t, "Deploy|Invoke", (auth.Deploy | auth.Invoke).String())
}

func TestCaller(t *testing.T) {
	require.Equal(t, "u", (&auth.Principal{UserID: "u", ClientID: "c"}).Caller())
	require.Equal(t, "c", (&auth.Principal{ClientID: "c"}).Caller())
}

func TestHoldersAreWhomToAskFor(t *testing.T) {
	require.Equal(t, "FaaS-Developer or LPA", auth.Holders(auth.WriteLambdas))
	require.Equal(t, "FaaS-Invocation or FaaS-Developer or LPA", auth.Holders(auth.Invoke))
	require.Equal(t, "FaaS-Admin or LPA", auth.Holders(auth.WriteDomains|auth.ReadDomains))
	require.Equal(t, "LPA", auth.Holders(auth.WriteDomains|auth.Deploy), "who has one of two does not have both")
}
