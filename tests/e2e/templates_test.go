package e2e_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/secret"
	"github.com/sluice-faas/sluice/gateway/secret/sealed"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/gateway/store/embedded"
	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

// templateNames are those of contract/events-and-templates.md §3, with the events
// that they are for.
var templateNames = map[string]string{
	"Greeting": "", "HTTP": "", "Logging": "", "Salesforce": "", "Secret Storage": "",
	"Chat Post Survey E-Mail Transcript": "denver_post_survey_email_transcript",
	"Messaging New Conversation":         "controllerbot_messaging_new_conversation",
	"Messaging Participants Change":      "controllerbot_messaging_participants_change",
	"Messaging TTR":                      "controllerbot_messaging_ttr",
	"Messaging Line in Off-Hours":        "controllerbot_messaging_mid_conversation_msg",
	"Messaging Conversation Routing":     "controllerbot_messaging_conversation_routing",
	"Messaging Conversation Idle":        "controllerbot_messaging_conversation_idle",
	"Messaging Conversation End":         "controllerbot_messaging_conversation_end",
	"Messaging Survey Started":           "surveybot_messaging_survey_started",
	"Messaging Survey Ended":             "surveybot_messaging_survey_ended",
	"Keyword Scanner":                    "controllerbot_messaging_conversation_end",
	"Replace Files for Conversation":     "controllerbot_messaging_conversation_end",
	"Conversational Command":             "conversational_command",
	"Default Template":                   "bot_connectors_custom_integration",
	"Pre-Hook":                           "bot_connectors_pre_hook",
	"Post-Hook":                          "bot_connectors_post_hook",
	"Error-Hook":                         "bot_connectors_error_hook",
}

// templatesOf starts a gateway and gives its templates by name.
func templatesOf(t *testing.T) (*dev.Gateway, map[string]client.Template) {
	t.Helper()
	g := ownGateway(t, t.TempDir(), "--no-sample")
	list, err := developer(t, g).Templates(t.Context())
	require.NoError(t, err)
	byName := map[string]client.Template{}
	for _, one := range list {
		byName[one.Name] = one
		require.Nil(t, one.Runtime, "it is the default's")
		require.NotEmpty(t, one.ID)
		require.NotEmpty(t, one.Description)
		event, ok := templateNames[one.Name]
		require.True(t, ok, one.Name)
		require.Equal(t, event, one.EventID, one.Name)
	}
	require.Len(t, byName, len(templateNames))
	return g, byName
}

// begin makes a lambda of a template and deploys it, until the test ends: most
// events take one lambda.
func begin(t *testing.T, c *client.Client, from client.Template, variables ...client.Pair) *client.Lambda {
	t.Helper()
	if len(variables) == 0 {
		variables = from.Environment
	}
	filled := slices.DeleteFunc(slices.Clone(variables), func(p client.Pair) bool { return p.Value == "" })
	l, err := c.CreateLambda(t.Context(), client.LambdaSpec{
		Name: newName("template"), Description: from.Description, EventID: from.EventID, Code: from.Code, Environment: filled,
	})
	require.NoError(t, err)
	require.JSONEq(t, string(from.Sample.Payload), string(l.Sample.Payload))
	l, err = c.DeployAndWait(t.Context(), l.ID)
	require.NoError(t, err)
	return l
}

func end(t *testing.T, c *client.Client, l *client.Lambda) {
	t.Helper()
	_, err := c.UndeployAndWait(t.Context(), l.ID)
	require.NoError(t, err)
	require.NoError(t, c.DeleteLambda(t.Context(), l.ID))
}

// message is a systemMessage with that text.
func message(text string) string {
	return `{"type":"systemMessage","text":` + quoted(text) + `}`
}

func quoted(text string) string {
	b, _ := json.Marshal(text) // a text is always JSON
	return string(b)
}

// changed is a template's payload with some texts replaced by others.
func changed(t *testing.T, from client.Template, oldnew ...string) json.RawMessage {
	t.Helper()
	for i := 0; i < len(oldnew); i += 2 {
		require.Contains(t, string(from.Sample.Payload), oldnew[i])
	}
	return json.RawMessage(strings.NewReplacer(oldnew...).Replace(string(from.Sample.Payload)))
}

