package auth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/julienschmidt/httprouter"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// attempt logs in at the login service, from an address.
func (g *gateway) attempt(from, name, password string) *httptest.ResponseRecorder {
	g.t.Helper()
	r := httptest.NewRequest("POST", g.path("login"), strings.NewReader(`{"username":"`+name+`","password":"`+password+`"}`))
	r.RemoteAddr = from
	w := httptest.NewRecorder()
	g.failed = nil
	g.router.ServeHTTP(w, r)
	return w
}

const home, abroad = "192.0.2.1:1000", "198.51.100.7:2000"

func (g *gateway) wrong(from, name string) {
	g.t.Helper()
	g.loginFault(g.attempt(from, name, "guess"), 401, "UNAUTHORIZED", 3)
}

func (g *gateway) blocked(from, name string, wait time.Duration) string {
	g.t.Helper()
	w := g.attempt(from, name, password) // even the right one
	message := g.loginFault(w, 429, "TOO_MANY_REQUESTS", 4)
	require.Equal(g.t, strconv.Itoa(int(wait/time.Second)), w.Header().Get("Retry-After"))
	return message
}

func TestGuessingIsSlowedDown(t *testing.T) {
	g := start(t)
	g.user("dev")
	g.user("other")
	for range 5 {
		g.wrong(home, "dev")
	}
	for i, seconds := range []time.Duration{5, 10, 20, 40, 80, 160, 300, 300} {
		wait := seconds * time.Second
		g.blocked(home, "dev", wait)
		g.blocked(strings.Replace(home, "1000", "1001", 1), "DEV", wait)
		if i < 3 { // each costs a hash
			require.Equal(t, http.StatusOK, g.attempt(home, "other", password).Code, "others are not held up")
			require.Equal(t, http.StatusOK, g.attempt(abroad, "dev", password).Code, "nor is the user elsewhere")
		}
		g.clock.Add(wait)
		g.wrong(home, "dev")
	}
	require.Contains(t, g.blocked(home, "dev", 5*time.Minute), "try again in 5 minutes")
	g.clock.Add(5 * time.Minute)
	require.Equal(t, http.StatusOK, g.attempt(home, "dev", password).Code)
	for range 4 {
		g.wrong(home, "dev")
	}
	require.Equal(t, http.StatusOK, g.attempt(home, "dev", password).Code, "a success forgives")
}

func TestFailuresAreForgotten(t *testing.T) {
	g := start(t)
	for range 4 {
		g.wrong(home, "ghost")
	}
	g.clock.Add(15*time.Minute + time.Second)
	for range 5 {
		g.wrong(home, "ghost")
	}
	g.blocked(home, "ghost", 5*time.Second)
}

func TestAStrangerCannotLockAUserOutOfTheirUsualPlace(t *testing.T) {
	for name, known := range map[string]bool{"a user": true, "a name that nobody has": false} {
		t.Run(name, func(t *testing.T) {
			g := start(t)
			if known {
				g.user("dev")
				require.Equal(t, http.StatusOK, g.attempt(home, "dev", password).Code)
			}
			for i := range 20 {
				g.wrong(fmt.Sprintf("203.0.113.%d:80", i), "dev")
			}
			require.Contains(t, g.blocked(abroad, "dev", 15*time.Minute), "from many places: try again in 15 minutes")
			g.blocked("203.0.113.1:80", "DEV", 15*time.Minute)
			if known {
				require.Equal(t, http.StatusOK, g.attempt(home, "dev", password).Code)
				require.Equal(t, http.StatusOK, g.attempt("192.0.2.1:9", "dev", password).Code, "a place is an address, whatever the port")
				g.blocked(abroad, "dev", 15*time.Minute)
				for range 5 {
					g.wrong(home, "dev")
				}
				g.blocked(home, "dev", 5*time.Second) // no free guesses there either
			} else {
				g.blocked(home, "dev", 15*time.Minute)
			}
			g.clock.Add(15 * time.Minute)
			if known {
				require.Equal(t, http.StatusOK, g.attempt(abroad, "dev", password).Code)
			} else {
				g.wrong(abroad, "dev")
			}
		})
	}
}

func TestSlowFailuresLockNobodyOut(t *testing.T) {
	g := start(t)
	g.user("dev")
	for i := range 40 {
		g.wrong(fmt.Sprintf("203.0.113.%d:80", i), "dev")
		g.clock.Add(32 * time.Second) // 19 in ten minutes
	}
	require.Equal(t, http.StatusOK, g.attempt(abroad, "dev", password).Code)
}

