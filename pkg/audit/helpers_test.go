package audit

import (
	"fmt"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var (
	start = time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC)
	alice = token.Owner{Realm: "corp", Name: "alice"}
	bob   = token.Owner{Realm: "corp", Name: "bob"}
)

// bench is a log of two writers, main and other, over a store of its own.
type bench struct {
	testing.TB
	*Log
	other *Log
	store store.Store
	keys  *keyfile.Keys
}

// newBench has n entries by each writer, ten seconds apart, the other's five
// later.
func newBench(t testing.TB, n int) *bench {
	keys := keyfile.New(start)
	b := &bench{t, New(keys, "main"), New(keys, "other"), memory.New(), keys}
	for i := range n {
		at := start.Add(time.Duration(i) * 10 * time.Second)
		b.append(b.Log, entry(i, at))
		b.append(b.other, entry(i, at.Add(5*time.Second)))
	}
	return b
}

func entry(i int, at time.Time) Entry {
	e := Entry{Time: at, Actor: alice, Via: "uid 1000", Owner: bob, Action: "token.generate", Token: token.ID{1, byte(i), byte(i >> 8)}, Kind: "user", Object: fmt.Sprint(i), Source: "192.0.2.1"}
	if i%2 == 1 {
		e.Actor, e.Action = bob, "account.disable"
	}
	return e
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) update(fn func(store.Writer) error) {
	b.Helper()
	b.must(b.store.Update(b.Context(), fn))
}

func (b *bench) view(fn func(store.Reader)) {
	b.Helper()
	b.must(b.store.View(b.Context(), func(r store.Reader) error {
		fn(r)
		return nil
	}))
}

func (b *bench) append(l *Log, entries ...Entry) {
	b.Helper()
	b.update(func(w store.Writer) error { return l.Append(w, entries...) })
}

func (b *bench) verify() Report {
	b.Helper()
	report, err := b.Verify(b.Context(), b.store)
	b.must(err)
	return report
}

func (b *bench) list(f Filter) (entries []Entry) {
	b.Helper()
	for e, err := range b.List(b.Context(), b.store, f) {
		b.must(err)
		entries = append(entries, e)
	}
	return entries
}

// raw is everything that a thief of the database has: the bytes, but not the
// keys.
type raw struct {
	*bench
	store.Writer
}

func (b *bench) tamper(fn func(raw)) {
	b.Helper()
	b.update(func(w store.Writer) error {
		fn(raw{b, w})
		return nil
	})
}

func (r raw) get(key store.Key) []byte {
	r.Helper()
	v, err := r.Get(key)
	r.must(err)
	return append([]byte(nil), v...)
}

func (r raw) put(key store.Key, value []byte) {
	r.Helper()
	r.must(r.Put(key, value))
}

func (r raw) remove(key store.Key) {
	r.Helper()
	r.must(r.Delete(key))
}

func (r raw) link(key store.Key) link {
	r.Helper()
	n, err := decodeLink(key, r.get(key))
	r.must(err)
	return n
}

// putLink puts a link under any key, with the checksum that it needs there.
func (r raw) putLink(key store.Key, n link) {
	r.Helper()
	var e Entry
	for _, from := range []string{"main", "other"} {
		for seq := range uint64(50) {
			if decodeEntry(entryKey(from, seq), n.body, &e) == nil {
				n.body = encodeEntry(key, &e)
			}
		}
	}
	r.put(key, store.Marshal(key, linkVersion, func(enc *store.Encoder) {
		enc.Uint(uint64(n.number))
		enc.Bytes(n.mac)
		enc.Bytes(n.body)
	}))
}

// change rewrites an entry and leaves its MAC.
func (r raw) change(writer string, seq uint64, fn func(*Entry)) {
	r.Helper()
	key := entryKey(writer, seq)
	n := r.link(key)
	var e Entry
	r.must(decodeEntry(key, n.body, &e))
	fn(&e)
	n.body = encodeEntry(key, &e)
	r.putLink(key, n)
}

// setAnchor puts an anchor with the seal of another, or none.
func (r raw) setAnchor(kind string, a anchor, seal []byte) {
	r.Helper()
	key := anchorKey(kind, a.writer)
	r.put(key, store.Marshal(key, anchorVersion, func(e *store.Encoder) {
		e.Uint(a.seq)
		e.Bytes(a.mac)
		e.Time(a.time)
		e.Uint(uint64(a.key))
		e.Bytes(seal)
	}))
}

func (r raw) anchor(kind, writer string) (anchor, []byte) {
	r.Helper()
	a, seal, err := readAnchor(r, kind, writer)
	r.must(err)
	return a, seal
}
