package httpapi_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/httpapi"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/bolt"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// sink is an answer that nobody reads.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }
func (s *sink) WriteHeader(status int)      { s.status = status }

// BenchmarkVerify is the hot path without the network: busy are 1,000 tokens
// that are asked about again and again, uniform is any of 100,000 in a file.
func BenchmarkVerify(b *testing.B) {
	path := filepath.Join(b.TempDir(), "tokens.db")
	if err := bolt.Create(path); err != nil {
		b.Fatal(err)
	}
	file, err := bolt.Open(bolt.Options{Path: path, Exclusive: true, NoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	keys := keyfile.New(time.Now())
	l := authority.New(authority.Options{Store: file, Keys: keys, Serving: true})
	root := l.As(authority.Caller{Owner: owner("root"), FileOwner: true})
	refresh, err := root.Generate(b.Context(), token.Spec{Kind: token.Refresh})
	if err != nil {
		b.Fatal(err)
	}
	access, err := root.Exchange(b.Context(), authority.Exchange{RefreshToken: refresh.Secret})
	if err != nil {
		b.Fatal(err)
	}
	all := crowd(b, file, keys)
	h := httpapi.NewHandler(httpapi.Options{Rules: l})
	for name, credentials := range map[string][]string{"busy": all[:1000], "uniform": all, "access": {bearer(access.Text)}, "unknown": {bearer(secret.New(secret.Passcode, secret.NewID(time.Now())))}} {
		b.Run(name, func(b *testing.B) {
			requests := make([]*http.Request, len(credentials))
			for i, c := range credentials {
				requests[i], _ = http.NewRequest(http.MethodGet, "/verify", nil)
				requests[i].RemoteAddr = "127.0.0.1:1234"
				requests[i].Header.Set("Authorization", c)
			}
			b.ReportAllocs()
			w := &sink{header: http.Header{}}
			for b.Loop() {
				clear(w.header)
				w.status = 0
				h.ServeHTTP(w, requests[rand.IntN(len(requests))])
				if w.status != 0 && name != "unknown" {
					b.Fatal(w.status)
				}
			}
		})
	}
}

// crowd makes user tokens of as many owners, and returns their Authorization
// headers.
func crowd(b *testing.B, s store.Store, keys *keyfile.Keys) (all []string) {
	b.Helper()
	hasher := secret.NewHasher(keys.Hashing(), secret.HasherOptions{})
	start := time.Now().Add(-1000 * time.Hour).Truncate(time.Second)
	for range 100 {
		err := s.Update(b.Context(), func(w store.Writer) error {
			for range 1000 {
				n := len(all)
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
				if err := store.Accounts.Put(w, token.Account{Owner: o, Kind: token.Person, Roles: []token.Role{"reader"}, CreatedAt: id.Time(), CreatedBy: o, Revision: 1}); err != nil {
					return err
				}
				all = append(all, basic(id.String(), text.Reveal()))
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return all
}
