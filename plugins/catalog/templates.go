package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Template is a lambda to start from, in the language of the runtime that brings
// it. A runtime has its templates in the folder templates: a file for the code of
// each, and templates.yaml, a list of
//
//	uuid: 6d0f1a52-…                  # stays the same for good
//	name: Greeting                    # unique in the folder
//	description: Says hello.
//	file: greeting.js                 # in this folder
//	event: conversational_command     # optional
//	environment: [{key: A, value: b}] # optional
//	payload: {name: Ada}              # optional: an example; an event has its own
//
// The folder may be absent.
type Template struct {
	UUID        string
	Name        string
	Description string
	Event       string // id; empty for none
	Code        string
	Environment []Variable
	Payload     json.RawMessage // one JSON value; nil for none
}

// Variable is an environment variable that a template begins with.
type Variable struct {
	Key   string `yaml:"key"`
	Value string `yaml:"value"`
}

// Where a runtime has its templates, below its folder.
const (
	TemplatesDir  = "templates"
	TemplatesFile = "templates.yaml"
)

// Bounds of templates.
const (
	maxTemplates       = 200
	maxTemplatesFile   = 256 << 10 // bytes
	maxTemplateCode    = 400 << 10 // bytes; 100 000 characters
	maxTemplateName    = 100       // characters
	maxTemplateAbout   = 500       // characters
	maxTemplatePayload = 16 << 10  // bytes
)

var (
	uuidForm  = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	eventForm = regexp.MustCompile(`^[a-z0-9_]{1,60}$`)
)

// templateEntry is an entry of templates.yaml as written.
type templateEntry struct {
	UUID        string     `yaml:"uuid"`
	Name        string     `yaml:"name"`
	Description string     `yaml:"description"`
	File        string     `yaml:"file"`
	Event       string     `yaml:"event"`
	Environment []Variable `yaml:"environment"`
	Payload     any        `yaml:"payload"`
}

// readTemplates reads the templates of a runtime's folder, telling all faults at
// once, each with its template.
func readTemplates(dir string) ([]Template, error) {
	folder := filepath.Join(dir, TemplatesDir)
	file := filepath.Join(folder, TemplatesFile)
	text, err := readBounded(file, maxTemplatesFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var entries []templateEntry
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&entries); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(entries) > maxTemplates {
		return nil, fmt.Errorf("%s has %d templates: the limit is %d", file, len(entries), maxTemplates)
	}
	var errs []error
	templates := make([]Template, 0, len(entries))
	seen := map[string]bool{}
	for i, e := range entries {
		t, err := e.template(folder)
		for _, id := range []string{e.UUID, e.Name} {
			if seen[id] {
				err = errors.Join(err, fmt.Errorf("%q is there twice", id))
			}
			seen[id] = true
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: template %d (%.100q): %w", file, i, e.Name, err))
		}
		templates = append(templates, t)
	}
	return templates, errors.Join(errs...)
}

// template checks e and reads its code.
func (e templateEntry) template(folder string) (Template, error) {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !uuidForm.MatchString(e.UUID) {
		fault("uuid %.60q is none: give a UUID in lower case", e.UUID)
	}
	for _, text := range []struct {
		field, value string
		limit        int
	}{{"name", e.Name, maxTemplateName}, {"description", e.Description, maxTemplateAbout}} {
		if n := utf8.RuneCountInString(text.value); strings.TrimSpace(text.value) == "" || n > text.limit {
			fault("%s has %d characters: give 1 to %d", text.field, n, text.limit)
		}
	}
	if e.Event != "" && !eventForm.MatchString(e.Event) {
		fault("event %.60q is no id of an event: lower case letters, digits and _, at most 60", e.Event)
	}
	if e.Event != "" && e.Payload != nil {
		fault("payload is given beside event, which has an example of its own: remove one")
	}
	for i, v := range e.Environment {
		if v.Key == "" {
			fault("environment[%d] has no key", i)
		}
	}
	payload, err := e.payload()
	if err != nil {
		errs = append(errs, err)
	}
	code, err := e.code(folder)
	if err != nil {
		errs = append(errs, err)
	}
	return Template{
		UUID: e.UUID, Name: e.Name, Description: e.Description, Event: e.Event, Code: code, Environment: e.Environment, Payload: payload,
	}, errors.Join(errs...)
}

func (e templateEntry) payload() (json.RawMessage, error) {
	if e.Payload == nil {
		return nil, nil
	}
	text, err := json.Marshal(e.Payload)
	switch {
	case err != nil:
		return nil, fmt.Errorf("payload is nothing that JSON can say: %w", err)
	case len(text) > maxTemplatePayload:
		return nil, fmt.Errorf("payload has %d bytes: the limit is %d", len(text), maxTemplatePayload)
	}
	return text, nil
}

// code reads the file of the code, which is in the folder itself.
func (e templateEntry) code(folder string) (string, error) {
	if e.File == "" || e.File != filepath.Base(e.File) || strings.HasPrefix(e.File, ".") || strings.ContainsRune(e.File, 0) {
		return "", fmt.Errorf("file %.100q must be the name of a file beside %s", e.File, TemplatesFile)
	}
	text, err := readBounded(filepath.Join(folder, e.File), maxTemplateCode)
	switch {
	case err != nil:
		return "", fmt.Errorf("file: %w", err)
	case !utf8.Valid(text):
		return "", fmt.Errorf("file %s is not UTF-8", e.File)
	case len(bytes.TrimSpace(text)) == 0:
		return "", fmt.Errorf("file %s is empty", e.File)
	}
	return string(text), nil
}