func TestFewPlacesAreRememberedOfOneUser(t *testing.T) {
	g := start(t)
	g.user("dev")
	place := func(i int) string { return fmt.Sprintf("192.0.2.%d:80", i) }
	for i := range 9 {
		require.Equal(t, http.StatusOK, g.attempt(place(i), "dev", password).Code)
	}
	for i := range 20 {
		g.wrong(fmt.Sprintf("203.0.113.%d:80", i), "dev")
	}
	g.blocked(place(0), "dev", 15*time.Minute)
	require.Equal(t, http.StatusOK, g.attempt(place(1), "dev", password).Code)
}

func TestASubscribersNetworkIsOnePlace(t *testing.T) {
	g := start(t)
	for i := range 5 {
		g.wrong(fmt.Sprintf("[2001:db8:1:2:%x::1]:80", i), "dev")
	}
	g.blocked("[2001:db8:1:2::ffff]:80", "dev", 5*time.Second)
	g.wrong("[2001:db8:1:3::1]:80", "dev")
	for range 5 {
		g.wrong("[::ffff:192.0.2.9]:80", "dev")
	}
	g.blocked("192.0.2.9:80", "dev", 5*time.Second)
	for range 5 {
		g.wrong("no address", "dev")
	}
	g.blocked("@", "dev", 5*time.Second)
}

func TestFailuresOfOtherNamesDoNotEndALockout(t *testing.T) {
	c := newClock()
	g, err := auth.NewGuard(c.Now)
	require.NoError(t, err)
	g.Fail("dev", 19)
	for i := range 50_000 {
		g.Fail(fmt.Sprint("made up ", i), 1)
	}
	g.Fail("dev", 1)
	for i := range 50_000 {
		g.Fail(fmt.Sprint("made up, too ", i), 1)
	}
	require.True(t, lambda.Is(g.Check("dev", "elsewhere"), lambda.KindRateLimited))
	c.Add(15 * time.Minute)
	require.NoError(t, g.Check("dev", "elsewhere"))
}

func TestAFloodFromOnePlaceKeepsNobodyElseOut(t *testing.T) {
	g := start(t)
	g.build(auth.Config{Hashes: 1}, g.views)
	g.user("dev")
	router := httprouter.New() // g's own notes errors, one at a time
	router.HandlerFunc("POST", "/api/account/:account/login", func(w http.ResponseWriter, r *http.Request) { _ = g.service.HandleLogin(w, r) })
	login := func(from, name, password string) int {
		r := httptest.NewRequestWithContext(t.Context(), "POST", g.path("login"), strings.NewReader(`{"username":"`+name+`","password":"`+password+`"}`))
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		router.ServeHTTP(w, r)
		return w.Code
	}
	var flood sync.WaitGroup
	var ended atomic.Bool
	full := make(chan struct{}, 1)
	for i := range 80 {
		flood.Go(func() {
			for n := 0; !ended.Load(); n++ {
				if login(home, fmt.Sprintf("name%d-%d", i, n), "guess") == http.StatusTooManyRequests {
					select {
					case full <- struct{}{}:
					default:
					}
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	defer flood.Wait()
	defer ended.Store(true)
	<-full
	for range 3 {
		require.Equal(t, http.StatusOK, login(abroad, "dev", password))
	}
}

func TestGuessesMadeAtOnceCountToo(t *testing.T) {
	g := start(t)
	g.user("dev")
	var all sync.WaitGroup
	var mu sync.Mutex
	tried := 0
	for range 30 {
		all.Go(func() {
			_, err := g.service.Login(t.Context(), g.account, "dev", "guess")
			if lambda.Is(err, lambda.KindUnauthorized) {
				mu.Lock()
				defer mu.Unlock()
				tried++
			}
		})
	}
	all.Wait()
	require.LessOrEqual(t, tried, 6, "five, and one that was being hashed beside the fifth")
}

func TestAUserWhoIsForgivenMayTryAtOnce(t *testing.T) {
	g := start(t)
	g.user("dev")
	g.user("other")
	for range 5 {
		g.wrong(home, "dev")
		g.wrong(home, "other")
	}
	for i := range 20 {
		g.service.Forgive("1", "dev")
		if g.attempt(fmt.Sprintf("203.0.113.%d:1", i), "dev", "guess").Code == http.StatusTooManyRequests {
			break
		}
	}
	require.Equal(t, http.StatusTooManyRequests, g.attempt(abroad, "dev", password).Code, "locked out from everywhere; another account's user is not meant")
	g.service.Forgive(g.account, "DEV")
	require.Equal(t, http.StatusOK, g.attempt(abroad, "dev", password).Code)
	require.Equal(t, http.StatusOK, g.attempt(home, "dev", password).Code)
	require.Equal(t, http.StatusTooManyRequests, g.attempt(home, "other", password).Code, "others are not forgiven")
}
