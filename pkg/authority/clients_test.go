package authority_test

import (
	"errors"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// A client secret that was hashed under an old key is hashed anew when it is next
// shown; the revision of the connection stays.
func TestClientSecretIsHashedAnew(t *testing.T) {
	s := memory.New()
	l := authority.New(authority.Options{Store: s, Keys: keyfile.New(start)})
	root := l.As(authority.Caller{Owner: owner("root"), FileOwner: true})
	conn := token.NewConnection("crm")
	conn.AuthMethod = token.AuthBasic
	if _, err := root.AddConnection(background, conn); err != nil {
		t.Fatal(err)
	}
	_, plain, err := root.RenewClientSecret(background, "crm")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := root.RotateKeyFile(background); err != nil {
		t.Fatal(err)
	}
	stored := func() (conn token.Connection, number uint32) {
		t.Helper()
		err := s.View(background, func(r store.Reader) (err error) {
			if conn, err = store.Connections.Get(r, "crm"); err == nil {
				number, err = conn.SecretVerifier.KeyNumber()
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return conn, number
	}
	for _, c := range []struct {
		shown secret.Secret
		right bool
		key   uint32
	}{{secret.New(secret.ClientSecret, secret.NewID(start)), false, 1}, {plain, true, 2}, {plain, true, 2}} {
		_, err := l.AuthenticateClient(background, authority.ClientAuth{ID: "crm", Secret: c.shown, Method: token.AuthBasic})
		if (err == nil) != c.right || err != nil && !errors.Is(err, authority.ErrInvalidClient) {
			t.Errorf("AuthenticateClient: %v", err)
		}
		if conn, number := stored(); number != c.key || conn.Revision != 2 {
			t.Errorf("it is hashed under key %d, in revision %d", number, conn.Revision)
		}
	}
}

// A secret that was copied from one connection's record to another's is good for
// neither: the hash is of the name, too.
func TestClientSecretIsOfItsConnection(t *testing.T) {
	s := memory.New()
	l := authority.New(authority.Options{Store: s, Keys: keyfile.New(start)})
	root := l.As(authority.Caller{Owner: owner("root"), FileOwner: true})
	for _, name := range []string{"crm", "erp"} {
		conn := token.NewConnection(name)
		conn.AuthMethod = token.AuthPost
		if _, err := root.AddConnection(background, conn); err != nil {
			t.Fatal(err)
		}
	}
	_, plain, err := root.RenewClientSecret(background, "crm")
	if err != nil {
		t.Fatal(err)
	}
	err = s.Update(background, func(w store.Writer) error {
		from, err := store.Connections.Get(w, "crm")
		if err != nil {
			return err
		}
		to, err := store.Connections.Get(w, "erp")
		if err != nil {
			return err
		}
		to.SecretVerifier, to.SecretSince = from.SecretVerifier, from.SecretSince
		return store.Connections.Put(w, to)
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, right := range map[string]bool{"crm": true, "erp": false} {
		_, err := l.AuthenticateClient(background, authority.ClientAuth{ID: name, Secret: plain})
		if (err == nil) != right || err != nil && !errors.Is(err, authority.ErrInvalidClient) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
