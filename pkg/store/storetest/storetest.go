// Package storetest is the suite that every [store.Store] passes: a test for
// each sentence of its contract, named after it, and a random walk beside a
// model.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Run tests the stores that open makes: each call gives a new and empty one.
// The suite closes them, mostly.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, test := range []struct {
		sentence string
		run      func(*testing.T, store.Store)
	}{
		{"View sees every Update that had returned", viewSeesUpdates},
		{"View sees nothing of a later Update", viewIsSnapshot},
		{"The error of a View's fn is returned as it is", viewReturnsError},
		{"No call is begun when its context has ended", endedContext},

		{"What an Update wrote is visible to each later View", updateIsVisible},
		{"When fn returns an error nothing of it is written", updateFailsWhole},
		{"A panic passes through Update and nothing is written", updatePanics},
		{"Two Updates never interleave", updatesDoNotInterleave},
		{"What an Update found missing is still missing when it commits", missingGuards},
		{"A failing Update leaves its neighbours alone", neighboursSurvive},
		{"An Update may hold Limit writes and no more", limit},
		{"A write that failed fails the Update", failedWriteFailsUpdate},

		{"Generation rises with every Update", generationRises},
		{"What was read between equal Generations still holds", generationGuards},

		{"Close waits for the View under way", closeWaitsForView},
		{"Close waits for the Update under way", closeWaitsForUpdate},
		{"Calls after Close cannot tell and closing twice is no error", closed},

		{"Get returns ErrNotFound for a key that is not there", getMissing},
		{"Bytes of a View are valid until its fn returns", viewBytesStay},
		{"Bytes of an Update are valid until its next write", updateBytesStay},
		{"A Writer sees its own writes", ownWrites},
		{"Put keeps copies", putKeepsCopies},
		{"Put refuses an empty key", putEmptyKey},
		{"Put keeps an empty value", putEmptyValue},
		{"Delete of a missing key is no error", deleteMissing},
		{"Large values and long keys are kept", largeValues},

		{"Scan yields what begins with prefix and follows after, in byte order", scanOrder},
		{"Scan stops when the loop breaks", scanBreaks},
		{"The loop over a Scan must not write", scanRefusesWrites},

		{"Pages yields the entries below a prefix page by page", pagesYield},
		{"The body of Pages may call View and Update", pagesBodyWrites},
		{"Pages sees changes ahead and none behind", pagesChanges},
		{"Pages yields an error last and alone", pagesError},
	} {
		t.Run(test.sentence, func(t *testing.T) {
			s := open(t)
			defer s.Close()
			test.run(t, s)
		})
	}
	t.Run("Any history gives what a sorted map gives", func(t *testing.T) { model(t, open) })
}

var background = context.Background()

// errOurs is an error of the suite's own functions, known by identity.
var errOurs = errors.New("ours")

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// set writes pairs of keys and values in one Update.
func set(t testing.TB, s store.Store, pairs ...string) {
	t.Helper()
	must(t, s.Update(background, func(w store.Writer) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := w.Put([]byte(pairs[i]), []byte(pairs[i+1])); err != nil {
				return err
			}
		}
		return nil
	}))
}

// missing is what read and get say of a key that is not there.
const missing = "<missing>"

func read(r store.Reader, key string) (string, error) {
	switch v, err := r.Get([]byte(key)); {
	case errors.Is(err, store.ErrNotFound):
		return missing, nil
	case err != nil:
		return "", err
	default:
		return string(v), nil
	}
}

func get(t testing.TB, s store.Store, key string) (value string) {
	t.Helper()
	must(t, s.View(background, func(r store.Reader) (err error) {
		value, err = read(r, key)
		return err
	}))
	return value
}

func expect(t testing.TB, s store.Store, key, want string) {
	t.Helper()
	if got := get(t, s, key); got != want {
		t.Fatalf("%q holds %q, want %q", key, got, want)
	}
}

// keys lists what a Scan yields.
func keys(r store.Reader, prefix, after []byte) (list []string, err error) {
	for e, err := range r.Scan(prefix, after) {
		if err != nil {
			return nil, err
		}
		list = append(list, string(e.Key))
	}
	return list, nil
}

// returns waits for a channel, or fails the test after ten seconds: a hang
// shall say where.
func returns(t testing.TB, what string, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(10 * time.Second):
		t.Fatalf("%s has not returned in 10 s", what)
		return nil
	}
}

func viewSeesUpdates(t *testing.T, s store.Store) {
	for i := range 20 {
		want := fmt.Sprint(i)
		set(t, s, "k", want)
		expect(t, s, "k", want)
	}
}

