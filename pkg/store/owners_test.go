package store_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// The walk names who has a token that lives, once, over the borders of its
// pages, and nobody of another realm.
func TestWalkOwners(t *testing.T) {
	both(t, func(t *testing.T, s store.Store) {
		var want []string
		n := 0
		add := func(w store.Writer, o token.Owner, tokens int, end bool) error {
			n += tokens
			return addTokens(w, o, n, tokens, end)
		}
		for from := 0; from < 2600; from += 20 {
			update(t, s, func(w store.Writer) error {
				for i := from; i < from+20; i++ {
					o := token.Owner{Realm: "corp", Name: fmt.Sprintf("u%04d", i)}
					if err := add(w, o, 1, true); err != nil {
						return err
					}
					if i%3 == 0 || i > 1000 && i < 1100 { // a page of nobody
						continue
					}
					if err := add(w, o, i%4+1, false); err != nil {
						return err
					}
					a := token.Account{Owner: o}
					if i%5 == 0 {
						a.Kind, a.EntryID = token.Person, fmt.Sprint("entry", i)
						if err := store.Accounts.Put(w, a); err != nil {
							return err
						}
					}
					want = append(want, o.String()+" "+a.EntryID)
				}
				return nil
			})
		}
		update(t, s, func(w store.Writer) error {
			for _, o := range []token.Owner{alice, {Realm: "corp2", Name: "x"}, {Realm: "cor", Name: "px"}, {Realm: "z", Name: "corp"}} {
				if err := add(w, o, 1, false); err != nil {
					return err
				}
			}
			return nil
		})
		var got []string
		for a, err := range store.WalkOwners(background, s, "corp", at(50)) {
			must(t, err)
			got = append(got, a.Owner.String()+" "+a.EntryID)
			view(t, s, func(store.Reader) error { return nil }) // the body may use the store
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		for a, err := range store.WalkOwners(background, s, "corp", at(100)) {
			t.Fatalf("%v (%v) has tokens when all have expired", a.Owner, err)
		}
	})
}

// addTokens gives an owner tokens with ids up to n, which live until at(100),
// or end at(10).
func addTokens(w store.Writer, o token.Owner, n, tokens int, end bool) error {
	for i := range tokens {
		rec := refreshToken(0, o, "")
		rec.CreatedAt = at(0)
		rec.ID, rec.ExpiresAt = tokenID(rec.CreatedAt, n-i), at(100)
		if end {
			rec.ExpiresAt = at(10)
		}
		if err := store.PutToken(w, nil, &rec); err != nil {
			return err
		}
	}
	return nil
}
