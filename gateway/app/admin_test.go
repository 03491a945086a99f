package app_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/app"
)

func TestReadinessTellsWhatIsWorseFromWhatIsMissing(t *testing.T) {
	full := errors.New("the disk is full")
	journal, etcd := app.Check{Name: "journal", Degrades: true}, app.Check{Name: "etcd"}
	brokenJournal, brokenEtcd := journal, etcd
	brokenJournal.Fault, brokenEtcd.Fault = full, errors.New("no leader")
	for _, c := range []struct {
		name           string
		checks         []app.Check
		status         int
		short, verbose string
	}{
		{"everything works", []app.Check{etcd, journal}, http.StatusOK,
			`{"ready":true}`, `{"ready":true,"checks":{"etcd":"ok","journal":"ok"}}`},
		{"calls go on without it, and it is shown", []app.Check{etcd, brokenJournal}, http.StatusOK,
			`{"ready":true,"degraded":["journal"]}`, `{"ready":true,"degraded":["journal"],"checks":{"etcd":"ok","journal":"the disk is full"}}`},
		{"calls do not go on without it", []app.Check{brokenEtcd, journal}, http.StatusServiceUnavailable,
			`{"ready":false,"reason":"etcd is not ready"}`, `{"ready":false,"reason":"etcd is not ready","checks":{"etcd":"no leader","journal":"ok"}}`},
		{"both", []app.Check{brokenEtcd, brokenJournal}, http.StatusServiceUnavailable,
			`{"ready":false,"reason":"etcd is not ready","degraded":["journal"]}`,
			`{"ready":false,"reason":"etcd is not ready","degraded":["journal"],"checks":{"etcd":"no leader","journal":"the disk is full"}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			for path, want := range map[string]string{"/readyz": c.short, "/readyz?verbose": c.verbose} {
				w := httptest.NewRecorder()
				app.AdminHandler(c.checks...).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
				require.Equal(t, c.status, w.Code)
				require.JSONEq(t, want, w.Body.String())
			}
		})
	}
}
