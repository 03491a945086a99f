// Package lambda holds the plain nouns of Sluice: a Lambda that people edit, the
// immutable Version that a Deployment makes of it, the Live pointer that says
// which version answers, an Invocation, and the Error that every layer speaks.
//
// It knows no HTTP, no etcd and no process. Every other package of the gateway
// may import it; it imports none of them.
package lambda

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxSkillLength is the largest length of a skill's id, in characters.
const MaxSkillLength = 50

// MaxDependencyLength is the largest length of a dependency's name, and of its
// version, in characters; npm's limit.
const MaxDependencyLength = 214

// Pair is a name with a value, in the spelling of the wire contract.
type Pair struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Lambda is the thing that a developer manages: saved source with its
// environment. Saving a change adds one to Version; what runs is a Version that a
// Deployment made, never the Lambda itself.
type Lambda struct {
	Account      string    `json:"account"`
	ID           string    `json:"id"` // UUID
	Name         string    `json:"name"`
	Description  string    `json:"description"`
	EventID      string    `json:"eventId,omitempty"`
	Skills       []string  `json:"skills,omitempty"` // that it is bound to; none: every skill's calls of its event
	Runtime      string    `json:"runtime"`          // name of the runtime in the catalog
	Version      int       `json:"version"`          // 1 for the first saved text
	Code         string    `json:"code"`
	Dependencies []Pair    `json:"dependencies,omitempty"`
	Environment  []Pair    `json:"environment,omitempty"`
	CreatedAt    time.Time `json:"createdAt"`
	CreatedBy    string    `json:"createdBy"`
	UpdatedAt    time.Time `json:"updatedAt"`
	UpdatedBy    string    `json:"updatedBy"`
}

// Size is about how many bytes a saved l takes in the store.
func (l *Lambda) Size() int {
	n := len(l.Name) + len(l.Description) + len(l.Code)
	for _, skill := range l.Skills {
		n += len(skill)
	}
	for _, pairs := range [][]Pair{l.Dependencies, l.Environment} {
		for _, p := range pairs {
			n += len(p.Key) + len(p.Value)
		}
	}
	return n
}

// State is a lambda's state as users see it.
type State string

// The states of a lambda (contract/management.md §3). Failed deployments are no
// state of a lambda: they show in its last Deployment only.
const (
	Draft            State = "Draft"             // never deployed, or undeployed
	Productive       State = "Productive"        // the live version is the saved one
	Modified         State = "Modified"          // live, but the saved version differs
	MarkedUndeployed State = "Marked Undeployed" // undeployment asked for, not done
)

// StateOf derives the state of l from what is live (nil when nothing is) and
// from its last deployment (nil before the first).
func StateOf(l *Lambda, live *Live, last *Deployment) State {
	switch {
	case live == nil:
		return Draft
	case last != nil && last.Kind == Undeploy && !last.State.Final():
		return MarkedUndeployed
	case live.Version == l.Version:
		return Productive
	default:
		return Modified
	}
}

// Version is what a deployment runs: an immutable copy of a lambda's text,
// environment and runtime, with the digest that names it.
type Version struct {
	Account      string    `json:"account"`
	LambdaID     string    `json:"lambdaId"`
	Version      int       `json:"version"`
	Runtime      string    `json:"runtime"`
	Code         string    `json:"code"`
	Dependencies []Pair    `json:"dependencies,omitempty"`
	Environment  []Pair    `json:"environment,omitempty"`
	Digest       string    `json:"digest"` // hex SHA-256 over all of the above but the account
	CreatedAt    time.Time `json:"createdAt"`
	CreatedBy    string    `json:"createdBy"`
}

// Snapshot copies the parts of l that run into a Version.
func (l *Lambda) Snapshot(at time.Time, by string) Version {
	v := Version{
		Account: l.Account, LambdaID: l.ID, Version: l.Version, Runtime: l.Runtime, Code: l.Code,
		Dependencies: l.Dependencies, Environment: l.Environment, CreatedAt: at, CreatedBy: by,
	}
	v.Digest = v.digest()
	return v
}

