package launch

import (
	"fmt"
	"runtime"
	"unsafe"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Seccomp says which system calls there are.
type Seccomp struct {
	// Inet allows TCP sockets: for a process in a network namespace of its own.
	Inet bool
}

// allowed are the calls that a runtime may make with any arguments. What is not
// here and not in conditions fails with EPERM: among it all that makes processes,
// runs programs, traces, mounts, loads, changes owners or namespaces, makes files
// without a name, and io_uring.
var allowed = []string{
	// often first
	"read", "write", "readv", "writev", "futex", "epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "clock_gettime", "nanosleep",
	"recvmsg", "sendmsg", "recvfrom", "sendto", "madvise", "mmap", "munmap", "mprotect", "close", "getpid", "gettid", "sched_yield",
	// files
	"open", "openat", "openat2", "creat", "close_range", "stat", "fstat", "lstat", "newfstatat", "statx", "statfs", "fstatfs", "lseek",
	"access", "faccessat", "faccessat2", "readlink", "readlinkat", "getdents", "getdents64", "getcwd", "chdir", "fchdir",
	"rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "link", "linkat", "symlink", "symlinkat",
	"truncate", "ftruncate", "fallocate", "fsync", "fdatasync", "sync_file_range", "utime", "utimes", "futimesat", "utimensat",
	"flock", "fadvise64", "readahead", "copy_file_range", "sendfile", "splice", "tee", "umask",
	"pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "dup", "dup2", "dup3", "pipe", "pipe2",
	"inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch",
	// waiting
	"eventfd", "eventfd2", "timerfd_create", "timerfd_settime", "timerfd_gettime", "signalfd", "signalfd4",
	"epoll_create", "epoll_create1", "poll", "ppoll", "select", "pselect6",
	// memory
	"mremap", "brk", "msync", "mincore", "mlock", "mlock2", "munlock", "membarrier", "pkey_alloc", "pkey_free", "pkey_mprotect",
	// threads and time
	"futex_waitv", "futex_wake", "futex_wait", "futex_requeue", "set_robust_list", "get_robust_list", "rseq", "set_tid_address",
	"sched_getaffinity", "sched_getparam", "sched_getscheduler", "sched_get_priority_max", "sched_get_priority_min",
	"getpriority", "clock_getres", "clock_nanosleep", "gettimeofday", "time", "times", "getcpu", "getrandom",
	"timer_create", "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete", "setitimer", "getitimer", "alarm", "pause",
	// itself
	"getppid", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "getpgrp", "getpgid", "getsid", "capget",
	"getrusage", "sysinfo", "uname", "getrlimit", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending",
	"rt_sigtimedwait", "rt_sigsuspend", "sigaltstack", "restart_syscall", "exit", "exit_group", "arch_prctl", "wait4", "waitid",
	// sockets, once there is one
	"bind", "listen", "accept", "accept4", "connect", "getsockname", "getpeername", "getsockopt", "setsockopt", "shutdown",
	"recvmmsg", "sendmmsg",
}

// pretended calls do nothing and say that it worked. Who may use a file matters
// to no one in a sandbox, and libraries that copy files give up when they cannot
// set it; but the mode of the folder of the socket is what closes it.
var pretended = []string{"chmod", "fchmod", "fchmodat", "fchmodat2"}

// missing calls are said not to exist, so that a library uses the older one,
// whose arguments a filter can see.
var missing = []string{"clone3", "io_uring_setup", "io_uring_enter", "io_uring_register", "memfd_secret", "landlock_create_ruleset", "statmount", "listmount"}

// ioctls are about descriptors and terminals; none injects input.
var ioctls = []uint64{
	unix.TCGETS, unix.TIOCGWINSZ, unix.TIOCINQ, fionbio, fioclex, fionclex, unix.FICLONE,
}

const (
	fionbio  = 0x5421
	fioclex  = 0x5451
	fionclex = 0x5450
)

// prctls name threads and memory, and ask. The signal at the parent's end, above
// all, stays.
var prctls = []uint64{
	unix.PR_SET_NAME, unix.PR_GET_NAME, unix.PR_SET_VMA, unix.PR_GET_DUMPABLE, unix.PR_CAPBSET_READ,
	unix.PR_GET_NO_NEW_PRIVS, unix.PR_SET_NO_NEW_PRIVS, unix.PR_GET_SECCOMP, unix.PR_GET_TAGGED_ADDR_CTRL,
}

const (
	returnErrno = 0x00050000
	// pretend stands for success: the library takes "no error number" for EPERM.
	pretend = returnErrno | 0xfff
)

func is(argument uint32, value uint64) seccomp.Condition {
	return seccomp.Condition{Argument: argument, Operation: seccomp.Equal, Value: value}
}

// conditions are the calls that depend on their arguments.
func (s *Seccomp) conditions(p *program) []seccomp.NameWithConditions {
	var list []seccomp.NameWithConditions
	add := func(name string, conditions ...seccomp.Condition) {
		list = append(list, seccomp.NameWithConditions{Name: name, Conditions: conditions})
	}
	add("execve", is(0, uint64(p.path)), is(1, uint64(p.argv)), is(2, uint64(p.envp)))
	// Threads, not processes. Namespaces do not go with it, the kernel says.
	add("clone", seccomp.Condition{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD})
	families := []uint64{unix.AF_UNIX}
	if s.Inet {
		families = append(families, unix.AF_INET, unix.AF_INET6)
	}
	stream := []seccomp.Condition{
		{Argument: 1, Operation: seccomp.BitsSet, Value: unix.SOCK_STREAM},
		{Argument: 1, Operation: seccomp.BitsNotSet, Value: 0xf &^ unix.SOCK_STREAM},
		{Argument: 2, Operation: seccomp.LessOrEqual, Value: unix.IPPROTO_TCP},
	}
	for _, family := range families {
		add("socket", append([]seccomp.Condition{is(0, family)}, stream...)...)
	}
	add("socketpair", is(0, unix.AF_UNIX))
	pid := uint64(unix.Getpid())
	for _, name := range []string{"kill", "tgkill"} {
		add(name, is(0, pid))
	}
	for _, target := range []uint64{0, pid} {
		add("prlimit64", is(0, target))
	}
	add("setpriority", is(0, unix.PRIO_PROCESS), is(1, 0))
	add("sched_setaffinity", is(0, 0))
	// Not the commands by which the kernel would send a signal to another process.
	for _, commands := range [][2]uint64{{0, unix.F_SETLKW}, {unix.F_OFD_GETLK, unix.F_OFD_SETLKW}, {unix.F_SETLEASE, unix.F_SETLEASE + 31}} {
		add("fcntl", seccomp.Condition{Argument: 1, Operation: seccomp.GreaterOrEqual, Value: commands[0]},
			seccomp.Condition{Argument: 1, Operation: seccomp.LessOrEqual, Value: commands[1]})
	}
	for _, request := range ioctls {
		// The kernel looks at the lower half only.
		add("ioctl", is(1, request))
	}
	for _, option := range prctls {
		add("prctl", is(0, option))
	}
	return list
}

// enforce binds this thread and what it execs, for good.
func (s *Seccomp) enforce(p *program) error {
	filter, err := s.assemble(p)
	if err != nil {
		return err
	}
	fprog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(filter)
	if e != 0 {
		return e
	}
	return nil
}

func (s *Seccomp) assemble(p *program) ([]unix.SockFilter, error) {
	machine, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	// Not every machine has every call.
	known := func(names []string) (found []string) {
		seen := map[string]bool{}
		for _, name := range names {
			if _, ok := machine.SyscallNames[name]; ok && !seen[name] {
				seen[name] = true
				found = append(found, name)
			}
		}
		return found
	}
	policy := seccomp.Policy{
		DefaultAction: seccomp.ActionErrno,
		Syscalls: []seccomp.SyscallGroup{
			{Names: known(allowed), NamesWithCondtions: s.conditions(p), Action: seccomp.ActionAllow},
			{Names: known(pretended), Action: pretend},
			{Names: known(missing), Action: returnErrno | seccomp.Action(unix.ENOSYS)},
		},
	}
	instructions, err := policy.Assemble()
	if err != nil {
		return nil, fmt.Errorf("assemble: %w", err)
	}
	for i, instruction := range instructions {
		if ret, ok := instruction.(bpf.RetConstant); ok && ret.Val == pretend {
			instructions[i] = bpf.RetConstant{Val: returnErrno}
		}
	}
	raw, err := bpf.Assemble(instructions)
	if err != nil {
		return nil, fmt.Errorf("assemble: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return filter, nil
}
