package privatefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// LockedError says that another process is changing a file.
type LockedError struct{ Lock string }

func (e *LockedError) Error() string { return "another process has locked " + e.Lock }

// Change is a change of a file, which keeps other changes out until it ends. The
// file is replaced as a whole: whoever reads it has the old one or the new one.
type Change struct {
	lock *os.File
	path string
	file *os.File // beside it, takes its place; nil: not written yet
	done bool     // it is in its place now
}

// Begin begins to change the file at a path, which [Resolve] has given and which
// need not be there yet. The lock is that of a file PATH.lock, not the file itself:
// it ends with the process that has it, however that may end. Begin waits for it
// until ctx ends, and then the error is a [*LockedError]; else it is an [*Error] or
// that of the system.
func Begin(ctx context.Context, path string) (*Change, error) {
	for {
		f, err := Open(path+".lock", os.O_RDWR|os.O_CREATE)
		var unsafe *Error
		if errors.As(err, &unsafe) {
			unsafe.Hint = "see who made it; if nobody needs it, remove it"
		}
		if err != nil {
			return nil, err
		}
		err = Lock(ctx, f)
		there := StillThere(f)
		if err == nil && there {
			return &Change{lock: f, path: path}, nil
		}
		f.Close()
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, &LockedError{f.Name()}
		case err != nil && there:
			return nil, err
		}
		// Who had it has removed it: whoever comes now locks another.
	}
}

// Write writes the file PATH.new that is to be the new one. A process that was
// killed may have left one of that name: without its lock it is rubbish. It is
// removed rather than emptied, so that nothing depends on what it is.
func (c *Change) Write(text []byte) error {
	path := c.path + ".new"
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	c.file = f
	_, err = f.Write(text)
	return err
}

// Publish puts what was written in its place. If only the last step fails, that it
// outlasts a crash, then the error is a [*NotDurableError].
func (c *Change) Publish() error {
	if err := c.file.Sync(); err != nil {
		return err
	}
	if !StillThere(c.lock) || !StillThere(c.file) {
		return fmt.Errorf("somebody has removed %s or %s", c.lock.Name(), c.file.Name())
	}
	if err := c.file.Close(); err != nil { // Windows moves no open file
		return err
	}
	if err := os.Rename(c.file.Name(), c.path); err != nil {
		return err
	}
	c.done = true
	if err := SyncFolder(filepath.Dir(c.path)); err != nil {
		return &NotDurableError{err}
	}
	return nil
}

// NotDurableError says that a file is in its place, but may not outlast a crash.
type NotDurableError struct{ Cause error }

func (e *NotDurableError) Error() string {
	return "it is in its place, but may not outlast a crash: " + e.Cause.Error()
}

// Unwrap gives the cause.
func (e *NotDurableError) Unwrap() error { return e.Cause }

// End gives up the lock, and what was not published.
func (c *Change) End() {
	if c.file != nil {
		c.file.Close()
	}
	if StillThere(c.lock) {
		if c.file != nil && !c.done {
			os.Remove(c.file.Name())
		}
		os.Remove(c.lock.Name()) // before it is given up; Windows lets it stay
	}
	c.lock.Close()
}
