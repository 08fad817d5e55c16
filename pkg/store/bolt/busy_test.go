package bolt

import (
	"errors"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Open waits as long as it is told to itself, and what comes after as long as
// all others.
func TestOpenTimeout(t *testing.T) {
	path := newPath(t)
	holder := open(t, Options{Path: path, Exclusive: true})
	o := Options{Path: path, LockTimeout: time.Hour, OpenTimeout: 20 * time.Millisecond}
	if _, err := Open(o); !errors.Is(err, ErrBusy) || !errors.Is(err, token.ErrCannotTell) {
		t.Fatalf("Open of a file that is held returned %v", err)
	}
	must(t, holder.Close())
	s := open(t, o)

	holder = open(t, Options{Path: path, Exclusive: true})
	done := make(chan error)
	go func() { done <- s.View(background, func(store.Reader) error { return nil }) }()
	select {
	case err := <-done:
		t.Errorf("View did not wait: %v", err)
	case <-time.After(100 * time.Millisecond): // five times as long as Open would have
	}
	must(t, holder.Close())
	must(t, <-done)
}
