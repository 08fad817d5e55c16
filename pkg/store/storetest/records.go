package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func getMissing(t *testing.T, s store.Store) {
	set(t, s, "ab", "", "b", "")
	check := func(r store.Reader) error {
		for _, key := range []string{"", "a", "abc", "aa", "ac", "c"} {
			if _, err := r.Get([]byte(key)); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("Get(%q) returned %v", key, err)
			}
		}
		return nil
	}
	must(t, s.View(background, check))
	must(t, s.Update(background, func(w store.Writer) error { return check(w) }))
}

func viewBytesStay(t *testing.T, s store.Store) {
	for i := range 300 {
		set(t, s, fmt.Sprintf("k%03d", i), large(byte(i), 100))
	}
	must(t, s.View(background, func(r store.Reader) error {
		var got [][]byte
		for i := range 300 {
			v, err := r.Get(fmt.Appendf(nil, "k%03d", i))
			if err != nil {
				return err
			}
			got = append(got, v)
		}
		if _, err := keys(r, nil, nil); err != nil {
			return err
		}
		for i, v := range got {
			if string(v) != large(byte(i), 100) {
				t.Fatalf("the value of key %d has changed within the View", i)
			}
		}
		return nil
	}))
}

func updateBytesStay(t *testing.T, s store.Store) {
	set(t, s, "a", "1", "b", "2")
	must(t, s.Update(background, func(w store.Writer) error {
		a, err := w.Get([]byte("a"))
		must(t, err)
		_, err = w.Get([]byte("b"))
		must(t, err)
		_, err = keys(w, nil, nil)
		must(t, err)
		if string(a) != "1" {
			t.Errorf("the value has changed to %q before any write", a)
		}
		return nil
	}))
}

func ownWrites(t *testing.T, s store.Store) {
	set(t, s, "a", "1", "b", "2")
	must(t, s.Update(background, func(w store.Writer) error {
		must(t, errors.Join(w.Put([]byte("a"), []byte("9")), w.Delete([]byte("b")), w.Put([]byte("ab"), []byte("8")), w.Put([]byte("x"), nil), w.Delete([]byte("x"))))
		for key, want := range map[string]string{"a": "9", "ab": "8", "b": missing, "x": missing} {
			if got, err := read(w, key); got != want || err != nil {
				t.Errorf("%q holds %q (%v), want %q", key, got, err, want)
			}
		}
		if got, err := keys(w, nil, nil); fmt.Sprint(got) != "[a ab]" || err != nil {
			t.Errorf("Scan gives %q, %v", got, err)
		}
		return nil
	}))
}

func putKeepsCopies(t *testing.T, s store.Store) {
	key, value := []byte("key1"), []byte("value1")
	must(t, s.Update(background, func(w store.Writer) error {
		must(t, w.Put(key, value))
		copy(key, "KEY2")
		copy(value, "VALUE2")
		must(t, w.Put(key, value))
		copy(key, "xxxx")
		copy(value, "xxxxxx")
		return nil
	}))
	expect(t, s, "key1", "value1")
	expect(t, s, "KEY2", "VALUE2")
	expect(t, s, "xxxx", missing)
}

func putEmptyKey(t *testing.T, s store.Store) {
	for _, key := range [][]byte{nil, {}} {
		err := s.Update(background, func(w store.Writer) error { return w.Put(key, []byte("v")) })
		if !errors.Is(err, token.ErrUsage) {
			t.Errorf("Put with an empty key returned %v", err)
		}
	}
}

func putEmptyValue(t *testing.T, s store.Store) {
	must(t, s.Update(background, func(w store.Writer) error {
		must(t, errors.Join(w.Put([]byte("nil"), nil), w.Put([]byte("empty"), []byte{})))
		v, err := w.Get([]byte("nil"))
		if v == nil || len(v) != 0 || err != nil {
			t.Errorf("an empty value is %#v, %v in its Update", v, err)
		}
		return nil
	}))
	must(t, s.View(background, func(r store.Reader) error {
		for _, key := range []string{"nil", "empty"} {
			if v, err := r.Get([]byte(key)); v == nil || len(v) != 0 || err != nil {
				t.Errorf("an empty value is %#v, %v", v, err)
			}
		}
		for e, err := range r.Scan(nil, nil) {
			if e.Value == nil || len(e.Value) != 0 || err != nil {
				t.Errorf("Scan gives %#v, %v for an empty value", e.Value, err)
			}
		}
		return nil
	}))
}

func deleteMissing(t *testing.T, s store.Store) {
	set(t, s, "b", "")
	must(t, s.Update(background, func(w store.Writer) error {
		for _, key := range []string{"", "a", "bb", "c"} {
			if err := w.Delete([]byte(key)); err != nil {
				t.Errorf("Delete(%q) returned %v", key, err)
			}
		}
		return nil
	}))
	expect(t, s, "b", "")
}

func largeValues(t *testing.T, s store.Store) {
	long, wide := "k"+large('k', 1500), large('v', 100_000)
	set(t, s, long, wide, "k", "small")
	expect(t, s, long, wide)
	expect(t, s, "k", "small")
	set(t, s, long, "small")
	expect(t, s, long, "small")
}

