package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

const (
	hour = time.Hour
	day  = 24 * hour

	usualLogs   = hour    // of a query that names no start
	longestLogs = 7 * day // contract/management.md §8
	pageOfLogs  = 1000    // lines of one answer at most
)

// logLevels are those that are stored. Debug lines are in the answers of manual
// calls and nowhere else.
var logLevels = []string{"Info", "Warn", "Error"}

// Answers whose form the contract has decided say beside it, in headers, how to
// ask for what follows and what could not be read.
const (
	cursorHeader  = "X-Sluice-Cursor"
	missingHeader = "X-Sluice-Missing"
)

// order is that of a list by time.
type order string

const (
	newestFirst order = "newest"
	oldestFirst order = "oldest"
)

// lineView is a line of a log (contract/management.md §2), with the lambda and
// the version that wrote it.
type lineView struct {
	RequestID  string          `json:"requestID"`
	Timestamp  int64           `json:"timestamp"`
	Level      string          `json:"level"`
	Message    string          `json:"message"`
	Extras     json.RawMessage `json:"extras"`
	LambdaUUID string          `json:"lambdaUUID"`
	Version    int             `json:"version"`
}

func viewLine(l *journal.Line) lineView {
	v := lineView{
		RequestID: l.RequestID, Timestamp: l.Timestamp, Level: l.Level, Message: l.Message, Extras: l.Extras,
		LambdaUUID: l.LambdaID, Version: l.Version,
	}
	if len(v.Extras) == 0 {
		v.Extras = json.RawMessage("[]")
	}
	return v
}

// listLogs answers log lines of one lambda, or of all, the newest first.
func (s *Server) listLogs(w http.ResponseWriter, r *http.Request) error {
	q, p := of(r), queryOf(r)
	wanted := s.logQuery(q, p)
	wanted.Newest = choice(p, "order", newestFirst, oldestFirst) == newestFirst
	wanted.Limit = p.number("limit", journal.DefaultLimit, 1, pageOfLogs)
	if p.fault != nil {
		return p.fault
	}
	if _, err := s.named(q, wanted.LambdaID); err != nil {
		return fmt.Errorf("list logs: %w", err)
	}
	page, err := s.journal.Logs(q, wanted)
	if err != nil {
		return fmt.Errorf("list logs: %w", err)
	}
	views := make([]lineView, len(page.Lines))
	for i := range page.Lines {
		views[i] = viewLine(&page.Lines[i])
	}
	tellPage(w, page.Next, page.Missing)
	return respond(w, http.StatusOK, views)
}

// logQuery reads what queries for log lines have in common.
func (s *Server) logQuery(q *request, p *query) journal.LogQuery {
	span := p.period(s.now(), usualLogs, longestLogs)
	return journal.LogQuery{
		Account: q.account(), LambdaID: p.text("lambdaUUID"), From: span.from, To: span.to,
		Levels: choices(p, "filterLevels", logLevels), Text: p.text("text"), RequestID: p.text("requestId"), Cursor: p.text("cursor"),
	}
}

// named reads the lambda that a query names. None is named by no id.
func (s *Server) named(q *request, id string) (*lambda.Lambda, error) {
	if id == "" {
		return nil, nil
	}
	rec, err := s.lambdas.Record(q, q.account(), id)
	if err != nil {
		return nil, err
	}
	return rec.Lambda, nil
}

// required is named for queries that must name a lambda.
func (s *Server) required(q *request, p *query, id string) (*lambda.Lambda, error) {
	if id == "" {
		p.fail("lambdaUUID", "lambdaUUID is missing: name the lambda, as GET /lambdas tells its uuid")
	}
	if p.fault != nil {
		return nil, p.fault
	}
	return s.named(q, id)
}

// tellPage says in headers what the form of an answer has no place for.
func tellPage(w http.ResponseWriter, next string, missing []string) {
	if next != "" {
		w.Header().Set(cursorHeader, next)
	}
	if len(missing) > 0 {
		w.Header().Set(missingHeader, strings.Join(missing, ", "))
	}
}

// exportLogs answers a lambda's log as CSV (contract/management.md §8), the oldest
// line first, whatever the caller accepts.
func (s *Server) exportLogs(w http.ResponseWriter, r *http.Request) error {
	q, p := of(r), queryOf(r)
	wanted := s.logQuery(q, p)
	wanted.Limit = s.limits.LogExportRows
	if _, err := s.required(q, p, wanted.LambdaID); err != nil {
		return fmt.Errorf("export logs: %w", err)
	}
	page, err := s.journal.Logs(q, wanted)
	if err != nil {
		return fmt.Errorf("export logs: %w", err)
	}
	tellPage(w, page.Next, page.Missing)
	h := w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="logs.csv"`)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(csvOf(page.Lines)) // a caller who left is seen by the context
	return nil
}

const csvHeader = "lambdaUUID;requestID;timestamp;level;message;extras\n"

// csvOf writes lines as the public CLI reads them.
func csvOf(lines []journal.Line) []byte {
	var b bytes.Buffer
	b.WriteString(csvHeader)
	for i := range lines {
		v := viewLine(&lines[i])
		for j, c := range []string{v.LambdaUUID, v.RequestID, strconv.FormatInt(v.Timestamp, 10), v.Level, v.Message, string(v.Extras)} {
			if j > 0 {
				b.WriteByte(';')
			}
			writeCell(&b, c)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// writeCell writes one cell, in quotes where it needs them. What a spreadsheet
// would take for a formula gets a ' before it, also where a program that splits
// cells by other rules than ours, such as at each comma, would find it. Control
// characters, which a terminal would obey, are written as JSON writes them; tabs and
// line ends are not.
func writeCell(b *bytes.Buffer, cell string) {
	if isFormula(cell) {
		cell = "'" + cell
	}
	quoted := strings.ContainsAny(cell, ";\"\r\n\t,")
	if quoted {
		b.WriteByte('"')
	}
	begins := false // a cell of such a program may begin here
	for i, r := range cell {
		if begins && beginsFormula(cell[i:]) {
			b.WriteByte('\'')
		}
		begins = strings.ContainsRune(";,\t\r\n", r) || begins && (r == '"' || r == ' ')
		switch {
		case r == '"':
			b.WriteString(`""`)
		case r < ' ' && r != '\t' && r != '\r' && r != '\n', r >= 0x7f && r < 0xa0:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	if quoted {
		b.WriteByte('"')
	}
}

// beginsFormula tells whether a part of a cell is a formula where a cell begins. A
// number is none: lists of extras are full of them.
func beginsFormula(part string) bool {
	if strings.IndexByte("=+-@", part[0]) < 0 {
		return false
	}
	number := part
	if end := strings.IndexAny(part, ";,]}\"\t\r\n"); end >= 0 {
		number = part[:end]
	}
	_, err := strconv.ParseFloat(number, 64)
	return err != nil
}

func isFormula(cell string) bool {
	if cell == "" {
		return false
	}
	if cell[0] == '\t' || cell[0] == '\r' {
		return true
	}
	bare := strings.TrimLeft(cell, ";,\" \n\t\r")
	return bare != "" && strings.IndexByte("=+-@", bare[0]) >= 0
}
