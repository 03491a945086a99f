// Package ui holds the built web UI. Without Node the gateway is built all the
// same: then there is nothing here but a mark.
package ui

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// Files is the folder that `make ui` builds: index.html, and assets, whose names
// change with their content.
func Files() fs.FS {
	files, err := fs.Sub(dist, "dist")
	if err != nil { // the name above is no valid path
		panic(err)
	}
	return files
}