func viewIsSnapshot(t *testing.T, s store.Store) {
	set(t, s, "a", "old", "b", "old")
	updated := make(chan error, 1)
	must(t, s.View(background, func(r store.Reader) error {
		go func() {
			updated <- s.Update(background, func(w store.Writer) error {
				return errors.Join(w.Put([]byte("a"), []byte("new")), w.Delete([]byte("b")), w.Put([]byte("c"), []byte("new")))
			})
		}()
		// A store may let the Update return now or make it wait for us.
		select {
		case err := <-updated:
			updated <- err
		case <-time.After(50 * time.Millisecond):
		}
		for key, want := range map[string]string{"a": "old", "b": "old", "c": missing} {
			if got, err := read(r, key); got != want || err != nil {
				t.Errorf("%q holds %q (%v) in a View begun before, want %q", key, got, err, want)
			}
		}
		if got, err := keys(r, nil, nil); fmt.Sprint(got) != "[a b]" || err != nil {
			t.Errorf("a View begun before scans %q (%v)", got, err)
		}
		return nil
	}))
	must(t, returns(t, "Update", updated))
	expect(t, s, "a", "new")
	expect(t, s, "b", missing)
	expect(t, s, "c", "new")
}

func viewReturnsError(t *testing.T, s store.Store) {
	if err := s.View(background, func(store.Reader) error { return errOurs }); err != errOurs {
		t.Fatalf("View returned %v, want the very error of fn", err)
	}
}

func endedContext(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(background)
	cancel()
	for name, err := range map[string]error{
		"View":   s.View(ctx, func(store.Reader) error { t.Error("View called fn"); return nil }),
		"Update": s.Update(ctx, func(store.Writer) error { t.Error("Update called fn"); return nil }),
	} {
		if !errors.Is(err, context.Canceled) || !errors.Is(err, token.ErrCannotTell) || errors.Is(err, store.ErrOutcomeUnknown) {
			t.Errorf("%s returned %v, want a known outcome that wraps ErrCannotTell and context.Canceled", name, err)
		}
	}
}

func generationRises(t *testing.T, s store.Store) {
	before, ok := s.Generation()
	if !ok {
		return // others may change this store: it promises nothing
	}
	for i := range 20 {
		set(t, s, "k", fmt.Sprint(i))
		after, ok := s.Generation()
		if after <= before || !ok {
			t.Fatalf("Generation went from %d to %d, %v with an Update", before, after, ok)
		}
		expect(t, s, "k", fmt.Sprint(i))
		if again, ok := s.Generation(); again != after || !ok {
			t.Fatalf("Generation went from %d to %d, %v without an Update", after, again, ok)
		}
		before = after
	}
}

func generationGuards(t *testing.T, s store.Store) {
	set(t, s, "k", "0")
	stop := make(chan struct{})
	written := make(chan error, 1)
	go func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				written <- nil
				return
			default:
			}
			err := s.Update(background, func(w store.Writer) error { return w.Put([]byte("k"), fmt.Append(nil, i)) })
			if err != nil {
				written <- err
				return
			}
		}
	}()
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
		first, ok1 := s.Generation()
		a, b := get(t, s, "k"), get(t, s, "k")
		second, ok2 := s.Generation()
		if ok1 && ok2 && first == second && a != b {
			t.Errorf("read %q, then %q, both at generation %d", a, b, first)
			break
		}
	}
	close(stop)
	must(t, returns(t, "the writer", written))
}

func closeWaitsForView(t *testing.T, s store.Store) {
	set(t, s, "k", "v")
	closed := make(chan error, 1)
	must(t, s.View(background, func(r store.Reader) error {
		go func() { closed <- s.Close() }()
		return underWay(t, closed, func() error {
			v, err := read(r, "k")
			if v != "v" {
				t.Errorf("read %q while Close waits", v)
			}
			return err
		})
	}))
	must(t, returns(t, "Close", closed))
}

func closeWaitsForUpdate(t *testing.T, s store.Store) {
	closed := make(chan error, 1)
	must(t, s.Update(background, func(w store.Writer) error {
		go func() { closed <- s.Close() }()
		return underWay(t, closed, func() error { return w.Put([]byte("k"), []byte("v")) })
	}))
	must(t, returns(t, "Close", closed))
}

// underWay gives Close time to show that it does not wait.
func underWay(t *testing.T, closed chan error, work func() error) error {
	select {
	case <-closed:
		t.Error("Close returned while a transaction was under way")
		closed <- nil
		return nil
	case <-time.After(20 * time.Millisecond):
		return work()
	}
}

func closed(t *testing.T, s store.Store) {
	set(t, s, "k", "v")
	must(t, s.Close())
	must(t, s.Close())
	for name, err := range map[string]error{
		"View":   s.View(background, func(store.Reader) error { t.Error("View called fn"); return nil }),
		"Update": s.Update(background, func(store.Writer) error { t.Error("Update called fn"); return nil }),
	} {
		if !errors.Is(err, token.ErrCannotTell) || errors.Is(err, store.ErrOutcomeUnknown) {
			t.Errorf("%s after Close returned %v", name, err)
		}
	}
}

func large(b byte, size int) string { return string(bytes.Repeat([]byte{b}, size)) }
