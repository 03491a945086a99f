// Package journal keeps what happened: every invocation with its log, and every
// attempt of a lambda to reach another host, for the days of Limits.LogRetention,
// and every change that somebody made, for those of Limits.ActivityRetention. It
// keeps it in files below the data folder, one for each day, and answers questions
// about it.
//
// Writing an invocation never waits: entries are queued in memory, written in
// batches, and dropped and counted when the queue is full or the disk is. What
// is lost so is said, in Stats, in /readyz and in /metrics.
package journal

import (
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// State is how an invocation ended, spelled as reports have it
// (contract/management.md §9; the first one's spelling is literal).
type State string

// The states, in the order of the contract's table.
const (
	Unknown         State = "UNKOWN"           // nobody learned how it ended: the caller left
	Succeeded       State = "SUCCEEDED"        // the lambda called back with a result
	CodingFailure   State = "CODING_FAILURE"   // the lambda reported an error, threw, or ended its process
	PlatformFailure State = "PLATFORM_FAILURE" // the platform failed or refused it
	Timeout         State = "TIMEOUT"          // the lambda took longer than it may
)

// States is every State, in the order in which reports list them.
var States = []State{Unknown, Succeeded, CodingFailure, PlatformFailure, Timeout}

// Entry is what is kept of one invocation.
type Entry struct {
	Account    string
	LambdaID   string
	LambdaName string
	Version    int // the lambda version that ran or would have run
	RequestID  string
	Caller     string // user id, client id, or schedule
	Trigger    lambda.Trigger
	EventID    string // of a call by event
	At         time.Time
	Queue      time.Duration // waiting for a free process
	Start      time.Duration // starting and loading one for it
	Run        time.Duration // inside the runtime
	Cold       bool
	State      State
	Phase      lambda.Phase       // that failed; empty after a success
	Code       string             // error code; empty after a success
	Message    string             // error message; empty after a success
	Logs       []lambda.LogRecord // those that are stored, within Limits.LogRecords and LogCharacters
	Dropped    int                // log records that the call wrote and are not in Logs
}

// Activity is a change that somebody made, with the difference. It never holds a
// secret's value.
type Activity struct {
	Account   string
	At        time.Time
	By        string // as lambda.UpdatedBy has it; "operator", or what else acted
	Action    Action
	Noun      Noun
	ID        string // of the thing; empty where it has none but its name
	Name      string // of the thing, for people
	RequestID string
	Changes   []Change
}

// Change is one field that an Activity changed. Before is empty for what is new,
// After for what is gone. Of long text Diff holds the difference, as a unified
// diff, and the other two are empty.
type Change struct {
	Field  string `json:"field"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	Diff   string `json:"diff,omitempty"`
}

// SetAnew is the After of a value that nobody may read, and that is another now.
const SetAnew = "set anew"

// Action is what was done.
type Action string

// The actions.
const (
	Create   Action = "create"
	Update   Action = "update"
	Delete   Action = "delete"
	Deploy   Action = "deploy"
	Undeploy Action = "undeploy"
	Rollback Action = "rollback"
	Reveal   Action = "reveal" // a secret's value was read by a person
	Miss     Action = "miss"   // a schedule's run did not take place
)

// Actions is every Action.
var Actions = []Action{Create, Update, Delete, Deploy, Undeploy, Rollback, Reveal, Miss}

// Noun is what an Activity was done to.
type Noun string

// The nouns.
const (
	Lambda   Noun = "lambda"
	Schedule Noun = "schedule"
	Secret   Noun = "secret"
	Domain   Noun = "domain"
	User     Noun = "user"
	Profile  Noun = "profile"
	App      Noun = "app"
	Account  Noun = "account"
)

// Nouns is every Noun.
var Nouns = []Noun{Lambda, Schedule, Secret, Domain, User, Profile, App, Account}
