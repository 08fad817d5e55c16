package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func TestWholeLogVerifies(t *testing.T) {
	b := newBench(t, 300)
	r := b.verify()
	if r.Entries != 600 || r.Checkpoints != 0 || len(r.Broken) != 0 || !r.First.Equal(start) || !r.Last.Equal(start.Add(2995*time.Second)) || !slices.Equal(r.Keys, []uint32{1}) {
		t.Errorf("%+v", r)
	}
}

func TestEmptyLogVerifies(t *testing.T) {
	if r := newBench(t, 0).verify(); r.Entries != 0 || len(r.Broken) != 0 {
		t.Errorf("%+v", r)
	}
}

// The log has entries 1 to 10 of each writer; of main's, 1 to 4 are pruned.
// The pruning is main's entry 11.
var manipulations = []struct {
	name   string
	writer string
	seq    uint64 // of the break that must be found
	do     func(raw)
	// stops says that Append must refuse to go on as well.
	stops bool
}{
	{"actor changed", "other", 5, func(r raw) { r.change("other", 5, func(e *Entry) { e.Actor = bob }) }, false},
	{"owner changed", "other", 5, func(r raw) { r.change("other", 5, func(e *Entry) { e.Owner = alice }) }, false},
	{"time changed", "other", 5, func(r raw) { r.change("other", 5, func(e *Entry) { e.Time = e.Time.Add(time.Second) }) }, false},
	{"token changed", "other", 5, func(r raw) { r.change("other", 5, func(e *Entry) { e.Token = token.ID{} }) }, false},
	{"action changed", "other", 1, func(r raw) { r.change("other", 1, func(e *Entry) { e.Action += "x" }) }, false},
	{"kind changed", "other", 5, func(r raw) { r.change("other", 5, func(e *Entry) { e.Kind = "" }) }, false},
	{"via changed", "other", 5, func(r raw) { r.change("other", 5, func(e *Entry) { e.Via = "" }) }, false},
	{"object changed", "other", 5, func(r raw) { r.change("other", 5, func(e *Entry) { e.Object = "" }) }, false},
	{"reason changed", "other", 5, func(r raw) { r.change("other", 5, func(e *Entry) { e.Reason = "none" }) }, false},
	{"source changed", "other", 5, func(r raw) { r.change("other", 5, func(e *Entry) { e.Source = "" }) }, false},
	{"detail changed", "other", 5, func(r raw) { r.change("other", 5, func(e *Entry) { e.Detail = "x" }) }, false},
	{"text moved to the next field", "other", 5, func(r raw) {
		r.change("other", 5, func(e *Entry) { e.Kind, e.Object = e.Kind+e.Object, "" })
	}, false},
	{"first after the checkpoint changed", "main", 5, func(r raw) { r.change("main", 5, func(e *Entry) { e.Object = "x" }) }, false},
	{"last changed", "other", 10, func(r raw) { r.change("other", 10, func(e *Entry) { e.Object = "x" }) }, false},
	{"bit rot", "other", 5, func(r raw) {
		v := r.get(entryKey("other", 5))
		v[len(v)/2] ^= 1
		r.put(entryKey("other", 5), v)
	}, false},
	{"cut short", "other", 5, func(r raw) { r.put(entryKey("other", 5), r.get(entryKey("other", 5))[:20]) }, false},
	{"emptied", "other", 5, func(r raw) { r.put(entryKey("other", 5), nil) }, false},
	{"MAC changed", "other", 5, func(r raw) {
		n := r.link(entryKey("other", 5))
		n.mac[31] ^= 1
		r.putLink(entryKey("other", 5), n)
	}, false},
	{"MAC of the last changed", "other", 10, func(r raw) {
		n := r.link(entryKey("other", 10))
		n.mac[0] ^= 1
		r.putLink(entryKey("other", 10), n)
	}, false},
	{"no MAC", "other", 5, func(r raw) {
		n := r.link(entryKey("other", 5))
		n.mac = nil
		r.putLink(entryKey("other", 5), n)
	}, false},
	{"other key named", "other", 5, func(r raw) {
		n := r.link(entryKey("other", 5))
		n.number = 2
		r.putLink(entryKey("other", 5), n)
	}, false},
	{"no key named", "other", 5, func(r raw) {
		n := r.link(entryKey("other", 5))
		n.number = 0
		r.putLink(entryKey("other", 5), n)
	}, false},
	{"no key named by the head", "other", 10, func(r raw) {
		head, seal := r.anchor(headKind, "other")
		head.key = 0
		r.setAnchor(headKind, head, seal)
	}, true},
	{"head and first removed", "other", 1, func(r raw) {
		r.remove(anchorKey(headKind, "other"))
		r.remove(entryKey("other", 1))
	}, true},
	{"first removed", "other", 1, func(r raw) { r.remove(entryKey("other", 1)) }, false},
	{"first after the checkpoint removed", "main", 5, func(r raw) { r.remove(entryKey("main", 5)) }, false},
	{"middle removed", "other", 5, func(r raw) { r.remove(entryKey("other", 5)) }, false},
	{"several removed", "other", 5, func(r raw) {
		for seq := range uint64(4) {
			r.remove(entryKey("other", 5+seq))
		}
	}, false},
	{"removed and the rest moved up", "other", 5, func(r raw) {
		for seq := uint64(5); seq < 10; seq++ {
			r.putLink(entryKey("other", seq), r.link(entryKey("other", seq+1)))
		}
		r.remove(entryKey("other", 10))
	}, false},
	{"last removed", "other", 10, func(r raw) { r.remove(entryKey("other", 10)) }, false},
	{"last removed and the head set back", "other", 9, func(r raw) {
		r.remove(entryKey("other", 10))
		head, seal := r.anchor(headKind, "other")
		head.seq, head.mac = 9, r.link(entryKey("other", 9)).mac
		r.setAnchor(headKind, head, seal)
	}, true},
	{"last removed and the checkpoint's seal on the head", "main", 4, func(r raw) {
		for seq := uint64(5); seq <= 11; seq++ {
			r.remove(entryKey("main", seq))
		}
		r.setAnchor(headKind, first(r.anchor(checkpointKind, "main")), second(r.anchor(checkpointKind, "main")))
	}, true},
	{"last removed, the head with another's seal", "other", 9, func(r raw) {
		r.remove(entryKey("other", 10))
		head, _ := r.anchor(headKind, "main")
		_, seal := r.anchor(headKind, "main")
		head.writer = "other"
		r.setAnchor(headKind, head, seal)
	}, true},
	{"all removed but the head", "other", 1, func(r raw) {
		for seq := range uint64(10) {
			r.remove(entryKey("other", 1+seq))
		}
	}, false},
	{"head removed", "other", 10, func(r raw) { r.remove(anchorKey(headKind, "other")) }, true},
	{"head garbled", "other", 10, func(r raw) { r.put(anchorKey(headKind, "other"), []byte("garbled")) }, true},
	{"all removed but the checkpoint", "main", 4, func(r raw) {
		for seq := uint64(5); seq <= 11; seq++ {
			r.remove(entryKey("main", seq))
		}
		r.remove(anchorKey(headKind, "main"))
	}, true},
	{"copy added at the end", "other", 11, func(r raw) { r.putLink(entryKey("other", 11), r.link(entryKey("other", 10))) }, true},
	{"copy added and the head moved on", "other", 11, func(r raw) {
		r.putLink(entryKey("other", 11), r.link(entryKey("other", 10)))
		head, seal := r.anchor(headKind, "other")
		head.seq, head.mac = 11, r.link(entryKey("other", 11)).mac
		r.setAnchor(headKind, head, seal)
	}, true},
	{"added far behind", "other", 10_000, func(r raw) { r.putLink(entryKey("other", 10_000), r.link(entryKey("other", 10))) }, false},
	{"added before the first", "other", 0, func(r raw) { r.putLink(entryKey("other", 0), r.link(entryKey("other", 1))) }, false},
	{"added before the checkpoint", "main", 2, func(r raw) { r.putLink(entryKey("main", 2), r.link(entryKey("main", 5))) }, false},
	{"another in its place", "other", 5, func(r raw) { r.putLink(entryKey("other", 5), r.link(entryKey("other", 3))) }, false},
	{"another writer's in its place", "other", 5, func(r raw) { r.putLink(entryKey("other", 5), r.link(entryKey("main", 5))) }, false},
	{"two swapped", "other", 5, func(r raw) {
		a, b := r.link(entryKey("other", 5)), r.link(entryKey("other", 6))
		r.putLink(entryKey("other", 5), b)
		r.putLink(entryKey("other", 6), a)
	}, false},
	{"two swapped as they are", "other", 5, func(r raw) {
		a, b := r.get(entryKey("other", 5)), r.get(entryKey("other", 6))
		r.put(entryKey("other", 5), b)
		r.put(entryKey("other", 6), a)
	}, false},
	{"a writer who never was", "third", 1, func(r raw) { r.putLink(entryKey("third", 1), r.link(entryKey("other", 1))) }, false},
	{"a whole chain under another name", "third", 1, func(r raw) {
		for seq := range uint64(10) {
			r.putLink(entryKey("third", 1+seq), r.link(entryKey("other", 1+seq)))
		}
	}, false},
	{"checkpoint removed", "main", 1, func(r raw) { r.remove(anchorKey(checkpointKind, "main")) }, false},
	{"checkpoint garbled", "main", 0, func(r raw) { r.put(anchorKey(checkpointKind, "main"), []byte("garbled")) }, false},
	{"checkpoint moved on, over what was removed", "main", 1, func(r raw) {
		cp, seal := r.anchor(checkpointKind, "main")
		cp.seq, cp.mac = 6, r.link(entryKey("main", 6)).mac
		r.setAnchor(checkpointKind, cp, seal)
		r.remove(entryKey("main", 5))
		r.remove(entryKey("main", 6))
	}, false},
	{"checkpoint for a chain that was never pruned", "other", 1, func(r raw) {
		r.setAnchor(checkpointKind, anchor{writer: "other", seq: 3, mac: r.link(entryKey("other", 3)).mac, time: start, key: 1}, nil)
		for seq := range uint64(3) {
			r.remove(entryKey("other", 1+seq))
		}
	}, false},
	{"head as a checkpoint", "other", 1, func(r raw) {
		r.setAnchor(checkpointKind, first(r.anchor(headKind, "other")), second(r.anchor(headKind, "other")))
		for seq := range uint64(10) {
			r.remove(entryKey("other", 1+seq))
		}
	}, false},
	{"a stray record", "", 0, func(r raw) { r.put(store.NewKey(store.TableAudit).Text("zzz"), nil) }, false},
	{"a stray record between the entries", "other", 0, func(r raw) { r.put(append(entryKey("other", 5), 0), nil) }, false},
	{"a stray anchor", "", 0, func(r raw) { r.put(anchorKey("tail", "other"), nil) }, false},
}

