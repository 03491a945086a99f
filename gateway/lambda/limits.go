package lambda

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Limits are the numbers that bound what an account may have and what a caller
// may send (contract/limits-and-errors.md §1). LimitTable says what each means
// and within which bounds an operator can set it.
type Limits struct {
	Lambdas, DeployedLambdas, Domains, History int
	Accounts, Users, Profiles, Apps            int

	Name, Description, EventID, Code               int
	Environment, EnvironmentName, EnvironmentValue int
	Dependencies                                   int

	Payload, Result, Headers         int
	Memory                           int // MiB
	CallsPerProcess, Processes       int
	AllProcesses, Waiting            int
	LambdaCalls, AccountCalls        int // in a second
	AccountRequests, MonthlyCalls    int
	RunTime                          time.Duration
	AppToken, AccessToken, IDToken   time.Duration
	AuthorizationCode, RefreshToken  time.Duration
	LoginSession, IdempotencyReceipt time.Duration
	IdempotencyKeys                  int

	Skills                          int
	Secrets, SecretValue            int
	Schedules, SchedulePayload      int
	LogRecords, LogCharacters       int
	LogExportRows                   int
	JournalSize                     int // MiB
	LogTails                        int
	EgressRequests                  int // of a lambda in a second
	EgressConnections               int // of a process at once
	MinWarm                         int // processes of an account
	LogRetention, ActivityRetention time.Duration
}

// Unit is what a limit counts.
type Unit string

// The units.
const (
	UnitCount      Unit = "count"
	UnitCharacters Unit = "characters"
	UnitBytes      Unit = "bytes"
	UnitMebibytes  Unit = "MiB"
	UnitPerSecond  Unit = "per second"
	UnitPerMonth   Unit = "per month"
	UnitDuration   Unit = "seconds"
)

// Limit is a row of LimitTable.
type Limit struct {
	Name  string // in settings and at /limits
	Unit  Unit
	About string
	// Least and Most bound what can be set, in Unit. Where Least is 0, 0 means
	// no limit.
	Least, Most int64

	get func(*Limits) int64
	set func(*Limits, int64)
	def int64
}

// Of gives the value of the limit in l, in its Unit.
func (row Limit) Of(l Limits) int64 { return row.get(&l) }

// number and duration make rows; a duration's bounds are in seconds.
func number(name string, unit Unit, def, least, most int64, about string, at func(*Limits) *int) Limit {
	return Limit{
		Name: name, Unit: unit, About: about, Least: least, Most: most, def: def,
		get: func(l *Limits) int64 { return int64(*at(l)) },
		set: func(l *Limits, v int64) { *at(l) = int(v) },
	}
}

