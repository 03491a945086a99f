package embedded

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// pageInterval is how often the pages of the database are given back. Etcd reads
// all of it when it starts, and whenever it forgets old revisions.
const pageInterval = 10 * time.Second

// keepSmall gives pages back now and then, until ctx ends.
func (s *Server) keepSmall(ctx context.Context, log zerolog.Logger) {
	tick := time.NewTicker(pageInterval)
	defer tick.Stop()
	for {
		if err := s.forgetPages(); err != nil {
			log.Debug().Err(err).Msg("the pages of etcd's database stay in memory")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// forgetPages takes the database out of the memory of this process, into which
// its file is mapped. The kernel keeps what it has room for, so that whoever
// reads it again has it at once.
func (s *Server) forgetPages() error {
	// While a transaction reads, the file stays where it is mapped; where it was,
	// there may be anything.
	tx := s.etcd.Backend().ReadTx()
	tx.RLock()
	defer tx.RUnlock()
	select {
	case <-s.etcd.StoppingNotify(): // there may be no transaction any more
		return nil
	default:
	}
	found, err := mappings(s.database)
	if err != nil {
		return err
	}
	for _, m := range found {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("forget the pages of %s: %w", s.database, errno)
		}
	}
	return nil
}

// mapping is a part of this process's memory.
type mapping struct{ from, to uintptr }

// mappings are where a file is mapped to be read.
func mappings(file string) ([]mapping, error) {
	file, err := filepath.EvalSymlinks(file)
	if err != nil {
		return nil, err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	defer func() { _ = maps.Close() }() // only read
	var found []mapping
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		fields := strings.SplitN(lines.Text(), " ", 6) // range, rights, offset, device, inode, path
		if len(fields) < 6 || fields[1] != "r--s" || strings.TrimLeft(fields[5], " ") != strings.ReplaceAll(file, "\n", `\012`) {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		first, err := strconv.ParseUint(from, 16, 64)
		if err != nil {
			return nil, err
		}
		end, err := strconv.ParseUint(to, 16, 64)
		if err != nil {
			return nil, err
		}
		found = append(found, mapping{uintptr(first), uintptr(end)})
	}
	return found, lines.Err()
}