// spread is how many breaks those make that touch more than one place; the
// others make one: after a break the walk finds its feet again.
var spread = map[string]int{
	"MAC changed":                                  2,
	"MAC of the last changed":                      2,
	"no MAC":                                       2,
	"head and first removed":                       2,
	"copy added at the end":                        2,
	"copy added and the head moved on":             2,
	"added far behind":                             2,
	"another in its place":                         2,
	"another writer's in its place":                2,
	"two swapped as they are":                      2,
	"a writer who never was":                       2,
	"checkpoint garbled":                           2,
	"checkpoint moved on, over what was removed":   2,
	"checkpoint for a chain that was never pruned": 2,
	"head as a checkpoint":                         2,
	"two swapped":                                  3,
	"removed and the rest moved up":                6,
	"a whole chain under another name":             11,
}

func first[A, B any](a A, _ B) A  { return a }
func second[A, B any](_ A, b B) B { return b }

func tamperBench(t *testing.T) *bench {
	b := newBench(t, 0)
	for i := range 10 {
		b.append(b.Log, entry(i, start.Add(time.Duration(i)*10*time.Second)))
		b.append(b.other, entry(i, start.Add(time.Hour)))
	}
	if _, err := b.keys.Add(start); err != nil { // key 2, for the manipulation that names it
		t.Fatal(err)
	}
	n, err := b.Prune(t.Context(), b.store, start.Add(35*time.Second), Entry{Time: start.Add(time.Hour), Actor: alice})
	if err != nil || n != 4 {
		t.Fatal(n, err)
	}
	return b
}

