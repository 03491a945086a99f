package journal

import (
	"fmt"
	"syscall"
)

// checkRoom fails when the disk of dir has no more than reserve bytes left.
func checkRoom(dir string, reserve uint64) error {
	if reserve == 0 {
		return nil
	}
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return fmt.Errorf("look for room on the disk: %w", err)
	}
	if left := s.Bavail * uint64(s.Bsize); left <= reserve { //nolint:gosec // a block size is positive
		return fmt.Errorf("the disk is full: %d MiB are left, of which %d MiB are not for the journal", left>>20, reserve>>20)
	}
	return nil
}
