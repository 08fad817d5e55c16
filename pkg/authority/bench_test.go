package authority_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/authority/authoritytest"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// crowd is an authority with 100,000 user tokens of as many owners.
type crowd struct {
	local   *authority.Local
	root    authority.Service
	secrets []secret.Secret
}

const crowdSize = 100_000

func newCrowd(b *testing.B, s store.Store) *crowd {
	b.Helper()
	keys := keyfile.New(start)
	c := &crowd{local: authority.New(authority.Options{Store: s, Keys: keys})}
	c.root = c.local.As(authority.Caller{Owner: token.Owner{Realm: "local", Name: "root"}, FileOwner: true})
	if _, err := c.root.WhoAmI(background); err != nil { // makes the store ready
		b.Fatal(err)
	}
	hasher := secret.NewHasher(keys.Hashing(), secret.HasherOptions{})
	roles := []token.Role{"reader", "writer"}
	for len(c.secrets) < crowdSize {
		made := c.secrets
		err := s.Update(background, func(w store.Writer) error {
			made = c.secrets
			for range 1000 {
				n := len(made)
				o := token.Owner{Realm: "corp", Name: fmt.Sprintf("user%06d", n)}
				id := secret.NewID(start.Add(time.Duration(n) * time.Second))
				text := secret.New(secret.Passcode, id)
				rec := token.Record{
					ID: id, Kind: token.User, Owner: o, CreatedAt: id.Time(), CreatedBy: o, Revision: 1, LastChange: token.Made,
					Verifier: hasher.Fast(secret.Use{Kind: "user", ID: id}, text),
				}
				if err := store.PutToken(w, nil, &rec); err != nil {
					return err
				}
				if err := store.Accounts.Put(w, token.Account{Owner: o, Kind: token.Person, Roles: roles, CreatedAt: id.Time(), CreatedBy: o, Revision: 1}); err != nil {
					return err
				}
				made = append(made, text)
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		c.secrets = made
	}
	return c
}

func eachCrowd(b *testing.B, bench func(*testing.B, *crowd)) {
	b.Run("memory", func(b *testing.B) { bench(b, newCrowd(b, memory.New())) })
	b.Run("bolt", func(b *testing.B) { bench(b, newCrowd(b, openBolt(b, true))) })
}

func BenchmarkVerify(b *testing.B) {
	eachCrowd(b, func(b *testing.B, c *crowd) {
		verify := func(b *testing.B, text secret.Secret) {
			if _, err := c.local.Verify(background, authority.Presented{Credential: text}); err != nil {
				b.Fatal(err)
			}
		}
		b.Run("one", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				verify(b, c.secrets[0])
			}
		})
		b.Run("any", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				verify(b, c.secrets[rand.IntN(len(c.secrets))])
			}
		})
	})
}

func BenchmarkVerifyAccess(b *testing.B) {
	eachCrowd(b, func(b *testing.B, c *crowd) {
		text := access(b, c)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.local.Verify(background, authority.Presented{Credential: text}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func access(b *testing.B, c *crowd) secret.Secret {
	a, err := c.root.Exchange(background, authority.Exchange{RefreshToken: refreshSecret(b, c)})
	if err != nil {
		b.Fatal(err)
	}
	return a.Text
}

func refreshSecret(b *testing.B, c *crowd) secret.Secret {
	i, err := c.root.Generate(background, token.Spec{Kind: token.Refresh, Roles: []token.Role{"reader"}})
	if err != nil {
		b.Fatal(err)
	}
	return i.Secret
}

// BenchmarkVerifyAccessBesideAProvider is what an access token of ours costs where
// a provider's JWTs are accepted, too.
func BenchmarkVerifyAccessBesideAProvider(b *testing.B) {
	l, root := federated()
	_, err := root.AddProvider(b.Context(), authoritytest.NewIssuer(b, "https://login.example.org", time.Now).Provider("corp"))
	must(b, err)
	r, err := root.Generate(b.Context(), token.Spec{Kind: token.Refresh})
	must(b, err)
	a, err := root.Exchange(b.Context(), authority.Exchange{RefreshToken: r.Secret})
	must(b, err)
	for b.Loop() {
		if _, err := l.Verify(b.Context(), authority.Presented{Credential: a.Text, CountsAsUse: true}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerifyFederated is what a JWT of a provider costs.
func BenchmarkVerifyFederated(b *testing.B) {
	l, root := federated()
	i := authoritytest.NewIssuer(b, "https://login.example.org", time.Now)
	p := i.Provider("corp")
	p.Unlinked = true
	_, err := root.AddProvider(b.Context(), p)
	must(b, err)
	jwt := i.JWT(b, "alice", nil)
	for b.Loop() {
		if _, err := l.Verify(b.Context(), authority.Presented{Credential: jwt, CountsAsUse: true}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExchange(b *testing.B) {
	eachCrowd(b, func(b *testing.B, c *crowd) {
		text := refreshSecret(b, c)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.root.Exchange(background, authority.Exchange{RefreshToken: text}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkList reads 100,000 tokens; the figure that counts is ns/record.
func BenchmarkList(b *testing.B) {
	eachCrowd(b, func(b *testing.B, c *crowd) {
		records := 0
		for b.Loop() {
			for _, err := range c.root.List(background, token.Selector{}) {
				if err != nil {
					b.Fatal(err)
				}
				records++
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
	})
}

func BenchmarkGenerate(b *testing.B) {
	eachCrowd(b, func(b *testing.B, c *crowd) {
		b.ReportAllocs()
		for b.Loop() {
			refreshSecret(b, c)
		}
	})
}
