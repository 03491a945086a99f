package launch

// Order is what the gateway wants of a launcher. Paths are absolute and resolved
// by the gateway: the launcher follows no symbolic link out of what it is told.
type Order struct {
	Command string
	Args    []string // from the name of the program on
	Env     []string
	Dir     string // working folder
	// Network brings up the loopback device of the new network namespace and listens
	// on EgressAddress in it.
	Network  bool      `json:",omitempty"`
	Hostname string    `json:",omitempty"`
	Root     *Root     `json:",omitempty"` // nil: the file system stays
	Identity *Identity `json:",omitempty"` // nil: the user stays
	Landlock *Landlock `json:",omitempty"`
	Seccomp  *Seccomp  `json:",omitempty"`
	Limits   []Limit
}

// Answer is what came of it: an error, and the step that failed, or neither; then
// the exec follows, and a second answer if something was wrong with that.
type Answer struct {
	Step  string `json:",omitempty"`
	Error string `json:",omitempty"`
}

// The steps by name, as an Answer tells them.
const (
	StepNetwork  = "network"
	StepHostname = "host name"
	StepFiles    = "files"
	StepProc     = "proc"
	StepIdentity = "user"
	StepParent   = "parent"
	StepLandlock = "landlock"
	StepSeccomp  = "seccomp"
	StepLimits   = "limits"
	StepExec     = "exec"
)
