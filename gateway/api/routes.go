package api

import (
	"net/http"

	"github.com/sluice-faas/sluice/gateway/auth"
)

// handler serves one route. An error it returns becomes the answer in
// respond.go; after writing an answer itself it returns nil.
type handler func(w http.ResponseWriter, r *http.Request) error

// services are the names under which the Domain API publishes a route's host. A
// host name that is configured for some of them serves only their routes; nil
// is served everywhere.
type services []string

var (
	anyHost  services
	faasUI   = services{"faasUI"}
	sentinel = services{"sentinel"}
	agentVep = services{"agentVep"}
	// The web UI invokes on its own host (contract/invocation.md §5).
	faasGW = services{"faasGW", "faasUI"}
)

// route is one row of the table. Rows are unkeyed, so one without a permission
// does not compile.
type route struct {
	method     string
	path       string
	services   services
	permission auth.Permission
	handle     handler
}

// changes tells whether the route is there to change something, and so leaves an
// activity. Calls are in the journal, and logins and questions change nothing.
func (r *route) changes() bool {
	return r.method != http.MethodGet && r.permission&^(auth.Invoke|auth.Reads) != 0
}

// routes is every way into the gateway.
func (s *Server) routes() []route {
	const (
		account = "/api/account/:account"
		people  = account + "/configuration/le-users"
		apps    = account + "/configuration/app-install/installations"
	)
	return []route{
		// Domain API (contract/invocation.md §1). The handler of the first row
		// knows baseURI.json: httprouter allows no fixed word beside a parameter.
		{"GET", account + "/service/:service", anyHost, auth.Anyone, s.directory.HandleService},
		{"GET", account + "/service/:service/:file", anyHost, auth.Anyone, s.directory.HandleService},

		// Sentinel (contract/oauth2.md §1)
		{"POST", "/sentinel/api/account/:account/app/token", sentinel, auth.Anyone, s.auth.HandleAppToken},
		{"POST", "/sentinel/api/v2/account/:account/app/token", sentinel, auth.Anyone, s.auth.HandleAppToken},
		{"GET", "/sentinel/api/account/:account/authorize", sentinel, auth.Anyone, s.auth.HandleAuthorize},
		{"GET", "/sentinel/account/:account/login", sentinel, auth.Anyone, s.auth.HandleLoginPage},
		{"POST", "/sentinel/account/:account/login", sentinel, auth.Anyone, s.auth.HandleLoginForm},
		{"POST", "/sentinel/api/account/:account/token", sentinel, auth.Anyone, s.auth.HandleToken},
		{"POST", "/sentinel/api/account/:account/token/revoke", sentinel, auth.Anyone, s.auth.HandleRevoke},
		{"GET", "/sentinel/well-known/jwks", sentinel, auth.Anyone, s.auth.HandleJWKS},

		// Login service (contract/oauth2.md §2)
		{"POST", account + "/login", agentVep, auth.Anyone, s.auth.HandleLogin},
		{"POST", account + "/refresh", agentVep, auth.Anyone, s.auth.HandleRefresh},
		{"POST", account + "/logout", agentVep, auth.Anyone, s.auth.HandleLogout},

		// Signing in to the web UI. Its pages are what no route has (web.go).
		{"GET", "/ui/session", faasUI, auth.Anyone, s.webSession},
		{"GET", "/ui/sign-in", faasUI, auth.Anyone, s.webSignIn},
		{"GET", "/ui/callback", faasUI, auth.Anyone, s.webCallback},
		{"POST", "/ui/sign-out", faasUI, auth.Anyone, s.webSignOut},

		// Invocation (contract/invocation.md §2, §3, §5)
		{"POST", account + "/lambdas/:id/invoke", faasGW, auth.Invoke, s.invokeLambda},
		{"POST", account + "/events/:event/invoke", faasGW, auth.Invoke, s.invokeEvent},
		{"GET", account + "/events/:event/isImplemented", faasGW, auth.Invoke, s.isImplemented},

		// Management (contract/management.md §2)
		{"GET", account + "/lambdas", faasUI, auth.ReadLambdas, s.listLambdas},
		{"GET", account + "/lambdas/", faasUI, auth.ReadLambdas, s.listLambdas},
		{"POST", account + "/lambdas", faasUI, auth.WriteLambdas, s.createLambda},
		{"GET", account + "/lambdas/:id", faasUI, auth.ReadLambdas, s.readLambda},
		{"PUT", account + "/lambdas/:id", faasUI, auth.WriteLambdas, s.updateLambda},
		{"DELETE", account + "/lambdas/:id", faasUI, auth.WriteLambdas, s.deleteLambda},
		{"GET", account + "/lambdas/:id/processes", faasUI, auth.ReadLambdas, s.readProcesses},
		{"PUT", account + "/lambdas/:id/processes", faasUI, auth.Deploy, s.updateProcesses},
		{"GET", account + "/deployments", faasUI, auth.ReadLambdas, s.listDeployments},
		{"GET", account + "/deployments/:id/history", faasUI, auth.ReadLambdas, s.deploymentHistory},
		{"POST", account + "/deployments/:id", faasUI, auth.Deploy, s.deploy},
		{"DELETE", account + "/deployments/:id", faasUI, auth.Deploy, s.undeploy},
		{"GET", account + "/runtimes", faasUI, auth.ReadLambdas, s.listRuntimes},
		{"GET", account + "/events", faasUI, auth.ReadLambdas, s.listEvents},
		{"GET", account + "/templates", faasUI, auth.ReadLambdas, s.listTemplates},
		{"GET", account + "/schedules", faasUI, auth.ReadSchedules, s.listSchedules},
		{"POST", account + "/schedules", faasUI, auth.WriteSchedules, s.createSchedule},
		{"PUT", account + "/schedules/:id", faasUI, auth.WriteSchedules, s.updateSchedule},
		{"DELETE", account + "/schedules/:id", faasUI, auth.WriteSchedules, s.deleteSchedule},
		{"GET", account + "/proxy-settings", faasUI, auth.ReadDomains, s.listDomains},
		{"POST", account + "/proxy-settings", faasUI, auth.WriteDomains, s.addDomain},
		{"DELETE", account + "/proxy-settings/:id", faasUI, auth.WriteDomains, s.deleteDomain},
		{"GET", account + "/secrets", faasUI, auth.ReadSecrets, s.listSecrets},
		{"POST", account + "/secrets", faasUI, auth.WriteSecrets, s.createSecret},
		{"GET", account + "/secrets/:key", faasUI, auth.ReadSecretsPlain, s.readSecret},
		{"PUT", account + "/secrets/:key", faasUI, auth.WriteSecrets, s.updateSecret},
		{"DELETE", account + "/secrets/:key", faasUI, auth.WriteSecrets, s.deleteSecret},
		{"GET", account + "/reports/lambdaCounts", faasUI, auth.ReadReports, s.lambdaCounts},
		{"GET", account + "/reports/limitCounts", faasUI, auth.ReadReports, s.limitCounts},

		// What happened (contract/management.md §8, §9)
		{"GET", account + "/logs", faasUI, auth.ReadLogs, s.listLogs},
		{"GET", account + "/logs/export", faasUI, auth.ReadLogs, s.exportLogs},
		{"GET", account + "/logs/tail", faasUI, auth.ReadLogs, s.tailLogs},
		{"GET", account + "/invocations", faasUI, auth.ReadLogs, s.listInvocations},
		{"GET", account + "/reports/invocations/:id", faasUI, auth.ReadReports, s.invocationReport},
		{"GET", account + "/reports/latency/:id", faasUI, auth.ReadReports, s.latencyReport},
		{"GET", account + "/reports/invocationCounts", faasUI, auth.ReadReports, s.invocationCounts},
		{"GET", account + "/activities", faasUI, auth.ReadLambdas, s.listActivities},
		{"GET", account + "/egress/attempts", faasUI, auth.ReadLogs, s.listAttempts},
		{"POST", account + "/egress/check", faasUI, auth.ReadDomains, s.checkEgress},

		// Users, profiles and apps of an account
		{"GET", people + "/users", faasUI, auth.ManageUsers, s.listUsers},
		{"POST", people + "/users", faasUI, auth.ManageUsers, s.createUser},
		{"GET", people + "/users/:id", faasUI, auth.ManageUsers, s.readUser},
		{"PUT", people + "/users/:id", faasUI, auth.ManageUsers, s.updateUser},
		{"DELETE", people + "/users/:id", faasUI, auth.ManageUsers, s.deleteUser},
		{"POST", people + "/users/:id/password", faasUI, auth.ManageUsers, s.resetPassword},
		{"GET", people + "/profiles", faasUI, auth.ManageUsers, s.listProfiles},
		{"GET", people + "/profiles/:name", faasUI, auth.ManageUsers, s.readProfile},
		{"PUT", people + "/profiles/:name", faasUI, auth.ManageUsers, s.putProfile},
		{"DELETE", people + "/profiles/:name", faasUI, auth.ManageUsers, s.deleteProfile},
		{"GET", apps, faasUI, auth.ManageApps, s.listApps},
		{"POST", apps, faasUI, auth.ManageApps, s.installApp},
		{"GET", apps + "/:id", faasUI, auth.ManageApps, s.readApp},
		{"PUT", apps + "/:id", faasUI, auth.ManageApps, s.updateApp},
		{"DELETE", apps + "/:id", faasUI, auth.ManageApps, s.deleteApp},
		{"POST", apps + "/:id/secret", faasUI, auth.ManageApps, s.rotateSecret},

		// What the operator alone can see, on a listener of its own
		{"GET", "/api/accounts", anyHost, auth.Operate, s.listAccounts},
		{"POST", "/api/accounts", anyHost, auth.Operate, s.createAccount},

		// The gateway about itself
		{"GET", "/limits", anyHost, auth.Anyone, s.listLimits},
		{"GET", "/openapi.json", anyHost, auth.Anyone, s.openapiJSON},
		{"GET", "/openapi.yaml", anyHost, auth.Anyone, s.openapiYAML},
	}
}
