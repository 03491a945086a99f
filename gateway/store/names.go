package store

import (
	"fmt"
	"math/rand/v2"
)

// The words of deployment names, for people to tell deployments apart. Nothing
// depends on a name being unique.
var (
	moods = []string{
		"bold", "brisk", "calm", "clear", "clever", "deep", "eager", "early", "even", "fair", "fresh", "gentle",
		"glad", "keen", "kind", "light", "lively", "lucid", "mellow", "merry", "mild", "neat", "noble", "patient",
		"plain", "quick", "quiet", "rapid", "ready", "sharp", "silent", "smooth", "steady", "still", "swift", "warm",
	}
	waters = []string{
		"basin", "bay", "beck", "bend", "bourn", "brook", "canal", "cascade", "channel", "creek", "current", "delta",
		"eddy", "estuary", "fall", "fen", "fjord", "flume", "ford", "gulf", "inlet", "lagoon", "lake", "lock", "marsh",
		"mere", "pool", "rapid", "reach", "rill", "river", "sound", "spring", "strait", "stream", "tarn", "tide", "weir",
	}
)

func newName() string {
	return fmt.Sprintf("%s_%s%d", moods[rand.N(len(moods))], waters[rand.N(len(waters))], rand.N(10))
}
