// Package web serves the files of the web UI. They are public: what somebody may
// see in them the API decides.
package web

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed missing.html
var missing []byte

// policy lets the pages run and load what is ours and nothing else. Editor and
// components insert style elements of their own, whose hashes nobody knows before.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// types are those of the files that the build makes; what the machine's own table
// says differs from machine to machine.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml", ".json": "application/json", ".ttf": "font/ttf", ".woff2": "font/woff2", ".png": "image/png", ".ico": "image/x-icon",
}

const page = "index.html"

// UI serves the web UI. Safe for concurrent use.
type UI struct {
	files map[string]file
}

// file is one file, and its gzipped twin if the build made one.
type file struct {
	content, zipped []byte
	kind, etag      string
}

// New reads all files, once. Without an index.html among them there is one page for
// every path, which says how to build the web UI.
func New(files fs.FS) (*UI, error) {
	u := &UI{files: make(map[string]file)}
	zipped := make(map[string][]byte)
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(name, ".") {
			return err
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if of, ok := strings.CutSuffix(name, ".gz"); ok {
			zipped[of] = content
			return nil
		}
		u.add(name, content)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("files of the web UI: %w", err)
	}
	for name, content := range zipped {
		if f, ok := u.files[name]; ok {
			f.zipped = content
			u.files[name] = f
		}
	}
	if !u.Built() {
		u.add(page, missing)
	}
	return u, nil
}

// Built tells whether there is a web UI, or only the page that stands in for it.
func (u *UI) Built() bool {
	f, ok := u.files[page]
	return ok && !bytes.Equal(f.content, missing)
}

func (u *UI) add(name string, content []byte) {
	sum := fnv.New64a()
	_, _ = sum.Write(content)
	kind, ok := types[path.Ext(name)]
	if !ok {
		kind = mime.TypeByExtension(path.Ext(name))
	}
	if kind == "" {
		kind = "application/octet-stream"
	}
	u.files[name] = file{content: content, kind: kind, etag: fmt.Sprintf(`"%x"`, sum.Sum64())}
}

// ErrNoFile is for a path of files that has none.
var ErrNoFile = errors.New("there is no such file")

// Serve answers GET and HEAD of any path: a file where there is one, else the page,
// which finds out by the path what to show. Below /assets/ there are only files:
// then it is ErrNoFile, and nothing is written.
func (u *UI) Serve(w http.ResponseWriter, r *http.Request) error {
	name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
	f, ok := u.files[name]
	switch {
	case ok:
	case strings.HasPrefix(name, "assets/"):
		return ErrNoFile
	default:
		name, f = page, u.files[page]
	}
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Cache-Control", "no-cache")
	if strings.HasPrefix(name, "assets/") { // their names change with their content
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	h.Set("Content-Type", f.kind)
	content := f.content
	if f.zipped != nil {
		h.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r) {
			h.Set("Content-Encoding", "gzip")
			content = f.zipped
			h.Set("ETag", strings.TrimSuffix(f.etag, `"`)+`-gz"`)
		}
	}
	if h.Get("ETag") == "" {
		h.Set("ETag", f.etag)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	return nil
}

// acceptsGzip reads Accept-Encoding as far as browsers write it; who weighs gzip with
// nothing does not want it.
func acceptsGzip(r *http.Request) bool {
	for _, value := range r.Header.Values("Accept-Encoding") {
		for entry := range strings.SplitSeq(value, ",") {
			name, weight, _ := strings.Cut(strings.TrimSpace(entry), ";")
			if strings.EqualFold(strings.TrimSpace(name), "gzip") {
				switch strings.ReplaceAll(weight, " ", "") {
				case "q=0", "q=0.0", "q=0.00", "q=0.000":
				default:
					return true
				}
			}
		}
	}
	return false
}
