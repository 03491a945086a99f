package journal

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/klauspost/compress/s2"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// A block is what one batch holds of one lambda: a row of the table block. Its
// calls and its lines are two texts, packed, so that a search for lines reads
// calls only where it found one, and a list of calls reads no lines.
type block struct {
	first, last    int64 // ms since 1970, of what is in it
	levels, states int64 // sets of bits
	calls, lines   []byte
}

// What a block holds at most, unless one entry alone is more.
const (
	blockEntries = 256
	blockBytes   = 128 << 10
	// maxUnpacked is more than any block has: the queue takes no such entry.
	maxUnpacked = 64 << 20
)

// The ways in which a text is packed: the first byte of its stored form, before
// its checksum.
const (
	plain    = 0
	squeezed = 1

	headSize   = 5
	worthwhile = 128 // bytes from which squeezing is tried
)

var checksums = crc32.MakeTable(crc32.Castagnoli)

// Flags of a call.
const (
	flagCold = 1 << iota
	flagUUID // the request id is stored as 16 bytes
)

// levelNames are the levels that have a bit of their own.
var levelNames = []string{"Debug", "Info", "Warn", "Error"}

const (
	otherLevel = 4 // any other
	anyBlock   = 5 // no level: every block has this bit, one without lines too
)

func levelIndex(level string) int {
	if i := slices.Index(levelNames, level); i >= 0 {
		return i
	}
	return otherLevel
}

// levelSet is the bits of levels; of none, all.
func levelSet(levels []string) (set int64) {
	if len(levels) == 0 {
		return 1<<(otherLevel+1) - 1
	}
	for _, l := range levels {
		set |= 1 << levelIndex(l)
	}
	return set
}

func stateSet(states []State) (set int64) {
	if len(states) == 0 {
		return 1<<len(States) - 1
	}
	for _, s := range states {
		set |= 1 << stateIndex(s)
	}
	return set
}

// stateIndex counts what is no State as Unknown.
func stateIndex(s State) int { return max(0, s.index()) }

// packer makes blocks. Its buffers are used again: a block is gone when the next
// one is made.
type packer struct {
	words        map[string]uint64
	table        []byte // the words, in the order of their numbers
	calls, lines []byte
	whole        []byte
	packedCalls  []byte
	packedLines  []byte
}

func newPacker() *packer { return &packer{words: map[string]uint64{}} }

// begin forgets the block before.
func (p *packer) begin() {
	clear(p.words)
	p.table, p.calls, p.lines = p.table[:0], p.calls[:0], p.lines[:0]
}

// full tells whether the block takes no other entry.
func (p *packer) full(entries int) bool {
	return entries >= blockEntries || len(p.lines)+len(p.calls) >= blockBytes
}

// pack makes a block of the first entries, and tells of how many. What claims to
// be later than written is as late as that.
func (p *packer) pack(entries []*Entry, written time.Time) (b block, n int) {
	p.begin()
	b.first, b.levels = written.UnixMilli(), 1<<anyBlock
	base := b.first * 1000
	for n < len(entries) && !p.full(n) {
		p.call(entries[n], base, &b)
		n++
	}
	p.whole = binary.AppendVarint(p.whole[:0], base)
	p.whole = binary.AppendUvarint(p.whole, uint64(len(p.words)))
	p.whole = append(p.whole, p.table...)
	p.whole = binary.AppendUvarint(p.whole, uint64(n))
	p.whole = append(p.whole, p.calls...)
	p.packedCalls = squeeze(p.packedCalls, p.whole)
	b.calls = p.packedCalls
	if len(p.lines) > 0 {
		p.packedLines = squeeze(p.packedLines, p.lines)
		b.lines = p.packedLines
	}
	return b, n
}

func (p *packer) call(e *Entry, base int64, b *block) {
	at := min(e.At.UnixMicro(), base)
	b.first, b.last = min(b.first, at/1000), max(b.last, at/1000)
	state := stateIndex(e.State)
	b.states |= 1 << state

	var flags byte
	if e.Cold {
		flags |= flagCold
	}
	id, isUUID := parseUUID(e.RequestID)
	if isUUID {
		flags |= flagUUID
	}
	to := append(p.calls, flags, byte(state))
	if isUUID {
		to = append(to, id[:]...)
	} else {
		to = appendText(to, mend(e.RequestID))
	}
	to = binary.AppendVarint(to, base-at)
	for _, d := range []time.Duration{e.Queue, e.Start, e.Run} {
		to = binary.AppendUvarint(to, uint64(max(0, d.Microseconds())))
	}
	to = binary.AppendVarint(to, int64(e.Version))
	for _, word := range []string{e.LambdaName, e.Caller, string(e.Trigger), e.EventID, string(e.Phase), e.Code} {
		to = binary.AppendUvarint(to, p.word(word))
	}
	to = appendText(to, mend(e.Message))
	to = binary.AppendUvarint(to, uint64(max(0, e.Dropped)))
	p.calls = binary.AppendUvarint(to, uint64(len(e.Logs)))
	for i := range e.Logs {
		p.line(&e.Logs[i], at/1000, base/1000, b)
	}
}

