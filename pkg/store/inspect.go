package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// Finding is one thing that [Inspect] came by: a token's record, an entry of
// an index, or a problem.
type Finding struct {
	Token   *token.Record
	Index   bool
	Problem string // what is wrong with the entry
}

// Inspect reads the record of every token; deep, also every index both ways:
// each token stands in the indexes where it must, and each entry of an index
// leads to a token that belongs there. Of accounts, connections, policy and
// keys, which have no indexes, deep checks the checksums. The clock says which tokens live, and so
// must hold their slots. Damage is a finding; an error says that the store
// could not be read.
func Inspect(ctx context.Context, s Store, deep bool, now func() time.Time) iter.Seq2[Finding, error] {
	return func(yield func(Finding, error) bool) {
		walks := []func() iter.Seq2[Finding, error]{func() iter.Seq2[Finding, error] { return inspectTokens(ctx, s, deep, now) }}
		if deep {
			for _, table := range []byte{tableOwners, tableSlots, tableService, tableEnds, tableUses} {
				walks = append(walks, func() iter.Seq2[Finding, error] { return inspectIndex(ctx, s, table) })
			}
			walks = append(walks, func() iter.Seq2[Finding, error] { return inspect(ctx, s, tableConfig, inspectConfig) })
		}
		for _, walk := range walks {
			for f, err := range walk() {
				if f == (Finding{}) && err == nil {
					continue
				}
				if !yield(f, err) || err != nil {
					return
				}
			}
		}
	}
}

// inspectPage is how many entries are looked at in one transaction.
const inspectPage = 1024

// inspect looks at each entry of a table in a snapshot of its own page.
func inspect(ctx context.Context, s Store, table byte, look func(Reader, Entry) Finding) iter.Seq2[Finding, error] {
	return func(yield func(Finding, error) bool) {
		var after []byte
		for {
			var found []Finding
			err := s.View(ctx, func(r Reader) error {
				found = found[:0]
				for e, err := range r.Scan(NewKey(table), after) {
					if err != nil {
						return err
					}
					found = append(found, look(r, e))
					after = append(after[:0:0], e.Key...)
					if len(found) == inspectPage {
						break
					}
				}
				return ended(ctx)
			})
			if err != nil {
				yield(Finding{}, err)
				return
			}
			for _, f := range found {
				if !yield(f, nil) {
					return
				}
			}
			if len(found) < inspectPage {
				return
			}
		}
	}
}

func inspectTokens(ctx context.Context, s Store, deep bool, now func() time.Time) iter.Seq2[Finding, error] {
	return inspect(ctx, s, tableTokens, func(r Reader, e Entry) Finding {
		var d Decoder
		var rec token.Record
		if err := d.token(e, &rec); err != nil {
			return Finding{Problem: err.Error()}
		}
		if !deep {
			return Finding{Token: &rec}
		}
		if missing := missingIndex(r, &rec, now()); missing != nil {
			return Finding{Problem: fmt.Sprintf("token %s: %v", rec.ID, missing)}
		}
		return Finding{Token: &rec}
	})
}

// missingIndex says which entry that a token must have is not there. The slot
// of a token that has ended may be free, or have passed to a successor.
func missingIndex(r Reader, rec *token.Record, now time.Time) error {
	for _, key := range indexKeys(rec) {
		if _, err := r.Get(key); errors.Is(err, ErrNotFound) {
			return fmt.Errorf("no index entry %x", []byte(key))
		} else if err != nil {
			return err
		}
	}
	if !rec.Live(now) {
		return nil
	}
	for _, key := range slotKeys(rec) {
		holder, err := r.Get(key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if string(holder) != string(rec.ID[:]) {
			return fmt.Errorf("it lives, and index entry %x is not its own", []byte(key))
		}
	}
	return nil
}

// indexKeys are the entries of indexes that a token has as long as it is
// there.
func indexKeys(rec *token.Record) []Key {
	keys := []Key{NewKey(tableOwners).Owner(rec.Owner).ID(rec.ID)}
	if t := End(rec); !t.IsZero() {
		keys = append(keys, NewKey(tableEnds).Time(t).ID(rec.ID))
	}
	return keys
}

func inspectIndex(ctx context.Context, s Store, table byte) iter.Seq2[Finding, error] {
	return inspect(ctx, s, table, func(r Reader, e Entry) Finding {
		id, err := indexedID(table, e)
		if err != nil {
			return Finding{Index: true, Problem: fmt.Sprintf("index entry %x: %v", e.Key, err)}
		}
		rec, err := GetToken(r, id)
		if errors.Is(err, ErrNotFound) {
			return Finding{Index: true, Problem: fmt.Sprintf("index entry %x leads to token %s, which is not there", e.Key, id)}
		}
		if err != nil {
			return Finding{Index: true} // found with the token itself
		}
		if table == tableUses {
			_, err = GetUse(r, id)
		} else if !belongs(e.Key, &rec) {
			err = fmt.Errorf("it does not belong to token %s", id)
		}
		if err != nil {
			return Finding{Index: true, Problem: fmt.Sprintf("index entry %x: %v", e.Key, err)}
		}
		return Finding{Index: true}
	})
}

// inspectConfig checks that a record of any table was written under its key;
// what the versions of all these tables are is not known here.
func inspectConfig(_ Reader, e Entry) Finding {
	var d Decoder
	if err := d.open(e.Key, e.Value, math.MaxUint8); err != nil {
		return Finding{Problem: err.Error()}
	}
	return Finding{}
}

// indexedID is the id that an entry of an index leads to.
func indexedID(table byte, e Entry) (id token.ID, err error) {
	from := e.Value
	if table == tableOwners || table == tableEnds || table == tableUses {
		if len(e.Key) < len(id) {
			return id, ErrDamaged
		}
		from = e.Key[len(e.Key)-len(id):]
	}
	if len(from) != len(id) {
		return id, ErrDamaged
	}
	copy(id[:], from)
	return id, nil
}

// belongs says whether an entry may lead to a token.
func belongs(key []byte, rec *token.Record) bool {
	keys := indexKeys(rec)
	if rec.RevokedAt.IsZero() {
		keys = append(keys, slotKeys(rec)...)
	}
	for _, k := range keys {
		if string(k) == string(key) {
			return true
		}
	}
	return false
}

// Count counts the entries of a table.
func Count(ctx context.Context, s Store, table byte) (n int, err error) {
	for _, err := range Pages(ctx, s, NewKey(table), 4096) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
