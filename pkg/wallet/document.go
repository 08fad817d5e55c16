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
	folder := filepath.Dir(d.path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return d.notWritten(err)
	}
	path, err := filepath.EvalSymlinks(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		path, err = d.path, nil
	}
	if err != nil {
		return d.notWritten(err)
	}
	if err := guardFolder(filepath.Dir(path)); err != nil {
		return err
	}
	lock, err := d.lock(ctx, path+".new")
	if err != nil {
		return err
	}
	defer lock.release()
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
	if err := lock.publish(text.Bytes(), path); err != nil {
		return d.notWritten(err)
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return token.Errorf(token.ErrCannotTell, "%s is written, but may not outlast a crash: %w", d.path, err)
	}
	return nil
}

func (d document) notWritten(err error) error {
	return token.Errorf(token.ErrCannotTell, "%s was not written: %w", d.path, err).WithHint("see that the folder can be written and the disk is not full")
}

// lockTimeout is how long a change waits for those of other processes, which
// take some milliseconds each.
const lockTimeout = 5 * time.Second

// lock makes the file at path, which is the lock, or waits for whom it belongs to.
func (d document) lock(ctx context.Context, path string) (*lock, error) {
	for deadline := time.Now().Add(lockTimeout); ; {
		l, err := newLock(path)
		switch {
		case err == nil:
			return l, nil
		case !errors.Is(err, fs.ErrExist):
			return nil, d.notWritten(err)
		case time.Now().After(deadline):
			return nil, token.Errorf(token.ErrCannotTell, "%s is being changed: there is %s", d.path, path).
				WithHint("if no tokenctl is at work, one was interrupted: remove %s", path)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// lock is a file of which only one can be at its path, and which becomes the
// document, so that the lock is given up in the moment of the change.
type lock struct {
	file *os.File
	path string
	info os.FileInfo
	done bool // it is the document now
}

func newLock(path string) (*lock, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		os.Remove(path)
		return nil, err
	}
	return &lock{file: f, path: path, info: info}, nil
}

// publish writes the text and makes the lock the file at path.
func (l *lock) publish(text []byte, path string) error {
	if _, err := l.file.Write(text); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	if !l.stillThere() {
		return fmt.Errorf("somebody has removed %s", l.path)
	}
	if err := l.file.Close(); err != nil { // Windows moves no open file
		return err
	}
	if err := os.Rename(l.path, path); err != nil {
		return err
	}
	l.done = true
	return nil
}

// stillThere reports whether the lock is what stands at its path, and not that
// of another process, after somebody took ours for a stale one.
func (l *lock) stillThere() bool {
	there, err := os.Lstat(l.path)
	return err == nil && os.SameFile(l.info, there)
}

// release removes the lock. One that has become the document is another's by
// now, if it is there at all.
func (l *lock) release() {
	if !l.done && l.stillThere() {
		os.Remove(l.path)
	}
	l.file.Close()
}
