package store_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func TestTable(t *testing.T) {
	s := memory.New()
	owners := []token.Owner{{Realm: "corp", Name: "b"}, {Realm: "corp", Name: "a"}, {Realm: "corp2", Name: "a"}, {Realm: "cor", Name: "pa"}, {Realm: "corp", Name: "a\x00"}}
	update(t, s, func(w store.Writer) error {
		for i, o := range owners {
			if err := store.Accounts.Put(w, token.Account{Owner: o, Revision: uint64(i)}); err != nil {
				return err
			}
		}
		return errors.Join(store.Connections.Put(w, token.Connection{Name: "corp"}), store.Policies.Put(w, token.DefaultPolicy()))
	})
	names := func(realm ...string) (found []string) {
		view(t, s, func(r store.Reader) error {
			found = nil
			for a, err := range store.Accounts.Scan(r, realm...) {
				must(t, err)
				found = append(found, a.Owner.String())
			}
			return nil
		})
		var paged []string
		for a, err := range store.Accounts.Pages(background, s, realm...) {
			must(t, err)
			paged = append(paged, a.Owner.String())
			update(t, s, func(w store.Writer) error { return store.Accounts.Put(w, a) }) // the loop's body may write
		}
		if !slices.Equal(found, paged) {
			t.Errorf("Scan gives %q, Pages %q", found, paged)
		}
		return found
	}
	if got, want := names(), []string{"cor/pa", "corp/a", "corp/a\x00", "corp/b", "corp2/a"}; !slices.Equal(got, want) {
		t.Errorf("all accounts are %q", got)
	}
	if got, want := names("corp"), []string{"corp/a", "corp/a\x00", "corp/b"}; !slices.Equal(got, want) {
		t.Errorf("the accounts of corp are %q", got)
	}
	if got := names("none"); got != nil {
		t.Errorf("the accounts of none are %q", got)
	}

	view(t, s, func(r store.Reader) error {
		for i, o := range owners {
			if a, err := store.Accounts.Get(r, o.Realm, o.Name); a.Revision != uint64(i) || err != nil {
				t.Errorf("%+v: %+v, %v", o, a, err)
			}
			if has, err := store.Accounts.Has(r, o.Realm, o.Name); !has || err != nil {
				t.Errorf("%+v is missing, %v", o, err)
			}
		}
		for _, name := range []string{"c", "", "a\x00\x01"} {
			if _, err := store.Accounts.Get(r, "corp", name); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("corp/%q: %v", name, err)
			}
			if has, err := store.Accounts.Has(r, "corp", name); has || err != nil {
				t.Errorf("there is corp/%q, %v", name, err)
			}
		}
		return nil
	})

	// One goes, its neighbours stay.
	update(t, s, func(w store.Writer) error {
		return errors.Join(store.Accounts.Delete(w, "corp", "a"), store.Accounts.Delete(w, "corp", "nobody"))
	})
	if got, want := names("corp"), []string{"corp/a\x00", "corp/b"}; !slices.Equal(got, want) {
		t.Errorf("after one has gone the accounts of corp are %q", got)
	}
}

func TestTablePages(t *testing.T) {
	both(t, func(t *testing.T, s store.Store) {
		const n = 1000
		update(t, s, func(w store.Writer) error {
			for i := range n {
				if err := store.Connections.Put(w, token.Connection{Name: fmt.Sprintf("%04d", i)}); err != nil {
					return err
				}
			}
			return nil
		})
		i := 0
		for c, err := range store.Connections.Pages(background, s) {
			must(t, err)
			if c.Name != fmt.Sprintf("%04d", i) {
				t.Fatalf("record %d is %s", i, c.Name)
			}
			i++
		}
		if i != n {
			t.Errorf("%d records, want %d", i, n)
		}
	})
}

// A damaged record ends a walk, is no missing one, and is not overlooked.
func TestTableDamage(t *testing.T) {
	s := memory.New()
	update(t, s, func(w store.Writer) error {
		for _, name := range []string{"a", "b", "c"} {
			if err := store.Connections.Put(w, token.Connection{Name: name}); err != nil {
				return err
			}
		}
		return w.Put(store.NewKey('c').Text("connection").Text("b"), []byte("garbage"))
	})
	view(t, s, func(r store.Reader) error {
		if _, err := store.Connections.Get(r, "b"); !errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get: %v", err)
		}
		var names []string
		var last error
		for c, err := range store.Connections.Scan(r) {
			names, last = append(names, c.Name), err
		}
		if len(names) != 2 || names[0] != "a" || !errors.Is(last, store.ErrDamaged) {
			t.Errorf("Scan gives %q, %v", names, last)
		}
		return nil
	})
}