// word gives the number of a text that many calls of a block share.
func (p *packer) word(s string) uint64 {
	if n, ok := p.words[s]; ok {
		return n
	}
	n := uint64(len(p.words))
	p.words[s] = n
	p.table = appendText(p.table, mend(s))
	return n
}

// line writes a record. A clock that user code may have changed is not believed:
// a line is as old as its call at most, and as young as its batch at least.
func (p *packer) line(r *lambda.LogRecord, called, written int64, b *block) {
	at := min(max(r.Timestamp, called), written)
	b.last = max(b.last, at)
	level := levelIndex(r.Level)
	b.levels |= 1 << level
	to := append(p.lines, byte(level))
	if level == otherLevel {
		to = appendText(to, mend(r.Level))
	}
	to = binary.AppendVarint(to, at)
	to = appendText(to, mend(r.Message))
	p.lines = appendText(to, mend(extrasText(r.Extras)))
}

// extrasText leaves out the extras that most lines have: none.
func extrasText(extras json.RawMessage) string {
	if s := string(extras); s != "[]" {
		return s
	}
	return ""
}

func mend(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, string(utf8.RuneError))
}

// parseUUID takes what uuid.UUID writes itself, and nothing else.
func parseUUID(s string) (uuid.UUID, bool) {
	if len(s) != 36 {
		return uuid.UUID{}, false
	}
	id, err := uuid.Parse(s)
	if err != nil {
		return id, false
	}
	var text [36]byte
	written, _ := id.MarshalText()
	copy(text[:], written)
	return id, string(text[:]) == s
}

// squeeze gives the stored form of a text, in the space of to.
func squeeze(to, text []byte) []byte {
	to = slices.Grow(to[:0], headSize+s2.MaxEncodedLen(len(text)))[:headSize]
	to[0] = plain
	if len(text) >= worthwhile {
		if small := s2.Encode(to[headSize:cap(to)], text); len(small) < len(text) {
			to = to[:headSize+len(small)]
			to[0] = squeezed
		}
	}
	if to[0] == plain {
		to = append(to, text...)
	}
	binary.LittleEndian.PutUint32(to[1:], crc32.Checksum(to[headSize:], checksums))
	return to
}

// unsqueeze gives the text of a stored form, which may be in the space of to or
// be part of stored.
func unsqueeze(to, stored []byte) ([]byte, error) {
	if len(stored) < headSize || binary.LittleEndian.Uint32(stored[1:]) != crc32.Checksum(stored[headSize:], checksums) {
		return nil, errGarbled
	}
	body := stored[headSize:]
	switch stored[0] {
	case plain:
		return body, nil
	case squeezed:
		if n, err := s2.DecodedLen(body); err != nil || n > maxUnpacked {
			return nil, errGarbled
		}
		text, err := s2.Decode(to[:cap(to)], body)
		if err != nil {
			return nil, errGarbled
		}
		return text, nil
	}
	return nil, errGarbled
}

// call is a stored call as it is read: its texts are part of what was read.
type call struct {
	flags      byte
	state      byte
	id         []byte
	at         int64 // µs since 1970
	queue      uint64
	start, run uint64 // µs
	version    int64
	words      [6][]byte
	message    []byte
	dropped    uint64
	lines      int
}

// The places in call.words.
const (
	wordName = iota
	wordCaller
	wordTrigger
	wordEvent
	wordPhase
	wordCode
)

// calls reads the calls of a block, one after the other.
type calls struct {
	wire
	base  int64
	words [][]byte
	left  int
}

func readCalls(text []byte) calls {
	c := calls{wire: wire{rest: text}}
	c.base = c.int()
	words := c.count()
	c.words = make([][]byte, 0, min(words, 64))
	for range words {
		c.words = append(c.words, c.text())
	}
	c.left = c.count()
	return c
}

