package authority

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// write changes the store. After an outcome that nobody knows a store takes no
// more changes: a server must begin anew, and [Local.Run] ends.
func (l *Local) write(ctx context.Context, fn func(store.Writer) error) error {
	err := l.store.Update(ctx, fn)
	if errors.Is(err, store.ErrOutcomeUnknown) {
		select {
		case l.unsure <- err:
		default:
		}
	}
	return err
}

// Ready says whether questions can be answered: the store can be read, the key
// file belongs to it, and there is a key to sign with.
func (l *Local) Ready(ctx context.Context) error {
	return l.view(ctx, func(r store.Reader) error {
		keys, err := l.signer.List(r)
		if err == nil && len(keys) == 0 {
			err = errNoSigningKey
		}
		return err
	})
}

// noted is what a serving process keeps in memory until it is written in one
// go: a request must not cost a write, and a flood of refusals not the disk.
type noted struct {
	mu       sync.Mutex
	uses     map[token.ID]token.Use
	refusals map[whose]*refusals
	urgent   chan struct{} // has room for one
}

// whose are the refusals that share what the log has room for: those of one
// caller, or of all whom nobody knows. So none crowds out another's.
type whose struct {
	action string
	actor  token.Owner
}

// refusals are some of them, to be written, and the number of the rest.
type refusals struct {
	entries []audit.Entry
	spent   int // of the room, since the last tick
	more    int
}

// The actions of refusals in the audit log.
const (
	credentialRefused = "credential.refused"
	accessRefused     = "access.refused"
)

// room is how many refusals go into the audit log one by one in half a minute,
// for callers who are known of each. The rest is counted.
var room = map[string]int{credentialRefused: 100, accessRefused: 10, tokenReused: 100}

// callersKept and usesKept bound the memory. What is beyond is not noted.
const (
	callersKept = 1 << 12
	usesKept    = 1 << 17
)

// use notes a last use, to the precision that is promised, and returns when
// the one that is noted was.
func (n *noted) use(id token.ID, u token.Use) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.uses == nil {
		n.uses = map[token.ID]token.Use{}
	}
	was, has := n.uses[id]
	if has && u.At.Sub(was.At) < usePrecision {
		return was.At
	}
	if has || len(n.uses) < usesKept {
		n.uses[id] = u
	}
	return u.At
}

// lastUse is the later of a use that is noted and one that was read.
func (n *noted) lastUse(id token.ID, read token.Use) token.Use {
	n.mu.Lock()
	defer n.mu.Unlock()
	if u, has := n.uses[id]; has && u.At.After(read.At) {
		return u
	}
	return read
}

func (n *noted) refusal(e audit.Entry, urgent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	who := whose{e.Action, e.Actor}
	r := n.refusals[who]
	if r == nil {
		if len(n.refusals) == callersKept {
			return
		}
		if n.refusals == nil {
			n.refusals = map[whose]*refusals{}
		}
		r = &refusals{}
		n.refusals[who] = r
	}
	if r.spent == room[e.Action] {
		r.more++
		return
	}
	r.spent++
	r.entries = append(r.entries, e)
	if urgent {
		select {
		case n.urgent <- struct{}{}:
		default:
		}
	}
}

// take empties the memory. Only a tick tells how many refusals were counted,
// and makes room for more.
func (n *noted) take(now time.Time, tick bool) (uses map[token.ID]token.Use, entries []audit.Entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	uses, n.uses = n.uses, nil
	for who, r := range n.refusals {
		entries = append(entries, r.entries...)
		if r.entries = nil; !tick {
			continue
		}
		if r.more > 0 {
			entries = append(entries, audit.Entry{Time: now, Action: who.action, Actor: who.actor, Detail: fmt.Sprintf("and %d more", r.more)})
		}
		delete(n.refusals, who)
	}
	slices.SortStableFunc(entries, func(a, b audit.Entry) int { return a.Time.Compare(b.Time) })
	return uses, entries
}

// noteRefusal samples credentials that were presented and refused.
func (l *Local) noteRefusal(err error, from string) {
	var no *Refusal
	if !l.serving || !errors.As(err, &no) {
		return
	}
	l.noted.refusal(audit.Entry{Time: l.clock(), Action: credentialRefused, Token: no.Token, Reason: string(no.Reason), Source: from}, false)
}

// denied notes that a caller, who is known, asked for what they may not do.
func (s *session) denied(err error) error {
	if s.serving && errors.Is(err, errDenied) {
		var e *token.Error
		errors.As(err, &e)
		s.noted.refusal(audit.Entry{
			Time: s.clock(), Actor: s.caller.Owner, Via: s.caller.Via, Source: s.caller.From, Action: accessRefused, Detail: e.Message,
		}, true)
	}
	return err
}

// Run does what a process has to do that alone has the store: it writes what
// was noted in memory, removes what is kept no longer, and delivers to other
// systems. It returns when ctx has ended and everything is written, or with an
// error when the store takes no more changes.
func (l *Local) Run(ctx context.Context) error {
	delivering, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { l.deliverer.Run(delivering) })
	defer group.Wait()
	defer stop()
	tick := time.NewTicker(usePrecision)
	defer tick.Stop()
	for {
		ticked := false
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return l.flush(last, true)
		case err := <-l.unsure:
			return token.Errorf(token.ErrCannotTell, "the store may have lost a change and takes no more: %w", err).
				WithHint("look at the disk, and start again: what was acknowledged is there")
		case <-tick.C:
			ticked = true
			l.maintainAll(ctx)
		case <-l.noted.urgent:
			select { // more may follow
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
		if err := l.flush(ctx, ticked); err != nil && ctx.Err() == nil {
			l.warn(err)
		}
	}
}

func (l *Local) maintainAll(ctx context.Context) {
	for ctx.Err() == nil {
		more, err := l.Maintain(ctx)
		if err != nil && ctx.Err() == nil {
			l.warn(err)
		}
		if !more || err != nil {
			return
		}
	}
}

// flush writes what was noted. What cannot be written is lost: it changes no
// answer.
func (l *Local) flush(ctx context.Context, tick bool) error {
	uses, entries := l.noted.take(l.clock(), tick)
	return errors.Join(l.flushUses(ctx, uses), l.flushRefusals(ctx, entries), l.flushAttempts(ctx))
}

func (l *Local) flushUses(ctx context.Context, uses map[token.ID]token.Use) error {
	ids := slices.SortedFunc(maps.Keys(uses), token.ID.Compare)
	for batch := range slices.Chunk(ids, l.store.Limit()/2) {
		err := l.write(ctx, func(w store.Writer) error {
			for _, id := range batch {
				// A use of a token that is gone would never be removed.
				if _, err := store.GetToken(w, id); errors.Is(err, store.ErrNotFound) {
					continue
				} else if err != nil {
					return err
				}
				if err := store.PutUse(w, id, uses[id]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return token.Errorf(token.ErrCannotTell, "last uses could not be noted: %w", err)
		}
	}
	return nil
}

func (l *Local) flushRefusals(ctx context.Context, entries []audit.Entry) error {
	for batch := range slices.Chunk(entries, auditBatch) {
		if err := l.write(ctx, func(w store.Writer) error { return l.log.Append(w, batch...) }); err != nil {
			return token.Errorf(token.ErrCannotTell, "refusals could not be noted: %w", err)
		}
	}
	return nil
}

// auditBatch is how many entries one Update appends.
const auditBatch = 1000
