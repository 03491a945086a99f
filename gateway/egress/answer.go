package egress

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// statusOf is the status of the proxy's own answers.
func statusOf(rule lambda.EgressRule) int {
	switch rule {
	case lambda.RuleRate:
		return http.StatusTooManyRequests
	case lambda.RuleBusy:
		return http.StatusServiceUnavailable
	case lambda.RuleUnresolved, lambda.RuleUnreachable:
		return http.StatusBadGateway
	}
	return http.StatusForbidden
}

// refuse records an attempt and says why nothing came of it.
func (p *Proxy) refuse(w http.ResponseWriter, r *http.Request, a lambda.Attempt, message string) {
	a.Duration = p.now().Sub(a.At)
	p.record(a)
	answer(w, r, a.Rule, message)
}

func (p *Proxy) answerRate(w http.ResponseWriter, r *http.Request, host string, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
	answer(w, r, lambda.RuleRate, host+" was not asked, as the lambda asks other hosts too often (rule rate): the limit is "+strconv.Itoa(p.rates.limit)+
		" requests a second, try again later")
}

func answer(w http.ResponseWriter, r *http.Request, rule lambda.EgressRule, message string) {
	message = line(message)
	body := message + "\n"
	if statusOf(rule) == http.StatusForbidden {
		body = refusedText
	}
	h := w.Header()
	h.Set(RuleHeader, string(rule))
	h.Set(MessageHeader, message)
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(statusOf(rule))
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, body) // who does not take it is seen at the next read
	}
}

// line is text that a header can hold.
func line(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}
