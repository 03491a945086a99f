package app_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/app"
	"github.com/sluice-faas/sluice/gateway/store/etcdtest"
	"github.com/sluice-faas/sluice/sdk/client"
)

func TestTheNextStartFindsEverythingAsItWas(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	g := start(t, dir)
	first := g.Info()

	var written app.Info
	require.NoError(t, json.Unmarshal([]byte(read(t, dir, "dev.json")), &written))
	require.Equal(t, first, written)
	require.Equal(t, filepath.Join(dir, "ca.pem"), first.CA)
	require.Len(t, first.Users, 4)
	require.Equal(t, "hello", first.Lambda.Name)
	for name, mode := range map[string]os.FileMode{".": 0o700, "dev.json": 0o600, "demo.json": 0o600, "ca-key.pem": 0o600, "etcd": 0o700} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), name)
	}
	for _, u := range first.Users {
		g.as(t, string(u.Role))
		require.Contains(t, g.people.String(), u.Password, "the banner has it")
		require.NotContains(t, g.log.String(), u.Password, "the log has not")
	}
	require.NotContains(t, g.log.String(), first.Apps[0].ClientSecret)
	require.Contains(t, g.people.String(), "\ncurl -sS --cacert ")

	got, err := g.brand(t).Invoke(t.Context(), first.Lambda.UUID, nil)
	require.NoError(t, err)
	require.JSONEq(t, `"sample"`, string(got))
	made, err := g.as(t, "FaaS-Developer").CreateLambda(t.Context(), client.LambdaSpec{Name: "mine", Description: "mine", Code: "mine"})
	require.NoError(t, err)
	_, err = g.as(t, "FaaS-Developer").DeployAndWait(t.Context(), made.ID)
	require.NoError(t, err)
	g.stop(t)

	g = start(t, dir, "--domain", "faasGW=gw.example.org")
	again := g.Info()
	require.NotEqual(t, first.URLs, again.URLs, "ports are those of the start")
	again.URLs = first.URLs
	require.Equal(t, first, again)
	got, err = g.brand(t).Invoke(t.Context(), made.ID, nil)
	require.NoError(t, err)
	require.JSONEq(t, `"mine"`, string(got))
	all, err := g.as(t, "FaaS-Developer").Lambdas(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 2)
}

func TestASecondGatewayOnTheFolderIsToldWhoHasIt(t *testing.T) {
	dir := t.TempDir()
	g := start(t, dir, "--no-sample")
	before := read(t, dir, "dev.json")
	_, err := open(t, dir)
	require.ErrorContains(t, err, dir+" is in use by another sluice (process ")
	require.Equal(t, before, read(t, dir, "dev.json"))
	status, _ := g.admin(t, "/readyz")
	require.Equal(t, http.StatusOK, status)
}

func TestAPortInUseIsNamedAndNothingIsTouched(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, busy.Close()) })
	for _, flag := range []string{"--https-addr", "--http-addr", "--admin-addr"} {
		t.Run(flag, func(t *testing.T) {
			dir := t.TempDir()
			_, err := open(t, dir, flag, busy.Addr().String())
			require.ErrorContains(t, err, flag+" "+busy.Addr().String()+": the port is in use")
			require.NoDirExists(t, filepath.Join(dir, "etcd"))
			require.NoFileExists(t, filepath.Join(dir, "dev.json"))
			require.NoFileExists(t, filepath.Join(dir, "demo.json"))
			authority, err := filepath.Glob(filepath.Join(dir, "*ca*.pem*"))
			require.NoError(t, err)
			require.Empty(t, authority)
		})
	}
}

func TestAFolderThatCannotBeUsedIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("text"), 0o600))
	for name, dir := range map[string]string{
		"a file in its place":      file,
		"a file above it":          filepath.Join(file, "data"),
		"a folder nobody can make": "/proc/1/sluice",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := open(t, dir)
			require.ErrorContains(t, err, "the data folder "+dir+" cannot be used")
		})
	}
	require.Equal(t, "text", read(t, file))
	_, err := open(t, t.TempDir(), "--runtimes-dir", filepath.Dir(file))
	require.ErrorContains(t, err, filepath.Dir(file))
}