func TestTemplatesDoWhatTheContractSays(t *testing.T) {
	t.Parallel()
	g, templates := templatesOf(t)
	c := developer(t, g)

	// calls are what a template's lambda is called with, instead of its example, and
	// what it then answers.
	type calls []struct {
		change []string
		want   string
	}
	lead := `{"targetEmail":"team.lead@example.com","senderName":"Chat survey","senderEmail":"no-reply@example.com","subject":"Rated 2 of 5: Robin (billing)"}`
	keeper := `{"targetEmail":"retention@example.com","senderName":"Chat survey","senderEmail":"no-reply@example.com","subject":"A consumer wrote \"cancel\" in the survey of billing"}`
	for name, cases := range map[string]calls{
		"Greeting": {{nil, `"Hello World"`}},
		"Logging":  {{nil, `"Four entries were logged"`}},
		"Chat Post Survey E-Mail Transcript": {
			{nil, `[` + lead + `]`},
			{[]string{`"csatRank":2`, `"csatRank":4`}, `[]`},
			{[]string{"Not quite", "I will CANCEL"}, `[` + lead + `,` + keeper + `]`},
			{[]string{`"csatRank":2`, `"csatRank":5`, "Clearer invoices", "cancel it"}, `[` + keeper + `]`},
		},
		"Messaging New Conversation": {
			{nil, message("Welcome! It is good to have you here.")},
			{[]string{`"en-GB"`, `"de-AT"`, `"firstConversation":true`, `"firstConversation":false`}, message("Schön, Sie wiederzusehen!")},
			{[]string{`"inOffHours":false`, `"inOffHours":true`, `"en-GB"`, `"fi-FI"`},
				message("Welcome! It is good to have you here. Nobody is here right now. We will answer as soon as we open again.")},
		},
		"Messaging Participants Change": {
			{nil, `[` + message("An agent has taken your conversation and will be with you in a moment.") + `]`},
			{[]string{`"role":"ASSIGNED_AGENT"`, `"role":"CONTROLLER"`}, `[` + message("Another colleague has joined to help you.") + `]`},
			{[]string{`"oldParticipants"`, `"newParticipants"`, `"newParticipants"`, `"oldParticipants"`}, `[` + message("You are back in line. Another agent will take over soon.") + `]`},
			{[]string{`"role":"ASSIGNED_AGENT"`, `"role":"CONTROLLER"`, `"role":"AGENT"`, `"role":"CONTROLLER"`}, `[{"type":"systemMessage","text":[]}]`},
		},
		"Messaging TTR": {
			{nil, `[` + message("We have marked this as urgent. You will hear from us within 4 minutes.") + `]`},
			{[]string{`"value":240`, `"value":7000`, `"URGENT"`, `"CUSTOM"`}, `[` + message("It takes a little longer: please give us 2 hours.") + `]`},
			{[]string{`"URGENT"`, `"PRIORITIZED"`}, `[]`},
		},
		"Messaging Line in Off-Hours": {
			{nil, `[` + message("We have closed for today and will go on here when we are back: Monday to Friday, 9 to 17.") + `]`},
			{[]string{`"openedInOffHours":false`, `"openedInOffHours":true`}, `[` + message("Thank you, we have noted this as well. We are back: Monday to Friday, 9 to 17.") + `]`},
		},
		"Messaging Conversation Routing": {
			{nil, `[` + message("Our billing team has what you need and will take over now.") + `]`},
			{[]string{"234215", "1"}, `[]`},
		},
		"Messaging Conversation Idle": {
			{nil, `[` + message("We have not heard from you for a while, so we close this conversation. Write to us whenever you like.") + `,{"type":"closeConversation"}]`},
			{[]string{`"time":45`, `"time":1`, `"minutes"`, `"hours"`}, `[` + message("Are you still there? We wait for your answer.") + `]`},
			{[]string{`"lastMessageComposer":"AGENT"`, `"lastMessageComposer":"CONSUMER"`}, `[` + message("Sorry that you have to wait. We are looking for somebody who has time for you.") + `]`},
		},
		"Messaging Conversation End": {
			{nil, `[` + message("We hope that this was what you needed. If it was not, just write again.") + `]`},
			{[]string{`"closeReason":"AGENT"`, `"closeReason":"CONSUMER"`}, `[` + message("Thank you for writing to us. See you soon!") + `]`},
			{[]string{`"closeReason":"AGENT"`, `"closeReason":"SYSTEM"`}, `[]`},
		},
		"Messaging Survey Started": {{nil, `"ok"`}},
		"Messaging Survey Ended":   {{nil, `"ok"`}, {[]string{`"message":"5"`, `"message":"1"`}, `"ok"`}},
		"Conversational Command": {
			{nil, `"Order A-1047 left the warehouse yesterday."`},
			{[]string{"A-1047", "Z-1"}, `"Order Z-1 is not known."`},
			{[]string{`"order","A-1047"`, `"Orders"`}, `2`},
			{[]string{`"order","A-1047"`, ``}, `"I know these commands: order, orders"`},
			{[]string{`"order","A-1047"`, `"constructor"`}, `"I know these commands: order, orders"`},
		},
		"Default Template": {
			{nil, `{"messages":[{"delay":1,"typing":true},"Order A-1047 is on its way to you."],"context":{"intentName":"order status","confidenceScore":1}}`},
			{[]string{"Where is my order A-1047?", "a human please"},
				`{"messages":["I will find somebody for you."],"context":{"action":"TRANSFER","actionParameters":{"skill":"support"},"intentName":"agent","confidenceScore":1}}`},
			{[]string{"Where is my order A-1047?", "thanks"},
				`{"messages":["Have a nice day!"],"context":{"action":"CLOSE_CONVERSATION","intentName":"good-bye","confidenceScore":1}}`},
			{[]string{"Where is my order A-1047?", "mumble"},
				`{"messages":["I did not understand that. Ask me for an order, such as \"order A-1047\", or for an agent."],"context":{"intentName":"fallback","confidenceScore":0}}`},
		},
		"Pre-Hook": {{nil, string(changed(t, templates["Pre-Hook"], "4111 1111 1111 1111", "**** 1111"))}},
		"Post-Hook": {
			{nil, strings.Replace(string(templates["Post-Hook"].Sample.Payload), `}]}]}`, `}]},"Is there anything else that I can do for you?"]}`, 1)},
			{[]string{"CHANGE_TTR", "TRANSFER"}, strings.Replace(string(templates["Post-Hook"].Sample.Payload), "CHANGE_TTR", "TRANSFER", 1)},
		},
		"Error-Hook": {{nil, `"ok"`}, {[]string{`"faas"`, `"unknown"`}, `"ok"`}},
	} {
		t.Run(name, func(t *testing.T) {
			from := templates[name]
			l := begin(t, c, from)
			defer end(t, c, l)
			for _, one := range cases {
				got, err := c.InvokeManual(t.Context(), l.ID, changed(t, from, one.change...))
				require.NoError(t, err)
				require.JSONEq(t, one.want, string(got.Result), "%v", one.change)
				checkLogs(t, name, got.Logs)
			}
			if from.EventID == "" {
				return
			}
			seen(t, c, from.EventID, true)
			results, err := brand(t, g).InvokeEvent(t.Context(), from.EventID, from.Sample.Payload)
			require.NoError(t, err)
			require.Len(t, results, 1)
			require.JSONEq(t, cases[0].want, string(results[0].Result))
		})
	}
	t.Run("the addresses of the mail are the author's", func(t *testing.T) {
		l := begin(t, c, templates["Chat Post Survey E-Mail Transcript"], client.Pair{Key: "RETENTION_EMAIL", Value: "x@example.com"})
		defer end(t, c, l)
		_, err := c.Invoke(t.Context(), l.ID, l.Sample.Payload)
		require.True(t, client.IsStatus(err, client.StatusLambdaFailed), "no mail: %v", err)
		require.ErrorContains(t, err, "Set the environment variable TEAM_LEAD_EMAIL")
	})
	t.Run("a conversation that waits for an agent goes to the backup skill", func(t *testing.T) {
		idle := templates["Messaging Conversation Idle"]
		l := begin(t, c, idle, client.Pair{Key: "BACKUP_SKILL_ID", Value: "77"})
		defer end(t, c, l)
		got, err := c.Invoke(t.Context(), l.ID, changed(t, idle, `"lastMessageComposer":"AGENT"`, `"lastMessageComposer":"CONSUMER"`))
		require.NoError(t, err)
		require.Contains(t, string(got), `{"type":"transfer","skillId":"77"}`)
	})
}

