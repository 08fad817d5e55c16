package storetest

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokenctl/tokenctl/pkg/store"
)

// machine is a store and what it should hold.
type machine struct {
	s    store.Store
	want map[string]string
}

// Few different bytes make keys that meet, touch and contain each other.
var (
	someKey = rapid.Custom(func(t *rapid.T) []byte {
		k := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 'a', 'b', 0xff}), 1, 4).Draw(t, "short")
		if rapid.IntRange(0, 9).Draw(t, "length") == 0 {
			k = append(k, bytes.Repeat([]byte("k"), rapid.IntRange(0, 700).Draw(t, "more"))...)
		}
		return k
	})
	someBound = rapid.Custom(func(t *rapid.T) []byte {
		if rapid.IntRange(0, 2).Draw(t, "bounded") == 0 {
			return nil
		}
		return rapid.SliceOfN(rapid.SampledFrom([]byte{0, 'a', 'b', 0xff}), 0, 3).Draw(t, "bound")
	})
	someValue = rapid.Custom(func(t *rapid.T) []byte {
		size := rapid.OneOf(rapid.IntRange(0, 30), rapid.IntRange(0, 9000)).Draw(t, "size")
		return bytes.Repeat([]byte{byte(rapid.IntRange('A', 'Z').Draw(t, "letter"))}, size)
	})
)

func model(t *testing.T, open func(t *testing.T) store.Store) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{open(t), map[string]string{}}
		defer m.s.Close()
		rt.Repeat(map[string]func(*rapid.T){
			"Update": m.update,
			"View":   m.view,
			"Pages":  m.pages,
		})
	})
}

func (m *machine) update(t *rapid.T) {
	fails := rapid.IntRange(0, 4).Draw(t, "fails") == 0
	next := maps.Clone(m.want)
	err := m.s.Update(background, func(w store.Writer) error {
		next = maps.Clone(m.want)
		for range rapid.IntRange(0, 25).Draw(t, "steps") {
			switch rapid.IntRange(0, 7).Draw(t, "step") {
			case 0, 1, 2, 3:
				k, v := someKey.Draw(t, "key"), someValue.Draw(t, "value")
				if err := w.Put(k, v); err != nil {
					return err
				}
				next[string(k)] = string(v)
			case 4, 5:
				k := someKey.Draw(t, "key")
				if err := w.Delete(k); err != nil {
					return err
				}
				delete(next, string(k))
			case 6:
				prefix := someBound.Draw(t, "prefix")
				list, err := keys(w, prefix, nil)
				if err != nil {
					return err
				}
				for _, k := range list {
					if err := w.Delete([]byte(k)); err != nil {
						return err
					}
					delete(next, k)
				}
			default:
				compare(t, w, next)
			}
		}
		compare(t, w, next)
		if fails {
			return errOurs
		}
		return nil
	})
	switch {
	case fails && err != errOurs || !fails && err != nil:
		t.Fatalf("Update returned %v", err)
	case !fails:
		m.want = next
	}
	m.view(t)
}

func (m *machine) view(t *rapid.T) {
	if err := m.s.View(background, func(r store.Reader) error {
		compare(t, r, m.want)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) pages(t *rapid.T) {
	prefix, after := someBound.Draw(t, "prefix"), someBound.Draw(t, "after")
	var got []string
	for e, err := range store.PagesAfter(background, m.s, prefix, after, rapid.IntRange(1, 5).Draw(t, "size")) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(e.Key), string(e.Value))
	}
	if want := between(m.want, prefix, after); !slices.Equal(got, want) {
		t.Fatalf("PagesAfter(%q, %q) gives %q, want %q", prefix, after, got, want)
	}
}

// compare asks a transaction for one key and for one range.
func compare(t *rapid.T, r store.Reader, want map[string]string) {
	k := someKey.Draw(t, "get")
	expected, ok := want[string(k)]
	if !ok {
		expected = missing
	}
	if got, err := read(r, string(k)); got != expected || err != nil {
		t.Fatalf("Get(%q) gives %q, %v, want %q", k, got, err, expected)
	}
	prefix, after := someBound.Draw(t, "prefix"), someBound.Draw(t, "after")
	var got []string
	for e, err := range r.Scan(prefix, after) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(e.Key), string(e.Value))
	}
	if expected := between(want, prefix, after); !slices.Equal(got, expected) {
		t.Fatalf("Scan(%q, %q) gives %q, want %q", prefix, after, got, expected)
	}
}

// between lists what a Scan of the model yields, keys and values in turn.
func between(all map[string]string, prefix, after []byte) (list []string) {
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(k, string(prefix)) && (after == nil || k > string(after)) {
			list = append(list, k, all[k])
		}
	}
	return list
}
