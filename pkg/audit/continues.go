package audit

import (
	"bytes"
	"errors"

	"github.com/tokenctl/tokenctl/pkg/store"
)

// Continues says whether the log of later begins with the whole log of earlier:
// whether one is an older state of the other. after is the number of the last
// entry that both have.
func (l *Log) Continues(later, earlier store.Reader) (after uint64, ok bool, err error) {
	head, _, err := readAnchor(earlier, headKind, l.writer)
	if errors.Is(err, store.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	// An entry holds the link of the chain up to it: one that is the same stands
	// on the same past.
	key := entryKey(l.writer, head.seq)
	old, err := earlier.Get(key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, false, err
	}
	old = bytes.Clone(old)
	now, err := later.Get(key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, false, err
	}
	return head.seq, old != nil && bytes.Equal(old, now), nil
}