// checkLogs holds that a template logs what it is to log, and nothing that says it
// has met something unforeseen.
func checkLogs(t *testing.T, name string, logs []client.LogRecord) {
	t.Helper()
	var levels []string
	for _, l := range logs {
		levels = append(levels, l.Level)
		require.NotEmpty(t, l.Message)
	}
	require.LessOrEqual(t, len(logs), 10, "more than are stored")
	switch name {
	case "Logging":
		require.Equal(t, []string{"Debug", "Info", "Warn", "Error"}, levels)
		require.Contains(t, string(logs[3].Extras), "timeout after 2 s")
	case "Error-Hook":
		require.Equal(t, []string{"Error", "Debug"}, levels)
	default:
		require.NotContains(t, levels, "Error", "%+v", logs)
	}
}

// TestTemplatesThatNeedTheToolbelt invokes those too. Servers on loopback stand for
// LivePerson's, for Salesforce and for any other. Lambdas find the first by the
// Domain API, as ever; of the templates that have a host in their code, nothing is
// changed but that.
func TestTemplatesThatNeedTheToolbelt(t *testing.T) {
	t.Parallel()
	certificate, authority := localCertificate(t)
	outside, world := newOutside(t, certificate), newOutside(t, certificate)
	dir := t.TempDir()
	g := ownGateway(t, dir, "--no-sample")
	ca, err := os.ReadFile(g.Info.CA) // the Domain API is the gateway's own
	require.NoError(t, err)
	stop, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, g.Stop(stop))
	provisioned(t, dir, g.Info.AccountID)
	trusted := filepath.Join(t.TempDir(), "trusted.pem")
	require.NoError(t, os.WriteFile(trusted, append(ca, authority...), 0o644))
	g = ownGateway(t, dir, "--no-sample", "--egress-ca-file", trusted, "--domain", "msgHist="+outside.host, "--domain", "swift="+outside.host)

	c, admin := developer(t, g), adminOf(t, g)
	list, err := c.Templates(t.Context())
	require.NoError(t, err)
	templates := map[string]client.Template{}
	var names []string
	for _, one := range list {
		if strings.Contains(one.Code, "require('lp-faas-toolbelt')") {
			templates[one.Name] = one
			names = append(names, one.Name)
		}
	}
	slices.Sort(names)
	require.Equal(t, []string{"HTTP", "Keyword Scanner", "Replace Files for Conversation", "Salesforce", "Secret Storage"}, names)
	keepObject(t, admin, "file-storage", map[string]any{"username": "keeper", "password": "of-the-files"})
	keepObject(t, admin, "salesforce-tokens", map[string]any{"accessToken": "worn-out", "refreshToken": "renew-me"})

	// at puts the world's address in the place of a template's.
	at := func(t *testing.T, name, address string) client.Template {
		t.Helper()
		from := templates[name]
		require.Equal(t, 1, strings.Count(from.Code, address))
		from.Code = strings.Replace(from.Code, address, "https://"+world.host, 1)
		return from
	}
	run := func(t *testing.T, from client.Template) *client.ManualResult {
		t.Helper()
		l := begin(t, c, from)
		defer end(t, c, l)
		got, err := c.InvokeManual(t.Context(), l.ID, from.Sample.Payload)
		require.NoError(t, err)
		checkLogs(t, from.Name, got.Logs)
		return got
	}
	t.Run("HTTP", func(t *testing.T) {
		from := at(t, "HTTP", "https://www.example.com")
		l := begin(t, c, from)
		_, err := c.InvokeManual(t.Context(), l.ID, from.Sample.Payload)
		require.ErrorContains(t, err, "localhost", "it is not on the whitelist")
		end(t, c, l)

		_, err = as(t, g, adminRole).AddPrivateDomain(t.Context(), "localhost")
		require.NoError(t, err)
		var got *client.ManualResult
		l = begin(t, c, from)
		defer end(t, c, l)
		eventually(t, "the whitelist has changed", func() bool {
			got, err = c.InvokeManual(t.Context(), l.ID, from.Sample.Payload)
			return err == nil
		})
		require.JSONEq(t, `{"statusCode":200,"body":"hello from outside"}`, string(got.Result))
	})
	t.Run("Salesforce", func(t *testing.T) {
		require.JSONEq(t, `[{"Id":"0031","Name":"Ada"}]`, string(run(t, at(t, "Salesforce", "https://test.salesforce.com")).Result))
	})
	t.Run("Keyword Scanner", func(t *testing.T) {
		got := run(t, templates["Keyword Scanner"])
		require.JSONEq(t, `[]`, string(got.Result))
		require.Equal(t, "Keywords were used", got.Logs[0].Message)
		require.Contains(t, string(got.Logs[0].Extras), `"tags":["keywordRef:refund"],"messages":1`)
		require.Contains(t, outside.asked(), `POST /messaging_history/api/account/`+g.Info.AccountID+`/conversations/conversation/search OAuth`)
	})
	t.Run("Replace Files for Conversation", func(t *testing.T) {
		got := run(t, templates["Replace Files for Conversation"])
		require.JSONEq(t, `[]`, string(got.Result))
		require.Contains(t, string(got.Logs[0].Extras), `"files":1`)
		require.Contains(t, outside.asked(), "PUT /files/picture.png")
	})
	t.Run("Secret Storage reads a secret and renews it", func(t *testing.T) {
		l := begin(t, c, templates["Secret Storage"])
		defer end(t, c, l)
		_, err := c.Invoke(t.Context(), l.ID, nil)
		require.True(t, client.IsStatus(err, client.StatusLambdaFailed), "%v", err)
		require.ErrorContains(t, err, "There is no Secret partner-token for this account")
		secrets := "/api/account/" + admin.account + "/secrets?v=1"
		r := admin.send(t, http.MethodPost, secrets, []byte(`{"key":"partner-token","value":{"token":"old-and-worn","expiresAt":1},"type":"json"}`))
		require.Equal(t, http.StatusCreated, r.status, r.body)
		for _, renewed := range []string{"true", "false"} {
			got, err := c.InvokeManual(t.Context(), l.ID, nil)
			require.NoError(t, err)
			require.JSONEq(t, `{"key":"partner-token","renewed":`+renewed+`}`, string(got.Result))
		}
		r = admin.send(t, http.MethodGet, secrets, nil)
		require.Equal(t, http.StatusOK, r.status)
		require.Contains(t, r.body, "partner-token")
		require.NotContains(t, r.body, "old-and-worn")
	})
}

