package orphans_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/ldap"
	"github.com/tokenctl/tokenctl/pkg/orphans"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/bolt"
	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/testdata/slapd"
)

// BenchmarkPurge finds and removes the tokens of 10,000 who are gone, of 200,000
// owners with a million tokens in a file: as a list and a real slapd say. It
// tells how many owners are asked about in a second, how many tokens are removed
// in one, and the greatest size of the process in MB.
func BenchmarkPurge(b *testing.B) {
	const owners, each, gone = 200_000, 5, 10_000
	for _, kind := range []string{"list", "slapd"} {
		b.Run(kind, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "tokens.db")
			must(b, bolt.Create(path))
			s, err := bolt.Open(bolt.Options{Path: path, Exclusive: true, NoSync: true})
			must(b, err)
			defer s.Close()
			w := newWorld(b, s)
			_, err = w.service().Policy(b.Context())
			must(b, err)
			fill(b, w, owners, each)
			if kind == "slapd" {
				server := slapd.Start(b, slapd.Options{People: owners - gone, Quiet: true})
				d, err := ldap.New(ldap.Options{
					Realm: "staff", URL: server.URL, BindDN: slapd.Service, BindPasswordFile: server.PasswordFile,
					BaseDN: slapd.People, Canary: slapd.Canary,
				})
				must(b, err)
				w.dirs = []directory.Directory{d}
			} else {
				var names []string
				for i := range owners - gone {
					names = append(names, fmt.Sprint("u", i+1))
				}
				w.staff(names...)
			}
			b.ResetTimer()
			for range b.N { // 1: then there is nobody left
				most, seen := 0.0, 0
				watch := func(more int) {
					if seen += more; seen%1000 == 0 {
						most = max(most, size())
					}
				}
				begun := time.Now()
				p, err := w.orphans(admin).Find(b.Context(), orphans.Query{Progress: watch})
				must(b, err)
				found := time.Now()
				rep := w.purge(p, orphans.Consent{Progress: watch})
				if rep.Owners != gone || rep.Tokens != gone*each {
					b.Fatalf("%d tokens of %d owners", rep.Tokens, rep.Owners)
				}
				b.ReportMetric(owners/found.Sub(begun).Seconds(), "owners/s")
				b.ReportMetric(float64(rep.Tokens)/time.Since(found).Seconds(), "tokens/s")
				b.ReportMetric(most, "MB")
			}
		})
	}
}

// fill gives u1, u2 … so many tokens each, and every third an account.
func fill(b *testing.B, w *world, owners, each int) {
	batch := w.store.Limit() / (5*each + 1)
	for at := 0; at < owners; at += batch {
		must(b, w.store.Update(b.Context(), func(tx store.Writer) error {
			for i := at; i < min(at+batch, owners); i++ {
				o := token.Owner{Realm: "staff", Name: fmt.Sprint("u", i+1)}
				if i%3 == 0 {
					if err := store.Accounts.Put(tx, token.Account{Owner: o, Kind: token.Person, Revision: 1}); err != nil {
						return err
					}
				}
				for n := range each {
					rec := token.Record{
						ID: secret.NewID(w.now), Kind: token.Refresh, Owner: o, CreatedBy: o, Name: fmt.Sprint("t", n),
						CreatedAt: w.now, ExpiresAt: w.now.Add(token.Day), Revision: 1,
					}
					if err := store.PutToken(tx, nil, &rec); err != nil {
						return err
					}
				}
			}
			return nil
		}))
	}
}

// size is that of this process now, without what it has mapped of files, in MB.
func size() (mb float64) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "RssAnon:") {
			fmt.Sscanf(line, "RssAnon: %f", &mb)
		}
	}
	return mb / 1024
}