func TestDamagedFilesAreNamedAndLeftAlone(t *testing.T) {
	dir := t.TempDir()
	start(t, dir, "--no-sample").stop(t)
	whole := read(t, dir, "demo.json")
	for name, tc := range map[string]struct{ file, text, want string }{
		"half of the credentials": {"demo.json", whole[:len(whole)/2], "demo.json is damaged"},
		"no credentials":          {"demo.json", "{}", "demo.json is damaged"},
		"credentials of no one":   {"demo.json", strings.Replace(whole, `"password": "`, `"passwort": "`, 1), "is incomplete"},
		"an unknown role":         {"demo.json", strings.Replace(whole, "FaaS-Admin", "Boss", 1), "is incomplete"},
		"an account of letters":   {"demo.json", strings.Replace(whole, `"12345678"`, `"le12345678"`, 1), "accountId"},
		"a certificate":           {"ca.pem", "x", "ca.pem is damaged"},
		"a key":                   {"ca-key.pem", "x", "ca-key.pem is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, tc.file)
			before := read(t, path)
			t.Cleanup(func() { require.NoError(t, os.WriteFile(path, []byte(before), 0o600)) })
			require.NoError(t, os.WriteFile(path, []byte(tc.text), 0o600))
			_, err := open(t, dir)
			require.ErrorContains(t, err, path)
			require.ErrorContains(t, err, tc.want)
			require.Equal(t, tc.text, read(t, path))
			require.NoFileExists(t, filepath.Join(dir, "dev.json"), "what the last start wrote is not true any more")
		})
	}
	start(t, dir, "--no-sample")
}

func TestTheSampleIsMadeOnceAndIsThenTheUsers(t *testing.T) {
	dir := t.TempDir()
	g := start(t, dir, "--no-sample")
	require.Nil(t, g.Info().Lambda)
	require.NotContains(t, read(t, dir, "dev.json"), `"lambda"`)
	require.Contains(t, g.people.String(), "Get a token")
	g.stop(t)

	g = start(t, dir)
	id := g.Info().Lambda.UUID
	developer := g.as(t, "FaaS-Developer")
	l, err := developer.Lambda(t.Context(), id)
	require.NoError(t, err)
	l.Source.Code = "changed"
	_, changed, err := developer.UpdateLambda(t.Context(), l)
	require.NoError(t, err)
	require.True(t, changed)
	_, err = developer.DeployAndWait(t.Context(), id)
	require.NoError(t, err)
	g.stop(t)

	g = start(t, dir)
	require.Equal(t, id, g.Info().Lambda.UUID)
	require.Empty(t, invocations(g), "who changed it may not want it called at every start")
	got, err := g.brand(t).Invoke(t.Context(), id, nil)
	require.NoError(t, err)
	require.JSONEq(t, `"changed"`, string(got))
	developer = g.as(t, "FaaS-Developer")
	_, err = developer.UndeployAndWait(t.Context(), id)
	require.NoError(t, err)
	require.NoError(t, developer.DeleteLambda(t.Context(), id))
	g.stop(t)

	g = start(t, dir)
	require.Nil(t, g.Info().Lambda)
	all, err := g.as(t, "FaaS-Developer").Lambdas(t.Context())
	require.NoError(t, err)
	require.Empty(t, all, "what was deleted does not come back")
}

// invocations are the calls of lambdas in the log.
func invocations(g *gateway) []map[string]any {
	var found []map[string]any
	for _, line := range g.lines("request") {
		if strings.HasSuffix(line["path"].(string), "/invoke") {
			found = append(found, line)
		}
	}
	return found
}

func TestAStartThatWasCutShortIsTakenUpByTheNext(t *testing.T) {
	dir := t.TempDir()
	g := start(t, dir)
	id := g.Info().Lambda.UUID
	g.stop(t)
	for _, mark := range []string{"sampleMade", "seeded"} { // as if it had been killed before it wrote them
		edit(t, filepath.Join(dir, "demo.json"), func(v map[string]any) { v[mark] = false })
		g = start(t, dir)
		require.Equal(t, id, g.Info().Lambda.UUID)
		g.as(t, "LPA")
		got, err := g.brand(t).Invoke(t.Context(), id, nil)
		require.NoError(t, err)
		require.JSONEq(t, `"sample"`, string(got))
		g.stop(t)
	}
}