// provisioned puts the secret that the platform prepares for an account into the
// folder of a gateway that has stopped: no one can create it by the API.
func provisioned(t *testing.T, dir, account string) {
	t.Helper()
	member, err := embedded.Start(t.Context(), embedded.Config{Dir: filepath.Join(dir, "etcd")})
	require.NoError(t, err)
	defer func() { require.NoError(t, member.Close()) }()
	kept, err := sealed.Open(t.Context(), sealed.Config{Records: store.New(member.Client(), zerolog.Nop()), KeyFile: filepath.Join(dir, sealed.KeyFile)})
	require.NoError(t, err)
	_, err = kept.Create(t.Context(), secret.Secret{
		Account: account, Key: "lp-faas-default-app-key", Type: secret.JSON, CreatedBy: "the platform", UpdatedBy: "the platform",
		Value: []byte(`{"consumerKey":"key","consumerSecret":"secret","token":"token","tokenSecret":"token-secret"}`),
	}, 0)
	require.NoError(t, err)
}

// keepObject creates a secret that is an object, as an admin.
func keepObject(t *testing.T, admin *caller, key string, value map[string]any) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"key": key, "value": value, "type": "json"})
	require.NoError(t, err)
	r := admin.send(t, http.MethodPost, "/api/account/"+admin.account+"/secrets?v=1", body)
	require.Equal(t, http.StatusCreated, r.status, "%s", clip(r.body))
}

