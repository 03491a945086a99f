package lambda

import "time"

// DeploymentKind says which way a deployment goes.
type DeploymentKind string

// The kinds of work that a controller carries out for a lambda.
const (
	Deploy   DeploymentKind = "deploy"
	Undeploy DeploymentKind = "undeploy"
)

// First is the state in which a deployment of that kind begins. Taking a
// version away needs no build.
func (k DeploymentKind) First() DeploymentState {
	if k == Undeploy {
		return DeployStart
	}
	return BuildStart
}

// DeploymentState is a step of a deployment, spelled as users read it
// (user-guide.md, Deployment States).
type DeploymentState string

// The states of a deployment.
const (
	BuildStart   DeploymentState = "Build Start"
	BuildFinish  DeploymentState = "Build Finish"
	DeployStart  DeploymentState = "Deploy Start"
	DeployFinish DeploymentState = "Deploy Finish"
	BuildError   DeploymentState = "Build Error"
	DeployError  DeploymentState = "Deploy Error"
)

// Final reports whether nothing further happens to the deployment.
func (s DeploymentState) Final() bool {
	return s == DeployFinish || s == BuildError || s == DeployError
}

// DeploymentEvent is what moves a deployment from one state to the next.
type DeploymentEvent string

// The events of a deployment.
const (
	Built       DeploymentEvent = "built"        // the runtime accepted the source
	BuildFailed DeploymentEvent = "build failed" // the source is at fault, or no builder could run
	RolledOut   DeploymentEvent = "rolled out"   // gateways have been asked to prepare the version
	Healthy     DeploymentEvent = "healthy"      // every live gateway has loaded it
	Unhealthy   DeploymentEvent = "unhealthy"    // a gateway could not
)

// transitions is the whole state machine. What is not here is a Conflict.
var transitions = map[DeploymentState]map[DeploymentEvent]DeploymentState{
	BuildStart:  {Built: BuildFinish, BuildFailed: BuildError},
	BuildFinish: {RolledOut: DeployStart},
	DeployStart: {Healthy: DeployFinish, Unhealthy: DeployError},
}

// Next gives the state after event e, or a Conflict if e cannot happen in s.
func (s DeploymentState) Next(e DeploymentEvent) (DeploymentState, error) {
	if next, ok := transitions[s][e]; ok {
		return next, nil
	}
	return s, Conflict(CodeDeploymentConflict, "a deployment in state %q cannot take %q", s, e)
}

// Deployment is one attempt to make a lambda version live (or, for Undeploy, to
// take the live one away). Exactly one per lambda can be under way.
type Deployment struct {
	ID        string          `json:"id"`   // UUID
	Name      string          `json:"name"` // a word pair for people
	Account   string          `json:"account"`
	LambdaID  string          `json:"lambdaId"`
	Kind      DeploymentKind  `json:"kind"`
	Version   int             `json:"version"` // lambda version
	Digest    string          `json:"digest,omitempty"`
	State     DeploymentState `json:"state"`
	Failure   *Failure        `json:"failure,omitempty"` // only in an error state
	CreatedAt time.Time       `json:"createdAt"`
	CreatedBy string          `json:"createdBy"`
	UpdatedAt time.Time       `json:"updatedAt"`
	UpdatedBy string          `json:"updatedBy"`
	// DeployedAt is zero until the deployment succeeded; clients wait for it.
	DeployedAt time.Time `json:"deployedAt,omitzero"`
}

// Failure is the cause of a Build Error or Deploy Error, for people to read.
type Failure struct {
	Code    string      `json:"code"`
	Message string      `json:"message"`
	Logs    []LogRecord `json:"logs,omitempty"`
}
