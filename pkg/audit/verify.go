package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
)

// Report is what [Log.Verify] found.
type Report struct {
	Entries     int       `json:"entries"`
	First       time.Time `json:"first,omitzero"` // of the oldest entry
	Last        time.Time `json:"last,omitzero"`  // of the newest entry
	Checkpoints int       `json:"checkpoints"`    // chains whose beginning was pruned
	Keys        []uint32  `json:"keys"`           // numbers of the keys in the key file that the log still needs
	Broken      []Break   `json:"broken"`         // the first 1000; none: the log is whole
}

// Break is one place where a chain is not what was written.
type Break struct {
	Writer string `json:"writer"`
	Seq    uint64 `json:"seq"`
	What   string `json:"what"`
}

// maxBreaks bounds a report: under a wrong key every entry is a break.
const maxBreaks = 1000

// Verify checks every chain from its beginning, or checkpoint, to its head:
// that no entry was changed, removed, inserted or moved, at the ends neither.
// What is wrong is in the report. An error says that the log could not be
// checked: the store cannot be read, or the key file lacks a key.
//
// Who has the key file can forge a log, and nobody can tell from a store alone
// that it was put back as a whole to an earlier state, or emptied.
//
// It reads page by page, and entries may be appended and pruned meanwhile.
func (l *Log) Verify(ctx context.Context, s store.Store) (Report, error) {
	v := verifier{macs: macs{keys: l.keys}, used: map[uint32]bool{}, report: Report{Keys: []uint32{}, Broken: []Break{}}}
	writers, err := v.findWriters(ctx, s)
	if err != nil {
		return Report{}, err
	}
	for _, writer := range writers {
		c := chain{verifier: &v, writer: writer}
		for !c.done {
			err := s.View(ctx, func(r store.Reader) error {
				if err := ctx.Err(); err != nil {
					return err
				}
				return c.page(r)
			})
			if err != nil {
				return Report{}, err
			}
		}
	}
	v.report.Keys = slices.AppendSeq(v.report.Keys, maps.Keys(v.used))
	slices.Sort(v.report.Keys)
	return v.report, nil
}

type verifier struct {
	macs
	report Report
	used   map[uint32]bool // numbers of keys
}

func (v *verifier) broken(writer string, seq uint64, format string, args ...any) {
	if len(v.report.Broken) < maxBreaks {
		v.report.Broken = append(v.report.Broken, Break{writer, seq, fmt.Sprintf(format, args...)})
	}
}

