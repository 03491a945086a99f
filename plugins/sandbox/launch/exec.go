package launch

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// program is a prepared exec. Its strings lie at an address that nobody can
// guess, and the filter allows the exec of this address only: the program that is
// started has another memory and can never make such a call again.
type program struct {
	path, argv, envp uintptr
}

const (
	pageSize   = 4096
	addressMin = 1 << 32
	addressMax = 1 << 46 // what every 64-bit machine of ours has for a program
)

func newProgram(path string, argv, env []string) (*program, error) {
	size := uintptr(len(path) + 1)
	for _, s := range append(append([]string{}, argv...), env...) {
		if strings.ContainsRune(s, 0) {
			return nil, errors.New("an argument or variable holds a zero byte")
		}
		size += uintptr(len(s) + 1)
	}
	const word = unsafe.Sizeof(uintptr(0))
	vectors := uintptr(len(argv)+len(env)+2) * word
	noise, err := randomNumber()
	if err != nil {
		return nil, err
	}
	gap := uintptr(noise%(pageSize/uint64(word))) * word
	memory, start, err := mapSomewhere(gap + vectors + size)
	if err != nil {
		return nil, err
	}
	at := gap
	text := gap + vectors
	put := func(s string) uintptr {
		address := start + text
		text += uintptr(copy(memory[text:], s)) + 1
		return address
	}
	vector := func(list []string) uintptr {
		address := start + at
		for _, s := range list {
			binary.NativeEndian.PutUint64(memory[at:], uint64(put(s)))
			at += word
		}
		at += word // the null at its end
		return address
	}
	p := &program{}
	p.argv = vector(argv)
	p.envp = vector(env)
	p.path = put(path)
	return p, nil
}

// mapSomewhere maps memory at a random address.
func mapSomewhere(size uintptr) ([]byte, uintptr, error) {
	size = (size + pageSize - 1) &^ (pageSize - 1)
	for range 100 {
		n, err := randomNumber()
		if err != nil {
			return nil, 0, err
		}
		hint := uintptr((addressMin + n%(addressMax-addressMin)) &^ 0xffff)
		address, _, e := unix.RawSyscall6(unix.SYS_MMAP, hint, size, unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE, ^uintptr(0), 0)
		if e == 0 {
			return unsafe.Slice((*byte)(addressOf(address)), size), address, nil
		}
		if e != unix.EEXIST && e != unix.ENOMEM {
			return nil, 0, fmt.Errorf("map memory for the exec: %w", e)
		}
	}
	return nil, 0, errors.New("map memory for the exec: no free address found")
}

// addressOf is for memory that Go's collector does not know of.
func addressOf(address uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&address)) }

func randomNumber() (uint64, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, err
	}
	return binary.NativeEndian.Uint64(b[:]), nil
}

// exec returns only if it failed.
func (p *program) exec() error {
	_, _, e := unix.RawSyscall(unix.SYS_EXECVE, p.path, p.argv, p.envp)
	return fmt.Errorf("exec: %w", e)
}