// outside is a server on loopback that stands for all that templates ask.
type outside struct {
	host string // and port

	mu   sync.Mutex
	seen []string
}

func newOutside(t *testing.T, certificate tls.Certificate) *outside {
	t.Helper()
	o := &outside{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(o.answer))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	o.host = "localhost:" + u.Port()
	return o
}

func (o *outside) asked() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.seen)
}

func (o *outside) answer(w http.ResponseWriter, r *http.Request) {
	how, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	o.mu.Lock()
	o.seen = append(o.seen, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+how))
	o.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	say := func(text string) { _, _ = io.WriteString(w, text) } // who asked may have left
	switch path := r.URL.Path; {
	case path == "/":
		w.Header().Set("Content-Type", "text/html")
		say("hello from outside")
	case strings.HasPrefix(path, "/messaging_history/"):
		say(`{"conversationHistoryRecords":[{"messageRecords":[
			{"type":"TEXT_PLAIN","messageData":{"msg":{"text":"I want a REFUND"}},"timeL":1,"sentBy":"Consumer"},
			{"type":"HOSTED_FILE","messageData":{"file":{"caption":"a picture","relativePath":"/files/picture.png"}},"timeL":2,"sentBy":"Consumer"}]}]}`)
	case path == "/auth/v1.0" && r.Header.Get("X-Auth-User") == "keeper" && r.Header.Get("X-Auth-Key") == "of-the-files":
		w.Header().Set("X-Auth-Token", "good")
	case strings.HasPrefix(path, "/files/") && r.Header.Get("X-Auth-Token") == "good":
		w.WriteHeader(http.StatusCreated)
	case path == "/services/oauth2/token" && r.FormValue("refresh_token") == "renew-me":
		say(`{"access_token":"good","instance_url":"https://` + o.host + `"}`)
	case strings.HasSuffix(path, "/query") && r.Header.Get("Authorization") == "Bearer worn-out":
		say(`{"totalSize":1,"done":true,"records":[{"Id":"0031","Name":"Ada"}]}`)
	default:
		w.WriteHeader(http.StatusNotFound)
		say(`[{"errorCode":"NOT_FOUND","message":"there is no ` + path + `"}]`)
	}
}

// localCertificate makes one for localhost, that is its own authority.
func localCertificate(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