// next reads a call; it tells false after the last, and after a fault.
func (c *calls) next(to *call) bool {
	if c.left == 0 || c.err != nil {
		return false
	}
	c.left--
	to.flags, to.state = c.byte(), c.byte()
	if to.flags&flagUUID != 0 {
		to.id = c.wire.next(16)
	} else {
		to.id = c.text()
	}
	to.at = c.base - c.int()
	to.queue, to.start, to.run = c.uint(), c.uint(), c.uint()
	to.version = c.int()
	for i := range to.words {
		to.words[i] = c.word()
	}
	to.message = c.text()
	to.dropped = c.uint()
	// A line takes bytes of another text, where it is counted.
	lines := c.uint()
	if lines > maxUnpacked {
		c.fail()
	}
	to.lines = int(lines)
	return c.err == nil
}

func (c *calls) word() []byte {
	n := c.uint()
	if n >= uint64(len(c.words)) {
		c.fail()
		return nil
	}
	return c.words[n]
}

// requestID is that of the call as text.
func (c *call) requestID() string {
	if c.flags&flagUUID != 0 && len(c.id) == 16 {
		return uuid.UUID(c.id).String()
	}
	return string(c.id)
}

func (c *call) is(id wantedID) bool {
	if c.flags&flagUUID != 0 {
		return id.isUUID && string(c.id) == string(id.uuid[:])
	}
	return !id.isUUID && string(c.id) == id.text
}

// wantedID is a request id that is looked for.
type wantedID struct {
	text   string
	uuid   uuid.UUID
	isUUID bool
}

func wantID(id string) wantedID {
	w := wantedID{text: id}
	w.uuid, w.isUUID = parseUUID(id)
	return w
}

// bytes is what a block's calls hold if they hold the id.
func (w *wantedID) bytes() []byte {
	if w.isUUID {
		return w.uuid[:]
	}
	return []byte(w.text)
}

func (c *call) duration() time.Duration { return micros(c.queue) + micros(c.start) + micros(c.run) }

// micros is a stored duration; none is longer than can be told.
func micros(n uint64) time.Duration {
	return time.Duration(min(n, 1<<50)) * time.Microsecond
}

// entry is the call without its logs.
func (c *call) entry(account, lambdaID string) Entry {
	return Entry{
		Account: account, LambdaID: lambdaID, LambdaName: string(c.words[wordName]), Version: int(c.version),
		RequestID: c.requestID(), Caller: string(c.words[wordCaller]), Trigger: lambda.Trigger(c.words[wordTrigger]),
		EventID: string(c.words[wordEvent]), At: time.UnixMicro(c.at).UTC(),
		Queue: micros(c.queue), Start: micros(c.start), Run: micros(c.run),
		Cold: c.flags&flagCold != 0, State: stateAt(c.state), Phase: lambda.Phase(c.words[wordPhase]),
		Code: string(c.words[wordCode]), Message: string(c.message), Dropped: int(min(c.dropped, 1<<31)),
	}
}

func stateAt(i byte) State {
	if int(i) < len(States) {
		return States[i]
	}
	return Unknown
}

// line is a stored line as it is read: its texts are part of what was read.
type line struct {
	level           int
	name            []byte // of a level that has no bit of its own
	at              int64  // ms since 1970
	message, extras []byte
}

func (w *wire) line(to *line) bool {
	to.level = int(w.byte())
	to.name = nil
	if to.level == otherLevel {
		to.name = w.text()
	} else if to.level > otherLevel {
		w.fail()
	}
	to.at = w.int()
	to.message, to.extras = w.text(), w.text()
	return w.err == nil
}

// record is the line for people.
func (l *line) record() lambda.LogRecord {
	r := lambda.LogRecord{Message: string(l.message), Extras: noExtras, Timestamp: l.at, Level: string(l.name)}
	if l.level < otherLevel {
		r.Level = levelNames[l.level]
	}
	if len(l.extras) > 0 {
		r.Extras = array(slices.Clone(l.extras))
	}
	return r
}

var noExtras = json.RawMessage("[]")

// array is text if that is a JSON array; else one with the text in it.
func array(text []byte) json.RawMessage {
	if len(text) == 0 {
		return noExtras
	}
	if json.Valid(text) && text[0] == '[' {
		return text
	}
	text, _ = json.Marshal([]string{string(text)}) // a string has a form
	return text
}
