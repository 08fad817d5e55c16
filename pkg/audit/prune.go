package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
)

// pruneBatch keeps a transaction well under 100 ms.
const pruneBatch = 500

// Prune removes entries from before a time, whole chains' beginnings only: it
// goes no further than the first entry that is to stay. It works in batches;
// each leaves, in the transaction that removes, a checkpoint from which the
// chain continues and an entry "audit.prune" of its own, for which by says
// when, who and from where. So it can be stopped anywhere and begun anew.
//
// A chain that is broken there is not pruned, for that would remove what shows
// it: the error wraps [token.ErrCannotTell]. The count of removed entries
// holds in that case too.
func (l *Log) Prune(ctx context.Context, s store.Store, before time.Time, by Entry) (removed int, err error) {
	heads, err := readHeads(ctx, s)
	if err != nil {
		return 0, err
	}
	for _, head := range heads {
		for {
			n, err := l.pruneSome(ctx, s, head, before, by)
			removed += n
			if err != nil {
				return removed, err
			}
			if n == 0 {
				break
			}
		}
	}
	return removed, nil
}

// pruneSome removes one batch, nothing after the given head: what pruning
// itself appends stays.
func (l *Log) pruneSome(ctx context.Context, s store.Store, head anchor, before time.Time, by Entry) (n int, err error) {
	limit := min(pruneBatch, s.Limit()-3) // the checkpoint, the entry, its head
	err = s.Update(ctx, func(w store.Writer) error {
		n = 0
		m := &macs{keys: l.keys}
		from, err := m.anchor(w, checkpointKind, head.writer)
		if errors.Is(err, store.ErrNotFound) {
			from, err = anchor{writer: head.writer}, nil
		}
		if err != nil {
			return err
		}
		to, err := m.walkOld(w, from, head.seq, before, limit)
		if err != nil || to.seq == from.seq {
			return err
		}
		for seq := from.seq + 1; seq <= to.seq; seq++ {
			if err := w.Delete(entryKey(head.writer, seq)); err != nil {
				return err
			}
		}
		if err := m.putAnchor(w, checkpointKind, to); err != nil {
			return err
		}
		n = int(to.seq - from.seq)
		by.Action, by.Object = "audit.prune", head.writer
		by.Detail = fmt.Sprintf("removed entries %d to %d, up to %s", from.seq+1, to.seq, to.time.Format(time.RFC3339))
		return l.Append(w, by)
	})
	if err != nil {
		n = 0
	}
	return n, err
}

// walkOld checks the chain link by link, from one entry to the last that may
// go, at most limit of them.
func (m *macs) walkOld(r store.Reader, from anchor, last uint64, before time.Time, limit int) (to anchor, err error) {
	to = from
	for kv, err := range r.Scan(entryPrefix(from.writer), entryKey(from.writer, from.seq)) {
		if err != nil {
			return to, err
		}
		e, n, err := readEntry(kv.Key, kv.Value)
		if err != nil {
			return to, err
		}
		if e.Seq != to.seq+1 {
			return to, cannotTell(from.writer, "entry %d is missing: nothing is pruned over that", to.seq+1)
		}
		if e.Seq > last || !e.Time.Before(before) || e.Seq-from.seq > uint64(limit) {
			break
		}
		ok, err := m.follows(n, to.mac, from.writer, e.Seq)
		if err != nil {
			return to, err
		}
		if !ok {
			return to, cannotTell(from.writer, "entry %d %w: nothing is pruned over that", e.Seq, errForged)
		}
		to.seq, to.mac, to.time = e.Seq, n.mac, e.Time
	}
	return to, nil
}
