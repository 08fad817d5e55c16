package wallet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// document is a YAML file that nobody but its owner can read, and that is
// replaced as a whole.
type document struct {
	path   string
	secret bool // errors must not tell what is in it
}

// content is what a document holds.
type content interface{ check() error }

// maxSize is far more than any number of contexts needs, in bytes.
const maxSize = 1 << 20

// read fills c with what is in the file. Nothing is as good as no file.
func (d document) read(c content) error {
	f, err := openSafely(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var data []byte
	if err == nil {
		defer f.Close()
		data, err = io.ReadAll(io.LimitReader(f, maxSize+1))
	}
	var ours *token.Error
	switch {
	case errors.As(err, &ours):
		return err
	case err != nil:
		return token.Errorf(token.ErrCannotTell, "%s cannot be read: %w", d.path, err)
	case len(data) > maxSize:
		return token.Errorf(token.ErrUsage, "%s has over %d bytes", d.path, maxSize)
	}
	return d.parse(data, c)
}

// parse is strict: what it does not know would be lost with the next change.
func (d document) parse(data []byte, c content) error {
	in := yaml.NewDecoder(bytes.NewReader(data))
	in.KnownFields(true)
	err := in.Decode(c)
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		if err = in.Decode(new(any)); errors.Is(err, io.EOF) {
			err = c.check()
		} else {
			err = errors.New("it is more than one document")
		}
	}
	if err == nil {
		return nil
	}
	what := "it cannot be understood"
	if line := lineNumber.FindString(err.Error()); line != "" {
		what += ": " + line
	}
	if !d.secret {
		what = err.Error()
	}
	return token.Errorf(token.ErrUsage, "%s: %s", d.path, what).WithHint("mend it, or move it away")
}

// lineNumber is what of an error of YAML holds nothing of the text.
var lineNumber = regexp.MustCompile(`line [0-9]+`)

// change reads the file into c, lets fn change that, and replaces the file.
// Whatever others have written before stays; if fn fails, so does all else.
func (d document) change(ctx context.Context, c content, fn func() error) error {
	u, err := d.begin(ctx, c, fn)
	if err != nil {
		return err
	}
	defer u.end()
	if err := u.publish(); err != nil {
		return d.notWritten(err)
	}
	if err := syncFolder(filepath.Dir(u.path)); err != nil {
		return token.Errorf(token.ErrCannotTell, "%s is written, but may not outlast a crash: %w", d.path, err)
	}
	return nil
}

// try does all of a change but the replacing of the file. What it runs into, a
// change would have run into as well.
func (d document) try(ctx context.Context, c content) error {
	u, err := d.begin(ctx, c, func() error { return nil })
	if err == nil {
		u.end()
	}
	return err
}

// begin prepares a change, which keeps other changes out until it ends.
func (d document) begin(ctx context.Context, c content, fn func() error) (*update, error) {
	path, err := d.real()
	if err != nil {
		return nil, err
	}
	lock, err := d.lock(ctx, path+".lock")
	if err != nil {
		return nil, err
	}
	u := &update{lock: lock, path: path}
	if err := d.prepare(u, c, fn); err != nil {
		u.end()
		return nil, err
	}
	return u, nil
}

func (d document) prepare(u *update, c content, fn func() error) error {
	if err := d.read(c); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	var text bytes.Buffer
	out := yaml.NewEncoder(&text)
	out.SetIndent(2)
	if err := errors.Join(out.Encode(c), out.Close()); err != nil {
		return d.notWritten(err)
	}
	if err := u.write(text.Bytes()); err != nil {
		return d.notWritten(err)
	}
	return nil
}

// real is where the file is, behind symbolic links, in a folder that is made if
// need be.
func (d document) real() (string, error) {
	if err := os.MkdirAll(filepath.Dir(d.path), 0o700); err != nil {
		return "", d.notWritten(err)
	}
	path, err := filepath.EvalSymlinks(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		path, err = d.path, nil
	}
	if err != nil {
		return "", d.notWritten(err)
	}
	return path, guardFolder(filepath.Dir(path))
}

func (d document) notWritten(err error) error {
	return token.Errorf(token.ErrCannotTell, "%s was not written: %w", d.path, err).WithHint("see that the folder can be written and the disk is not full")
}

// lockTimeout is how long a change waits for those of other processes, which
// take some milliseconds each.
const lockTimeout = 5 * time.Second

// lock locks the file at path, which is there for nothing else and stays, or
// waits for whom the lock belongs to.
func (d document) lock(ctx context.Context, path string) (*os.File, error) {
	waiting, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	for {
		f, err := openLock(path)
		if err != nil {
			return nil, d.notLocked(err)
		}
		err = Lock(waiting, f)
		if err == nil && stillThere(f) {
			return f, nil
		}
		f.Close()
		switch {
		case err == nil: // somebody has removed it: whoever comes now locks another
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case waiting.Err() != nil:
			return nil, token.Errorf(token.ErrCannotTell, "%s is being changed: another process has locked %s", d.path, path).
				WithHint("no lock outlives its process: see which tokenctl is at work, and try again when it has ended")
		default:
			return nil, token.Errorf(token.ErrCannotTell, "%s was not written: %s cannot be locked: %w", d.path, path, err).
				WithHint("set XDG_CONFIG_HOME to a folder of a file system that knows locks")
		}
	}
}

// notLocked is for a file to be locked that cannot be opened. One that others
// can get at, who could lock it for ever, is refused with a hint of its own.
func (d document) notLocked(err error) error {
	var ours *token.Error
	if errors.As(err, &ours) {
		return err
	}
	return d.notWritten(err)
}

// stillThere reports whether an open file is what stands at its path.
func stillThere(f *os.File) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(f.Name())
	return err == nil && os.SameFile(open, there)
}

// update is a change that is under way.
type update struct {
	lock *os.File
	path string   // of the document
	file *os.File // beside it, takes its place; nil: not made yet
	done bool     // it is the document now
}

// write makes the file that is to be the document. A process that was killed may
// have left one of that name: without its lock it is rubbish. It is removed
// rather than emptied, so that nothing depends on what it is.
func (u *update) write(text []byte) error {
	path := u.path + ".new"
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	u.file = f
	_, err = f.Write(text)
	return err
}

// publish makes what was written the document, durably.
func (u *update) publish() error {
	if err := u.file.Sync(); err != nil {
		return err
	}
	if !stillThere(u.lock) || !stillThere(u.file) {
		return fmt.Errorf("somebody has removed %s or %s", u.lock.Name(), u.file.Name())
	}
	if err := u.file.Close(); err != nil { // Windows moves no open file
		return err
	}
	if err := os.Rename(u.file.Name(), u.path); err != nil {
		return err
	}
	u.done = true
	return nil
}

// end gives up the lock, and what has not become the document.
func (u *update) end() {
	if u.file != nil {
		u.file.Close()
	}
	if u.file != nil && !u.done && stillThere(u.lock) {
		os.Remove(u.file.Name())
	}
	u.lock.Close()
}