func TestEveryManipulationIsFound(t *testing.T) {
	if r := tamperBench(t).verify(); len(r.Broken) != 0 || r.Entries != 17 || r.Checkpoints != 1 || !slices.Equal(r.Keys, []uint32{1, 2}) {
		t.Fatalf("before: %+v", r)
	}
	for _, m := range manipulations {
		t.Run(m.name, func(t *testing.T) {
			b := tamperBench(t)
			b.tamper(m.do)
			r := b.verify()
			if !slices.ContainsFunc(r.Broken, func(x Break) bool { return x.Writer == m.writer && x.Seq == m.seq && x.What != "" }) {
				t.Errorf("no break at %s %d: %+v", m.writer, m.seq, r.Broken)
			}
			if want := max(1, spread[m.name]); len(r.Broken) != want {
				t.Errorf("one manipulation is told as %d: %+v", len(r.Broken), r.Broken)
			}
			log := b.Log
			if m.writer == "other" {
				log = b.other
			}
			err := b.store.Update(t.Context(), func(w store.Writer) error { return log.Append(w, entry(1, start.Add(2*time.Hour))) })
			if m.stops != errors.Is(err, token.ErrCannotTell) || m.stops != (err != nil) {
				t.Errorf("append: %v", err)
			}
			if again := b.verify(); len(again.Broken) < len(r.Broken) && len(again.Broken) == 0 {
				t.Error("appending hid it")
			}
		})
	}
}

