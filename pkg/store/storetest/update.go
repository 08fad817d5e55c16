package storetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func updateIsVisible(t *testing.T, s store.Store) {
	set(t, s, "a", "1", "ab", "2", "b", "3")
	must(t, s.Update(background, func(w store.Writer) error {
		return errors.Join(w.Delete([]byte("ab")), w.Put([]byte("b"), []byte("4")))
	}))
	for range 2 {
		expect(t, s, "a", "1")
		expect(t, s, "ab", missing)
		expect(t, s, "b", "4")
	}
}

func updateFailsWhole(t *testing.T, s store.Store) {
	set(t, s, "a", "1", "b", "2")
	err := s.Update(background, func(w store.Writer) error {
		must(t, errors.Join(w.Put([]byte("a"), []byte("9")), w.Delete([]byte("b")), w.Put([]byte("c"), []byte("9"))))
		return errOurs
	})
	if err != errOurs {
		t.Fatalf("Update returned %v, want the very error of fn", err)
	}
	expect(t, s, "a", "1")
	expect(t, s, "b", "2")
	expect(t, s, "c", missing)
	set(t, s, "c", "3")
	expect(t, s, "c", "3")
}

func updatePanics(t *testing.T, s store.Store) {
	set(t, s, "a", "1")
	func() {
		defer func() {
			if p := recover(); p != errOurs {
				t.Fatalf("Update panicked with %v, want what fn panicked with", p)
			}
		}()
		_ = s.Update(background, func(w store.Writer) error {
			must(t, w.Put([]byte("a"), []byte("9")))
			panic(errOurs)
		})
	}()
	expect(t, s, "a", "1")
	set(t, s, "a", "2")
	expect(t, s, "a", "2")
}

// together runs one function in many goroutines and gives back their errors.
func together(t *testing.T, n int, run func(i int) error) []error {
	t.Helper()
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { errs[i] = run(i) })
	}
	group.Wait()
	return errs
}

// count adds one to the number at key.
func count(w store.Writer, key string) error {
	var n uint64
	v, err := w.Get([]byte(key))
	if err == nil {
		n = binary.BigEndian.Uint64(v)
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return w.Put([]byte(key), binary.BigEndian.AppendUint64(nil, n+1))
}

func updatesDoNotInterleave(t *testing.T, s store.Store) {
	const people, rounds = 10, 10
	for _, err := range together(t, people, func(i int) error {
		for range rounds {
			if err := s.Update(background, func(w store.Writer) error {
				return errors.Join(count(w, "all"), count(w, fmt.Sprint("one", i%3)))
			}); err != nil {
				return err
			}
		}
		return nil
	}) {
		must(t, err)
	}
	if n := binary.BigEndian.Uint64([]byte(get(t, s, "all"))); n != people*rounds {
		t.Fatalf("%d Updates counted to %d", people*rounds, n)
	}
}

func missingGuards(t *testing.T, s store.Store) {
	errTaken := errors.New("taken")
	won := 0
	for i, err := range together(t, 20, func(i int) error {
		return s.Update(background, func(w store.Writer) error {
			switch _, err := w.Get([]byte("name")); {
			case err == nil:
				return errTaken
			case !errors.Is(err, store.ErrNotFound):
				return err
			}
			return w.Put([]byte("name"), fmt.Append(nil, i))
		})
	}) {
		switch err {
		case nil:
			won++
			expect(t, s, "name", fmt.Sprint(i))
		case errTaken:
		default:
			t.Fatal(err)
		}
	}
	if won != 1 {
		t.Fatalf("%d of 20 Updates took a name that was missing", won)
	}
}

// neighboursSurvive: a store may put several Updates into one commit. Those
// that fail, after having written, must not be seen by, nor harm, the others.
func neighboursSurvive(t *testing.T, s store.Store) {
	set(t, s, "kept", "yes", "counted", string(binary.BigEndian.AppendUint64(nil, 0)))
	const people, rounds = 20, 5
	for i, err := range together(t, people, func(i int) error {
		for round := range rounds {
			err := s.Update(background, func(w store.Writer) error {
				if v, err := read(w, "kept"); v != "yes" || err != nil {
					return fmt.Errorf("%q, %w of a failed neighbour is seen", v, err)
				}
				if i%2 == 0 {
					return errors.Join(count(w, "counted"), w.Put(fmt.Appendf(nil, "k%d-%d", i, round), nil))
				}
				err := errors.Join(count(w, "counted"), w.Put([]byte("kept"), nil), w.Delete([]byte("kept")), w.Put(fmt.Appendf(nil, "k%d-%d", i, round), nil))
				if err == nil {
					err = errOurs
				}
				return err
			})
			if i%2 == 0 && err != nil || i%2 == 1 && err != errOurs {
				return fmt.Errorf("round %d: %w", round, err)
			}
		}
		return nil
	}) {
		if err != nil {
			t.Fatalf("goroutine %d: %v", i, err)
		}
	}
	if n := binary.BigEndian.Uint64([]byte(get(t, s, "counted"))); n != people/2*rounds {
		t.Fatalf("%d good Updates counted to %d", people/2*rounds, n)
	}
	var list []string
	must(t, s.View(background, func(r store.Reader) (err error) {
		list, err = keys(r, []byte("k"), nil)
		return err
	}))
	if len(list) != people/2*rounds+1 {
		t.Fatalf("%d good Updates left %d keys: %q", people/2*rounds, len(list)-1, list)
	}
}

func limit(t *testing.T, s store.Store) {
	if s.Limit() < 100 {
		t.Fatalf("Limit is %d, want 100 at least", s.Limit())
	}
	fill := func(table string, n int) error {
		return s.Update(background, func(w store.Writer) error {
			for i := range n {
				if err := w.Put(fmt.Appendf(nil, "%s%08d", table, i), nil); err != nil {
					return err
				}
			}
			return nil
		})
	}
	must(t, fill("a", s.Limit()))
	if err := fill("b", s.Limit()+1); !errors.Is(err, token.ErrUsage) {
		t.Fatalf("an Update with one write too many returned %v", err)
	}
	for table, want := range map[string]int{"a": s.Limit(), "b": 0} {
		var list []string
		must(t, s.View(background, func(r store.Reader) (err error) {
			list, err = keys(r, []byte(table), nil)
			return err
		}))
		if len(list) != want {
			t.Errorf("%d keys in %q, want %d", len(list), table, want)
		}
	}
}

func failedWriteFailsUpdate(t *testing.T, s store.Store) {
	err := s.Update(background, func(w store.Writer) error {
		must(t, w.Put([]byte("a"), nil))
		_ = w.Put(nil, nil)
		return nil
	})
	if !errors.Is(err, token.ErrUsage) {
		t.Fatalf("an Update that overlooked an error of Put returned %v", err)
	}
	expect(t, s, "a", missing)
}
