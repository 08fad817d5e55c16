package authority_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// over makes the rules over a store and keys, as the file's owner has them. Its
// clock stands still.
func over(s store.Store, k *keyfile.Keys) authority.Service {
	return authority.New(authority.Options{Store: s, Keys: k, Now: func() time.Time { return start }}).As(authority.Caller{Owner: token.Owner{Realm: "local", Name: "root"}, FileOwner: true})
}

func generate(t testing.TB, s authority.Service, spec token.Spec) authority.Issued {
	t.Helper()
	i, err := s.Generate(background, spec)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// everything asks a service for all that it can do, and gives the errors.
func everything(s authority.Service, i authority.Issued) map[string]error {
	id := i.Token.ID
	refs := []token.Ref{{ID: id}}
	bob := token.Account{Owner: token.Owner{Realm: "local", Name: "bob"}}
	second := func(_ any, err error) error { return err }
	return map[string]error{
		"Verify":           second(s.Verify(background, authority.Presented{Credential: i.Secret})),
		"Verify, counting": second(s.Verify(background, authority.Presented{Credential: i.Secret, CountsAsUse: true})),
		"Generate":         second(s.Generate(background, token.Spec{Kind: token.Refresh})),
		"Get":              second(s.Get(background, id)),
		"List":             last(s.List(background, token.Selector{})),
		"List of one":      last(s.List(background, token.Selector{Owner: i.Token.Owner})),
		"Rotate":           second(s.Rotate(background, i.Token.Ref(), authority.Rotation{})),
		"TakeBack":         s.TakeBack(background, i.Token.Ref()),
		"Revoke":           s.Revoke(background, refs, ""),
		"RevokeSecret":     second(s.RevokeSecret(background, i.Secret, "")),
		"Suspend":          s.Suspend(background, refs, start.AddDate(900, 0, 0)),
		"Resume":           s.Resume(background, refs),
		"Delete":           s.Delete(background, refs),
		"Exchange":         second(s.Exchange(background, authority.Exchange{RefreshToken: i.Secret})),
		"Explain":          second(s.Explain(background, i.Secret)),
		"AddAccount":       second(s.AddAccount(background, bob)),
		"Account":          second(s.Account(background, bob.Owner)),
		"ListAccounts":     last(s.ListAccounts(background, "", token.Owner{})),
		"SetAccount":       second(s.SetAccount(background, bob)),
		"DeleteAccount":    s.DeleteAccount(background, bob.Owner),
		"AddConnection":    second(s.AddConnection(background, token.NewConnection("crm"))),
		"Connection":       second(s.Connection(background, "default")),
		"ListConnections":  last(s.ListConnections(background)),
		"SetConnection":    second(s.SetConnection(background, token.NewConnection("default"))),
		"DeleteConnection": s.DeleteConnection(background, "default"),
		"Policy":           second(s.Policy(background)),
		"SetPolicy":        second(s.SetPolicy(background, map[string]string{"retention": "1d"})),
		"WhoAmI":           second(s.WhoAmI(background)),
		"ListKeys":         second(s.ListKeys(background)),
		"RotateSigning":    second(s.RotateSigning(background, token.EdDSA)),
		"RotateKeyFile":    second(s.RotateKeyFile(background)),
		"JWKS":             second(s.JWKS(background)),
		"VerifyAudit":      second(s.VerifyAudit(background)),
		"ListAudit":        lastAudit(s),
		"Stats":            second(s.Stats(background)),
		"Check":            second(s.Check(background, false)),
		"Check, deep":      second(s.Check(background, true)),
	}
}

func last[T any](seq func(func(T, error) bool)) (last error) {
	for _, err := range seq {
		last = err
	}
	return last
}

// cannotTell sees to it that a service has no answer to anything, and that
// this is neither yes nor no.
func cannotTell(t *testing.T, s authority.Service, i authority.Issued) {
	t.Helper()
	for what, err := range everything(s, i) {
		if !errors.Is(err, token.ErrCannotTell) || errors.Is(err, token.ErrRefused) || errors.Is(err, token.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func dump(t *testing.T, s store.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	for e, err := range store.Pages(background, s, nil, 100) {
		if err != nil {
			t.Fatal(err)
		}
		all[string(e.Key)] = string(e.Value)
	}
	return all
}

func TestKeyFileOfAnotherStore(t *testing.T) {
	s := memory.New()
	i := generate(t, over(s, keyfile.New(start)), token.Spec{Kind: token.Refresh})
	before := dump(t, s)
	cannotTell(t, over(s, keyfile.New(start)), i)
	if after := dump(t, s); len(after) != len(before) {
		t.Errorf("the store has %d entries, it had %d", len(after), len(before))
	}
}

// An older copy of the key file lacks a key that the store knows of.
func TestKeyFileWithoutTheLastKey(t *testing.T) {
	s, path := memory.New(), filepath.Join(t.TempDir(), "tokens.key")
	keys, err := keyfile.Create(path, start)
	must(t, err)
	copied, err := os.ReadFile(path)
	must(t, err)
	root := over(s, keys)
	i := generate(t, root, token.Spec{Kind: token.Refresh})
	_, err = root.RotateKeyFile(background)
	must(t, err)
	must(t, os.WriteFile(path, copied, 0o600))
	old, err := keyfile.Open(path)
	must(t, err)
	cannotTell(t, over(s, old), i)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A use hashes the secret with the current key, once, so that the older keys
// may go some day.
func TestUseHashesAnew(t *testing.T) {
	s := memory.New()
	root := over(s, keyfile.New(start))
	for _, kind := range []token.Kind{token.User, token.Refresh} {
		i := generate(t, root, token.Spec{Kind: kind})
		key, err := root.RotateKeyFile(background)
		must(t, err)
		number := func() (number uint32) {
			must(t, s.View(background, func(r store.Reader) error {
				rec, err := store.GetToken(r, i.Token.ID)
				if err == nil {
					number, err = rec.Verifier.KeyNumber()
				}
				return err
			}))
			return number
		}
		use := func() {
			_, err := root.Verify(background, authority.Presented{Credential: i.Secret, CountsAsUse: true})
			must(t, err)
		}
		must(t, verify(root, i.Secret))
		if got := fmt.Sprint(number()); got == key.ID {
			t.Errorf("looking has hashed the %s token anew", kind)
		}
		use()
		if got := fmt.Sprint(number()); got != key.ID {
			t.Errorf("the %s token is hashed with key %s, not %s", kind, got, key.ID)
		}
		before, _ := s.Generation()
		use()
		if after, _ := s.Generation(); after != before {
			t.Errorf("the next use of the %s token writes again", kind)
		}
	}
}

// A key that another process adds is seen by those that have the file open,
// whatever they do first.
func TestKeyAddedByAnother(t *testing.T) {
	for what, do := range map[string]func(authority.Service, authority.Issued) error{
		"verify a token that was hashed with it": func(s authority.Service, i authority.Issued) error {
			_, err := s.Verify(background, authority.Presented{Credential: i.Secret})
			return err
		},
		"generate": func(s authority.Service, _ authority.Issued) error {
			_, err := s.Generate(background, token.Spec{Kind: token.Refresh})
			return err
		},
		"exchange a token that was hashed with it": func(s authority.Service, i authority.Issued) error {
			_, err := s.Exchange(background, authority.Exchange{RefreshToken: i.Secret})
			return err
		},
		"verify the log": func(s authority.Service, _ authority.Issued) error {
			rep, err := s.VerifyAudit(background)
			if err == nil && len(rep.Broken) > 0 {
				err = errors.New(rep.Broken[0].What)
			}
			return err
		},
		"check": func(s authority.Service, _ authority.Issued) error {
			rep, err := s.Check(background, true)
			if err == nil && len(rep.Problems) > 0 {
				err = errors.New(rep.Problems[0])
			}
			return err
		},
		"rotate the key file": func(s authority.Service, _ authority.Issued) error {
			_, err := s.RotateKeyFile(background)
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			s, path := memory.New(), filepath.Join(t.TempDir(), "tokens.key")
			ours, err := keyfile.Create(path, start)
			must(t, err)
			theirs, err := keyfile.Open(path)
			must(t, err)
			first, other := over(s, ours), over(s, theirs)
			must(t, verify(first, generate(t, first, token.Spec{Kind: token.User}).Secret)) // it has seen that the file is right
			_, err = other.RotateKeyFile(background)
			must(t, err)
			i := generate(t, other, token.Spec{Kind: token.Refresh})
			must(t, do(first, i))
		})
	}
}
