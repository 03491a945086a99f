package lambda

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"
)

// Kind is what an Error means to its receiver; api/respond.go maps it to a
// status and nothing else decides one.
type Kind int

// The kinds of error. The zero value is a defect of the platform.
const (
	KindInternal     Kind = iota // 500: a defect; the text goes to the log only
	KindInvalid                  // 400: the caller can mend it; Message names field and limit
	KindUnauthorized             // 401
	KindForbidden                // 403
	KindNotFound                 // 404
	KindMethod                   // 405
	KindTimeout                  // 408: the platform, not the lambda, took too long
	KindConflict                 // 409
	KindPrecondition             // 412: If-Match names another version than the stored one
	KindTooLarge                 // 413
	KindRateLimited              // 429
	KindCrashed                  // 500: another call ended the process this call shared; never run again
	KindUnavailable              // 503: refused before user code ran, the caller may repeat
	KindFunction                 // 901: the lambda itself failed
)

// The error codes of the wire contract (contract/limits-and-errors.md §3).
const (
	CodeGeneral            = "com.liveperson.faas.es.general"
	CodeUnavailable        = "com.liveperson.faas.es.unavailable"
	CodeBadInput           = "com.liveperson.faas.es.badinput"
	CodeUnauthorized       = "com.liveperson.faas.es.unauthorized"
	CodeForbidden          = "com.liveperson.faas.es.forbidden"
	CodeNotDeployed        = "com.liveperson.faas.es.notdeployed"
	CodeMissingLambda      = "com.liveperson.faas.es.missinglambda"
	CodeRateLimit          = "com.liveperson.faas.es.ratelimit"
	CodeRuntimeGeneral     = "com.liveperson.faas.fm.general"
	CodeRuntimeUnavailable = "com.liveperson.faas.fm.unavailable"

	CodeCustomFailure    = "com.liveperson.faas.handler.custom-failure"
	CodeRuntimeException = "com.liveperson.faas.handler.runtime-exception"
	CodeExecutionTime    = "com.liveperson.faas.handler.executiontime-exceeded"
	CodeLogLimit         = "com.liveperson.faas.handler.log-limit-reached"

	CodeLambdaConflict     = "com.liveperson.faas.lambda.conflict"
	CodeLambdaContract     = "com.liveperson.faas.lambda.contract-error"
	CodeLambdaLimit        = "com.liveperson.faas.lambda.limit"
	CodeDeploymentConflict = "com.liveperson.faas.deployment.conflict"
	CodeDomainDuplicate    = "com.liveperson.faas.domain.duplicate"
	CodeDomainLimit        = "com.liveperson.faas.domain.limit"
	CodeMissingDomain      = "com.liveperson.faas.domain.missing"
	CodeDeploymentFailed   = "com.liveperson.faas.deployment.failed"

	CodeIdentityConflict = "com.liveperson.faas.identity.conflict" // of an account, user, profile or app
	CodeIdentityLimit    = "com.liveperson.faas.identity.limit"
	CodeProfileInUse     = "com.liveperson.faas.profile.in-use"

	CodeEventLimit       = "com.liveperson.faas.event.limit"
	CodeSkillConflict    = "com.liveperson.faas.event.skill-conflict"
	CodeScheduleConflict = "com.liveperson.faas.schedule.conflict"
	CodeScheduleLimit    = "com.liveperson.faas.schedule.limit"
	CodeMissingSchedule  = "com.liveperson.faas.schedule.missing"

	CodeSecretNotFound = "com.liveperson.faas.secret.not-found"      //nolint:gosec // no credential
	CodeSecretFailed   = "com.liveperson.faas.secret.op-failed"      //nolint:gosec // no credential
	CodeSecretFormat   = "com.liveperson.faas.secret.invalid-format" //nolint:gosec // no credential
	CodeSecretAuth     = "com.liveperson.faas.secret.auth-failed"    //nolint:gosec // no credential
	CodeSecretExists   = "com.liveperson.faas.secret.exists"         //nolint:gosec // no credential
	CodeSecretLimit    = "com.liveperson.faas.secret.limit"          //nolint:gosec // no credential
	CodeSecretConflict = "com.liveperson.faas.secret.conflict"       //nolint:gosec // no credential
)

// Texts that clients or users meet (contract/limits-and-errors.md §4).
const (
	TextDeploymentActive = "Can not deploy a lambda during an active deployment"
	TextExecutionTime    = "Lambda Execution is taking too long"
	TextReservedName     = "Variable name is reserved and thereby blocked for use."
)

// Phase is the part of a call's way in which it failed, sent as X-Sluice-Phase.
type Phase string

// The phases, in the order of a call's way.
const (
	PhaseRequest      Phase = "request"      // method, path, body
	PhaseAuthenticate Phase = "authenticate" // whose token
	PhaseAuthorize    Phase = "authorize"    // may they
	PhaseRoute        Phase = "route"        // which version is live
	PhaseQueue        Phase = "queue"        // waiting for a process
	PhaseStart        Phase = "start"        // starting or loading one
	PhaseRun          Phase = "run"          // user code
	PhaseRuntime      Phase = "runtime"      // the process around user code
)

// Error is what every layer of the gateway returns when it knows what went
// wrong: a code for programs, a message for people, and a kind that says whose
// fault it is. Anything else that reaches the edge is a defect and is told to
// the caller as one.
type Error struct {
	Kind       Kind
	Code       string
	Message    string
	Field      string        // the field at fault, for KindInvalid
	Phase      Phase         // may be empty
	RetryAfter time.Duration // sent as Retry-After when positive
	Logs       []LogRecord   // of a failed manual invocation
	Err        error         // the cause, for the log only
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// As finds the Error in err's chain, or nil.
func As(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// Is reports whether err is an Error of kind k.
func Is(err error, k Kind) bool {
	e := As(err)
	return e != nil && e.Kind == k
}

// Panicked is the error of a panic with p, with the stack of the panic when the
// deferred function that recovered calls it. It is for the log only, and holds no
// value of a user: of p it says no more than the type, unless p is Go's own error.
func Panicked(p any) error {
	if own, ok := p.(runtime.Error); ok {
		return fmt.Errorf("panic: %w\n%s", own, debug.Stack())
	}
	return fmt.Errorf("panic: a %T\n%s", p, debug.Stack())
}

// Invalid says that field breaks a rule; the text names the limit and the remedy.
func Invalid(field, format string, args ...any) *Error {
	return &Error{Kind: KindInvalid, Code: CodeBadInput, Field: field, Message: fmt.Sprintf(format, args...), Phase: PhaseRequest}
}

// NotFound says that nothing has that name or id.
func NotFound(code, format string, args ...any) *Error {
	return &Error{Kind: KindNotFound, Code: code, Message: fmt.Sprintf(format, args...), Phase: PhaseRoute}
}

// Conflict says that the write lost against another, or that the state forbids it.
func Conflict(code, format string, args ...any) *Error {
	return &Error{Kind: KindConflict, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Stale says that If-Match names another version than the saved one.
func Stale(saved, wanted int) *Error {
	return &Error{
		Kind: KindPrecondition, Code: CodeLambdaConflict, Field: "If-Match", Phase: PhaseRequest,
		Message: fmt.Sprintf("version %d is saved, not %d: read the lambda again", saved, wanted),
	}
}
