package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Error codes that callers commonly tell apart.
const (
	CodeBadInput           = "com.liveperson.faas.es.badinput"
	CodeUnauthorized       = "com.liveperson.faas.es.unauthorized"
	CodeForbidden          = "com.liveperson.faas.es.forbidden"
	CodeGeneral            = "com.liveperson.faas.es.general"
	CodeUnavailable        = "com.liveperson.faas.es.unavailable"
	CodeNotDeployed        = "com.liveperson.faas.es.notdeployed"
	CodeMissingLambda      = "com.liveperson.faas.es.missinglambda"
	CodeRuntimeGeneral     = "com.liveperson.faas.fm.general"
	CodeRuntimeUnavailable = "com.liveperson.faas.fm.unavailable"
	CodeCustomFailure      = "com.liveperson.faas.handler.custom-failure"
	CodeRuntimeException   = "com.liveperson.faas.handler.runtime-exception"
	CodeExecutionTime      = "com.liveperson.faas.handler.executiontime-exceeded"
	CodeLambdaContract     = "com.liveperson.faas.lambda.contract-error"
	CodeLambdaConflict     = "com.liveperson.faas.lambda.conflict"
	CodeLambdaLimit        = "com.liveperson.faas.lambda.limit"
	CodeDeploymentConflict = "com.liveperson.faas.deployment.conflict"
	CodeEventLimit         = "com.liveperson.faas.event.limit"
	CodeSkillConflict      = "com.liveperson.faas.event.skill-conflict"
)

// StatusLambdaFailed is the status of an answer about an error inside a lambda.
const StatusLambdaFailed = 901

const handlerCodes = "com.liveperson.faas.handler."

// Error is an answer of the gateway that is no success.
type Error struct {
	Status     int
	Code       string      // for programs; empty if the answer had none
	Message    string      // for people
	Logs       []LogRecord // of a failed manual invocation
	RequestID  string      // under which the gateway logged the call
	Phase      string      // the part of the call's way in which it failed; may be empty
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	text := fmt.Sprintf("gateway answered %d %s: %s", e.Status, e.Code, e.Message)
	if e.RequestID != "" {
		text += " (request " + e.RequestID + ")"
	}
	return text
}

// Function reports whether the lambda itself failed, not the platform or the
// caller.
func (e *Error) Function() bool { return strings.HasPrefix(e.Code, handlerCodes) }

// IsStatus reports whether err is the gateway's answer with that status.
func IsStatus(err error, status int) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == status
}

// IsCode reports whether err is the gateway's answer with that error code.
func IsCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// newError reads an error answer, whatever form it has.
func newError(resp *http.Response, body []byte) *Error {
	e := &Error{
		Status: resp.StatusCode, RequestID: resp.Header.Get("X-Request-ID"), Phase: resp.Header.Get("X-Sluice-Phase"),
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	var wire struct {
		Code    string      `json:"errorCode"`
		Message string      `json:"errorMsg"`
		Logs    []LogRecord `json:"errorLogs"`
		// Sentinel's form (RFC 6749 §5.2) has a string here, the login service's an object.
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
	}
	if json.Unmarshal(body, &wire) != nil {
		e.Message = "an answer that is not JSON: " + clip(body)
		return e
	}
	e.Code, e.Message, e.Logs = wire.Code, wire.Message, wire.Logs
	if e.Code == "" && len(wire.Error) > 0 {
		e.readOther(wire.Error, wire.Description)
	}
	return e
}

func (e *Error) readOther(raw json.RawMessage, description string) {
	var login struct {
		Message string `json:"message"`
		Status  string `json:"responseStatus"`
	}
	if json.Unmarshal(raw, &e.Code) == nil {
		e.Message = description
	} else if json.Unmarshal(raw, &login) == nil {
		e.Code, e.Message = login.Status, login.Message
	}
}

func clip(body []byte) string {
	const most = 200
	if len(body) > most {
		return strings.ToValidUTF8(string(body[:most]), "�") + "…"
	}
	return strings.ToValidUTF8(string(body), "�")
}

// DeployError says that a deployment ended without the version going live. What
// served before serves on.
type DeployError struct {
	LambdaID string
	State    string // Build Error or Deploy Error
	Code     string
	Message  string
	Logs     []LogRecord
}

func (e *DeployError) Error() string {
	return fmt.Sprintf("deployment of lambda %s ended in %s: %s (%s)", e.LambdaID, e.State, e.Message, e.Code)
}
