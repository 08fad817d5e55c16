package bolt

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

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

// bareFile makes a bbolt file that is not ours.
func bareFile(t testing.TB, path string) string {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("t")); return err }))
	must(t, db.Close())
	return path
}

// setSchema writes a schema version into a store.
func setSchema(t testing.TB, path string, version uint64) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(header).Put(schemaKey, binary.AppendUvarint(nil, version))
	}))
	must(t, db.Close())
}

// count adds one to the number at a key.
func count(w store.Writer) error {
	v, err := w.Get([]byte("count"))
	if errors.Is(err, store.ErrNotFound) {
		v, err = make([]byte, 8), nil
	}
	if err != nil {
		return err
	}
	return w.Put([]byte("count"), binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(v)+1))
}

func expectCount(t testing.TB, path string, want uint64) {
	t.Helper()
	must(t, open(t, Options{Path: path, LockTimeout: 10 * time.Second}).View(background, func(r store.Reader) error {
		v, err := r.Get([]byte("count"))
		must(t, err)
		if n := binary.BigEndian.Uint64(v); n != want {
			t.Errorf("counted to %d, want %d", n, want)
		}
		return nil
	}))
}
