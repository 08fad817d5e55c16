package authority_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// A request with a name has one outcome, however often it is sent.
func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := serve(t, memory.New())
		defer v.stop()
		as := func(who, key string, request byte) authority.Service {
			return v.local.As(authority.Caller{
				Owner: owner(who), FileOwner: who == "root",
				Once: &authority.Once{Key: secret.FromText(key), Request: [32]byte{request}},
			})
		}
		user := token.Spec{Kind: token.User}
		first, err := as("alice", "a key of 128 bits or so", 1).Generate(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}
		again, err := as("alice", "a key of 128 bits or so", 1).Generate(t.Context(), user)
		if err != nil || again.Secret.Reveal() != first.Secret.Reveal() || cmp.Diff(first.Token.ID, again.Token.ID) != "" {
			t.Errorf("the same request gets %v, %v", again.Token.ID, err)
		}
		if log := v.audit(t, "token.generate"); len(log) != 2 || log[1].Detail != "the first answer was given again" || log[1].Token != first.Token.ID {
			t.Errorf("the log says %+v", log)
		}
		for what, s := range map[string]authority.Service{
			"another request": as("alice", "a key of 128 bits or so", 2),
			"another caller":  as("root", "a key of 128 bits or so", 1),
			"another key":     as("alice", "another key of 128 bits", 1),
		} {
			if _, err := s.Generate(t.Context(), user); !errors.Is(err, token.ErrConflict) && what != "another caller" {
				t.Errorf("%s: %v", what, err)
			} else if err == nil {
				t.Errorf("%s makes a token", what)
			}
		}

		// A rotation gives its new secret again, and rotates once.
		rotated, err := as("alice", "a key for the rotation", 3).Rotate(t.Context(), first.Token.Ref(), authority.Rotation{})
		if err != nil {
			t.Fatal(err)
		}
		same, err := as("alice", "a key for the rotation", 3).Rotate(t.Context(), first.Token.Ref(), authority.Rotation{})
		if err != nil || same.Secret.Reveal() != rotated.Secret.Reveal() || same.Token.Revision != rotated.Token.Revision {
			t.Errorf("the same rotation gets revision %d, %v", same.Token.Revision, err)
		}

		for range 2 {
			a, err := as("root", "a key for the account", 4).AddAccount(t.Context(), token.Account{Owner: owner("bob"), Kind: token.Person})
			if err != nil || a.Revision != 1 {
				t.Errorf("AddAccount: %+v, %v", a, err)
			}
			c, err := as("root", "a key for the connection", 5).AddConnection(t.Context(), token.NewConnection("crm"))
			if err != nil || c.Revision != 1 {
				t.Errorf("AddConnection: %+v, %v", c, err)
			}
		}
		key, err := as("root", "a key for the key", 6).RotateSigning(t.Context(), token.EdDSA)
		if err != nil {
			t.Fatal(err)
		}
		if other, err := as("root", "a key for the key", 6).RotateSigning(t.Context(), token.EdDSA); err != nil || other.ID != key.ID {
			t.Errorf("RotateSigning: %+v, %v, want %s", other, err, key.ID)
		}

		// The first keys of an algorithm, too, are made once.
		key, err = as("root", "a key for the first keys", 7).RotateSigning(t.Context(), token.ES256)
		if err != nil {
			t.Fatal(err)
		}
		if other, err := as("root", "a key for the first keys", 7).RotateSigning(t.Context(), token.ES256); err != nil || other.ID != key.ID {
			t.Errorf("RotateSigning: %+v, %v, want %s", other, err, key.ID)
		}

		// What was made and removed is not made again.
		if err := v.root.Delete(t.Context(), []token.Ref{{ID: first.Token.ID}}); err != nil {
			t.Fatal(err)
		}
		if _, err := as("alice", "a key of 128 bits or so", 1).Generate(t.Context(), user); !errors.Is(err, token.ErrConflict) {
			t.Errorf("after the deletion: %v", err)
		}
		// After ten minutes it is a new request.
		time.Sleep(10 * time.Minute)
		late, err := as("alice", "a key of 128 bits or so", 1).Generate(t.Context(), user)
		if err != nil || late.Secret.Reveal() == first.Secret.Reveal() {
			t.Errorf("after ten minutes: %v", err)
		}
	})
}

// First answers do not stay for ever.
func TestOnceIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		v := serve(t, s)
		defer v.stop()
		for i := range 300 {
			c := v.local.As(authority.Caller{Owner: owner("root"), FileOwner: true, Once: &authority.Once{Key: secret.FromText(time.Duration(i).String())}})
			if _, err := c.Generate(t.Context(), token.Spec{Kind: token.Refresh}); err != nil {
				t.Fatal(err)
			}
		}
		full := entries(t, s)
		time.Sleep(25 * time.Minute)
		if left := entries(t, s); full-left != 300 {
			t.Errorf("%d of 300 answers are forgotten", full-left)
		}
	})
}

// entries counts all that is in a store.
func entries(t *testing.T, s store.Store) (n int) {
	t.Helper()
	for _, err := range store.Pages(t.Context(), s, nil, 256) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}
