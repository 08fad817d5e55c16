// Package memory is a [store.Store] that ends with the process: for tests, and
// for trying things out.
package memory

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

const (
	// limit and maxKey are those of the bolt store, so that what works here
	// works there.
	limit  = 5000
	maxKey = 32768
)

// Store is a sorted tree that is never changed: an Update makes a new one that
// shares most of it, and puts it in the old one's place. So a View needs no
// lock, and nobody waits for a reader.
type Store struct {
	now  atomic.Pointer[version]
	turn chan struct{} // holds one element while an Update runs

	mu     sync.Mutex // guards closed, and active from rising after it
	closed bool
	active sync.WaitGroup
}

// version is one state of the store. Number and content change as one, so
// Generation needs no time in which it must not answer.
type version struct {
	root   *node
	number uint64
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	s := &Store{turn: make(chan struct{}, 1)}
	s.now.Store(&version{})
	return s
}

// View implements [store.Store].
func (s *Store) View(ctx context.Context, fn func(store.Reader) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.active.Done()
	r := &reader{root: s.now.Load().root}
	defer r.end()
	return fn(r)
}

// Update implements [store.Store].
func (s *Store) Update(ctx context.Context, fn func(store.Writer) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.active.Done()
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ended(ctx)
	}
	defer func() { <-s.turn }()
	old := s.now.Load()
	w := &writer{reader: reader{root: old.root}}
	defer w.end()
	if err := fn(w); err != nil {
		return err
	}
	if w.failed != nil {
		return w.failed
	}
	if w.writes > 0 {
		s.now.Store(&version{w.root, old.number + 1})
	}
	return nil
}

// Limit implements [store.Store].
func (s *Store) Limit() int { return limit }

// Generation implements [store.Store].
func (s *Store) Generation() (uint64, bool) { return s.now.Load().number, true }

// Close implements [store.Store]. The content is gone.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.active.Wait()
	s.now.Store(&version{number: s.now.Load().number})
	return nil
}

func (s *Store) enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return token.Errorf(token.ErrCannotTell, "the store is closed")
	}
	s.active.Add(1)
	return nil
}

func ended(ctx context.Context) error {
	return token.Errorf(token.ErrCannotTell, "the store was not asked: %w", ctx.Err())
}

type reader struct {
	root  *node
	ended bool
	scans int // loops under way
}

func (r *reader) end() { r.ended = true }

func (r *reader) Get(key []byte) ([]byte, error) {
	if r.ended {
		return nil, errEnded
	}
	if n := r.root.find(key); n != nil {
		return n.value, nil
	}
	return nil, store.ErrNotFound
}

func (r *reader) Scan(prefix, after []byte) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		if r.ended {
			yield(store.Entry{}, errEnded)
			return
		}
		r.scans++
		defer func() { r.scans-- }()
		r.root.walk(prefix, after, func(n *node) bool {
			return yield(store.Entry{Key: n.key, Value: n.value}, nil)
		})
	}
}

type writer struct {
	reader
	writes int
	failed error // the first write that failed: the Update fails with it
}

func (w *writer) Put(key, value []byte) error {
	var err error
	switch {
	case len(key) == 0:
		err = token.Errorf(token.ErrUsage, "a write with an empty key")
	case len(key) > maxKey:
		err = token.Errorf(token.ErrUsage, "a key of %d bytes, more than %d", len(key), maxKey)
	}
	if err := w.admit(err); err != nil {
		return err
	}
	w.root = w.root.put(newNode(key, value))
	return nil
}

func (w *writer) Delete(key []byte) error {
	if err := w.admit(nil); err != nil {
		return err
	}
	if w.root.find(key) != nil {
		w.root = w.root.delete(key)
	}
	return nil
}

// admit counts a write, unless err or the state of the transaction forbids it.
func (w *writer) admit(err error) error {
	switch {
	case w.ended:
		return errEnded
	case w.scans > 0:
		err = token.Errorf(token.ErrUsage, "a write inside the loop over a Scan")
	case w.writes == limit:
		err = token.Errorf(token.ErrUsage, "more than %d writes in one transaction", limit)
	}
	if err == nil {
		w.writes++
	} else if w.failed == nil {
		w.failed = err
	}
	return err
}

var errEnded error = token.Errorf(token.ErrUsage, "a transaction used after its end")
