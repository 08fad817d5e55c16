package store

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// walkPage is how many tokens a walk reads in one transaction: enough to make
// the price of a transaction small, little enough to hold in memory (2 MB).
const walkPage = 4096

// WalkTokens yields the tokens that were made in [from, until) (zero: no
// bound), tombstones too, with their last use, but without verifiers and
// status, in the order of their making. It reads page by page: the loop's body
// may use the store. The token is valid until the next one is asked for. Unless
// it is zero, after is an id that the walk begins behind.
func WalkTokens(ctx context.Context, s Store, from, until time.Time, after token.ID) iter.Seq2[*token.Token, error] {
	var w walk
	w.fill = func(r Reader) error { return w.tokens(r, until) }
	// Ids begin with the second of their making: all up to the one before.
	if before := from.Add(-1); before.Unix() >= 0 {
		w.after = NewKey(tableTokens).ID(token.ID{}).lastOf(before)
	}
	if k := NewKey(tableTokens).ID(after); !after.IsZero() && bytes.Compare(k, w.after) > 0 {
		w.after = k
	}
	return w.run(ctx, s)
}

// lastOf replaces the id at the end of a key by the greatest of a second.
func (k Key) lastOf(t time.Time) Key {
	sec := uint32(min(t.Unix(), 1<<32-1))
	at := len(k) - len(token.ID{})
	k[at], k[at+1], k[at+2], k[at+3] = byte(sec>>24), byte(sec>>16), byte(sec>>8), byte(sec)
	for i := at + 4; i < len(k); i++ {
		k[i] = 0xFF
	}
	return k
}

// WalkOwner is [WalkTokens] for all tokens of one owner.
func WalkOwner(ctx context.Context, s Store, o token.Owner, after token.ID) iter.Seq2[*token.Token, error] {
	var w walk
	if !after.IsZero() {
		w.after = NewKey(tableOwners).Owner(o).ID(after)
	}
	w.fill = func(r Reader) error { return w.ownerTokens(r, o) }
	return w.run(ctx, s)
}

// walk reads one page after the other.
type walk struct {
	after Key // the last key that was read
	page  []token.Token
	more  bool
	d     Decoder
	fill  func(Reader) error
}

func (w *walk) run(ctx context.Context, s Store) iter.Seq2[*token.Token, error] {
	first := w.after
	return func(yield func(*token.Token, error) bool) {
		start := first
		for w.more = true; w.more; {
			err := s.View(ctx, func(r Reader) error {
				w.page, w.more, w.d.brief = w.page[:0], false, true
				w.after = append(Key(nil), start...)
				if err := w.fill(r); err != nil {
					return err
				}
				return ended(ctx)
			})
			if err != nil {
				yield(nil, err)
				return
			}
			start = w.after
			for i := range w.page {
				if !yield(&w.page[i], nil) {
					return
				}
			}
		}
	}
}

// from is a copy of where the page begins: after moves on while it is read.
func (w *walk) from() []byte {
	if len(w.after) == 0 {
		return nil
	}
	return slices.Clone(w.after)
}

// grow adds an empty token to the page.
func (w *walk) grow() *token.Token {
	w.page = append(w.page, token.Token{})
	return &w.page[len(w.page)-1]
}

func (w *walk) tokens(r Reader, until time.Time) error {
	after := w.from()
	for e, err := range r.Scan(NewKey(tableTokens), after) {
		if err != nil {
			return err
		}
		if len(w.page) == walkPage {
			w.more = true
			break
		}
		t := w.grow()
		if err := w.d.token(e, &t.Record); err != nil {
			return err
		}
		if !until.IsZero() && !t.CreatedAt.Before(until) {
			w.page = w.page[:len(w.page)-1]
			break
		}
		w.after = append(w.after[:0], e.Key...)
	}
	return w.uses(r, after)
}

// uses joins the last uses to a page of tokens: both tables are in the order
// of ids.
func (w *walk) uses(r Reader, after []byte) error {
	if len(w.page) == 0 {
		return nil
	}
	var from []byte
	if after != nil {
		from = append(NewKey(tableUses), after[1:]...)
	}
	i := 0
	for e, err := range r.Scan(NewKey(tableUses), from) {
		if err != nil {
			return err
		}
		k := ReadKey(e.Key)
		id := k.ID()
		if err := k.Err(); err != nil {
			return err
		}
		for i < len(w.page) && w.page[i].ID.Compare(id) < 0 {
			i++
		}
		if i == len(w.page) {
			return nil
		}
		if w.page[i].ID != id {
			continue
		}
		if err := w.d.open(e.Key, e.Value, useVersion); err != nil {
			return err
		}
		w.page[i].LastUsedAt, w.page[i].LastUsedFrom = w.d.Time(), w.d.String()
		if err := w.d.close(e.Key); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) ownerTokens(r Reader, o token.Owner) error {
	for e, err := range r.Scan(NewKey(tableOwners).Owner(o), w.from()) {
		if err != nil {
			return err
		}
		if len(w.page) == walkPage {
			w.more = true
			break
		}
		k := ReadKey(e.Key)
		k.Text()
		k.Text()
		id := k.ID()
		if err := k.Err(); err != nil {
			return err
		}
		t := w.grow()
		if t.Record, err = GetToken(r, id); err != nil {
			return err
		}
		t.Verifier, t.Previous, t.Undo, t.Replaced, t.Family = nil, nil, nil, nil, nil
		u, err := GetUse(r, id)
		if err != nil {
			return err
		}
		t.LastUsedAt, t.LastUsedFrom = u.At, u.From
		w.after = append(w.after[:0], e.Key...)
	}
	return nil
}

// token decodes a record of the table of tokens.
func (d *Decoder) token(e Entry, rec *token.Record) error {
	if len(e.Key) != 1+len(rec.ID) {
		return fmt.Errorf("%w: key %x of a token", ErrDamaged, e.Key)
	}
	copy(rec.ID[:], e.Key[1:])
	if err := d.open(e.Key, e.Value, tokenVersion); err != nil {
		return err
	}
	decodeToken(d, rec)
	return d.close(e.Key)
}
