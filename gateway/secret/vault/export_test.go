package vault

import "time"

// SetGraveTime changes after how long a tombstone's writer is believed to have died.
func SetGraveTime(s *Store, d time.Duration) { s.graveTime = d }
