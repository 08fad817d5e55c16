package bolt

import (
	"path/filepath"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/storetest"
)

// newPath makes an empty store.
func newPath(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens.db")
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestShared(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, Options{Path: newPath(t)}) })
}

func TestExclusive(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, Options{Path: newPath(t), Exclusive: true}) })
}
