package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"sync"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// The header is a bucket beside those of the tables, told from them by a name
// of more than one byte.
var (
	header    = []byte("tokenctl")
	magicKey  = []byte("magic")
	magic     = []byte("tokenctl store\n")
	schemaKey = []byte("schema") // its value is a uvarint
)

// schema is the version of the layout of buckets that this package writes.
const schema = 1

// file is an open and locked bbolt file. A fault, that is a page that cannot
// be read since somebody cut the file, or a garbled one that sends bbolt
// astray, panics in bbolt, and leaves bbolt's locks locked if it held any.
// Each call of bbolt here turns that into an error; after one that may have
// held locks no call is made any more.
type file struct {
	path string
	db   *bbolt.DB
	f    *os.File // db's own

	// mu is held around Begin and Rollback, so that nobody waits inside for a
	// lock that a fault has left locked.
	mu     sync.Mutex
	broken error // Begin or Rollback has panicked: nothing more can be asked
	stuck  bool  // Commit has panicked: Close would wait for ever
}

// open opens the file for reading or writing, after the guard has seen it.
func (s *Store) open(ctx context.Context, write bool) (_ *file, err error) {
	f := &file{path: s.options.Path}
	options := bbolt.Options{
		Timeout: s.options.LockTimeout, // for systems whose locks we leave to bbolt
		NoSync:  s.options.NoSync,

		// Measured on a file with 112,000 free pages, as after purging two
		// thirds of a million records: a Put takes 3.6 ms with the array, 11 ms
		// with the map. The list is kept in the file, although the map without
		// that takes 1 ms: each opening for writing would then read all pages,
		// 0.2 s, and in a goroutine of bbolt's, where a damaged page ends the
		// process. On a compact file nothing of this can be measured.
		FreelistType: bbolt.FreelistArrayType,

		NoStatistics: true,
		ReadOnly:     !write,
		OpenFile: func(string, int, os.FileMode) (_ *os.File, err error) {
			f.f, err = s.guard(ctx, write)
			return f.f, err
		},
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damaged(f.path, p)
		}
		if err != nil && f.f != nil {
			release(f.f)
		}
	}()
	f.db, err = bbolt.Open(f.path, 0o600, &options)
	var ours *token.Error
	switch {
	case err == nil:
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, busy(f.path, f.f)
	case errors.As(err, &ours):
		return nil, ours
	default:
		return nil, token.Errorf(token.ErrCannotTell, "%s cannot be opened: %w", f.path, err)
	}
	if err := f.check(s.options.Exclusive); err != nil {
		return nil, errors.Join(err, f.db.Close())
	}
	return f, nil
}

// check reads the header, and where that is worth it the trees of all tables.
func (f *file) check(everything bool) error {
	return f.view(func(r store.Reader) error {
		tx := r.(*reader).tx
		b := tx.Bucket(header)
		if b == nil || !bytes.Equal(b.Get(magicKey), magic) {
			return token.Errorf(token.ErrCannotTell, "%s is a bbolt file, but not one of tokenctl", f.path).
				WithHint("check the path")
		}
		version, n := binary.Uvarint(b.Get(schemaKey))
		switch {
		case n <= 0 || version == 0:
			return damaged(f.path, "its schema version is garbled")
		case version > schema:
			return token.Errorf(token.ErrCannotTell, "%s has schema version %d, this tokenctl knows %d", f.path, version, schema).
				WithHint("a newer tokenctl has written it: use that one")
		}
		return nil
	})
}

func (f *file) view(fn func(store.Reader) error) error {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	tx, err := f.begin(false)
	if err != nil {
		return err
	}
	r := &reader{snapshot: &snapshot{file: f, tx: tx}}
	defer func() {
		r.ended = true
		f.rollback(tx)
	}()
	if err := r.faultless(func() error { return fn(r) }); err != nil {
		return err
	}
	if r.damage != nil {
		return r.damage
	}
	return nil
}

func (f *file) begin(write bool) (tx *bbolt.Tx, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return nil, f.broken
	}
	defer func() {
		if p := recover(); p != nil {
			f.broken = damaged(f.path, p)
			err = f.broken
		}
	}()
	if tx, err = f.db.Begin(write); err != nil {
		return nil, token.Errorf(token.ErrCannotTell, "%s cannot be used: %w", f.path, err)
	}
	return tx, nil
}

func (f *file) rollback(tx *bbolt.Tx) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			f.broken = damaged(f.path, p)
		}
	}()
	_ = tx.Rollback() // says at most that the transaction has ended
}

func (f *file) commit(tx *bbolt.Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			f.mu.Lock()
			f.stuck = true
			f.mu.Unlock()
			err = damaged(f.path, p)
		}
	}()
	return tx.Commit()
}

func (f *file) close() (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil || f.stuck {
		release(f.f) // the mapping stays, till the process ends
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = damaged(f.path, p)
		}
	}()
	if err := f.db.Close(); err != nil {
		return token.Errorf(token.ErrCannotTell, "closing %s: %w", f.path, err)
	}
	return nil
}

// damaged is the error for what cannot be right in a file.
func damaged(path string, what any) *token.Error {
	return token.Errorf(token.ErrCannotTell, "%s is damaged: %v", path, what).
		WithHint("nothing was changed; keep the file, and restore a backup")
}

// fault is a panic of the runtime for memory that cannot be read: here, of
// mapped pages that the file does not have any more.
type fault interface {
	runtime.Error
	Addr() uintptr
}
