package audit

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Filter chooses entries. Every field that is set must match; the zero Filter
// matches all.
type Filter struct {
	Since  time.Time // from, inclusive
	Until  time.Time // to, exclusive
	Actor  token.Owner
	Owner  token.Owner
	Action string // what the action begins with: "token.", "token.generate"
	Token  token.ID
	After  uint64 // only entries with a greater Seq: the cursor of a list in pages
	Last   int    // only the newest so many of those that match; 0: all
}

// Match says whether an entry is chosen; Last does not count here.
func (f *Filter) Match(e *Entry) bool {
	return e.Seq > f.After &&
		(f.Since.IsZero() || !e.Time.Before(f.Since)) &&
		(f.Until.IsZero() || e.Time.Before(f.Until)) &&
		(f.Actor.IsZero() || e.Actor == f.Actor) &&
		(f.Owner.IsZero() || e.Owner == f.Owner) &&
		strings.HasPrefix(e.Action, f.Action) &&
		(f.Token.IsZero() || e.Token == f.Token)
}

// pageSize is how many entries one View reads.
const pageSize = 256

// List yields the entries of all writers, oldest first: each writer's in the
// order of its chain, the writers' merged by time. It reads page by page, so
// the loop's body may use the store, and with Last from the end backwards, no
// further than it must. It believes what it reads: only [Log.Verify] checks
// the chain. An error is yielded last, alone.
func (l *Log) List(ctx context.Context, s store.Store, f Filter) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		heads, err := readHeads(ctx, s)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		chains := make([]iter.Seq2[Entry, error], len(heads))
		for i, head := range heads {
			if f.Last == 0 {
				chains[i] = forwards(ctx, s, head.writer, &f)
				continue
			}
			newest, err := backwards(ctx, s, head, &f)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			chains[i] = sequence(newest)
		}
		if f.Last == 0 {
			merge(chains)(yield)
			return
		}
		var all []Entry
		for e := range merge(chains) { // of slices: no errors
			all = append(all, e)
		}
		sequence(all[max(len(all)-f.Last, 0):])(yield)
	}
}

// readHeads finds the writers by the heads of their chains; it does not check
// these, so that also a broken log can be read.
func readHeads(ctx context.Context, s store.Store) ([]anchor, error) {
	var heads []anchor
	err := s.View(ctx, func(r store.Reader) error {
		heads = nil
		var writers []string
		for e, err := range r.Scan(anchorsPrefix().Text(headKind), nil) {
			if err != nil {
				return err
			}
			_, writer, err := readAnchorKey(e.Key)
			if err != nil {
				return err
			}
			writers = append(writers, writer)
		}
		for _, writer := range writers {
			head, _, err := readAnchor(r, headKind, writer)
			if err != nil {
				return err
			}
			heads = append(heads, head)
		}
		return nil
	})
	return heads, err
}

func forwards(ctx context.Context, s store.Store, writer string, f *Filter) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for kv, err := range store.PagesAfter(ctx, s, entryPrefix(writer), entryKey(writer, f.After), pageSize) {
			var e Entry
			if err == nil {
				e, _, err = readEntry(kv.Key, kv.Value)
			}
			if err == nil && !f.Match(&e) {
				continue
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// backwards reads a chain from its head, block by block, until enough entries
// match or none are left.
func backwards(ctx context.Context, s store.Store, head anchor, f *Filter) ([]Entry, error) {
	var found []Entry
	for end := head.seq; end > 0 && len(found) < f.Last; {
		start := end - min(end, pageSize) // the block is (start, end]
		var block []Entry
		empty := true
		err := s.View(ctx, func(r store.Reader) error {
			block, empty = nil, true
			for kv, err := range r.Scan(entryPrefix(head.writer), entryKey(head.writer, start)) {
				if err != nil {
					return err
				}
				e, _, err := readEntry(kv.Key, kv.Value)
				if err != nil {
					return err
				}
				if e.Seq > end {
					break
				}
				empty = false
				if f.Match(&e) {
					block = append(block, e)
				}
			}
			return ctx.Err()
		})
		if err != nil {
			return nil, err
		}
		if empty { // pruned up to here
			break
		}
		found = append(block, found...)
		end = start
	}
	return found[max(len(found)-f.Last, 0):], nil
}

func sequence(entries []Entry) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// merge yields, of the first entries of all chains, always the oldest.
func merge(chains []iter.Seq2[Entry, error]) iter.Seq2[Entry, error] {
	if len(chains) == 1 {
		return chains[0]
	}
	return func(yield func(Entry, error) bool) {
		type chain struct {
			next func() (Entry, error, bool)
			e    Entry
		}
		var open []*chain
		for _, seq := range chains {
			next, stop := iter.Pull2(seq)
			defer stop()
			open = append(open, &chain{next: next})
		}
		advance := func(c *chain) (more bool, err error) {
			c.e, err, more = c.next()
			return more, err
		}
		var failed error
		open = slices.DeleteFunc(open, func(c *chain) bool {
			more, err := advance(c)
			failed = errors.Join(failed, err)
			return !more
		})
		for failed == nil && len(open) > 0 {
			oldest := 0
			for i, c := range open {
				if c.e.Time.Before(open[oldest].e.Time) {
					oldest = i
				}
			}
			if !yield(open[oldest].e, nil) {
				return
			}
			var more bool
			if more, failed = advance(open[oldest]); !more {
				open = slices.Delete(open, oldest, oldest+1)
			}
		}
		if failed != nil {
			yield(Entry{}, failed)
		}
	}
}
