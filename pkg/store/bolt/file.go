package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

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
	store *Store
	path  string
	db    *bbolt.DB
	f     *os.File // db's own
	pages pages    // as they were when it was opened

	// begins is held around Begin, so that nobody waits inside for a lock that
	// a fault has left locked.
	begins sync.Mutex
	broken atomic.Pointer[token.Error] // Begin or Rollback has panicked: nothing more can be asked
	stuck  atomic.Bool                 // Commit has panicked: Close would wait for ever
}

// open opens the file for reading or writing, after the guard has seen it.
func (s *Store) open(ctx context.Context, write bool) (_ *file, err error) {
	f := &file{store: s, path: s.options.Path}
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
			f.f, f.pages, err = s.guard(ctx, write)
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
	if err := s.check(f); err != nil {
		_ = f.close()
		f.f = nil
		return nil, err
	}
	return f, nil
}

// sound is a state of a file whose trees have been looked at.
type sound struct {
	file os.FileInfo
	txid uint64
}

// check looks at what bbolt is about to believe, as far as that was not done
// before. Exclusive mode does it once. Shared mode does not do it in a big
// file, where every verifying of a token would take longer the more there are.
func (s *Store) check(f *file) error {
	if !s.options.Exclusive && f.pages.end > smallFile {
		return f.check(false)
	}
	now, err := f.f.Stat()
	if err != nil {
		return unopened(f.path, err)
	}
	last := s.sound.Load()
	if last != nil && last.txid == f.pages.txid && os.SameFile(last.file, now) {
		return f.check(false)
	}
	if err := f.check(true); err != nil {
		return err
	}
	s.sound.Store(&sound{now, f.pages.txid})
	return nil
}

// check reads the header and, if told to, the trees of all tables.
func (f *file) check(trees bool) error {
	if trees {
		if err := f.pages.checkTree(f.pages.root); err != nil {
			return damaged(f.path, err)
		}
	}
	return f.view(func(r store.Reader) (err error) {
		s := r.(*reader).snapshot
		defer s.caught(&err)
		if err := f.checkHeader(s.tx); err != nil || !trees {
			return err
		}
		names := s.tx.Cursor()
		for name, _ := names.First(); name != nil; name, _ = names.Next() {
			b := s.tx.Bucket(name)
			if b == nil {
				return s.harmed("a table is none")
			}
			if root := uint64(b.Root()); root != 0 { // else it is inside its entry
				if err := f.pages.checkTree(root); err != nil {
					return s.harmed(err)
				}
			}
			if k, _ := b.Cursor().First(); len(name) == 1 && k != nil && k[0] != name[0] {
				return s.harmed(fmt.Sprintf("table %q has keys of another", name))
			}
		}
		return nil
	})
}

func (f *file) checkHeader(tx *bbolt.Tx) error {
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
}

func (f *file) view(fn func(store.Reader) error) error {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	tx, err := f.begin(false)
	if err != nil {
		return err
	}
	defer f.rollback(tx)
	both := struct {
		snapshot
		reader
	}{snapshot: snapshot{file: f, tx: tx}}
	r := &both.reader
	r.snapshot = &both.snapshot
	return r.run(fn)
}

func (f *file) begin(write bool) (tx *bbolt.Tx, err error) {
	f.begins.Lock()
	defer f.begins.Unlock()
	if err := f.broken.Load(); err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			broken := f.harmed(p)
			f.broken.Store(broken)
			err = broken
		}
	}()
	if tx, err = f.db.Begin(write); err != nil {
		return nil, token.Errorf(token.ErrCannotTell, "%s cannot be used: %w", f.path, err)
	}
	return tx, nil
}

// rollback takes no lock of ours: a Begin may be waiting under it for a writer
// who makes the file grow, and that one waits for this reader to end.
func (f *file) rollback(tx *bbolt.Tx) {
	if f.broken.Load() != nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			f.broken.Store(f.harmed(p))
		}
	}()
	_ = tx.Rollback() // says at most that the transaction has ended
}

func (f *file) commit(tx *bbolt.Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			f.stuck.Store(true)
			err = f.harmed(p)
		}
	}()
	return tx.Commit()
}

func (f *file) close() (err error) {
	if f.broken.Load() != nil || f.stuck.Load() {
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

// harmed notes damage: a damaged file is not written to, as nobody knows what
// else a write would destroy.
func (f *file) harmed(what any) *token.Error {
	err := damaged(f.path, what)
	f.store.halted.CompareAndSwap(nil, err)
	return err
}

// fault is a panic of the runtime for memory that cannot be read: here, of
// mapped pages that the file does not have any more.
type fault interface {
	runtime.Error
	Addr() uintptr
}
