package main

import (
	"fmt"
	"slices"
	"time"
)

// median of values; they are sorted in place.
func median[T ~int64 | ~float64](values []T) T { return quantile(values, 0.5) }

func quantile[T ~int64 | ~float64](values []T, q float64) T {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(len(values)-1, int(q*float64(len(values))))]
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}

// megabytes of 10^6 bytes, as the aims are given in.
func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
