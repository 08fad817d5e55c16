package store_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func TestServiceTokens(t *testing.T) {
	both(t, func(t *testing.T, s store.Store) {
		owners := []token.Owner{alice, bob, {Realm: "corp", Name: "bob"}, {Realm: "cor", Name: "pbob"}, {Realm: "corp", Name: "bob/x\x00"}}
		services := []string{"imap", "imaps", "dav"}
		ids := map[string]token.ID{}
		n := 0
		for _, o := range owners {
			for _, service := range services {
				rec := userToken(n, o)
				rec.Kind, rec.Service = token.Service, service
				ids[o.String()+" "+service] = rec.ID
				update(t, s, func(w store.Writer) error { return store.PutToken(w, nil, &rec) })
				n++
			}
			rec := userToken(n, o)
			update(t, s, func(w store.Writer) error { return store.PutToken(w, nil, &rec) })
			n++
		}
		// A revoked one holds no slot.
		update(t, s, func(w store.Writer) error {
			was, err := store.GetToken(w, ids[bob.String()+" dav"])
			now := was
			now.Bury(at(100), bob, "")
			return errors.Join(err, store.PutToken(w, &was, &now))
		})
		view(t, s, func(r store.Reader) error {
			for _, o := range owners {
				want := []token.ID{ids[o.String()+" dav"], ids[o.String()+" imap"], ids[o.String()+" imaps"]}
				if o == bob {
					want = want[1:]
				}
				if got, err := store.ServiceTokens(r, o); !slices.Equal(got, want) || err != nil {
					t.Errorf("%q has %v, want %v: %v", o, got, want, err)
				}
			}
			for service, want := range map[string]int{"imap": 5, "imaps": 5, "dav": 4, "ima": 0, "": 0} {
				for _, page := range []int{1, 2, 5, 100} {
					var after token.Owner
					seen := map[token.ID]bool{}
					for {
						holders, err := store.ServiceHolders(r, service, after, page)
						must(t, err)
						for _, h := range holders {
							if seen[h.Token] || h.Token != ids[h.Owner.String()+" "+service] {
								t.Errorf("%s: %+v", service, h)
							}
							seen[h.Token], after = true, h.Owner
						}
						if len(holders) < page {
							break
						}
					}
					if len(seen) != want {
						t.Errorf("%s by %d: %d holders, want %d", service, page, len(seen), want)
					}
				}
			}
			return nil
		})
		// What is no id is damage.
		update(t, s, func(w store.Writer) error {
			return w.Put(store.NewKey('s').Text("imap").Owner(alice), []byte("x"))
		})
		view(t, s, func(r store.Reader) error {
			if _, err := store.ServiceHolders(r, "imap", token.Owner{}, 100); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("damage: %v", err)
			}
			return nil
		})
	})
}
