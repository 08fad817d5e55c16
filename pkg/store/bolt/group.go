package bolt

import (
	"context"
	"runtime"
	"slices"
	"sync"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// batchWrites ends the collecting for one commit: 100 Updates of ten writes
// fit, and the first of them does not wait for ever.
const batchWrites = 1000

// group lets Updates that come together share a commit, whose two fsyncs are
// nearly all that a small one costs. There is no one who collects and no
// delay: the batch is a baton that goes from Update to Update, each runs its
// own fn in its own goroutine (a panic stays at home), and who finds nobody
// waiting commits for all. Those who come while a commit runs are the next
// batch.
type group struct {
	mu    sync.Mutex
	busy  bool // somebody has the baton
	queue []*call
}

// call is one Update.
type call struct {
	wake chan *batch // the baton, and later nil when the outcome is known
	err  error
	seen bool // it saw uncommitted writes of others
}

// join runs an Update in the batch that comes by next.
func (s *Store) join(ctx context.Context, fn func(store.Writer) error) error {
	c := &call{wake: make(chan *batch, 1)}
	b, err := s.group.wait(ctx, c)
	if err != nil {
		return err
	}
	if b == nil {
		b = s.newBatch()
	}
	func() {
		defer s.pass(b) // also when fn panics
		b.calls = append(b.calls, c)
		c.seen = b.writes > 0
		c.err = b.run(fn)
	}()
	<-c.wake
	return c.err
}

func (s *Store) newBatch() *batch { return &batch{store: s, file: s.file} }

// wait returns the baton, nil for a new one, or an error when the context ends
// before.
func (g *group) wait(ctx context.Context, c *call) (*batch, error) {
	g.mu.Lock()
	if !g.busy {
		g.busy = true
		g.mu.Unlock()
		return nil, nil
	}
	g.queue = append(g.queue, c)
	g.mu.Unlock()
	select {
	case b := <-c.wake:
		return b, nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	i := slices.Index(g.queue, c)
	if i >= 0 {
		g.queue = slices.Delete(g.queue, i, i+1)
	}
	g.mu.Unlock()
	if i >= 0 {
		return nil, ended(ctx)
	}
	return <-c.wake, nil // it is on its way
}

// take returns who waits longest, or nil. With last, nobody waiting ends the
// group's being busy.
func (g *group) take(last bool) *call {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) == 0 {
		g.busy = !last
		return nil
	}
	c := g.queue[0]
	g.queue[0] = nil
	g.queue = g.queue[1:]
	return c
}

// pass hands the baton on, or commits and gives everybody the outcome.
func (s *Store) pass(b *batch) {
	if b.writes < batchWrites {
		next := s.group.take(false)
		if next == nil {
			// Those whom the last commit has just woken get their chance to
			// come back: 100 goroutines with 2,000 Updates share 21 commits, 25
			// without this. It costs a lonely Update 0.2 µs.
			runtime.Gosched()
			next = s.group.take(false)
		}
		if next != nil {
			next.wake <- b
			return
		}
	}
	err := b.commit()
	for _, c := range b.calls {
		switch {
		case err == nil:
		case c.err == nil:
			c.err = err
		case c.seen:
			c.err = token.Errorf(token.ErrCannotTell, "nothing was changed, and what was read is unsure: %v", err)
		}
		c.wake <- nil
	}
	if next := s.group.take(true); next != nil {
		next.wake <- s.newBatch()
	}
}
