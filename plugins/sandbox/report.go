package sandbox

// Report says what this machine offers for a sandbox.
type Report struct {
	Mode  Mode   `json:"mode"`
	Steps []Step `json:"steps"`
}

// Step is one part of a sandbox, tried.
type Step struct {
	Name      string `json:"name"`
	Available bool   `json:"available"`
	// Required says that the mode required cannot do without.
	Required bool `json:"required"`
	// Detail says what there is; may be empty.
	Detail string `json:"detail,omitempty"`
	// Why says why it is not available, Means what holds less without it, in the form
	// "lambdas can …", and Remedy what to do.
	Why    string `json:"why,omitempty"`
	Means  string `json:"means,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// Complete says that the mode required would hold.
func (r Report) Complete() bool { return r.Mode != Off && len(r.missing()) == 0 }

// Missing are the steps that this machine does not offer, required or not.
func (r Report) Missing() (steps []Step) {
	for _, s := range r.Steps {
		if !s.Available {
			steps = append(steps, s)
		}
	}
	return steps
}

func (r Report) missing() (steps []Step) {
	for _, s := range r.Missing() {
		if s.Required {
			steps = append(steps, s)
		}
	}
	return steps
}

// The steps by name.
const (
	stepLauncher = "launcher"
	stepUser     = "user namespace"
	stepMount    = "mount namespace"
	stepPID      = "process namespace"
	stepIPC      = "IPC namespace"
	stepUTS      = "host name namespace"
	stepNet      = "network namespace"
	stepFiles    = "file system"
	stepProc     = "own /proc"
	stepIdentity = "unprivileged user"
	stepLandlock = "Landlock"
	stepSeccomp  = "seccomp"
	stepLimits   = "resource limits"
	stepCgroup   = "cgroup"
)

// Remedies that several steps share.
const (
	remedyNamespaces = "allow user namespaces: sysctl user.max_user_namespaces above 0, kernel.unprivileged_userns_clone=1 and " +
		"kernel.apparmor_restrict_unprivileged_userns=0 where they exist; in a container, a seccomp profile that lets clone make namespaces " +
		"(docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined)"
	remedyKernel = "Linux 5.13 or newer"
)

// about says of each step what it is for.
var about = map[string]Step{
	stepLauncher: {Required: true, Means: "no process can be shut in at all", Remedy: "install sluice-sandbox beside sluice (make build does)"},
	stepUser:     {Required: true, Means: "lambdas run in the machine's own user namespace", Remedy: remedyNamespaces},
	stepMount:    {Required: true, Means: "lambdas see the machine's folders, as far as Landlock lets them, and have no /tmp to write to", Remedy: remedyNamespaces},
	stepPID:      {Required: true, Means: "lambdas share the machine's process numbers", Remedy: remedyNamespaces},
	stepIPC:      {Required: true, Means: "lambdas share the machine's System V IPC objects, which seccomp keeps them from", Remedy: remedyNamespaces},
	stepUTS:      {Required: true, Means: "lambdas read the machine's name", Remedy: remedyNamespaces},
	stepNet:      {Required: true, Means: "lambdas are kept from the network by seccomp alone, and reach unix sockets that the gateway's user may connect to", Remedy: remedyNamespaces},
	stepFiles: {Required: true, Means: "lambdas see the machine's folders, as far as Landlock lets them, and have no /tmp to write to",
		Remedy: "Linux 5.12 or newer, and a root folder that is not the initramfs"},
	stepProc: {Means: "process.memoryUsage and the like fail in lambdas",
		Remedy: "in a container, an uncovered /proc (docker: --security-opt systempaths=unconfined)"},
	stepIdentity: {Required: true, Means: "lambdas run as the gateway's user", Remedy: "let root have CAP_SETUID and CAP_SETGID, or start the gateway as an unprivileged user"},
	stepLandlock: {Required: true, Means: "files are kept from lambdas by namespaces alone", Remedy: remedyKernel + ", with landlock in the kernel's list of security modules (boot option lsm=landlock,…)"},
	stepSeccomp:  {Required: true, Means: "lambdas can make every system call, start programs among them", Remedy: "a kernel with CONFIG_SECCOMP_FILTER"},
	stepLimits:   {Required: true, Means: "lambdas are not bounded in threads, open files and file sizes", Remedy: "raise the gateway's own limits"},
	stepCgroup: {Means: "memory is watched five times a second instead of bounded by the kernel, and a lambda may use a whole core",
		Remedy: "cgroup v2 with the controllers memory, pids and cpu delegated to the gateway (systemd: Delegate=yes)"},
}

// add notes a step; why is empty if it is there.
func (r *Report) add(name, why, detail string) {
	s := about[name]
	s.Name, s.Available, s.Detail = name, why == "", detail
	if s.Available {
		s.Means, s.Remedy = "", ""
	}
	s.Why = why
	r.Steps = append(r.Steps, s)
}
