package store

import (
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Every key of the project is built in this file. Three folders are read whole by
// every gateway and watched: view (what answers calls), rollout (what moves
// deployments) and schedule (what is called again and again). Nothing large and
// nothing that changes with every call lives in any of them.
//
//	/sluice/schema                                     version of this layout
//	/sluice/demo                                       Demo
//	/sluice/view/accounts/<account>                    Account
//	/sluice/view/users/<account>/<user>                User
//	/sluice/view/profiles/<account>/<name>             Profile
//	/sluice/view/apps/<account>/<client>               App
//	/sluice/view/tokens/<hash>                         Token, under the lease of its session or its own
//	/sluice/view/domains/<account>/<id>                Domain
//	/sluice/view/keys/<kid>                            SigningKey
//	/sluice/view/live/<account>/<lambda>               Live
//	/sluice/view/warm/<account>/<lambda>               number of processes that are kept ready; absent: none
//	/sluice/logins/<account>/<login name>              user id
//	/sluice/appnames/<account>/<client name, escaped>  client id
//	/sluice/sessions/<hash>                            Session, under a lease
//	/sluice/sessionsof/<account>/<user>/<hash>         the session's kind, under its lease
//	/sluice/codes/<hash>                               Code, under a lease; once used, under its grant's
//	/sluice/codesof/<account>/<user>/<hash>            client id, under the code's lease until it is used
//	/sluice/grants/<id hash>                           Grant, under a lease
//	/sluice/grantsof/<account>/<user>/<id hash>        client id, under the grant's lease
//	/sluice/domainnames/<account>/<domain>             domain id
//	/sluice/domainids/<account>                        the id given last
//	/sluice/once/<account>/<hash>                      Receipt of a write with an Idempotency-Key, under a lease
//	/sluice/view/secrets/<account>/<key>               version of a secret, as it was last written
//	/sluice/schedule/lines/<account>/<lambda>          Schedule
//	/sluice/schedule/runs/<account>/<lambda>           Runs, what became of the schedule's
//	/sluice/schedule/runners/<account>/<lambda>        id of the gateway that makes a run, under its lease
//	/sluice/schedule/gateways/<gateway>                nothing: it makes runs, under its lease
//	/sluice/secrets/<account>/<key>                    SealedSecret, where the gateway keeps secrets itself
//	/sluice/secretskey                                 id of the key that those are sealed with
//	/sluice/events/<account>/<event>/<lambda>          nothing: a saved lambda is bound to the event
//	/sluice/eventsindexed                              nothing: lambdas from before that folder are in it
//	/sluice/view/skills/<account>/<event>/<lambda>     skills that a saved lambda is bound to, if there are any
//	/sluice/lambdas/<account>/<lambda>                 Lambda
//	/sluice/names/<account>/<name>                     lambda id
//	/sluice/versions/<account>/<lambda>/<version>      Version
//	/sluice/artifacts/<account>/<lambda>/<digest>      artifact, as the runtime made it
//	/sluice/last/<account>/<lambda>                    Deployment that ended last
//	/sluice/history/<account>/<lambda>/<order>         Deployment that ended, of kind Deploy
//	/sluice/rollout/work/<account>/<lambda>            Deployment under way
//	/sluice/rollout/claims/<account>/<lambda>          gateway id, under its lease
//	/sluice/rollout/acks/<deployment>/<gateway>        Ack, under the gateway's lease
//	/sluice/rollout/gateways/<gateway>                 Gateway, under its lease
const (
	root        = "/sluice/"
	schemaKey   = root + "schema"
	demoKey     = root + "demo"
	viewRoot    = root + "view/"
	rolloutRoot = root + "rollout/"
	timesRoot   = root + "schedule/"

	accountsRoot  = viewRoot + "accounts/"
	usersRoot     = viewRoot + "users/"
	profilesRoot  = viewRoot + "profiles/"
	appsRoot      = viewRoot + "apps/"
	tokensRoot    = viewRoot + "tokens/"
	domainsRoot   = viewRoot + "domains/"
	keysRoot      = viewRoot + "keys/"
	liveRoot      = viewRoot + "live/"
	warmRoot      = viewRoot + "warm/"
	skillsRoot    = viewRoot + "skills/"
	eventsRoot    = root + "events/"
	eventsIndexed = root + "eventsindexed"
	marksRoot     = viewRoot + "secrets/"
	secretsRoot   = root + "secrets/"
	sealerKey     = root + "secretskey"
	loginsRoot    = root + "logins/"
	appNamesRoot  = root + "appnames/"
	sessionsRoot  = root + "sessions/"
	domNamesRoot  = root + "domainnames/"
	domIDsRoot    = root + "domainids/"
	onceRoot      = root + "once/"
	sessionsOf    = root + "sessionsof/"
	codesRoot     = root + "codes/"
	codesOf       = root + "codesof/"
	grantsRoot    = root + "grants/"
	grantsOf      = root + "grantsof/"
	lambdasRoot   = root + "lambdas/"
	namesRoot     = root + "names/"
	versionsRoot  = root + "versions/"
	artifactsRoot = root + "artifacts/"
	lastRoot      = root + "last/"
	historyRoot   = root + "history/"
	workRoot      = rolloutRoot + "work/"
	claimsRoot    = rolloutRoot + "claims/"
	acksRoot      = rolloutRoot + "acks/"
	gatewaysRoot  = rolloutRoot + "gateways/"
	linesRoot     = timesRoot + "lines/"
	runsRoot      = timesRoot + "runs/"
	runnersRoot   = timesRoot + "runners/"
	attendRoot    = timesRoot + "gateways/"
)

// maxSegment is the largest part of a key that comes from outside, in bytes.
const maxSegment = 256

// key joins a folder and segments that come from outside. No segment can leave
// its folder or reach into another: what holds a slash, a control character or
// invalid UTF-8, is empty or is too long, is refused as Invalid.
func key(folder string, segments ...string) (string, error) {
	for _, s := range segments {
		if err := checkSegment(s); err != nil {
			return "", err
		}
	}
	return folder + strings.Join(segments, "/"), nil
}

func checkSegment(s string) error {
	switch {
	case s == "":
		return lambda.Invalid("id", "an id or name is empty")
	case len(s) > maxSegment:
		return lambda.Invalid("id", "an id or name has %d bytes: the limit is %d", len(s), maxSegment)
	case !utf8.ValidString(s):
		return lambda.Invalid("id", "an id or name is not valid UTF-8")
	case strings.Contains(s, "/") || strings.ContainsFunc(s, unicode.IsControl):
		return lambda.Invalid("id", "the id or name %q holds a slash or a control character", s)
	}
	return nil
}

// lambdaKeys are the keys that belong to one lambda. Those that name a folder
// end with a slash.
type lambdaKeys struct {
	lambda, live, last, work, claim string
	warm                            string
	versions, artifacts, history    string
	schedule, runs, runner          string
}

func keysOf(account, id string) (lambdaKeys, error) {
	tail, err := key("", account, id)
	if err != nil {
		return lambdaKeys{}, err
	}
	return lambdaKeys{
		lambda: lambdasRoot + tail, live: liveRoot + tail, warm: warmRoot + tail, last: lastRoot + tail,
		work: workRoot + tail, claim: claimsRoot + tail,
		versions: versionsRoot + tail + "/", artifacts: artifactsRoot + tail + "/", history: historyRoot + tail + "/",
		schedule: linesRoot + tail, runs: runsRoot + tail, runner: runnersRoot + tail,
	}, nil
}

func (k lambdaKeys) version(n int) string { return k.versions + strconv.Itoa(n) }

// appNameKey is the key of a client name, which may be longer than a segment and
// hold what no segment may, once it is escaped.
func appNameKey(account, name string) (string, error) {
	k, err := key(appNamesRoot, account)
	switch {
	case err != nil:
		return "", err
	case name == "" || utf8.RuneCountInString(name) > lambda.MaxAppName:
		return "", lambda.Invalid("client_name", "client_name has %d characters: give 1 to %d", utf8.RuneCountInString(name), lambda.MaxAppName)
	}
	return k + "/" + url.PathEscape(name), nil
}

// folder gives the prefix that holds what one account has under base.
func folder(base, account string) (string, error) {
	k, err := key(base, account)
	return k + "/", err
}

// parts splits what follows folder in k into n segments, or reports false.
func parts(k, folder string, n int) ([]string, bool) {
	rest, ok := strings.CutPrefix(k, folder)
	if !ok {
		return nil, false
	}
	p := strings.Split(rest, "/")
	return p, len(p) == n
}
