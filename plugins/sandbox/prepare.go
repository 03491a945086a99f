package sandbox

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sluice-faas/sluice/plugins/sandbox/launch"
)

// socketDirEnv is go-plugin's: where a runtime makes its socket.
const socketDirEnv = "PLUGIN_UNIX_SOCKET_DIR"

// prepare makes what must be there before the process is, and returns the orders
// for its launcher; nil if it is started without one.
func (p *Process) prepare() (*launch.Order, error) {
	s := p.command.Sandbox
	if !s.On() || !s.plan.network {
		var err error
		if p.egress, err = listenEgress(p.dir); err != nil {
			return nil, err
		}
	}
	if !s.On() {
		return nil, nil //nolint:nilnil // it means: no launcher
	}
	if s.plan.identity && s.users != nil {
		var err error
		if p.user, err = s.users.take(); err != nil {
			return nil, err
		}
		if err := p.giveFolder(); err != nil {
			return nil, err
		}
	}
	if s.groups != nil {
		var err error
		if p.group, err = s.groups.make(p.command.MemoryMiB); err != nil {
			return nil, err
		}
	}
	if s.ByMachinePaths() && s.settings.CAFile != "" {
		if err := p.copyCA(); err != nil {
			return nil, err
		}
	}
	v, err := newView(p.command.Path, p.command.Files)
	if err != nil {
		return nil, err
	}
	order := s.order(v, p.dir, p.user, p.command.MemoryMiB)
	order.Command = p.command.Path
	order.Args = append([]string{cmp.Or(p.command.argv0, p.command.Path)}, p.command.Args...)
	order.Env = p.environment()
	return &order, nil
}

// order is all of an order but the command itself. user is 0 for the gateway's.
func (s *Sandbox) order(v *view, dir string, user, memoryMiB int) launch.Order {
	o := launch.Order{Dir: dir, Network: s.plan.network}
	inside := user
	if user != 0 {
		o.Identity = &launch.Identity{UID: user, GID: user}
	} else if inside = os.Geteuid(); s.plan.namespaces.has(unix.CLONE_NEWUSER) {
		inside = insideUser
	}
	if s.plan.namespaces.has(unix.CLONE_NEWUTS) {
		o.Hostname = hostname
	}
	if s.plan.files {
		o.Dir = insideScratch
		o.Root = v.root(dir, s.settings.CAFile, inside, s.plan.proc)
	}
	if s.plan.landlock {
		o.Landlock = landlockOf(v, s.plan.files, dir, s.settings.CAFile)
	}
	if s.plan.seccomp {
		o.Seccomp = &launch.Seccomp{Inet: s.plan.network}
	}
	alone := user != 0 || s.plan.namespaces.has(unix.CLONE_NEWUSER) && s.users == nil
	o.Limits = append(limitsOf(memoryMiB), sandboxLimits(alone)...)
	return o
}

// environment is what was given, with the folder as the process sees it, and the
// way to the proxy.
func (p *Process) environment() []string {
	env := []string{}
	for _, e := range p.env {
		if strings.HasPrefix(e, socketDirEnv+"=") {
			e = socketDirEnv + "=" + p.inside
		}
		env = append(env, e)
	}
	s := p.command.Sandbox
	way := "tcp:" + egressAddress
	if !s.On() || !s.plan.network {
		way = "unix:" + filepath.Join(p.inside, egressSocket)
	}
	env = append(env, egressEnv(way)...)
	if s != nil && s.settings.CAFile != "" {
		file := s.settings.CAFile
		switch {
		case s.plan.files:
			file = insideCA
		case s.ByMachinePaths():
			file = filepath.Join(p.dir, copiedCA)
		}
		env = append(env, "NODE_EXTRA_CA_CERTS="+file, "SSL_CERT_FILE="+file)
	}
	return env
}

// copiedCA are the certificates in the process's own folder, for a process that
// may not come to where they are.
const copiedCA = "ca.pem"

func (p *Process) copyCA() error {
	text, err := os.ReadFile(p.command.Sandbox.settings.CAFile)
	if err == nil {
		err = os.WriteFile(filepath.Join(p.dir, copiedCA), text, 0o644) //nolint:gosec // certificates are for everybody to read
	}
	if err != nil {
		return fmt.Errorf("CA file: %w", err)
	}
	return nil
}

// giveFolder makes the process's user the owner of its folder.
func (p *Process) giveFolder() error {
	if err := os.Chown(p.dir, p.user, p.user); err != nil {
		return fmt.Errorf("folder of the process: %w", err)
	}
	if p.inside != p.dir {
		return nil
	}
	// It comes to its folder by the machine's paths, and may see no other's name.
	parent := filepath.Dir(p.dir)
	info, err := os.Stat(parent)
	if err == nil && info.Mode().Perm()&0o001 == 0 {
		err = os.Chmod(parent, info.Mode().Perm()|0o001)
	}
	if err != nil {
		return fmt.Errorf("run folder: %w", err)
	}
	return nil
}

// Seal takes from the process the right to make files in its folder: it has made
// its socket, and user code, which comes next, could fill the disk. From now on its
// processor time is bounded, if it has a cgroup. Without a sandbox it does nothing.
func (p *Process) Seal() error {
	if !p.command.Sandbox.On() {
		return nil
	}
	if p.user != 0 {
		if err := os.Chown(p.dir, os.Geteuid(), os.Getegid()); err != nil {
			return fmt.Errorf("seal the folder of the process: %w", err)
		}
	}
	if err := os.Chmod(p.dir, 0o555); err != nil { //nolint:gosec // the run folder lets nobody come here
		return fmt.Errorf("seal the folder of the process: %w", err)
	}
	return p.group.slow()
}

// Egress gives the connections of the process to its proxy; nil if nothing was
// started. Whoever takes it closes it.
func (p *Process) Egress() net.Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.egress
}

func (p *Process) closeEgress() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.egress != nil {
		_ = p.egress.Close() // at most a path is left, in a folder that goes
	}
}

// leaveUser gives the user back when no process can be its own any more.
func (p *Process) leaveUser() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.user != 0 && !p.userLeft && (p.pid == 0 || p.reaped) {
		p.userLeft = true
		p.command.Sandbox.users.release(p.user)
	}
}

// leaveGroup removes its cgroup; that it ran out of memory is remembered.
func (p *Process) leaveGroup() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ranOut = p.ranOut || p.group.ranOut()
	p.group.remove()
}

// OutOfMemory says that the kernel ended the process because it used more than
// its cgroup allows. Before the end it is false.
func (p *Process) OutOfMemory() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ranOut
}

// RemoveDir removes the folder of a process that has ended, sealed or not.
func RemoveDir(dir string) error {
	if err := os.Chmod(dir, 0o700); err != nil && !os.IsNotExist(err) { //nolint:gosec // a folder
		return err
	}
	return os.RemoveAll(dir)
}