func TestDeletedCredentialsAreReplaced(t *testing.T) {
	dir := t.TempDir()
	g := start(t, dir)
	old := g.Info()
	g.stop(t)
	require.NoError(t, os.Remove(filepath.Join(dir, "demo.json")))

	g = start(t, dir)
	require.Equal(t, old.Lambda, g.Info().Lambda, "lambdas are not affected")
	require.Equal(t, old.Users[2].UserID, g.Info().Users[2].UserID)
	g.as(t, "FaaS-Developer")
	_, err := g.caller(t).Login(t.Context(), old.Users[2].Username, old.Users[2].Password)
	require.True(t, client.IsStatus(err, http.StatusUnauthorized), "%v", err)

	for i, now := range g.Info().Apps {
		before := old.Apps[i]
		require.Equal(t, before.ClientID, now.ClientID)
		require.NotEqual(t, before.ClientSecret, now.ClientSecret)
	}
	_, err = g.brand(t).Token(t.Context())
	require.NoError(t, err)
	_, err = g.caller(t).AppToken(t.Context(), old.Apps[0].ClientID, old.Apps[0].ClientSecret)
	require.True(t, client.IsStatus(err, http.StatusUnauthorized), "%v", err)
}

func TestHealthReadinessAndMetricsAreOnTheAdminListener(t *testing.T) {
	g := start(t, t.TempDir(), "--no-sample")
	status, body := g.admin(t, "/healthz")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"healthy":true}`, body)
	status, body = g.admin(t, "/readyz")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"ready":true}`, body)
	status, body = g.admin(t, "/readyz?verbose")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"ready":true,"checks":{"disk":"ok","etcd":"ok","journal":"ok","runtimes":"ok","secrets":"ok"}}`, body)
	status, body = g.admin(t, "/metrics")
	require.Equal(t, http.StatusOK, status)
	for _, want := range []string{"sluice_processes ", "sluice_requests_total{", "sluice_journal_written_total ", "sluice_journal_dropped_total{reason=\"disk\"} 0", "sluice_journal_activities_dropped_total 0\n", "sluice_log_tails 0", "sluice_build_info{version=\"v0.0.0-test\"} 1", "process_resident_memory_bytes"} {
		require.Contains(t, body, want)
	}
	status, _ = g.admin(t, "/debug/pprof/")
	require.Equal(t, http.StatusNotFound, status, "profiles are not served unless asked for")
	status, _ = g.admin(t, "/api/account/12345678/lambdas")
	require.Equal(t, http.StatusNotFound, status, "no service is")
	g.stop(t)

	g = start(t, g.dir, "--no-sample", "--pprof", "--prestart", "0")
	status, body = g.admin(t, "/debug/pprof/goroutine?debug=1")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "goroutine profile")
}

func TestAStoppingGatewayIsNotReadyAndFinishesItsCalls(t *testing.T) {
	g := start(t, t.TempDir())
	brand := g.brand(t)
	_, err := brand.Token(t.Context())
	require.NoError(t, err)
	answered := make(chan error, 1)
	go func() {
		_, err := brand.Invoke(context.Background(), g.Info().Lambda.UUID, map[string]any{"sleep": time.Second})
		answered <- err
	}()
	requireMetric(t, g, "sluice_calls_open 1")

	closed := make(chan error, 1)
	go func() { closed <- g.Close(context.Background()) }()
	require.Eventually(t, func() bool {
		status, body := g.admin(t, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "stopping")
	}, 5*time.Second, 5*time.Millisecond)
	require.Eventually(t, func() bool {
		_, err = g.caller(t).AppToken(t.Context(), "x", "y")
		return err != nil && strings.Contains(err.Error(), "refused")
	}, 5*time.Second, 5*time.Millisecond, "nothing new is taken")
	require.NoError(t, <-answered)
	require.NoError(t, <-closed)
}

func requireMetric(t *testing.T, g *gateway, line string) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, body := g.admin(t, "/metrics")
		return strings.Contains(body, "\n"+line+"\n")
	}, 10*time.Second, 5*time.Millisecond, line)
}

func TestASecondSignalCutsTheDrainShort(t *testing.T) {
	g, err := open(t, t.TempDir())
	require.NoError(t, err)
	brand := g.brand(t)
	answered := make(chan error, 1)
	go func() {
		_, err := brand.Invoke(context.Background(), g.Info().Lambda.UUID, map[string]any{"sleep": 20 * time.Second})
		answered <- err
	}()
	requireMetric(t, g, "sluice_calls_open 1")
	now, cut := context.WithCancel(t.Context())
	cut()
	began := time.Now()
	require.Error(t, g.Close(now), "a call was cut off")
	require.Error(t, <-answered)
	require.Less(t, time.Since(began), 5*time.Second)

	start(t, g.dir, "--no-sample")
}

func TestAStartThatIsStoppedLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	for _, after := range []time.Duration{0, 50 * time.Millisecond, 400 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		g, err := app.Open(ctx, app.Options{Config: settings(t, dir), Log: &output{}, People: &output{}})
		cancel()
		if err == nil { // a fast machine
			require.NoError(t, g.Close(t.Context()))
			continue
		}
		require.ErrorContains(t, err, "stopped while it started")
		require.NoFileExists(t, filepath.Join(dir, "dev.json"))
	}
	start(t, dir)
}

func TestRunEndsWhenItIsToldTo(t *testing.T) {
	g := start(t, t.TempDir(), "--no-sample")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	cancel()
	require.NoError(t, <-done)
}

func TestNamesThatBreakPublicClientsAreSaidInTheBanner(t *testing.T) {
	g := start(t, t.TempDir(), "--no-sample", "--domain", "faasGW=gw.example.org:8443")
	require.Contains(t, g.people.String(), "the Node.js client ignores port 8443")
	resp, err := http.Get(g.Info().URLs.CSDS + "/api/account/12345678/service/faasGW/baseURI.json?version=1.0")
	require.NoError(t, err)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	var entry struct{ BaseURI string }
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&entry))
	require.NoError(t, resp.Body.Close())
	require.Equal(t, "gw.example.org:8443", entry.BaseURI)
}

func TestASandboxThatIsOffIsSaid(t *testing.T) {
	g := start(t, t.TempDir(), "--no-sample", "--sandbox", "off")
	require.Contains(t, g.people.String(), "The sandbox is off")
	require.Contains(t, g.log.String(), "the sandbox is off")
}

// sharedFlags make a gateway one of several on an etcd.
func sharedFlags(etcd *etcdtest.Server) []string { return []string{"--etcd-endpoints", etcd.Endpoint} }

func TestSeveralGatewaysShareAnEtcdAndOneDemoAccount(t *testing.T) {
	etcd := etcdtest.Start(t)
	first := start(t, t.TempDir(), sharedFlags(etcd)...)
	require.Len(t, first.Info().Users, 4)
	require.NoDirExists(t, filepath.Join(first.dir, "etcd"))

	second := start(t, t.TempDir(), append(sharedFlags(etcd), "--no-sample")...)
	require.Empty(t, second.Info().Users)
	require.Contains(t, read(t, second.dir, "dev.json"), `"users": []`)
	require.NoFileExists(t, filepath.Join(second.dir, "demo.json"), "credentials that are good nowhere")
	require.Contains(t, second.people.String(), "a copy of the demo.json of the gateway that made it")
	require.NotContains(t, second.people.String(), "curl")
	status, body := second.admin(t, "/readyz?verbose")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, `"ready":true,"degraded":["secrets"]`, "all but the secrets, whose key only the first has")
	require.Contains(t, body, "from another gateway of this etcd")
	require.Contains(t, second.people.String(), "This gateway cannot read secrets")

	// Everything of the first is good at the second: tokens, sessions, lambdas.
	session, err := second.caller(t).Login(t.Context(), first.Info().Users[2].Username, first.Info().Users[2].Password)
	require.NoError(t, err)
	made, err := second.caller(t).With(session).CreateLambda(t.Context(), client.LambdaSpec{Name: "mine", Description: "mine", Code: "mine"})
	require.NoError(t, err)
	_, err = first.caller(t).With(session).DeployAndWait(t.Context(), made.ID)
	require.NoError(t, err)
	got, err := second.caller(t).With(first.brand(t)).Invoke(t.Context(), made.ID, nil)
	require.NoError(t, err)
	require.JSONEq(t, `"mine"`, string(got))

	// The first to come back finds its account, and one with a copy has it too.
	credentials := first.Info()
	first.stop(t)
	require.NoError(t, os.WriteFile(filepath.Join(second.dir, "demo.json"), []byte(read(t, first.dir, "demo.json")), 0o600))
	second.stop(t)
	for _, dir := range []string{first.dir, second.dir} {
		g := start(t, dir, sharedFlags(etcd)...)
		require.Equal(t, credentials.Users, g.Info().Users)
		require.Equal(t, credentials.Apps, g.Info().Apps)
		got, err := g.brand(t).Invoke(t.Context(), g.Info().Lambda.UUID, nil)
		require.NoError(t, err)
		require.JSONEq(t, `"sample"`, string(got))
	}
}

func TestOfGatewaysThatStartAtOnceOneMakesTheDemoAccount(t *testing.T) {
	etcd := etcdtest.Start(t)
	gateways := make([]*gateway, 3)
	errs := make([]error, len(gateways))
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	var wg sync.WaitGroup
	for i := range gateways {
		wg.Go(func() { gateways[i], errs[i] = open(t, dirs[i], sharedFlags(etcd)...) })
	}
	wg.Wait()
	owners := 0
	for i, g := range gateways {
		require.NoError(t, errs[i])
		t.Cleanup(func() { require.NoError(t, g.Close(context.Background())) })
		if len(g.Info().Users) > 0 {
			owners++
			g.as(t, "LPA")
		}
	}
	require.Equal(t, 1, owners)
}

func TestGatewaysWithCopiesOfOneDemoFileAgree(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	start(t, dirs[0]).stop(t) // on its own etcd
	require.NoError(t, os.WriteFile(filepath.Join(dirs[1], "demo.json"), []byte(read(t, dirs[0], "demo.json")), 0o600))

	etcd := etcdtest.Start(t)
	gateways := make([]*gateway, len(dirs))
	errs := make([]error, len(dirs))
	var wg sync.WaitGroup
	for i := range dirs {
		wg.Go(func() { gateways[i], errs[i] = open(t, dirs[i], sharedFlags(etcd)...) })
	}
	wg.Wait()
	for i, g := range gateways {
		require.NoError(t, errs[i])
		t.Cleanup(func() { require.NoError(t, g.Close(context.Background())) })
		g.as(t, "FaaS-Developer")
		_, err := g.brand(t).Invoke(t.Context(), g.Info().Lambda.UUID, nil)
		require.NoError(t, err)
	}
	all, err := gateways[0].as(t, "FaaS-Developer").Lambdas(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
}

func TestCredentialsOfAnotherEtcdAreKeptAndNotSpread(t *testing.T) {
	dir := t.TempDir()
	own := start(t, dir)
	before := own.Info()
	own.stop(t)
	file := read(t, dir, "demo.json")

	etcd := etcdtest.Start(t)
	start(t, t.TempDir(), append(sharedFlags(etcd), "--no-sample")...)
	guest := start(t, dir, sharedFlags(etcd)...)
	require.Empty(t, guest.Info().Users)
	require.Nil(t, guest.Info().Lambda)
	require.Equal(t, file, read(t, dir, "demo.json"))
	guest.stop(t)

	require.Equal(t, before.Users, start(t, dir).Info().Users)
}

func TestAnEtcdThatDoesNotAnswerIsNamedWithItsFlag(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = open(t, t.TempDir(), "--etcd-endpoints", l.Addr().String())
	require.ErrorContains(t, err, "--etcd-endpoints: no etcd cluster answers: "+l.Addr().String()+": ")
	require.ErrorContains(t, err, "connection refused")
}

func TestAGatewayOutlivesAnOutageOfASharedEtcd(t *testing.T) {
	etcd := etcdtest.Start(t)
	g := start(t, t.TempDir(), sharedFlags(etcd)...)
	brand := g.brand(t)
	_, err := brand.Token(t.Context())
	require.NoError(t, err)
	etcd.Stop()
	status, body := g.admin(t, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status, body)
	_, err = brand.Invoke(t.Context(), g.Info().Lambda.UUID, nil)
	require.NoError(t, err, "a call needs no etcd")

	etcd.Restart(t)
	require.Eventually(t, func() bool {
		status, _ := g.admin(t, "/readyz")
		return status == http.StatusOK
	}, 15*time.Second, 50*time.Millisecond)
	_, err = g.as(t, "FaaS-Developer").DeployAndWait(t.Context(), g.Info().Lambda.UUID)
	require.NoError(t, err)
}