func scanOrder(t *testing.T, s store.Store) {
	all := []string{"\x00", "\x00\xff", "a", "a\x00", "a\x00b", "aa", "ab", "a\xff", "a\xff\xff", "b", "b/c", "\xff", "\xff\x00", "\xff\xff"}
	for i := len(all) - 1; i >= 0; i-- {
		set(t, s, all[i], "value of "+all[i])
	}
	check := func(r store.Reader) error {
		bounds := append([]string{"", "a\x00\x00", "zz", "\x00\x00", "a\xfe"}, all...)
		for _, prefix := range bounds {
			for i, after := range append([]string{""}, bounds...) {
				from := []byte(after)
				if i == 0 {
					from = nil
				}
				var want []string
				for _, k := range all {
					if strings.HasPrefix(k, prefix) && (from == nil || k > after) {
						want = append(want, k)
					}
				}
				var got []string
				for e, err := range r.Scan([]byte(prefix), from) {
					must(t, err)
					got = append(got, string(e.Key))
					if string(e.Value) != "value of "+string(e.Key) {
						t.Errorf("%q comes with %q", e.Key, e.Value)
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("Scan(%q, %q) gives %q, want %q", prefix, from, got, want)
				}
			}
		}
		return nil
	}
	must(t, s.View(background, check))
	must(t, s.Update(background, func(w store.Writer) error { return check(w) }))
}

func scanBreaks(t *testing.T, s store.Store) {
	set(t, s, "a", "", "b", "", "c", "")
	must(t, s.Update(background, func(w store.Writer) error {
		n := 0
		for range w.Scan(nil, nil) {
			if n++; n == 2 {
				break
			}
		}
		if n != 2 {
			t.Errorf("the loop ran %d times", n)
		}
		return w.Put([]byte("d"), nil) // a broken loop is over
	}))
	expect(t, s, "d", "")
}

func scanRefusesWrites(t *testing.T, s store.Store) {
	set(t, s, "a", "", "b", "")
	for name, write := range map[string]func(store.Writer) error{
		"Put":    func(w store.Writer) error { return w.Put([]byte("c"), nil) },
		"Delete": func(w store.Writer) error { return w.Delete([]byte("a")) },
	} {
		err := s.Update(background, func(w store.Writer) error {
			for _, err := range w.Scan(nil, nil) {
				if err == nil {
					err = write(w)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if !errors.Is(err, token.ErrUsage) {
			t.Errorf("%s in a loop over Scan returned %v", name, err)
		}
	}
	expect(t, s, "a", "")
	expect(t, s, "c", missing)
}

// fill writes n keys below prefix, 100 at a time.
func fill(t *testing.T, s store.Store, prefix string, n int) (all []string) {
	for i := 0; i < n; i += 100 {
		must(t, s.Update(background, func(w store.Writer) error {
			all = all[:i]
			for k := i; k < min(i+100, n); k++ {
				all = append(all, fmt.Sprintf("%s%06d", prefix, k))
				if err := w.Put([]byte(all[k]), []byte(all[k])); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	return all
}

func pagesYield(t *testing.T, s store.Store) {
	set(t, s, "o", "", "q", "")
	for _, n := range []int{0, 1, 9, 10, 11, 20, 250} {
		prefix := fmt.Sprintf("p%d/", n)
		want := fill(t, s, prefix, n)
		var got []string
		for e, err := range store.Pages(background, s, []byte(prefix), 10) {
			must(t, err)
			got = append(got, string(e.Key))
			if !bytes.Equal(e.Key, e.Value) {
				t.Fatalf("%q comes with %q", e.Key, e.Value)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d keys: Pages gives %q", n, got)
		}
		if n > 5 {
			got = nil
			for e, err := range store.PagesAfter(background, s, []byte(prefix), []byte(want[4]), 3) {
				must(t, err)
				got = append(got, string(e.Key))
			}
			if !slices.Equal(got, want[5:]) {
				t.Errorf("%d keys: PagesAfter gives %q", n, got)
			}
		}
	}
}

// pagesBodyWrites writes so much that a store that grows in steps must grow
// several times in the middle of the walk.
func pagesBodyWrites(t *testing.T, s store.Store) {
	want := fill(t, s, "p", 40)
	var got []string
	for e, err := range store.Pages(background, s, []byte("p"), 7) {
		must(t, err)
		got = append(got, string(e.Key))
		set(t, s, "x"+string(e.Key), large('x', 20_000))
		expect(t, s, "x"+string(e.Key), large('x', 20_000))
		if !bytes.Equal(e.Key, e.Value) {
			t.Fatalf("the entry has changed to %q: %q under a write", e.Key, e.Value)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("Pages gives %q", got)
	}
}

func pagesChanges(t *testing.T, s store.Store) {
	fill(t, s, "p", 10)
	var got []string
	for e, err := range store.Pages(background, s, []byte("p"), 1) {
		must(t, err)
		got = append(got, string(e.Key))
		if string(e.Key) == "p000005" {
			must(t, s.Update(background, func(w store.Writer) error {
				return errors.Join(w.Delete([]byte("p000006")), w.Put([]byte("p000007+"), nil), w.Put([]byte("p000004+"), nil))
			}))
		}
	}
	if len(got) != 10 || slices.Contains(got, "p000006") || !slices.Contains(got, "p000007+") || slices.Contains(got, "p000004+") {
		t.Errorf("Pages gives %q", got)
	}
}

func pagesError(t *testing.T, s store.Store) {
	fill(t, s, "p", 10)
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	n, failed := 0, 0
	for e, err := range store.Pages(ctx, s, []byte("p"), 3) {
		switch {
		case failed > 0:
			t.Error("something follows the error")
		case err != nil:
			failed++
			if e.Key != nil || e.Value != nil || !errors.Is(err, context.Canceled) {
				t.Errorf("the error %v comes with %q", err, e.Key)
			}
		default:
			if n++; n == 3 {
				cancel()
			}
		}
	}
	if n != 3 || failed != 1 {
		t.Errorf("%d entries and %d errors, want 3 and 1", n, failed)
	}
}
