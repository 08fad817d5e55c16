package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var errOurs = errors.New("ours")

// queue runs Updates that share one commit: the first waits in its fn until
// all others stand in line. It returns their errors.
func queue(t *testing.T, s *Store, fns ...func(store.Writer) error) []error {
	t.Helper()
	errs := make([]error, len(fns))
	var group sync.WaitGroup
	started, release := make(chan struct{}), make(chan struct{})
	for i, fn := range fns {
		group.Go(func() {
			errs[i] = errors.New("never returned")
			defer func() {
				if p := recover(); p != nil {
					errs[i] = fmt.Errorf("panic: %v", p)
				}
			}()
			errs[i] = s.Update(background, func(w store.Writer) error {
				if i == 0 {
					close(started)
					<-release
				}
				return fn(w)
			})
		})
		if i == 0 {
			<-started
		}
		waitQueue(s, i)
	}
	close(release)
	group.Wait()
	return errs
}

func waitQueue(s *Store, n int) {
	for {
		s.group.mu.Lock()
		got := len(s.group.queue)
		s.group.mu.Unlock()
		if got == n {
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func put(key, value string) func(store.Writer) error {
	return func(w store.Writer) error { return w.Put([]byte(key), []byte(value)) }
}

// then runs one after the other.
func then(fns ...func(store.Writer) error) func(store.Writer) error {
	return func(w store.Writer) error {
		for _, fn := range fns {
			if err := fn(w); err != nil {
				return err
			}
		}
		return nil
	}
}

func fail(store.Writer) error { return errOurs }

func contents(t *testing.T, s *Store) string {
	t.Helper()
	all := ""
	must(t, s.View(background, func(r store.Reader) error {
		for e, err := range r.Scan(nil, nil) {
			must(t, err)
			all += fmt.Sprintf("%s=%s ", e.Key, e.Value)
		}
		return nil
	}))
	return all
}

// TestOneCommit: those who fail, in whatever way and place, leave no trace in
// the commit that they shared.
func TestOneCommit(t *testing.T) {
	spoil := then(put("a", "spoilt"), put("new", "spoilt"), put("a", "worse"), func(w store.Writer) error { return w.Delete([]byte("b")) })
	panics := func(store.Writer) error { panic("ours") }
	exits := func(store.Writer) error { runtime.Goexit(); return nil }
	for name, fns := range map[string][]func(store.Writer) error{
		"first fails":    {then(spoil, fail), put("c", "3"), put("d", "4")},
		"middle fails":   {put("c", "3"), then(spoil, fail), put("d", "4")},
		"last fails":     {put("c", "3"), put("d", "4"), then(spoil, fail)},
		"first panics":   {then(spoil, panics), put("c", "3"), put("d", "4")},
		"middle panics":  {put("c", "3"), then(spoil, panics), put("d", "4")},
		"first exits":    {then(spoil, exits), put("c", "3"), put("d", "4")},
		"last exits":     {put("c", "3"), put("d", "4"), then(spoil, exits)},
		"several fail":   {then(spoil, fail), then(spoil, fail), put("c", "3"), then(spoil, panics), put("d", "4"), then(spoil, fail)},
		"limit exceeded": {put("c", "3"), put("d", "4"), then(spoil, func(w store.Writer) error { return w.Put(nil, nil) })},
		"reader first":   {func(store.Writer) error { return nil }, put("c", "3"), then(spoil, fail), put("d", "4")},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Options{Path: newPath(t), Exclusive: true})
			must(t, s.Update(background, then(put("a", "1"), put("b", "2"))))
			before, _ := s.Generation()
			good := 0
			for i, err := range queue(t, s, fns...) {
				if err == nil {
					good++
				}
				if errors.Is(err, token.ErrCannotTell) {
					t.Errorf("Update %d returned %v", i, err)
				}
			}
			if after, _ := s.Generation(); after != before+2 {
				t.Errorf("%d commits, want one", (after-before)/2)
			}
			if got, want := contents(t, s), "a=1 b=2 c=3 d=4 "; got != want || good < 2 {
				t.Errorf("%d good Updates left %q, want %q", good, got, want)
			}
			must(t, s.Update(background, put("e", "5")))
		})
	}
}

