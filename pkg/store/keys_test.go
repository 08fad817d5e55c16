package store_test

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func TestKeyLayout(t *testing.T) {
	id := token.ID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for _, c := range []struct {
		key  store.Key
		want string
	}{
		{store.NewKey('t').ID(id), "t\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a"},
		{store.NewKey('o').Owner(token.Owner{Realm: "r", Name: "n\x00"}), "or\x00\x01n\x00\xff\x00\x01"},
		{store.NewKey('n').Text(""), "n\x00\x01"},
		{store.NewKey('a').Text("main").Uint64(258), "amain\x00\x01\x00\x00\x00\x00\x00\x00\x01\x02"},
		{store.NewKey('e').Time(time.Unix(258, 999999999)), "e\x00\x00\x00\x00\x00\x00\x01\x02"},
		{store.NewKey('e').Time(time.Unix(-1, 0)), "e\x00\x00\x00\x00\x00\x00\x00\x00"},
		{store.NewKey('e').Time(time.Time{}), "e\x00\x00\x00\x00\x00\x00\x00\x00"},
	} {
		if string(c.key) != c.want {
			t.Errorf("the key is %q, want %q", c.key, c.want)
		}
	}
}

// someKey builds a key of any components together with the reading of it.
func someKey(t *rapid.T) (store.Key, func(*store.KeyReader) bool) {
	k := store.NewKey('k')
	var reads []func(*store.KeyReader) bool
	for range rapid.IntRange(0, 4).Draw(t, "components") {
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			text := someText.Draw(t, "text")
			k, reads = k.Text(text), append(reads, func(r *store.KeyReader) bool { return r.Text() == text })
		case 1:
			id := someID.Draw(t, "id")
			k, reads = k.ID(id), append(reads, func(r *store.KeyReader) bool { return r.ID() == id })
		default:
			n := rapid.Uint64().Draw(t, "number")
			k, reads = k.Uint64(n), append(reads, func(r *store.KeyReader) bool { return r.Uint64() == n })
		}
	}
	return k, func(r *store.KeyReader) bool {
		for _, read := range reads {
			if !read(r) {
				return false
			}
		}
		return true
	}
}

func TestKeyIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, read := someKey(t)
		if r := store.ReadKey(key); !read(r) || r.Err() != nil {
			t.Fatalf("%q is not read back: %v", key, r.Err())
		}
		longer := store.ReadKey(append(slices.Clone(key), rapid.Byte().Draw(t, "more")))
		if !read(longer) || !errors.Is(longer.Err(), store.ErrDamaged) {
			t.Fatalf("a byte after %q: %v", key, longer.Err())
		}
		if len(key) > 1 {
			shorter := store.ReadKey(key[:rapid.IntRange(1, len(key)-1).Draw(t, "cut")])
			read(shorter)
			if read(shorter); !errors.Is(shorter.Err(), store.ErrDamaged) {
				t.Fatalf("%q cut short: %v", key, shorter.Err())
			}
		}
	})
	if err := store.ReadKey(nil).Err(); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("an empty key: %v", err)
	}
	for _, wrong := range []string{"k", "kab", "ka\x00", "ka\x00\x00", "ka\x00\x02\x00\x01", "ka\x00\xff", "k\x01\x00"} {
		r := store.ReadKey([]byte(wrong))
		if s := r.Text(); s != "" || !errors.Is(r.Err(), store.ErrDamaged) {
			t.Errorf("%q is read as %q, %v", wrong, s, r.Err())
		}
	}
}

// Keys sort as the lists of their components do.
func TestKeyOrder(t *testing.T) {
	texts := rapid.SliceOfN(someText, 0, 4)
	key := func(texts []string) store.Key {
		k := store.NewKey('k')
		for _, s := range texts {
			k = k.Text(s)
		}
		return k
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := texts.Draw(t, "a"), texts.Draw(t, "b")
		if rapid.Bool().Draw(t, "beginning") { // most lists differ in the first
			b = append(slices.Clone(a), b...)
		}
		if got, want := bytes.Compare(key(a), key(b)), slices.CompareFunc(a, b, strings.Compare); got != want {
			t.Fatalf("%q and %q sort as %d, their keys as %d", a, b, want, got)
		}
		x, y := rapid.Uint64().Draw(t, "x"), rapid.Uint64().Draw(t, "y")
		if got, want := bytes.Compare(store.NewKey('k').Uint64(x), store.NewKey('k').Uint64(y)), cmp.Compare(x, y); got != want {
			t.Fatalf("%d and %d sort as %d, their keys as %d", x, y, want, got)
		}
	})
	if string(store.NewKey('k').Uint64(math.MaxUint64)) <= string(store.NewKey('k').Uint64(0)) {
		t.Error("the greatest number does not sort last")
	}
}

// FuzzKeyRanges puts entries of two owners and scans for one's: no name
// reaches into another's range, whatever bytes it has.
func FuzzKeyRanges(f *testing.F) {
	f.Add("local", "alice", "local", "alice/x", "x")
	f.Add("a", "b", "a\x00\x01b", "", "")
	f.Add("", "", "\x00", "\x01", "\x00\x01")
	f.Add("a\x00", "b", "a", "\xffb", "b")
	f.Add("a", "b", "a", "b\x00", "\xff")
	f.Fuzz(func(t *testing.T, realmA, nameA, realmB, nameB, last string) {
		a, b := token.Owner{Realm: realmA, Name: nameA}, token.Owner{Realm: realmB, Name: nameB}
		if a == b || len(realmA+nameA+realmB+nameB+last) > 10_000 {
			return
		}
		s, id := memory.New(), token.ID{0: 1, 9: 0xff}
		keys := map[token.Owner][]store.Key{}
		for _, o := range []token.Owner{a, b} {
			k := func() store.Key { return store.NewKey('o').Owner(o) }
			keys[o] = []store.Key{k(), k().ID(id), k().Text(last), k().Text(last).Text(nameA)}
		}
		update(t, s, func(w store.Writer) error {
			for o, list := range keys {
				for _, k := range list {
					if err := w.Put(k, []byte(o.String())); err != nil {
						return err
					}
				}
			}
			return nil
		})
		view(t, s, func(r store.Reader) error {
			for o, list := range keys {
				var got []string
				for e, err := range r.Scan(store.NewKey('o').Owner(o), nil) {
					must(t, err)
					got = append(got, string(e.Key))
				}
				want := make([]string, len(list))
				for i, k := range list {
					want[i] = string(k)
				}
				slices.Sort(want)
				if want = slices.Compact(want); !slices.Equal(got, want) {
					t.Errorf("the range of %+v holds %q, want %q", o, got, want)
				}
			}
			return nil
		})
	})
}

// FuzzReadKey reads any bytes: what is read without an error is written again
// as the same bytes.
func FuzzReadKey(f *testing.F) {
	f.Add([]byte(store.NewKey('o').Owner(alice).ID(token.ID{1})))
	f.Add([]byte("oa\x00\xff\x00\x01\x00\x01"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, key []byte) {
		r := store.ReadKey(key)
		o := token.Owner{Realm: r.Text(), Name: r.Text()}
		id, n := r.ID(), r.Uint64()
		if err := r.Err(); err != nil {
			if !errors.Is(err, store.ErrDamaged) {
				t.Errorf("%q: %v", key, err)
			}
			return
		}
		if again := store.NewKey(key[0]).Owner(o).ID(id).Uint64(n); string(again) != string(key) {
			t.Errorf("%q is written again as %q", key, again)
		}
	})
}