// An entry that was made, but whose transaction was not: it follows the chain
// as well as the one in its place.
func TestEntryOfAnotherHistoryIsFound(t *testing.T) {
	b := newBench(t, 3)
	var never []byte
	_ = b.store.Update(t.Context(), func(w store.Writer) error {
		b.must(b.Append(w, entry(7, start)))
		never = raw{b, w}.get(entryKey("main", 4))
		return errDisk
	})
	b.append(b.Log, entry(8, start))
	b.tamper(func(r raw) { r.put(entryKey("main", 4), never) })
	if r := b.verify(); len(r.Broken) != 1 || r.Broken[0].Seq != 4 {
		t.Errorf("%+v", r)
	}
}

// What a MAC covers beside the entry's bytes.
func TestEntryBelongsToItsPlace(t *testing.T) {
	b := newBench(t, 2)
	b.view(func(r store.Reader) {
		m := &macs{keys: b.keys}
		key := entryKey("main", 2)
		v, err := r.Get(key)
		b.must(err)
		n, err := decodeLink(key, v)
		b.must(err)
		before, err := r.Get(entryKey("main", 1))
		b.must(err)
		p, err := decodeLink(entryKey("main", 1), before)
		b.must(err)
		for _, tt := range []struct {
			previous []byte
			writer   string
			seq      uint64
			want     bool
		}{{p.mac, "main", 2, true}, {nil, "main", 2, false}, {p.mac, "other", 2, false}, {p.mac, "main", 3, false}} {
			if got, err := m.follows(n, tt.previous, tt.writer, tt.seq); got != tt.want || err != nil {
				t.Errorf("%s %d: %v, %v", tt.writer, tt.seq, got, err)
			}
		}
	})
}

// pruningStore prunes everything but the last few after so many Views.
type pruningStore struct {
	*bench
	store.Store
	views int
}

func (s *pruningStore) View(ctx context.Context, fn func(store.Reader) error) error {
	if s.views--; s.views == 0 {
		n, err := s.Prune(ctx, s.bench.store, start.Add(6900*time.Second), Entry{Time: start.Add(10 * time.Hour)})
		if n != 1380 || err != nil {
			s.Error(n, err)
		}
	}
	return s.Store.View(ctx, fn)
}