// findWriters finds every writer of whom anything is there, and keys that are
// nobody's.
func (v *verifier) findWriters(ctx context.Context, s store.Store) ([]string, error) {
	writers := map[string]bool{}
	for kv, err := range store.Pages(ctx, s, anchorsPrefix(), pageSize) {
		if err != nil {
			return nil, err
		}
		_, writer, err := readAnchorKey(kv.Key)
		if err != nil {
			v.broken("", 0, "a record that is none of the log's, under key %x", kv.Key)
			continue
		}
		writers[writer] = true
	}
	after := []byte(append(anchorsPrefix(), bytes.Repeat([]byte{0xFF}, 8)...))
	for after != nil {
		err := s.View(ctx, func(r store.Reader) error {
			from := after
			after = nil
			for kv, err := range r.Scan(store.NewKey(store.TableAudit), from) {
				if err != nil {
					return err
				}
				writer, _, err := readEntryKey(kv.Key)
				if err != nil {
					v.broken("", 0, "a record that is none of the log's, under key %x", kv.Key)
					after = bytes.Clone(kv.Key)
					return nil
				}
				writers[writer] = true
				after = entryKey(writer, math.MaxUint64)
				return nil
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(writers)), nil
}

// A chain is the walk along one writer's entries.
type chain struct {
	*verifier
	writer  string
	started bool
	done    bool
	at      []byte // key of the last record that was looked at
	next    uint64 // the entry that must come now
	mac     []byte // of the one before; nil: of the first none, or unknown
	linked  bool   // mac is known
}

func (c *chain) fault(seq uint64, format string, args ...any) {
	c.broken(c.writer, seq, format, args...)
}

// page checks one page. Head and checkpoint are read in the same snapshot, so
// that appending and pruning under way are no faults.
func (c *chain) page(r store.Reader) error {
	first := !c.started
	c.started = true
	if err := c.begin(r, first); err != nil {
		return err
	}
	count := 0
	for kv, err := range r.Scan(entryPrefix(c.writer), c.at) {
		if err != nil {
			return err
		}
		c.at = append(c.at[:0], kv.Key...)
		if err := c.entry(kv); err != nil {
			return err
		}
		if count++; count == pageSize {
			return nil
		}
	}
	c.done = true
	return c.end(r)
}

// readAnchor reads an end of the chain; ok: it is there, and what was written.
// Every page reads again, so what is wrong is told only if asked.
func (c *chain) readAnchor(r store.Reader, kind string, at uint64, tell bool) (a anchor, ok bool, err error) {
	a, err = c.anchor(r, kind, c.writer)
	switch {
	case err == nil:
		c.used[a.key] = true
		return a, true, nil
	case errors.Is(err, store.ErrNotFound):
		return a, false, nil
	case errors.Is(err, errForged), errors.Is(err, store.ErrDamaged):
		if tell {
			c.fault(at, "the %s of the chain %v", kind, errForged)
		}
		return a, false, nil
	}
	return a, false, err
}

// begin sets what the next entry must follow: at first the checkpoint or
// nothing, and the checkpoint again once pruning has overtaken the walk.
func (c *chain) begin(r store.Reader, first bool) error {
	from, ok, err := c.readAnchor(r, checkpointKind, 0, first)
	if err != nil {
		return err
	}
	if first {
		c.next, c.linked = 1, true
		if ok {
			c.report.Checkpoints++
		}
	}
	if ok && from.seq >= c.next {
		c.next, c.mac, c.linked = from.seq+1, from.mac, true
		if !first {
			c.at = entryKey(c.writer, from.seq)
		}
	}
	return nil
}

func (c *chain) entry(kv store.Entry) error {
	_, seq, err := readEntryKey(kv.Key)
	if err != nil {
		c.fault(0, "a record that is none of the log's, under key %x", kv.Key)
		return nil
	}
	if seq < c.next {
		c.fault(seq, "stands before the beginning of the chain")
		return nil
	}
	if seq > c.next {
		c.missing(seq - 1)
		c.linked = false
	}
	e, n, err := readEntry(kv.Key, kv.Value)
	c.next = seq + 1
	if errors.Is(err, store.ErrDamaged) {
		c.fault(seq, "is damaged")
		c.mac, c.linked = n.mac, n.mac != nil
		return nil
	}
	if err != nil {
		return err
	}
	follows, err := c.follows(n, c.mac, c.writer, seq)
	if err != nil {
		return err
	}
	if c.linked && !follows {
		c.fault(seq, "%v", errForged)
	}
	c.mac, c.linked = n.mac, true
	c.count(e, n)
	return nil
}

func (c *chain) missing(last uint64) {
	if last == c.next {
		c.fault(c.next, "is missing")
	} else {
		c.fault(c.next, "is missing, with all up to %d", last)
	}
}

func (c *chain) count(e Entry, n link) {
	r := &c.report
	r.Entries++
	c.used[n.number] = true
	if r.First.IsZero() || e.Time.Before(r.First) {
		r.First = e.Time
	}
	if e.Time.After(r.Last) {
		r.Last = e.Time
	}
}

// end compares the last entry with the head.
func (c *chain) end(r store.Reader) error {
	last := c.next - 1
	head, ok, err := c.readAnchor(r, headKind, last, true)
	if err != nil {
		return err
	}
	switch {
	case !ok:
		if _, err := r.Get(anchorKey(headKind, c.writer)); errors.Is(err, store.ErrNotFound) {
			c.fault(last, "the head of the chain is missing")
		}
	case head.seq > last:
		c.missing(head.seq)
	case head.seq < last:
		c.fault(last, "stands after the head of the chain, entry %d", head.seq)
	case c.linked && !bytes.Equal(head.mac, c.mac):
		c.fault(last, "is not the entry that the head of the chain names")
	}
	return nil
}