// TestFailedCommit closes the file beneath the store: nobody of those who
// shared the commit can be told yes or no. Who had failed before is told that
// nothing was changed, but not with an answer that rests on what others had
// written.
func TestFailedCommit(t *testing.T) {
	s := open(t, Options{Path: newPath(t), Exclusive: true})
	must(t, s.Update(background, put("a", "1")))
	errs := queue(t, s,
		put("b", "2"),
		func(w store.Writer) error {
			if _, err := w.Get([]byte("b")); err == nil {
				return errOurs
			}
			return nil
		},
		func(w store.Writer) error { return errors.Join(w.Put([]byte("c"), nil), s.file.f.Close()) },
	)
	for i, unknown := range []bool{true, false, true} {
		if err := errs[i]; !errors.Is(err, token.ErrCannotTell) || errors.Is(err, store.ErrOutcomeUnknown) != unknown || errors.Is(err, errOurs) || !errors.Is(err, os.ErrClosed) && unknown {
			t.Errorf("Update %d returned %v", i, err)
		}
	}
	if got := contents(t, s); got != "a=1 " {
		t.Errorf("the store holds %q", got)
	}
	if err := s.Update(background, put("d", "4")); !errors.Is(err, token.ErrCannotTell) || errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("the next Update returned %v", err)
	}
}

// TestContextEndsInLine: who gives up in line has written nothing, and the line
// goes on.
func TestContextEndsInLine(t *testing.T) {
	s := open(t, Options{Path: newPath(t), Exclusive: true})
	ctx, cancel := context.WithCancel(background)
	var gaveUp error
	errs := queue(t, s, put("a", "1"), func(w store.Writer) error { return w.Put([]byte("b"), nil) })
	for _, err := range errs {
		must(t, err)
	}
	started, release, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		done <- s.Update(background, func(store.Writer) error { close(started); <-release; return nil })
	}()
	<-started
	go func() { done <- s.Update(ctx, put("never", "")) }()
	waitQueue(s, 1)
	cancel()
	gaveUp = <-done
	if !errors.Is(gaveUp, context.Canceled) || !errors.Is(gaveUp, token.ErrCannotTell) || errors.Is(gaveUp, store.ErrOutcomeUnknown) {
		t.Errorf("giving up returned %v", gaveUp)
	}
	close(release)
	must(t, <-done)
	must(t, s.Update(background, put("c", "3")))
	if got := contents(t, s); got != "a=1 b= c=3 " {
		t.Errorf("the store holds %q", got)
	}
}

// TestCommitsAreShared by many Updates that come together.
func TestCommitsAreShared(t *testing.T) {
	s := open(t, Options{Path: newPath(t), Exclusive: true})
	const people, rounds = 50, 10
	var group sync.WaitGroup
	for i := range people {
		group.Go(func() {
			for round := range rounds {
				if err := s.Update(background, put(fmt.Sprintf("k%d-%d", i, round), "")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if n, _ := s.Generation(); n/2 > people*rounds/4 {
		t.Errorf("%d Updates of %d goroutines took %d commits", people*rounds, people, n/2)
	}
}

// TestNothingWritten costs no commit, and the generation stays.
func TestNothingWritten(t *testing.T) {
	eachMode(t, func(t *testing.T, exclusive bool) {
		path := newPath(t)
		s := open(t, Options{Path: path, Exclusive: exclusive})
		before := string(readFile(t, path))
		must(t, s.Update(background, func(w store.Writer) error {
			_, err := w.Get([]byte("k"))
			if !errors.Is(err, store.ErrNotFound) {
				return err
			}
			return nil
		}))
		if n, _ := s.Generation(); n != 0 || string(readFile(t, path)) != before {
			t.Errorf("an Update without writes has written: generation %d", n)
		}
	})
}
