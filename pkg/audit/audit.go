// Package audit is the log of every change: one hash chain per writer, keyed
// from the key file, appended to in the transaction that it describes. It does
// not know what the actions mean.
package audit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Entry is one line of the log. Texts over 1 KiB are cut, with a mark; bytes
// that are no UTF-8 become U+FFFD.
type Entry struct {
	Writer string      `json:"writer"` // whose chain it stands in; set by Append
	Seq    uint64      `json:"seq"`    // place in the chain, from 1; set by Append
	Time   time.Time   `json:"time"`   // precision one second
	Actor  token.Owner `json:"actor,omitzero"`
	Via    string      `json:"via,omitempty"` // how the actor was known: "uid 1000", "token <id>"
	Owner  token.Owner `json:"owner,omitzero"`
	Action string      `json:"action"` // what was done: "token.generate", "account.disable" …
	Token  token.ID    `json:"token,omitzero"`
	Kind   string      `json:"kind,omitempty"`
	Object string      `json:"object,omitempty"` // name of the account, connection, service, key …
	Reason string      `json:"reason,omitempty"`
	Source string      `json:"source,omitempty"` // network address
	Detail string      `json:"detail,omitempty"`
}

// Log appends to the chain of one writer and reads those of all. It holds no
// state but the keys: the store has the rest, so that any number of processes
// may be the same writer.
type Log struct {
	keys   *keyfile.Keys
	writer string
}

// New is the log of a writer: every process that may write at the same time
// without sharing transactions has a name of its own.
func New(keys *keyfile.Keys, writer string) *Log { return &Log{keys, writer} }

// Append puts entries at the end of the writer's chain, in the transaction of
// the change that they describe; it takes one write per entry and one more.
// The head of the chain is read and written there, so of two Updates at once
// one waits or runs again, on every store.
//
// A head that is forged, rolled back or gone is an error that wraps
// [token.ErrCannotTell]: going on would hide what was removed.
func (l *Log) Append(w store.Writer, entries ...Entry) error {
	if len(entries) == 0 {
		return nil
	}
	if l.writer == "" {
		return errors.New("audit log without a writer's name")
	}
	m := &macs{keys: l.keys}
	head, err := l.openHead(w, m)
	if err != nil {
		return err
	}
	for _, e := range entries {
		// A time that cannot be read back would lock the log for ever.
		if s := e.Time.Unix(); e.Action == "" || s < 1 || s > lastSecond {
			return fmt.Errorf("audit entry %q without an action, or of %s", e.Action, e.Time)
		}
		e.Writer, e.Seq = l.writer, head.seq+1
		if err := put(w, m, e, &head); err != nil {
			return err
		}
	}
	return m.putAnchor(w, headKind, head)
}

// openHead reads the head of the writer's own chain and makes sure that it is
// one.
func (l *Log) openHead(r store.Reader, m *macs) (anchor, error) {
	head, err := m.anchor(r, headKind, l.writer)
	if !errors.Is(err, store.ErrNotFound) {
		return head, err
	}
	// No head: then nothing else of the chain may be there.
	for _, err := range r.Scan(entryPrefix(l.writer), nil) {
		if err != nil {
			return anchor{}, err
		}
		return anchor{}, cannotTell(l.writer, "there are entries, but not the head of their chain")
	}
	_, err = r.Get(anchorKey(checkpointKind, l.writer))
	if err == nil {
		return anchor{}, cannotTell(l.writer, "there is a checkpoint, but not the head of its chain")
	}
	if !errors.Is(err, store.ErrNotFound) {
		return anchor{}, err
	}
	return anchor{writer: l.writer}, nil
}

// lastSecond is the end of the year 9999, the last that a record can hold.
const lastSecond = 253402300799

func put(w store.Writer, m *macs, e Entry, head *anchor) error {
	key := entryKey(e.Writer, e.Seq)
	if _, err := w.Get(key); err == nil {
		return cannotTell(e.Writer, "entry %d is there already, but the head says %d", e.Seq, head.seq)
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	body := encodeEntry(key, &e)
	number, mac, err := m.sign(entryParts(head.mac, e.Writer, e.Seq, body)...)
	if err != nil {
		return err
	}
	head.seq, head.mac, head.time = e.Seq, mac, e.Time
	return w.Put(key, store.Marshal(key, linkVersion, func(enc *store.Encoder) {
		enc.Uint(uint64(number))
		enc.Bytes(mac)
		enc.Bytes(body)
	}))
}

func cannotTell(writer, format string, args ...any) error {
	return token.Errorf(token.ErrCannotTell, "audit log of %s: %w", writer, fmt.Errorf(format, args...)).
		WithHint("tokenctl admin audit verify lists what is wrong with it")
}

const (
	maxText = 1024
	cutMark = "… [cut]"
)

// bounded keeps a text within 1 KiB.
func bounded(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxText {
		return s
	}
	end := maxText - len(cutMark)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + cutMark
}

// Line is the entry on one line, without a line break at its end: time, then
// name=value pairs. Values that are not plain words are quoted as Go strings,
// so that no name makes a second line, another pair, or moves a cursor.
func (e *Entry) Line() string {
	b := append(make([]byte, 0, 256), e.Time.UTC().Format(time.RFC3339)...)
	pair := func(name, value string) {
		if value == "" {
			return
		}
		b = append(append(append(b, ' '), name...), '=')
		if isWord(value) {
			b = append(b, value...)
		} else {
			b = strconv.AppendQuote(b, value)
		}
	}
	pair("writer", e.Writer)
	pair("seq", strconv.FormatUint(e.Seq, 10))
	pair("action", e.Action)
	pair("actor", e.Actor.String())
	pair("via", e.Via)
	pair("owner", e.Owner.String())
	if !e.Token.IsZero() {
		pair("token", e.Token.String())
	}
	pair("kind", e.Kind)
	pair("object", e.Object)
	pair("reason", e.Reason)
	pair("source", e.Source)
	pair("detail", e.Detail)
	return string(b)
}

func isWord(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._:/@+-[]", c) >= 0) {
			return false
		}
	}
	return true
}
