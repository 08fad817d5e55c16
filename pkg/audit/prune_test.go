package audit

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// countingStore counts what is read, and can end all Updates after some.
type countingStore struct {
	store.Store
	entries int
	updates int // so many are let through
	limit   int
}

func (c *countingStore) View(ctx context.Context, fn func(store.Reader) error) error {
	return c.Store.View(ctx, func(r store.Reader) error { return fn(countingReader{r, c}) })
}

var errKilled = errors.New("killed")

func (c *countingStore) Update(ctx context.Context, fn func(store.Writer) error) error {
	if c.updates--; c.updates < 0 {
		return errKilled
	}
	return c.Store.Update(ctx, func(w store.Writer) error {
		n := &countingWriter{Writer: w}
		err := fn(n)
		if n.n > c.limit {
			return errors.New("over the limit")
		}
		return err
	})
}

func (c *countingStore) Limit() int { return c.limit }

type countingReader struct {
	store.Reader
	c *countingStore
}

func (r countingReader) Scan(prefix, after []byte) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		for e, err := range r.Reader.Scan(prefix, after) {
			r.c.entries++
			if !yield(e, err) {
				return
			}
		}
	}
}

func TestPruneLeavesACheckpoint(t *testing.T) {
	b := newBench(t, 700)
	by := Entry{Time: start.Add(3 * time.Hour), Actor: alice, Via: "uid 1000", Reason: "retention"}
	n, err := b.Prune(t.Context(), b.store, start.Add(6000*time.Second), by)
	if err != nil || n != 1200 {
		t.Fatal(n, err)
	}
	r := b.verify()
	if r.Entries != 204 || r.Checkpoints != 2 || len(r.Broken) != 0 || !r.First.Equal(start.Add(6000*time.Second)) {
		t.Errorf("%+v", r)
	}
	told := b.list(Filter{Action: "audit.prune"})
	if len(told) != 4 {
		t.Fatalf("%d entries tell of the pruning", len(told))
	}
	e := told[1]
	if e.Writer != "main" || e.Actor != alice || e.Via != "uid 1000" || e.Reason != "retention" || e.Object != "main" ||
		e.Detail != "removed entries 501 to 600, up to 2026-11-22T08:39:50Z" || told[3].Object != "other" {
		t.Errorf("%+v", e)
	}
	if n, err := b.Prune(t.Context(), b.store, start.Add(6000*time.Second), by); n != 0 || err != nil {
		t.Error("pruned twice:", n, err)
	}
	b.append(b.Log, entry(1, by.Time))
	b.append(b.other, entry(1, by.Time))
	if r := b.verify(); r.Entries != 206 || len(r.Broken) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestPruneOfEverythingEnds(t *testing.T) {
	b := newBench(t, 10)
	for round := range 3 {
		before := start.Add(1000 * time.Hour)
		n, err := b.Prune(t.Context(), b.store, before, Entry{Time: start.Add(time.Hour)})
		if err != nil || round == 0 && n != 20 {
			t.Fatal(n, err)
		}
		r := b.verify()
		if len(r.Broken) != 0 || r.Entries > 2 || r.Entries == 0 {
			t.Errorf("%+v", r)
		}
	}
	b.append(b.other, entry(1, start)) // a chain that is all pruned goes on
	if r := b.verify(); len(r.Broken) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestPruneStopsAtTheFirstThatStays(t *testing.T) {
	b := newBench(t, 0)
	for _, minutes := range []int{1, 2, 30, 3, 40} { // the clock was set back once
		b.append(b.Log, entry(minutes, start.Add(time.Duration(minutes)*time.Minute)))
	}
	n, err := b.Prune(t.Context(), b.store, start.Add(10*time.Minute), Entry{Time: start.Add(time.Hour)})
	if n != 2 || err != nil {
		t.Error(n, err)
	}
}

func TestPruneCanBeKilledAndBegunAnew(t *testing.T) {
	for killed := range 9 {
		b := newBench(t, 150)
		c := &countingStore{Store: b.store, updates: killed, limit: 100}
		by := Entry{Time: start.Add(time.Hour)}
		before := start.Add(1300 * time.Second)
		n, err := b.Prune(t.Context(), c, before, by)
		if killed < 4 && !errors.Is(err, errKilled) {
			t.Fatal(killed, n, err)
		}
		if r := b.verify(); len(r.Broken) != 0 {
			t.Errorf("killed after %d: %+v", killed, r)
		}
		rest, err := b.Prune(t.Context(), b.store, before, by)
		if err != nil || n+rest != 260 {
			t.Errorf("killed after %d: %d and %d removed, %v", killed, n, rest, err)
		}
		if r := b.verify(); len(r.Broken) != 0 || r.Checkpoints != 2 {
			t.Errorf("killed after %d: %+v", killed, r)
		}
	}
}

// Pruning must not remove the traces of a manipulation.
func TestPruneStopsAtABreak(t *testing.T) {
	for name, do := range map[string]func(raw){
		"changed": func(r raw) { r.change("other", 5, func(e *Entry) { e.Actor = bob }) },
		"removed": func(r raw) { r.remove(entryKey("other", 5)) },
		"garbled": func(r raw) { r.put(entryKey("other", 5), []byte("garbled")) },
		"checkpoint forged": func(r raw) {
			r.setAnchor(checkpointKind, anchor{writer: "other", seq: 4, mac: r.link(entryKey("other", 4)).mac, time: start, key: 1}, nil)
		},
	} {
		b := newBench(t, 10)
		b.tamper(do)
		n, err := b.Prune(t.Context(), b.store, start.Add(time.Hour), Entry{Time: start.Add(time.Hour)})
		if n != 10 || !errors.Is(err, token.ErrCannotTell) { // all of main's
			t.Errorf("%s: %d, %v", name, n, err)
		}
		if name == "removed" && !strings.HasSuffix(err.Error(), "entry 5 is missing: nothing is pruned over that") {
			t.Errorf("%q", err)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q", err)
		}
		if r := b.verify(); len(r.Broken) == 0 {
			t.Errorf("%s: no longer to be seen", name)
		}
	}
}
