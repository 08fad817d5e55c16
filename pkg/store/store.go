// Package store keeps records in a [Store], which knows transactions over
// ordered keys and nothing of tokens. On top of that thin driver stand, once
// for all drivers: the layout of the keys, the compact encoding of records,
// the typed tables and their indexes.
package store

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// ErrNotFound is what [Reader.Get] returns for a key that is not there.
var ErrNotFound = errors.New("key not found")

// ErrOutcomeUnknown is wrapped by an error of [Store.Update] after which
// nobody can say whether the writes are in the store: a failed fsync, a lost
// answer. Any other error of Update means that nothing was written.
var ErrOutcomeUnknown = fmt.Errorf("outcome unknown: %w", token.ErrCannotTell)

// A Store keeps keys in byte order and changes them in transactions. Every
// implementation passes the suite in storetest, which has a test for each
// sentence here. All methods may be called by many goroutines at once.
type Store interface {
	// View calls fn with one consistent snapshot: it sees every Update that
	// had returned before View was called, and nothing of a later one. The
	// error of fn is returned as it is. fn must not call Update on the same
	// store: a long walk reads page by page, each page its own View.
	View(ctx context.Context, fn func(Reader) error) error

	// Update calls fn with a snapshot that it may change. When Update returns
	// nil, everything that fn wrote is durable and visible to each later View;
	// when fn returns an error, nothing of it is, and that error is returned
	// as it is. Two Updates never interleave: what one got still holds when it
	// commits. fn may be called again, after a conflict or because a
	// neighbour in the same commit failed, so it has no effect but its writes,
	// and sets its results anew in every call. fn must not call View or
	// Update.
	//
	// An error that wraps [ErrOutcomeUnknown] says that the writes may or may
	// not have happened; a store that cannot find out takes no more writes.
	Update(ctx context.Context, fn func(Writer) error) error

	// Limit is how many writes one Update may hold. Bulk work goes in
	// idempotent batches of fewer. It is at least 100.
	Limit() int

	// Generation rises with every Update of this process, before its writes
	// can be seen. While two calls give the same number and ok is true, what
	// was read between them still holds: the ground for caches. ok is false
	// for a store that others may change too.
	Generation() (n uint64, ok bool)

	// Close ends the store after the transactions under way. Later calls fail
	// with an error that wraps [token.ErrCannotTell]. Closing twice is no
	// error.
	Close() error
}

// A Reader reads one snapshot. It must not be used after the function that
// it was handed to has returned.
type Reader interface {
	// Get returns the value of a key, or [ErrNotFound]. The bytes are valid
	// until the transaction's function returns (a Writer: until its next Put
	// or Delete) and must not be changed. Within an Update what was got, and
	// what was found missing, guards against concurrent change.
	Get(key []byte) ([]byte, error)

	// Scan yields the entries whose keys begin with prefix and, unless after is
	// nil, are greater than after, in byte order. Entries are valid until the
	// next one is asked for. It guards nothing: uniqueness goes through a key
	// of its own. The loop's body must not write through the same
	// transaction: it collects, and writes afterwards. An error is yielded
	// last, alone.
	Scan(prefix, after []byte) iter.Seq2[Entry, error]
}

// A Writer is a [Reader] that sees its own writes.
type Writer interface {
	Reader
	// Put sets a key. The store keeps copies: both slices may be used again.
	// An empty key is an error; an empty value is kept as empty.
	Put(key, value []byte) error
	// Delete removes a key. One that is not there is no error.
	Delete(key []byte) error
}

// Entry is one key with its value.
type Entry struct{ Key, Value []byte }

// Pages walks the keys below prefix, size entries at a time, each page its own
// View, and yields them outside of any transaction: the loop's body may call
// View and Update on the same store, also when that makes the file grow.
// Entries are valid until the next one is asked for. The walk is not one
// snapshot: what changes behind it is not seen, what changes ahead of it is.
func Pages(ctx context.Context, s Store, prefix []byte, size int) iter.Seq2[Entry, error] {
	return PagesAfter(ctx, s, prefix, nil, size)
}

// ended is the error of a walk whose context has ended.
func ended(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return token.Errorf(token.ErrCannotTell, "the store was not read to the end: %w", ctx.Err())
}

// PagesAfter is [Pages] from the first key greater than after.
func PagesAfter(ctx context.Context, s Store, prefix, after []byte, size int) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		type span struct{ key, value int }
		var arena []byte
		var spans []span
		for {
			err := s.View(ctx, func(r Reader) error {
				arena, spans = arena[:0], spans[:0]
				for e, err := range r.Scan(prefix, after) {
					if err != nil {
						return err
					}
					arena = append(append(arena, e.Key...), e.Value...)
					spans = append(spans, span{len(e.Key), len(e.Value)})
					if len(spans) == size {
						break
					}
				}
				return ended(ctx)
			})
			if err != nil {
				yield(Entry{}, err)
				return
			}
			at := 0
			for _, sp := range spans {
				mid, end := at+sp.key, at+sp.key+sp.value
				if !yield(Entry{arena[at:mid:mid], arena[mid:end:end]}, nil) {
					return
				}
				at = end
			}
			if len(spans) < size {
				return
			}
			last := spans[len(spans)-1]
			after = append([]byte(nil), arena[at-last.key-last.value:at-last.value]...)
		}
	}
}
