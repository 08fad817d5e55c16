package provision

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Run delivers what comes, what comes back, and what is due by time.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memory.New(), newSystem("a", 1), newSystem("b", 2))
		w.tick = true
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan bool)
		go func() { w.Run(ctx); close(ended) }()
		id := w.generate(alice, "imap", "v", func(r *token.Record) { r.ExpiresAt = time.Now().Add(24 * time.Hour) })
		w.Wake()
		synctest.Wait()
		w.has(id, "v")

		a, b := w.systems[0], w.systems[1]
		a.set(token.Errorf(token.ErrCannotTell, "it is down"), nil)
		w.change(id, suspend(time.Time{}))
		w.Wake()
		time.Sleep(time.Hour)
		if a.values(id) != "v" || b.values(id) != "" || len(a.told()) < 10 || len(a.told()) > 30 {
			t.Errorf("a has %q after %d attempts, b %q", a.values(id), len(a.told()), b.values(id))
		}
		a.set(nil, nil)
		time.Sleep(MaxBackoff + 2*time.Second)
		w.has(id, "")

		w.change(id, resume)
		time.Sleep(longestWait) // nobody woke it
		w.has(id, "v")
		time.Sleep(24*time.Hour - 3*time.Hour)
		w.has(id, "v")
		time.Sleep(3 * time.Hour)
		w.has(id, "")

		// Stopped in the midst of an attempt: due at once.
		a.set(nil, func(ctx context.Context, _ Event) error { <-ctx.Done(); return ctx.Err() })
		other := w.generate(alice, "smtp", "v")
		w.Wake()
		time.Sleep(time.Second)
		cancel()
		<-ended
		if s := w.state(other); s.Due.After(time.Now()) || s.Attempts != 0 || !s.LeasedUntil.IsZero() {
			t.Errorf("after the stop: %+v", s)
		}
		a.set(nil, nil)
		w.deliver()
		w.has(other, "v")
	})
}

// A provisioner that hangs is cut off, and keeps others waiting for no longer
// than that, and not again and again.
func TestHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down, up := newSystem("down", 0), newSystem("up", 0)
		w := newWorld(t, memory.New(), down)
		w.tick = true
		down.set(nil, func(ctx context.Context, _ Event) error { <-ctx.Done(); return ctx.Err() })
		for i := range 100 {
			w.generate(alice, fmt.Sprint("imap", i), "v")
		}
		w.systems = []*system{up}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w.Provisioners = append(w.Provisioners, up)
		go w.Run(ctx)
		time.Sleep(5 * time.Second)
		id := w.generate(alice, "other", "v")
		w.Wake()
		time.Sleep(ApplyTimeout)
		w.has(id, "v")
		before := len(down.told())
		time.Sleep(10 * time.Minute)
		if n := len(down.told()) - before; n > 60 {
			t.Errorf("%d attempts in 10 minutes", n)
		}
		down.set(nil, nil)
		time.Sleep(MaxBackoff + time.Minute)
		if n := down.delivered(); n != 100 {
			t.Errorf("%d delivered when it was up again", n)
		}
	})
}
