package cmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/bolt"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// BenchmarkBulk makes a store of a million refresh tokens of 200,000 owners, in
// the order of their ids, and says how large it is. With TOKENCTL_BENCH_STORE
// set to a path the store stays there, to be listed and measured.
func BenchmarkBulk(b *testing.B) {
	const tokens = 1_000_000
	for range b.N {
		path := os.Getenv("TOKENCTL_BENCH_STORE")
		if path == "" {
			path = filepath.Join(b.TempDir(), "tokens.db")
		}
		makeBulk(b, path, tokens)
		info, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(info.Size())/1e6, "MB")
		b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)*1e9/tokens, "ns/token")
	}
}

func makeBulk(tb testing.TB, path string, tokens int) {
	ctx := context.Background()
	keys, err := openFiles(path, createAlways)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := bolt.Open(bolt.Options{Path: path, Exclusive: true})
	if err != nil {
		tb.Fatal(err)
	}
	defer s.Close()
	begin(tb, s, keys)
	hasher := secret.NewHasher(keys.Hashing(), secret.HasherOptions{})
	start := time.Now().Add(-time.Duration(tokens) * time.Second)
	batch := s.Limit() / 5
	for at := 0; at < tokens; at += batch {
		records := make([]token.Record, min(batch, tokens-at))
		for i := range records {
			n := at + i
			made := start.Add(time.Duration(n) * time.Second).UTC().Truncate(time.Second)
			id := secret.NewID(made)
			owner := token.Owner{Realm: token.LocalRealm, Name: fmt.Sprintf("user%06d", n%200_000)}
			records[i] = token.Record{
				ID: id, Kind: token.Refresh, Owner: owner, CreatedBy: owner, Name: fmt.Sprintf("job-%d", n),
				Connection: token.DefaultConnection, Audience: "urn:tokenctl:default", Roles: []token.Role{"reader"},
				CreatedAt: made, ExpiresAt: made.Add(365 * token.Day), Revision: 1, LastChange: token.Made,
				Verifier: hasher.Fast(secret.Use{Kind: "refresh", ID: id}, secret.New(secret.RefreshToken, id)),
			}
		}
		if err := s.Update(ctx, func(w store.Writer) error {
			for i := range records {
				if err := store.PutToken(w, nil, &records[i]); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			tb.Fatal(err)
		}
	}
}

// begin makes the store one that has been used.
func begin(tb testing.TB, s store.Store, keys *keyfile.Keys) {
	local := authority.New(authority.Options{Store: s, Keys: keys})
	name, via := systemUser()
	me := local.As(authority.Caller{Owner: token.Owner{Realm: token.LocalRealm, Name: name}, Via: via, FileOwner: true})
	if _, err := me.SetPolicy(context.Background(), map[string]string{"retention": "400d"}); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkList writes a list of 100,000 tokens, read from a file, to nowhere.
func BenchmarkList(b *testing.B) {
	const tokens = 100_000
	path := filepath.Join(b.TempDir(), "tokens.db")
	makeBulk(b, path, tokens)
	for _, format := range []string{"csv", "jsonl"} {
		b.Run(format, func(b *testing.B) {
			for b.Loop() {
				if code := Main([]string{"list", "--all-owners", "-o", format, "--store", "bolt://" + path}, os.Stdin, io.Discard, os.Stderr); code != 0 {
					b.Fatalf("exit code %d", code)
				}
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)*1e9/tokens, "ns/token")
		})
	}
}