func (v *Version) digest() string {
	h := sha256.New()
	// An encoder over fixed fields: every boundary is unambiguous.
	_ = json.NewEncoder(h).Encode([]any{v.LambdaID, v.Version, v.Runtime, v.Code, v.Dependencies, v.Environment})
	return hex.EncodeToString(h.Sum(nil))
}

// Live is the pointer from a lambda to the version that answers its calls. It
// is moved only by the transaction that finishes a deployment.
type Live struct {
	Account      string    `json:"account"`
	LambdaID     string    `json:"lambdaId"`
	Name         string    `json:"name"`
	EventID      string    `json:"eventId,omitempty"`
	Version      int       `json:"version"`
	DeploymentID string    `json:"deploymentId"`
	Digest       string    `json:"digest"`
	Runtime      string    `json:"runtime"`
	DeployedAt   time.Time `json:"deployedAt"`
}

var (
	nameForm        = regexp.MustCompile(`^\w+$`)
	skillForm       = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	environmentForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// reserved are the environment names that the platform keeps for itself
// (contract/management.md §11).
var reserved = map[string]bool{
	"BRAND_ID": true, "LAMBDA_UUID": true, "DOMAIN": true, "DC": true,
	"HTTPS_PROXY": true, "HTTP_PROXY": true, "NO_PROXY": true, "ALL_PROXY": true,
	"VAULT_K8S_MOUNT": true, "VAULT_DOMAIN": true, "VAULT_SERVICE_ENV": true, "VAULT_LAMBDA_ROLE": true,
	"WATCHDOG_VERSION": true, "NODE_ENV": true, "CONTEXT_SERVICE_ENVIRONMENT": true,
	"PATH": true, "NODE_OPTIONS": true, "NODE_PATH": true, "NODE_EXTRA_CA_CERTS": true,
	"NODE_USE_ENV_PROXY": true, "LD_PRELOAD": true, "LD_LIBRARY_PATH": true,
}

// ReservedName reports whether an environment variable of that name is kept for
// the platform. Case does not matter: the proxy variables are read in both.
func ReservedName(name string) bool {
	upper := strings.ToUpper(name)
	return reserved[upper] || strings.HasPrefix(upper, "PLUGIN_") || strings.HasPrefix(upper, "SLUICE_")
}

// Validate checks every field that an author writes and returns the first fault
// as an Error of kind Invalid that names the field and the limit. Code is
// checked for size and encoding only; its language knows the rest.
func (l *Lambda) Validate(limits Limits) error {
	const code = "implementation.code"
	switch {
	case l.Name == "":
		return Invalid("name", "name is missing: give 1 to %d letters, digits or _", limits.Name)
	case !nameForm.MatchString(l.Name):
		return Invalid("name", "name %.100q may hold letters, digits and _ only", l.Name)
	case strings.TrimSpace(l.Description) == "":
		return Invalid("description", "description is missing: say in 1 to %d characters what the lambda does", limits.Description)
	case hasControl(l.Description):
		return Invalid("description", "description holds a control character: remove it")
	case hasControl(l.EventID):
		return Invalid("eventId", "eventId holds a control character: remove it")
	case strings.TrimSpace(l.Code) == "":
		return Invalid(code, "implementation.code is missing: it must define a function named lambda")
	case !utf8.ValidString(l.Code):
		return Invalid(code, "implementation.code is not valid UTF-8")
	}
	for _, text := range []struct {
		field, value string
		limit        int
	}{
		{"name", l.Name, limits.Name}, {"description", l.Description, limits.Description},
		{"eventId", l.EventID, limits.EventID}, {code, l.Code, limits.Code},
	} {
		if n := utf8.RuneCountInString(text.value); n > text.limit {
			return tooLong(text.field, text.field, n, text.limit)
		}
	}
	if err := validateSkills(l, limits); err != nil {
		return err
	}
	if err := validateDependencies(l.Dependencies, limits); err != nil {
		return err
	}
	return validateEnvironment(l.Environment, limits)
}

// tooLong says that what, of a field, has n characters.
func tooLong(field, what string, n, limit int) error {
	return Invalid(field, "%s has %d characters: the limit is %d, shorten it", what, n, limit)
}

// validateSkills leaves it to the store that no other lambda of the event has one
// of them.
func validateSkills(l *Lambda, limits Limits) error {
	const field = "skills"
	switch {
	case len(l.Skills) == 0:
		return nil
	case l.EventID == "":
		return Invalid(field, "skills are for lambdas that an event calls, and this one has no event: leave them out")
	case limits.Skills > 0 && len(l.Skills) > limits.Skills:
		return Invalid(field, "skills has %d entries: the limit is %d", len(l.Skills), limits.Skills)
	}
	seen := make(map[string]bool, len(l.Skills))
	for i, skill := range l.Skills {
		n := utf8.RuneCountInString(skill)
		switch {
		case skill == "":
			return Invalid(field, "skills[%d] is empty: give the id of a skill", i)
		case n > MaxSkillLength:
			return tooLong(field, fmt.Sprintf("skills[%d]", i), n, MaxSkillLength)
		case !skillForm.MatchString(skill):
			return Invalid(field, "skills[%d] %q may hold letters, digits, - and _ only", i, skill)
		case seen[skill]:
			return Invalid(field, "skills holds %s twice: remove one", skill)
		}
		seen[skill] = true
	}
	return nil
}

func validateDependencies(dependencies []Pair, limits Limits) error {
	const field = "implementation.dependencies"
	if len(dependencies) > limits.Dependencies {
		return Invalid(field, "%s has %d entries: the limit is %d", field, len(dependencies), limits.Dependencies)
	}
	for i, p := range dependencies {
		for _, s := range []string{p.Key, p.Value} {
			if n := utf8.RuneCountInString(s); n > MaxDependencyLength {
				return tooLong(field, fmt.Sprintf("%s[%d]", field, i), n, MaxDependencyLength)
			}
		}
	}
	return nil
}

func validateEnvironment(env []Pair, limits Limits) error {
	const field = "implementation.environmentVariables"
	if len(env) > limits.Environment {
		return Invalid(field, "%s has %d entries: the limit is %d", field, len(env), limits.Environment)
	}
	seen := make(map[string]bool, len(env))
	for i, p := range env {
		name, value := utf8.RuneCountInString(p.Key), utf8.RuneCountInString(p.Value)
		switch {
		case p.Key == "":
			return Invalid(field, "%s[%d].key is empty: give the variable a name", field, i)
		case name > limits.EnvironmentName:
			return tooLong(field, fmt.Sprintf("%s[%d].key", field, i), name, limits.EnvironmentName)
		case !environmentForm.MatchString(p.Key):
			return Invalid(field, "%s[%d].key %q may hold letters, digits and _ only, and starts with no digit", field, i, p.Key)
		case ReservedName(p.Key):
			return &Error{Kind: KindInvalid, Code: CodeBadInput, Field: field, Message: TextReservedName}
		case seen[p.Key]:
			return Invalid(field, "%s holds %s twice: remove one", field, p.Key)
		case value > limits.EnvironmentValue:
			return tooLong(field, field+": the value of "+p.Key, value, limits.EnvironmentValue)
		case strings.ContainsRune(p.Value, 0):
			return Invalid(field, "%s: the value of %s holds a NUL byte: remove it", field, p.Key)
		}
		seen[p.Key] = true
	}
	return nil
}

// hasControl reports whether s holds characters that are not seen but change how
// the rest is read or shown, right-to-left overrides among them.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		switch r {
		case '\n', '\t', '\r':
			return false
		case '\u2028', '\u2029', '\ufeff':
			return true
		}
		return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
	})
}