func TestVerifyOvertakenByPruning(t *testing.T) {
	for views := range 14 {
		b := newBench(t, 700)
		r, err := b.Verify(t.Context(), &pruningStore{b, b.store, views})
		if err != nil || len(r.Broken) != 0 {
			t.Errorf("at view %d: %+v, %v", views, r, err)
		}
	}
}

func TestWrongKeyBreaksEverything(t *testing.T) {
	b := newBench(t, 700)
	r, err := New(keyfile.New(start), "main").Verify(t.Context(), b.store)
	if err != nil {
		t.Fatal(err)
	}
	if r.Entries != 1400 || len(r.Broken) != maxBreaks {
		t.Errorf("%d entries, %d breaks", r.Entries, len(r.Broken))
	}
}

func TestMissingKeyCannotTell(t *testing.T) {
	b := newBench(t, 3)
	if _, err := b.keys.Add(start); err != nil {
		t.Fatal(err)
	}
	b.append(b.Log, entry(0, start))
	if r := b.verify(); len(r.Broken) != 0 {
		t.Fatalf("%+v", r)
	}
	if err := b.keys.Drop(1); err != nil {
		t.Fatal(err)
	}
	if r, err := b.Verify(t.Context(), b.store); !errors.Is(err, token.ErrCannotTell) {
		t.Errorf("%+v, %v", r, err)
	}
	b.append(b.Log, entry(0, start)) // its head is of key 2
	err := b.store.Update(t.Context(), func(w store.Writer) error { return b.other.Append(w, entry(0, start)) })
	if !errors.Is(err, token.ErrCannotTell) {
		t.Error(err)
	}
}

// brokenStore fails after so many Views.
type brokenStore struct {
	store.Store
	views int
}

var errDisk = fmt.Errorf("input/output error: %w", token.ErrCannotTell)

func (s *brokenStore) View(ctx context.Context, fn func(store.Reader) error) error {
	if s.views--; s.views < 0 {
		return s.Store.View(ctx, func(r store.Reader) error { return fn(brokenReader{r}) })
	}
	return s.Store.View(ctx, fn)
}

type brokenReader struct{ store.Reader }

func (brokenReader) Get([]byte) ([]byte, error) { return nil, errDisk }

func (brokenReader) Scan([]byte, []byte) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) { yield(store.Entry{}, errDisk) }
}

func TestUnreadableStoreCannotTell(t *testing.T) {
	b := newBench(t, 300)
	for views := range 8 {
		r, err := b.Verify(t.Context(), &brokenStore{b.store, views})
		if !errors.Is(err, token.ErrCannotTell) || len(r.Broken) != 0 {
			t.Errorf("after %d views: %+v, %v", views, r, err)
		}
	}
	if _, err := b.Verify(t.Context(), &brokenStore{b.store, 100}); err != nil {
		t.Error(err)
	}
	for views := range 4 {
		var last error
		for _, err := range b.List(t.Context(), &brokenStore{b.store, views}, Filter{}) {
			last = err
		}
		if !errors.Is(last, errDisk) {
			t.Errorf("list after %d views: %v", views, last)
		}
	}
}

func TestVerifyWhileOthersAppendAndPrune(t *testing.T) {
	b := newBench(t, 400)
	var wg sync.WaitGroup
	for _, log := range []*Log{b.Log, b.Log, b.other} {
		wg.Go(func() {
			for i := range 300 {
				err := b.store.Update(t.Context(), func(w store.Writer) error { return log.Append(w, entry(i, start.Add(100*time.Hour))) })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 40 {
			at := start.Add(time.Duration(i) * 100 * time.Second)
			if _, err := b.Prune(t.Context(), b.store, at, Entry{Time: start.Add(50 * time.Hour)}); err != nil {
				t.Error(err)
			}
		}
	})
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if r := b.verify(); len(r.Broken) > 0 {
			t.Fatalf("%+v", r.Broken)
		}
	}
}
