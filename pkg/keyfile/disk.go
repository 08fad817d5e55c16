package keyfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tokenctl/tokenctl/pkg/privatefile"
)

// maxSize is far more than any number of keys needs, in bytes.
const maxSize = 1 << 20

// Open reads the key file at path. It must be a regular file of mode 0600 or
// less, ours or root's, and no symbolic link may lead to it through a folder
// that others can write. The error is an [*Error].
func Open(path string) (*Keys, error) {
	keys, _, err := read(path)
	if err != nil {
		return nil, err
	}
	return newKeys(path, keys), nil
}

// read reads the file, and also says where path leads to in the end.
func read(path string) (keys []masterKey, real string, err error) {
	if real, err = privatefile.Resolve(path); err != nil {
		return nil, "", unreadable(path, err)
	}
	f, err := privatefile.Open(real, os.O_RDONLY)
	if err != nil {
		return nil, "", unreadable(path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, "", unreadable(path, err)
	}
	if len(data) > maxSize {
		return nil, "", &Error{Kind: ErrGarbled, Path: path, Reason: "it is too large for a key file", Hint: restore}
	}
	if keys, err = parse(data); err != nil {
		return nil, "", &Error{Kind: ErrGarbled, Path: path, Reason: err.Error(), Hint: restore}
	}
	return keys, real, nil
}

// unreadable makes an [*Error] of what the system said, or of what is unsafe.
func unreadable(path string, err error) error {
	var unsafe *privatefile.Error
	switch {
	case errors.As(err, &unsafe):
		return &Error{Kind: ErrUnsafeFile, Path: unsafe.Path, Reason: unsafe.Reason, Hint: unsafe.Hint}
	case errors.Is(err, fs.ErrNotExist):
		return &Error{Kind: ErrMissing, Path: path, Hint: restore, Cause: fs.ErrNotExist}
	}
	return &Error{Kind: ErrUnreadable, Path: path, Cause: err, Hint: restore}
}

// Create makes a key file with one key, and opens it. It never replaces one:
// if there is a file it is opened, and of two processes that create it at once
// both open the same. The file appears complete and durable or not at all.
// Folders that are missing are made with mode 0700. The error is an [*Error].
func Create(path string, now time.Time) (*Keys, error) {
	k, err := Open(path)
	if !errors.Is(err, ErrMissing) {
		return k, err
	}
	if err := create(path, now); err != nil {
		return nil, notWritten(path, err, "see that the folder can be written and the disk is not full")
	}
	return Open(path)
}

func notWritten(path string, err error, hint string) error {
	return &Error{Kind: ErrNotWritten, Path: path, Cause: err, Hint: hint}
}

// create puts a new file at path if there is none.
func create(path string, now time.Time) error {
	folder := filepath.Dir(path)
	if err := privatefile.MakeFolders(folder); err != nil {
		return err
	}
	keys, err := withNew(nil, now)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(folder, filepath.Base(path)+".new-*") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	text, err := checked(keys)
	if err != nil {
		return err
	}
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	// Unlike a rename, a link never replaces, and the loser sees the winner's
	// file with all that is in it.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// The loser too: the winner may not have come to it yet.
	return privatefile.SyncFolder(folder)
}

// checked is the text of a key file. What could not be read again, such as a key
// of the year 10000, is an error.
func checked(keys []masterKey) ([]byte, error) {
	text := render(keys)
	if len(text) > maxSize {
		return nil, fmt.Errorf("it would be over %d bytes: drop keys that nothing names", maxSize)
	}
	_, err := parse(text)
	return text, err
}

// Reload reads the file again and reports whether there are other keys now.
// If the file is not to be had, or is another database's or an older copy, then
// the keys stay as they are and the error, an [*Error], says so.
func (k *Keys) Reload() (changed bool, err error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	if k.path == "" {
		return false, nil
	}
	keys, _, err := k.readAgain()
	if err != nil || slices.EqualFunc(keys, k.state.Load().keys, masterKey.equal) {
		return false, err
	}
	k.state.Store(newState(keys))
	return true, nil
}

func (m masterKey) equal(other masterKey) bool {
	return m.number == other.number && m.createdAt.Equal(other.createdAt) && bytes.Equal(m.master, other.master)
}

// readAgain reads the file, and refuses one that cannot have come from the one
// that was read before: keys are added and dropped, but never changed, and the
// current number only grows.
func (k *Keys) readAgain() (keys []masterKey, real string, err error) {
	if keys, real, err = read(k.path); err != nil {
		return nil, "", err
	}
	s, now := k.state.Load(), &state{keys: keys}
	foreign := func(reason string, number uint32) error {
		return &Error{Kind: ErrForeign, Path: k.path, Reason: fmt.Sprintf(reason, number), Hint: "put back the newest copy of this database's key file"}
	}
	for _, key := range keys {
		if known, err := s.find(key.number); err == nil && !key.equal(known) {
			return nil, "", foreign("its key %d is not the one that it had before", key.number)
		}
	}
	if known := s.current().number; now.current().number < known {
		return nil, "", foreign("it is older than key %d, which is in use", known)
	}
	return keys, real, nil
}

// Add makes a new current key and returns its number. When it returns, the key
// is in the file, durably: things may be hashed and sealed with it. Of several
// processes that add keys at once each adds its own; the lock between them is
// that of the file PATH.lock. The error is an [*Error], [ErrLocked] after waiting
// for a second, and then the keys are as before.
func (k *Keys) Add(now time.Time) (number uint32, err error) {
	err = k.edit(func(keys []masterKey) ([]masterKey, error) {
		keys, err := withNew(keys, now)
		if err == nil {
			number = keys[len(keys)-1].number
		}
		return keys, err
	})
	if err != nil {
		return 0, err
	}
	return number, nil
}

// Drop removes a key that nothing names any more: what does is lost. The error
// is [ErrCurrent], [secret.ErrUnknownKey], or one that Add may return.
func (k *Keys) Drop(number uint32) error {
	return k.edit(func(keys []masterKey) ([]masterKey, error) {
		s := &state{keys: keys}
		if s.current().number == number {
			return nil, fmt.Errorf("%w: %d", ErrCurrent, number)
		}
		dropped, err := s.find(number)
		if err != nil {
			return nil, err
		}
		return slices.DeleteFunc(slices.Clone(keys), dropped.equal), nil
	})
}

// edit replaces the keys, and the file if there is one, by what change makes
// of those that are in the file at that time.
func (k *Keys) edit(change func([]masterKey) ([]masterKey, error)) error {
	k.changing.Lock()
	defer k.changing.Unlock()
	keys := k.state.Load().keys
	if k.path == "" {
		keys, err := change(keys)
		if err == nil {
			k.state.Store(newState(keys))
		}
		return err
	}
	real, err := privatefile.Resolve(k.path)
	if err != nil {
		return unreadable(k.path, err)
	}
	c, err := k.begin(real)
	if err != nil {
		return err
	}
	defer c.End()
	if keys, _, err = k.readAgain(); err != nil {
		return err
	}
	if keys, err = change(keys); err != nil {
		return err
	}
	text, err := checked(keys)
	if err == nil {
		err = c.Write(text)
	}
	if err == nil {
		err = c.Publish()
	}
	var late *privatefile.NotDurableError
	switch {
	case errors.As(err, &late):
		return notWritten(k.path, fmt.Errorf("outcome unknown: %w", err), "see whether the file has changed before going on")
	case err != nil:
		return notWritten(k.path, err, "see that the folder can be written and the disk is not full")
	}
	k.state.Store(newState(keys))
	return nil
}

// lockTimeout is how long a change waits for another process's, which takes
// some milliseconds.
const lockTimeout = time.Second

// begin keeps other processes from changing the file.
func (k *Keys) begin(real string) (*privatefile.Change, error) {
	waiting, cancel := context.WithTimeout(context.Background(), lockTimeout)
	defer cancel()
	c, err := privatefile.Begin(waiting, real)
	var unsafe *privatefile.Error
	var locked *privatefile.LockedError
	switch {
	case errors.As(err, &unsafe):
		return nil, unreadable(k.path, err)
	case errors.As(err, &locked):
		return nil, &Error{Kind: ErrLocked, Path: k.path, Reason: err.Error(),
			Hint: "no lock outlives its process: see which tokenctl is at work on it, and try again"}
	case err != nil:
		return nil, notWritten(k.path, err, "see that the folder can be written, and its file system knows locks")
	}
	return c, nil
}
