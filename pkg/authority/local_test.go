package authority_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/authority/authoritytest"
	"github.com/tokenctl/tokenctl/pkg/idp"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/bolt"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
)

func TestLocalOverMemory(t *testing.T) {
	authoritytest.Run(t, func(_ *testing.T, now func() time.Time) authoritytest.Authority {
		l := authority.New(authority.Options{Store: memory.New(), Keys: keyfile.New(now()), Now: now, Federation: idp.New(idp.Options{Now: now})})
		return authoritytest.Authority{As: l.As, Maintain: l.Maintain}
	})
}

func TestLocalOverBolt(t *testing.T) {
	authoritytest.Run(t, func(t *testing.T, now func() time.Time) authoritytest.Authority {
		l := authority.New(authority.Options{Store: openBolt(t, true), Keys: keyfile.New(now()), Now: now, Federation: idp.New(idp.Options{Now: now})})
		return authoritytest.Authority{As: l.As, Maintain: l.Maintain}
	})
}

// openBolt makes a store in a file.
func openBolt(t testing.TB, exclusive bool) store.Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens.db")
	if err := bolt.Create(path); err != nil {
		t.Fatal(err)
	}
	s, err := bolt.Open(bolt.Options{Path: path, Exclusive: exclusive})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