func duration(name string, def, least, most time.Duration, about string, at func(*Limits) *time.Duration) Limit {
	return Limit{
		Name: name, Unit: UnitDuration, About: about, def: seconds(def), Least: seconds(least), Most: seconds(most),
		get: func(l *Limits) int64 { return seconds(*at(l)) },
		set: func(l *Limits, v int64) { *at(l) = time.Duration(v) * time.Second },
	}
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

const (
	mib  = 1 << 20
	hour = time.Hour
	day  = 24 * hour
)

// LimitTable is every limit, in the order in which /limits shows them.
var LimitTable = []Limit{
	number("lambdas", UnitCount, 50, 0, 1_000_000, "saved lambdas of an account", func(l *Limits) *int { return &l.Lambdas }),
	number("deployed-lambdas", UnitCount, 50, 0, 1_000_000, "lambdas of an account that are deployed, or on the way to it", func(l *Limits) *int { return &l.DeployedLambdas }),
	number("domains", UnitCount, 500, 0, 10_000, "entries of an account's domain whitelist", func(l *Limits) *int { return &l.Domains }),
	number("deployment-history", UnitCount, 5, 1, 20, "deployments of a lambda that are kept with their code", func(l *Limits) *int { return &l.History }),

	number("accounts", UnitCount, 10_000, 0, 100_000, "accounts of the region", func(l *Limits) *int { return &l.Accounts }),
	number("users", UnitCount, 1_000, 0, 10_000, "users of an account", func(l *Limits) *int { return &l.Users }),
	number("profiles", UnitCount, 100, 0, 1_000, "profiles of an account", func(l *Limits) *int { return &l.Profiles }),
	number("apps", UnitCount, 100, 0, 1_000, "apps that are installed on an account", func(l *Limits) *int { return &l.Apps }),

	number("name", UnitCharacters, 50, 1, 100, "name of a lambda", func(l *Limits) *int { return &l.Name }),
	number("description", UnitCharacters, 200, 1, 2_000, "description of a lambda", func(l *Limits) *int { return &l.Description }),
	number("event-id", UnitCharacters, 60, 1, 200, "event id of a lambda", func(l *Limits) *int { return &l.EventID }),
	number("code", UnitCharacters, 100_000, 100, 200_000, "code of a lambda", func(l *Limits) *int { return &l.Code }),
	number("environment-variables", UnitCount, 100, 1, 100, "environment variables of a lambda", func(l *Limits) *int { return &l.Environment }),
	number("environment-name", UnitCharacters, 200, 1, 200, "name of an environment variable", func(l *Limits) *int { return &l.EnvironmentName }),
	number("environment-value", UnitCharacters, 200, 1, 500, "value of an environment variable", func(l *Limits) *int { return &l.EnvironmentValue }),
	number("dependencies", UnitCount, 100, 1, 100, "dependencies of a lambda", func(l *Limits) *int { return &l.Dependencies }),

	duration("run-time", 30*time.Second, time.Second, 30*time.Second, "one invocation, waiting for a process included", func(l *Limits) *time.Duration { return &l.RunTime }),
	number("memory", UnitMebibytes, 256, 64, 4_096, "memory of one process of a lambda", func(l *Limits) *int { return &l.Memory }),
	number("payload", UnitBytes, 6*mib, 1_024, 6*mib, "body of an invocation", func(l *Limits) *int { return &l.Payload }),
	number("result", UnitBytes, 6*mib, 1_024, 6*mib, "result of an invocation", func(l *Limits) *int { return &l.Result }),
	number("headers", UnitCount, 1_000, 0, 10_000, "entries of headers in an invocation's body", func(l *Limits) *int { return &l.Headers }),
	number("calls-per-process", UnitCount, 256, 1, 10_000, "calls at once in one process", func(l *Limits) *int { return &l.CallsPerProcess }),
	number("processes", UnitCount, 4, 1, 256, "processes of one deployment on one gateway", func(l *Limits) *int { return &l.Processes }),
	number("all-processes", UnitCount, 1_024, 4, 100_000, "processes of one gateway", func(l *Limits) *int { return &l.AllProcesses }),
	number("waiting-calls", UnitCount, 1_000, 1, 100_000, "calls that wait for one deployment on one gateway", func(l *Limits) *int { return &l.Waiting }),

	number("lambda-calls", UnitPerSecond, 1_000, 0, 1_000_000, "invocations of one lambda", func(l *Limits) *int { return &l.LambdaCalls }),
	number("account-calls", UnitPerSecond, 2_000, 0, 1_000_000, "invocations of one account", func(l *Limits) *int { return &l.AccountCalls }),
	number("account-requests", UnitPerSecond, 100, 0, 1_000_000, "management requests of one account", func(l *Limits) *int { return &l.AccountRequests }),
	number("monthly-calls", UnitPerMonth, 150_000, 0, 1_000_000_000_000, "invocations of one account, fair use: shown, and not enforced", func(l *Limits) *int { return &l.MonthlyCalls }),

	duration("app-token", hour, 31*time.Minute, day, "lifetime of an app's token", func(l *Limits) *time.Duration { return &l.AppToken }),
	duration("access-token", 8*hour, time.Minute, 30*day, "lifetime of a user's OAuth 2.0 access token", func(l *Limits) *time.Duration { return &l.AccessToken }),
	duration("id-token", 10*time.Minute, time.Minute, 31*time.Minute, "lifetime of an id token", func(l *Limits) *time.Duration { return &l.IDToken }),
	duration("authorization-code", time.Minute, 10*time.Second, 10*time.Minute, "lifetime of an authorization code", func(l *Limits) *time.Duration { return &l.AuthorizationCode }),
	duration("refresh-token", 30*day, time.Minute, 365*day, "lifetime of a refresh token; not shorter than an access token's", func(l *Limits) *time.Duration { return &l.RefreshToken }),
	duration("login-session", 8*hour, time.Minute, 30*day, "lifetime of a login and its token, from the last refresh", func(l *Limits) *time.Duration { return &l.LoginSession }),
	duration("idempotency-key", day, time.Minute, 7*day, "time for which an Idempotency-Key is remembered", func(l *Limits) *time.Duration { return &l.IdempotencyReceipt }),
	number("idempotency-keys", UnitCount, 10_000, 0, 1_000_000, "Idempotency-Keys of an account that are remembered at once", func(l *Limits) *int { return &l.IdempotencyKeys }),

	number("skills", UnitCount, 50, 0, 1_000, "skills of a lambda", func(l *Limits) *int { return &l.Skills }),
	number("secrets", UnitCount, 100, 0, 1_000, "secrets of an account", func(l *Limits) *int { return &l.Secrets }),
	number("secret-value", UnitCharacters, 10_000, 1, 100_000, "value of a secret", func(l *Limits) *int { return &l.SecretValue }),
	number("schedules", UnitCount, 10, 0, 1_000, "schedules of an account", func(l *Limits) *int { return &l.Schedules }),
	number("schedule-payload", UnitCharacters, 8_000, 2, 100_000, "payload of a schedule", func(l *Limits) *int { return &l.SchedulePayload }),

	number("log-records", UnitCount, 10, 1, 1_000, "log records of an invocation that are stored", func(l *Limits) *int { return &l.LogRecords }),
	number("log-characters", UnitCharacters, 6_000, 100, 1_000_000, "messages and extras of an invocation's stored log", func(l *Limits) *int { return &l.LogCharacters }),
	number("log-export-rows", UnitCount, 500, 1, 100_000, "rows of a log export", func(l *Limits) *int { return &l.LogExportRows }),
	duration("log-retention", 30*day, day, 366*day, "time for which invocations and their logs are kept, in whole days", func(l *Limits) *time.Duration { return &l.LogRetention }),
	duration("activity-retention", 90*day, day, 3650*day, "time for which it is kept who changed what", func(l *Limits) *time.Duration { return &l.ActivityRetention }),
	number("journal-size", UnitMebibytes, 10_240, 16, 100_000_000, "files of one gateway with invocations and logs; when they are full, the oldest day goes first", func(l *Limits) *int { return &l.JournalSize }),
	number("log-tails", UnitCount, 10, 1, 1_000, "live tails of an account's logs on one gateway at once", func(l *Limits) *int { return &l.LogTails }),

	number("egress-requests", UnitPerSecond, 20, 0, 100_000, "requests of one lambda to other hosts, in all of the region", func(l *Limits) *int { return &l.EgressRequests }),
	number("egress-connections", UnitCount, 64, 1, 1_000, "connections of one process to other hosts at once", func(l *Limits) *int { return &l.EgressConnections }),
	number("min-warm", UnitCount, 10, 0, 1_000, "processes of an account that are kept ready though nobody calls, on each gateway", func(l *Limits) *int { return &l.MinWarm }),
}

// DefaultLimits gives every limit its default.
func DefaultLimits() Limits {
	var l Limits
	for _, row := range LimitTable {
		row.set(&l, row.def)
	}
	return l
}

// ParseLimits lays settings of the form name=value over the defaults; a duration
// is written as 90s, 10m or 8h. The error names everything that is wrong.
func ParseLimits(settings []string) (Limits, error) {
	l := DefaultLimits()
	var faults []error
	for _, setting := range settings {
		name, text, _ := strings.Cut(setting, "=")
		row, ok := limitNamed(name)
		if !ok {
			faults = append(faults, fmt.Errorf("%.100q names no limit: write name=value with one of %s", setting, limitNames()))
			continue
		}
		v, err := row.parse(text)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		row.set(&l, v)
	}
	if l.RefreshToken < l.AccessToken {
		faults = append(faults, fmt.Errorf("refresh-token=%s is shorter than access-token=%s: lengthen it, or shorten that", l.RefreshToken, l.AccessToken))
	}
	return l, errors.Join(faults...)
}

func (row Limit) parse(text string) (int64, error) {
	if row.Unit == UnitDuration {
		d, err := time.ParseDuration(text)
		least, most := time.Duration(row.Least)*time.Second, time.Duration(row.Most)*time.Second
		if err != nil || d < least || d > most || d%time.Second != 0 {
			return 0, fmt.Errorf("%s=%.40s: give whole seconds from %s to %s, such as %s", row.Name, text, least, most, time.Duration(row.def)*time.Second)
		}
		return seconds(d), nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err == nil && v >= row.Least && v <= row.Most {
		return v, nil
	}
	none := ""
	if row.Least == 0 {
		none = " (0: no limit)"
	}
	return 0, fmt.Errorf("%s=%.40s: give a number from %d to %d%s, unit %s", row.Name, text, row.Least, row.Most, none, row.Unit)
}

func limitNamed(name string) (Limit, bool) {
	for _, row := range LimitTable {
		if row.Name == name {
			return row, true
		}
	}
	return Limit{}, false
}

func limitNames() string {
	names := make([]string, len(LimitTable))
	for i, row := range LimitTable {
		names[i] = row.Name
	}
	return strings.Join(names, ", ")
}
