package bolt

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/tokenctl/tokenctl/pkg/privatefile"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Create makes an empty store, and the folders above it with mode 0700. A file
// that is there already is left as it is, whatever it is, and is no error. The
// store is made under another name and then linked to its own, so that nobody
// ever sees half of one.
func Create(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	if err := create(path); err != nil {
		var ours *token.Error
		if errors.As(err, &ours) {
			return ours
		}
		return token.Errorf(token.ErrCannotTell, "%s cannot be made: %w", path, err)
	}
	return nil
}

func create(path string) (err error) {
	folder := filepath.Dir(path)
	if err := privatefile.MakeFolders(folder); err != nil {
		return err
	}
	if folder, err = resolve(folder); err != nil {
		return err
	}
	if err := checkFolder(folder); err != nil {
		return err
	}
	temp, err := os.CreateTemp(folder, ".tokenctl-new-*") // O_EXCL, 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	if err := format(temp); err != nil {
		return err
	}
	if err := os.Link(temp.Name(), filepath.Join(folder, filepath.Base(path))); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return privatefile.SyncFolder(folder)
}

// format makes an empty file a store. It closes it.
func format(f *os.File) (err error) {
	db, err := bbolt.Open(f.Name(), 0o600, &bbolt.Options{
		OpenFile: func(string, int, os.FileMode) (*os.File, error) { return f, nil },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket(header)
		if err != nil {
			return err
		}
		return errors.Join(b.Put(magicKey, magic), b.Put(schemaKey, binary.AppendUvarint(nil, schema)))
	}); err != nil {
		return err
	}
	return f.Sync() // bbolt syncs data alone
}
